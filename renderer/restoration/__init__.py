"""Networks that make pictures finer: how their files are read, and those for faces."""
