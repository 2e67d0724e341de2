"""Times as people read them."""

from __future__ import annotations

from fractions import Fraction


def format_clock(seconds: Fraction, *, digits: int = 3) -> str:
    """Return a time as HH:MM:SS.mmm, rounded. digits: decimals of the seconds, 1 or more."""
    parts = 10**digits
    minutes, rest = divmod(round(seconds * parts), 60 * parts)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // parts:02d}.{rest % parts:0{digits}d}"
