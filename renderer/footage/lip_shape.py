"""The lip reader: what a mouth does, in six numbers, whatever way its head is turned.

A head's pose is taken out by a rigid fit of the points that speech does not move; what is left is measured in units of
the eye distance. Shapes of two people, or of one person in two cameras, compare once each is normalised over its own
footage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from media.mesh import EYE_CORNERS, RIGID, Mesh, points_at

SHAPES: Final = ("gap", "width", "height", "jaw", "upper", "lower")
"""What is measured: the gap between the inner lips, the distance of the corners, the outer height of the lips, and how
low the chin, the upper and the lower lip lie below the middle of the face's rigid points."""
GAP_PAIRS: Final = [points_at(pair) for pair in ((13, 14), (82, 87), (312, 317))]
CORNERS: Final = points_at((61, 291))
OUTER: Final = points_at((0, 17))
CHIN: Final = points_at((152, 148, 377, 176, 400))
UPPER: Final = points_at((0, 37, 267))
LOWER: Final = points_at((17, 84, 314))
LEAST_SPREAD: Final = 1e-4
"""Standard deviation below which a measure says nothing, in eye distances."""

Shapes = NDArray[np.float32]
"""(frames, len(SHAPES))."""
Points = NDArray[np.float64]
"""(frames, NUM_POINTS, 3), or one face's (NUM_POINTS, 3)."""


def upright(meshes: Mesh, reference: Points | None = None) -> tuple[Points, Points]:
    """Return meshes (frames, NUM_POINTS, 3) in one pose, and the face (NUM_POINTS, 3) that defines it.

    All lie on the reference's rigid points as nearly as turning, moving and scaling allows; its eyes are level and one
    unit apart. Without a reference it is found: the mean of the meshes themselves.
    """
    points = np.asarray(meshes, np.float64)
    if reference is not None:
        return _fitted(points, reference), reference
    spread = points[:, RIGID].std(axis=(1, 2))
    reference = _in_units(points[np.argsort(spread)[len(spread) // 2]])
    for _ in range(2):
        reference = _in_units(_fitted(points, reference).mean(axis=0))
    return _fitted(points, reference), reference


def _in_units(face: Points) -> Points:
    """Return one face turned, moved and scaled so that its eyes' corners lie level, one unit apart."""
    left, right = face[EYE_CORNERS]
    across = (right - left) / np.linalg.norm(right - left)
    brow, nose = face[points_at((168, 2))]  # not its tip, which sticks out
    down = nose - brow
    down -= across * (down @ across)
    down /= np.linalg.norm(down)
    axes = np.stack([across, down, np.cross(across, down)])
    return np.asarray((face - face[RIGID].mean(axis=0)) @ axes.T / np.linalg.norm(right - left))


def _fitted(points: Points, reference: Points) -> Points:
    """Return meshes brought onto a reference by the similarity that fits their rigid points best (Umeyama 1991)."""
    target = reference[RIGID] - reference[RIGID].mean(axis=0)
    source = points[:, RIGID]
    centres = source.mean(axis=1, keepdims=True)
    turns, scales = rigid_fits(source - centres, target)
    moved = (points - centres) @ turns * scales[:, None, None]
    return np.asarray(moved + reference[RIGID].mean(axis=0))


def rigid_fits(source: Points, target: Points) -> tuple[Points, NDArray[np.float64]]:
    """Return the turns (frames, 3, 3), applied from the right, and scales that bring centred points onto others.

    source: (frames, points, 3). target: (points, 3) or (frames, points, 3).
    """
    covariance = np.swapaxes(source, 1, 2) @ target
    left, values, right = np.linalg.svd(covariance)
    signs = np.ones_like(values)
    signs[:, 2] = np.sign(np.linalg.det(left @ right))
    turns = (left * signs[:, None, :]) @ right
    scales = (values * signs).sum(axis=1) / (source**2).sum(axis=(1, 2))
    return turns, scales


def measure(meshes: Mesh, reference: Points | None = None) -> Shapes:
    """Return the shapes (frames, len(SHAPES)) of meshes, in units of the eye distance; see upright."""
    face, _ = upright(meshes, reference)

    def distance(pair: list[int]) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(face[:, pair[0]] - face[:, pair[1]], axis=1))

    gap = np.mean([distance(pair) for pair in GAP_PAIRS], axis=0)
    low = [face[:, places, 1].mean(axis=1) for places in (CHIN, UPPER, LOWER)]
    return np.stack([gap, distance(CORNERS), distance(OUTER), *low], axis=1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Normal:
    """How a person's mouth usually is: what shapes are normalised by."""

    mean: NDArray[np.float32]
    """(len(SHAPES),)."""
    spread: NDArray[np.float32]
    """(len(SHAPES),), standard deviations."""

    @classmethod
    def of(cls, shapes: Shapes) -> Normal:
        """Return that of some footage."""
        return cls(shapes.mean(axis=0), np.maximum(shapes.std(axis=0), LEAST_SPREAD))

    def normalise(self, shapes: Shapes) -> Shapes:
        """Return shapes with mean 0 and spread 1 over the footage."""
        return np.asarray((shapes - self.mean) / self.spread, np.float32)
