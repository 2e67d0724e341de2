"""Mouths that other programs draw: what they are given, how they are run, and whether what comes back will do."""
