"""Sound: decoded, read, measured."""
