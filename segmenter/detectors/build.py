"""Find faces in one picture: the FaceDetector protocol and its adapters.

A detector keeps nothing between calls, so that a result depends on its picture alone. Adapters are not thread-safe:
build one for each thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from base.errors import CheckpointNotFound
from segmenter.detectors.base import FaceDetector
from segmenter.detectors.cascade import CascadeDetector
from segmenter.detectors.retinaface import RetinaFaceDetector

DetectorChoice = Literal["auto", "retinaface", "cascade"]


def build_detector(choice: DetectorChoice, weights: Path | None) -> FaceDetector:
    """Return the detector of a choice.

    weights: RetinaFace weights, or None where there are none: `auto` then means the cascade, and `retinaface` raises
    CheckpointNotFound.
    """
    if choice == "cascade" or (choice == "auto" and weights is None):
        return CascadeDetector()
    if weights is None:
        raise CheckpointNotFound(
            "segmenter.detector is retinaface, but its weights are missing."
            " Name them in segmenter.detector_checkpoint, or set segmenter.detector: cascade."
        )
    return RetinaFaceDetector(weights)
