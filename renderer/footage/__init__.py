"""Mouths from the speaker's own footage: read from meshes, told by sound, chosen, and drawn into frames."""
