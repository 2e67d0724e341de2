"""Clips to workers, and their results to the finished output."""
