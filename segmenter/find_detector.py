"""Find detectors by name, and choose one for `auto`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import segmenter.detectors
from media.base.errors import CheckpointNotFound
from media.base.plugins import load_plugin, plugin_names
from segmenter.detectors.base import FaceDetector

AUTO = "auto"
"""In place of a name: the preferred detector whose weights can be found."""


def detector_names() -> tuple[str, ...]:
    """Return the names of all detectors, sorted, without importing them."""
    return plugin_names(segmenter.detectors)


def detector_class(name: str) -> type[FaceDetector]:
    """Return a detector's class, whose attributes say what it can do. Raises LookupError for an unknown name."""
    found: type[FaceDetector] = load_plugin(segmenter.detectors, name, "DETECTOR")
    return found


def detectors_by_preference() -> list[type[FaceDetector]]:
    """Return the classes of all detectors, the one that `auto` prefers first."""
    return sorted(map(detector_class, detector_names()), key=lambda detector: (detector.preference, detector.name))


def names_with_landmarks() -> str:
    """Return the names of the detectors by whose landmarks people can be recognised, as a message lists them."""
    return " or ".join(detector.name for detector in detectors_by_preference() if detector.has_landmarks)


def has_landmarks(choice: str) -> bool:
    """Tell whether the detector of a choice gives landmarks; of `auto`, whether it may."""
    return choice == AUTO or detector_class(choice).has_landmarks


def detector_with_weights(choice: str) -> type[FaceDetector]:
    """Return the detector whose weights a user can name: the chosen one, else the preferred one that has weights."""
    chosen = [detector_class(choice)] if choice != AUTO else []
    return next(detector for detector in [*chosen, *detectors_by_preference()] if detector.weights)


def choose_detector(
    choice: str, find_weights: Callable[[type[FaceDetector]], Path], warn: Callable[[str], None]
) -> tuple[str, Path | None]:
    """Return the name of the detector to build, and its weights; None if it needs none.

    find_weights: returns the file of a detector's weights, or raises CheckpointError. If `auto` cannot find the weights
    of the detectors it prefers, it warns which one it takes instead. Raises CheckpointNotFound if no detector is left.
    """
    missing: list[str] = []
    for detector in detectors_by_preference() if choice == AUTO else [detector_class(choice)]:
        try:
            weights = find_weights(detector) if detector.weights else None
        except CheckpointNotFound as exc:
            if choice != AUTO:
                raise
            missing.append(f"For {detector.title}: {exc}")
            continue
        if missing:
            warn(f"using {detector.title}, {detector.caveat}. {' '.join(missing)}")
        return detector.name, weights
    raise CheckpointNotFound(f"no weights for any face detector. {' '.join(missing)}")


def build_detector(name: str, weights: Path | None) -> FaceDetector:
    """Load a detector. Raises CheckpointError, and LookupError for an unknown name."""
    return detector_class(name)(weights)
