"""What an output cannot hold of its source: streams, and other data such as tags, chapters and side data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DroppedStream:
    """A stream of the source that is not in the output."""

    index: int
    """Its index in the source."""
    kind: str
    """audio, video, subtitle, data or attachment."""
    codec: str
    """FFmpeg's name of the codec; for a stream without one, the name of its handler."""
    reason: str

    def describe(self) -> str:
        """Return the loss in one line, without a full stop."""
        return f"stream {self.index} ({self.kind}, {self.codec}): {self.reason}"


@dataclass(frozen=True, slots=True)
class DroppedData:
    """Something that belongs to the whole source, or to a stream that is kept, and is not in the output."""

    what: str
    reason: str = ""
    """Empty where `what` says it."""

    def describe(self) -> str:
        """Return the loss in one line, without a full stop."""
        return f"{self.what}: {self.reason}" if self.reason else self.what


Loss = DroppedStream | DroppedData
