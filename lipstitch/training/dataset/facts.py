"""What is known of one prepared video: facts.json beside its faces and sound."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from media.base.files import read_json, write_json

VERSION = 4
"""Raised when the same video gives other rows than before."""


Segment = tuple[int, ...]
"""Source frames of one track, in order; one may come twice."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What became of one video."""

    name: str
    """File name without its ending; by default this is the person, too."""
    key: str
    """Content key: the file's bytes, the detector and the version of this code."""
    tracks: tuple[tuple[int, int], ...] = ()
    """Half-open ranges of rows."""
    num_columns: int = 0
    """Columns of the spectrogram, 80 a second."""
    rejected: dict[str, float] = field(default_factory=dict)
    """Seconds of the video that gave no rows, by reason."""
    problem: str = ""
    """Why the video gave nothing at all; empty otherwise."""

    @property
    def num_rows(self) -> int:
        """Rows of all tracks, 25 a second."""
        return self.tracks[-1][1] if self.tracks else 0

    @classmethod
    def load(cls, folder: Path) -> VideoFacts | None:
        """Return the facts in a folder, or None if the file does not exist."""
        content = read_json(folder / "facts.json")
        try:
            if content is None:
                return None
            tracks = tuple((int(start), int(stop)) for start, stop in content.pop("tracks"))
            return cls(tracks=tracks, **content)
        except (TypeError, KeyError, ValueError):
            return None

    def store(self, folder: Path) -> None:
        """Write the facts into a folder."""
        write_json(folder / "facts.json", dataclasses.asdict(self))
