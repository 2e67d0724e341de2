"""Spans: which frames show which face; and the table of spans that users edit."""
