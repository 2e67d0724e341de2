"""Where clips are rendered, one file a backend; base.py is the contract."""
