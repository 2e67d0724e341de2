"""From videos of speaking people to datasets."""
