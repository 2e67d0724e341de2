"""The one soundtrack: mixed, encoded, copied or spliced."""
