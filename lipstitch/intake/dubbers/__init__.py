"""What dubbing programs leave on disk: one file each, found by its name. The contract is in base.py."""
