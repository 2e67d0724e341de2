"""No detector: the job says where the face is (segmenter.box), and it stays there."""

from __future__ import annotations

from pathlib import Path

from media.faces import Face
from media.picture import Pixels
from segmenter.detectors.base import SMALLEST_PX


class GivenFace:
    """Finds nothing, so that scanner and tracker keep to the place that the settings of the scan give."""

    name = "given"
    title = "the box that the job gives"
    caveat = "which is the same in all frames"
    has_landmarks = False
    weights = None
    crop_px = 16
    smoothing_frames = 1
    preference = 99
    """`auto` never comes to it: the cascade needs no weights."""

    def __init__(self, weights: Path | None = None) -> None:
        """Take no weights."""

    def detect(self, picture: Pixels, *, smallest_px: float = SMALLEST_PX) -> tuple[Face, ...]:
        """Return nothing."""
        return ()


DETECTOR = GivenFace
