"""The contract of a finished file, checked."""
