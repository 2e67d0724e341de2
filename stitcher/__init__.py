"""Clips in order, one file out."""
