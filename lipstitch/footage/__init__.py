"""Mouths from the speaker's own footage: whose, read from where, used in which spans, and which is shown when."""
