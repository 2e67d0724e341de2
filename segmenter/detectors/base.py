"""The contract of a face detector. To add one, add a file with its class under the name DETECTOR.

A detector keeps nothing between calls, so that a result depends on its picture alone. Detectors are not thread-safe:
build one for each thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Protocol

from media.faces import Face
from media.picture import Pixels

MIN_SCORE = 0.3
"""Faces below it are not reported: well under every sensible offset of the presence hysteresis."""
SMALLEST_PX = 16
"""Height of the smallest face that is looked for, unless the caller says otherwise."""


class FaceDetector(Protocol):
    """Finds faces in one picture.

    Its class attributes are read before any weights are looked for. So its file imports what takes long to import only
    when a detector is built.
    """

    name: ClassVar[str]
    """The name in job files: that of its file. Stored with a scan, so that a resumed run never mixes detectors."""
    title: ClassVar[str]
    """What it is called in messages."""
    caveat: ClassVar[str]
    """What a user should know when `auto` falls back to it: "which ..."."""
    has_landmarks: ClassVar[bool]
    """Whether faces come with landmarks: without them people are not recognised, and crops are not turned upright."""
    weights: ClassVar[str | None]
    """The registered name of its weights; None if it needs none."""
    crop_px: ClassVar[int]
    """Side of the square pictures in which a tracker searches a face that is about half as large."""
    smoothing_frames: ClassVar[int]
    """Length of the filter that steadies its boxes, an odd number of frames."""
    preference: ClassVar[int]
    """`auto` takes the detector with the lowest number whose weights it can get."""

    def __init__(self, weights: Path | None) -> None:
        """Load it. Raises CheckpointError."""
        ...

    def detect(self, picture: Pixels, *, smallest_px: float = SMALLEST_PX) -> tuple[Face, ...]:
        """Return the faces of an upright (height, width, 3) uint8 BGR picture, largest first.

        Boxes run from the middle of the forehead to the chin, in pixels of the picture. Faces less high than
        smallest_px are left out, which can save time.
        """
        ...


def largest_first(faces: Iterator[Face]) -> tuple[Face, ...]:
    """Sort by area; ties by place, so that the order never depends on the order of finding."""
    return tuple(sorted(faces, key=lambda face: (-face.box.area, face.box.left, face.box.top)))
