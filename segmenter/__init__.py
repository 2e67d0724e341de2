"""Where the faces are, and what the clips are."""
