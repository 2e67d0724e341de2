"""The points of a face, found in its pixels by a small network."""
