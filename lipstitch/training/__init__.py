"""Training the networks that ship, and adapting them to a speaker."""
