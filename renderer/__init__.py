"""One face clip in, the same frames with a new mouth out."""
