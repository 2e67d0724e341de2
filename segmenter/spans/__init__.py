"""Which frames show whom: spans, and the table that users edit."""
