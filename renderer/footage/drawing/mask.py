"""Where a new mouth replaces the frame's own pixels, and in which colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from media.mesh import Mesh, eye_distance, points_at
from media.orientation import Rectangle

Floats = NDArray[np.float32]

OVAL: Final = points_at((132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361))
"""The jaw from ear to ear."""
INSIDE_JAW: Final = 0.80
"""How far towards the jaw the sides of the mask reach."""
BELOW_CHIN: Final = 0.10
BESIDE_NOSE: Final = ((0.42, 0.02), (0.15, 0.0))
"""Where the mask's upper edge runs: beside and below the middle of the philtrum."""
SOFTNESS: Final = 0.05
"""Standard deviation of the mask's edge."""
RING: Final = (0.02, 0.6)
"""Values of the mask on which the colours of mouth and frame are compared."""
SMOOTHING: Final = 0.03
"""Standard deviation of the pictures that are compared there."""
SPREADING: Final = 0.22
"""Standard deviation by which the difference of colours spreads inwards."""
OUTLIER: Final = 22 / 255
"""Of full scale: a difference of brightness beyond which a place on the ring hardly counts."""
MASK_PX, RING_PX = 64, 32
"""Pixels an eye distance at which the mask, and the difference of colours, are computed: both are soft."""


@dataclass(frozen=True, slots=True)
class Pose:
    """The face of the frame that is drawn into."""

    mesh: Mesh
    """As found in this frame."""
    steady: Mesh
    """Smoothed over its neighbours: what turns the mouth, so that it does not jitter."""

    @property
    def unit(self) -> float:
        """Return the distance of the eyes, in pixels."""
        return float(eye_distance(self.steady))


def build_mask(pose: Pose, seen: Mesh, region: Rectangle) -> Floats:
    """Return how far each pixel of a region is replaced, in [0, 1].

    From the middle of the philtrum to below the lower of both chins; at the sides it stays inside the jaw.
    """
    own, steady, other = (np.asarray(mesh[:, :2], np.float64) for mesh in (pose.mesh, pose.steady, seen))
    unit = pose.unit
    brow, chin, nose, upper = points_at((168, 152, 2, 0))
    down = (steady[chin] - steady[brow]) / np.linalg.norm(steady[chin] - steady[brow])
    left, right = points_at((33, 263))
    across = (steady[right] - steady[left]) / np.linalg.norm(steady[right] - steady[left])
    middle = steady[points_at((13, 14))].mean(axis=0)
    lower = np.where((((other - own)[OVAL] @ down) > 0)[:, None], other[OVAL], own[OVAL])
    along = np.linspace(-1, 1, len(OVAL))
    at_chin = np.clip(1 - (np.abs(along) - 0.25) / 0.45, 0, 1)[:, None]
    inside = middle + (lower - middle) * INSIDE_JAW
    outline = inside * (1 - at_chin) + (lower + down * BELOW_CHIN * unit) * at_chin
    philtrum = steady[nose] * 0.5 + 0.25 * (own[upper] + other[upper])
    edge = [philtrum + across * side * unit + down * low * unit for side, low in BESIDE_NOSE]
    edge += [philtrum - across * side * unit + down * low * unit for side, low in reversed(BESIDE_NOSE)]
    polygon = np.vstack([outline[np.abs(along) < 0.93], edge]) - region[:2]
    size = region[2] - region[0], region[3] - region[1]
    shrink = max(int(unit / MASK_PX), 1)
    mask = np.zeros((-(-size[1] // shrink), -(-size[0] // shrink)), np.float32)
    # Pixel i of the shrunk mask covers [i, i + 1) * shrink of the region.
    at = (polygon + 0.5) / shrink - 0.5
    cv2.fillPoly(mask, [np.rint(at * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), SOFTNESS * unit / shrink)
    if shrink > 1:
        whole = (mask.shape[1] * shrink, mask.shape[0] * shrink)
        soft = cv2.resize(soft, whole, interpolation=cv2.INTER_LINEAR)[: size[1], : size[0]]
    level = np.clip((soft - 0.06) / 0.88, 0, 1)
    level[[0, -1]] = 0
    level[:, [0, -1]] = 0
    return np.asarray(level * level * (3 - 2 * level), np.float32)


FREE: Final = 0.98
"""Share of a place that shows the face from which its colour is the face's."""


class Ring:
    """Compares colours of mouth and frame around the mask's edge, and spreads their difference inwards."""

    def __init__(self, mask: Floats, unit: float, free: Floats | None = None) -> None:
        """free: how far each pixel shows the face rather than something before it; None: wholly."""
        self._mask, self._unit, self._free = mask, unit, free
        self._sureness: Floats | None = None

    def recoloured(
        self, taken: Floats, old: Floats, step: tuple[int, int], full_scale: float, *, is_luma: bool
    ) -> Floats:
        """Return a plane's samples in the colours of the frame. Luma comes first: it tells where the ring is sound."""
        shrink = max(int(self._unit / RING_PX / step[0]), 1)
        size = (max(old.shape[1] // shrink, 1), max(old.shape[0] // shrink, 1))
        smoothing = SMOOTHING * self._unit / step[0] / shrink
        difference, mask = _shrunk(old - taken, size), _shrunk(self._mask, size)
        ring = (mask > RING[0]) & (mask < RING[1])
        if self._free is None:
            difference = _blurred(difference, smoothing)
        else:  # what is before the face has colours of its own
            free = (_shrunk(self._free, size) > FREE).astype(np.float32)
            shown = np.maximum(_blurred(free, smoothing), np.float32(1e-3))
            difference = np.asarray(_blurred(difference * free, smoothing) / shown, np.float32)
            ring = ring & (free > 0)
        if not ring.any():
            return taken
        usual = float(np.median(difference[ring]))
        if is_luma:
            off = (difference - usual) / (OUTLIER * full_scale)
            self._sureness = np.exp(-(off**2)).astype(np.float32)
        assert self._sureness is not None
        weight = ring * _shrunk(self._sureness, size)
        spreading = SPREADING * self._unit / step[0] / shrink
        weights, sums = _blurred(weight, spreading), _blurred(difference * weight, spreading)
        spread = ((sums + 1e-3 * usual) / (weights + 1e-3)).astype(np.float32)
        return taken + np.asarray(cv2.resize(spread, old.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _blurred(values: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), max(sigma, 0.3)), np.float32)


def _shrunk(values: Floats, size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)
