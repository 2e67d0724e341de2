"""Find faces in one picture: the protocol of a detector.

A detector keeps nothing between calls, so that a result depends on its picture alone. Adapters are not thread-safe:
build one for each thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from media.faces import Face
from media.picture import Pixels

MIN_SCORE = 0.3
"""Faces below it are not reported: well under every sensible offset of the presence hysteresis."""


SMALLEST_PX = 16
"""Faces less high than this are not looked for, unless the caller says otherwise."""


class FaceDetector(Protocol):
    """Finds faces in one picture."""

    @property
    def name(self) -> str:
        """Short name, stored with a scan so that a resumed run never mixes detectors."""
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
