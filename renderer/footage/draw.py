"""A mouth of one frame, drawn into another: in the frame's own planes, at its own depth, and only under a soft mask.

Everything here is in stored pixels: meshes and regions as the picture is coded, whichever way it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from media.mesh import RIGID, Mesh, eye_distance, points_at
from media.orientation import Plane, Rectangle
from renderer.footage.lip_shape import Points, rigid_fits
from renderer.footage.warp import MOBILITY, Field, field, turned_into

Floats = NDArray[np.float32]

REACH_SIDE, REACH_UP, REACH_DOWN = 1.15, 0.8, 1.25
"""From the middle of the lips, in eye distances: the region in which anything may change."""
SAMPLED_SHARE: Final = 0.25
"""Of an eye distance: how far beyond that region a mouth's own surroundings are kept, for heads that turn."""
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
COARSE: Final = 4
"""Pixels that share one value of the difference of colours."""


@dataclass(frozen=True, slots=True)
class Mouth:
    """A mouth and its surroundings, as it was filmed."""

    planes: tuple[Plane, ...]
    """The region's samples, plane by plane."""
    corner: tuple[int, int]
    """(left, top) of the region in its frame, on whole chroma samples."""
    mesh: Mesh
    """Of the face, in pixels of its frame."""
    steady: Mesh
    """Smoothed over its neighbours."""


@dataclass(frozen=True, slots=True)
class Part:
    """A mouth that is shown in a frame, alone or over another."""

    mouth: Mouth
    weight: float = 1.0
    """How far it is seen; those of a frame add up to 1."""
    led: Mesh | None = None
    """(NUM_POINTS, 3): how far its lips and chin are led elsewhere, in pixels of the frame that is drawn into."""


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


def mouth_region(mesh: Mesh, size: tuple[int, int], steps: tuple[int, int], *, more: float = 0.0) -> Rectangle:
    """Return the region around a mouth, inside a frame of a (width, height), on whole chroma samples.

    steps: luma columns and rows that share a chroma sample. more: eye distances by which it is larger on each side.
    """
    unit = float(eye_distance(mesh))
    x, y = np.asarray(mesh[points_at((13, 14)), :2], np.float64).mean(axis=0)
    left, top = x - (REACH_SIDE + more) * unit, y - (REACH_UP + more) * unit
    right, bottom = x + (REACH_SIDE + more) * unit, y + (REACH_DOWN + more) * unit
    step_x, step_y = steps
    return (
        max(int(left) // step_x * step_x, 0),
        max(int(top) // step_y * step_y, 0),
        min(-(-int(right) // step_x) * step_x, size[0]),
        min(-(-int(bottom) // step_y) * step_y, size[1]),
    )


def led_in_frame(away: Points, reference: Points, pose: Pose) -> Mesh:
    """Return how far points are led in a frame, from how far they are in a person's upright face.

    away: (NUM_POINTS, 3) in eye distances. reference: the upright face.
    """
    upright, seen = reference[RIGID], np.asarray(pose.steady[RIGID], np.float64)
    turns, scales = rigid_fits((upright - upright.mean(axis=0))[None], seen - seen.mean(axis=0))
    return np.asarray(away @ turns[0] * scales[0], np.float32)


def draw(planes: Sequence[Plane], pose: Pose, parts: Sequence[Part], *, full_scale: float) -> Rectangle:
    """Draw mouths into the planes of a frame, in place; return the region outside which nothing changed.

    planes: luma first, writable. full_scale: the largest sample, (1 << depth) - 1.
    """
    height, width = planes[0].shape
    steps = [(round(width / plane.shape[1]), round(height / plane.shape[0])) for plane in planes]
    region = mouth_region(pose.steady, (width, height), (max(x for x, _ in steps), max(y for _, y in steps)))
    targets = [_window(plane, region, step) for plane, step in zip(planes, steps, strict=True)]
    mixed = [np.zeros(target.shape, np.float32) for target in targets]
    changed = np.zeros((region[3] - region[1], region[2] - region[0]), np.float32)
    for part in parts:
        seen = turned_into(part.mouth.mesh, part.mouth.steady, pose.steady)
        if part.led is not None:
            seen = seen + part.led * MOBILITY[:, None]
        mask = build_mask(pose, seen, region)
        places = field(part.mouth.mesh, seen, region)
        ring = _Ring(mask, pose.unit)
        for number, (target, step) in enumerate(zip(targets, steps, strict=True)):
            taken = _taken(part.mouth, number, places, step)
            old = target.astype(np.float32)
            coloured = ring.recoloured(taken, old, step, full_scale, is_luma=number == 0)
            mixed[number] += part.weight * (old + (coloured - old) * _at(mask, old.shape))
        changed = np.maximum(changed, mask)
    for target, new in zip(targets, mixed, strict=True):
        limited = np.clip(np.rint(new), 0, full_scale)
        np.copyto(target, limited.astype(target.dtype), where=_at(changed, target.shape) > 0)
    return region


def _window(plane: Plane, region: Rectangle, step: tuple[int, int]) -> Plane:
    left, top, right, bottom = region
    return plane[top // step[1] : -(-bottom // step[1]), left // step[0] : -(-right // step[0])]


def _at(mask: Floats, shape: tuple[int, ...]) -> Floats:
    """Return a mask at the resolution of a plane."""
    if mask.shape == shape:
        return mask
    return np.asarray(cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.float32)


def _taken(mouth: Mouth, number: int, places: Field, step: tuple[int, int]) -> Floats:
    """Return samples of one of a mouth's planes from the places of a field; beyond its region its last ones repeat."""
    step_x, step_y = step
    at = places
    if step != (1, 1):
        size = (-(-places.shape[1] // step_x), -(-places.shape[0] // step_y))
        at = np.asarray(cv2.resize(places, size, interpolation=cv2.INTER_AREA), np.float32)
    # Sample i of a plane covers luma columns [i * step, (i + 1) * step).
    across = (at[..., 0] + 0.5 - mouth.corner[0]) / step_x - 0.5
    down = (at[..., 1] + 0.5 - mouth.corner[1]) / step_y - 0.5
    plane = mouth.planes[number]
    taken = cv2.remap(plane, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(taken, np.float32)


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
    mask = np.zeros((region[3] - region[1], region[2] - region[0]), np.float32)
    cv2.fillPoly(mask, [np.rint(polygon * 8).astype(np.int32)], 1.0, cv2.LINE_AA, 3)
    soft = cv2.GaussianBlur(mask, (0, 0), SOFTNESS * unit)
    level = np.clip((soft - 0.06) / 0.88, 0, 1)
    level[[0, -1]] = 0
    level[:, [0, -1]] = 0
    return np.asarray(level * level * (3 - 2 * level), np.float32)


class _Ring:
    """Compares colours of mouth and frame around the mask's edge, and spreads their difference inwards."""

    def __init__(self, mask: Floats, unit: float) -> None:
        self._mask, self._unit = mask, unit
        self._sureness: Floats | None = None

    def recoloured(
        self, taken: Floats, old: Floats, step: tuple[int, int], full_scale: float, *, is_luma: bool
    ) -> Floats:
        """Return a plane's samples in the colours of the frame. Luma comes first: it tells where the ring is sound."""
        smoothing = SMOOTHING * self._unit / step[0]
        difference = _blurred(old, smoothing) - _blurred(taken, smoothing)
        mask = _at(self._mask, old.shape)
        ring = (mask > RING[0]) & (mask < RING[1])
        if not ring.any():
            return taken
        usual = float(np.median(difference[ring]))
        if is_luma:
            off = (difference - usual) / (OUTLIER * full_scale)
            self._sureness = np.exp(-(off**2)).astype(np.float32)
        assert self._sureness is not None
        weight = ring * _at(self._sureness, old.shape)
        spreading = SPREADING * self._unit / step[0] / COARSE
        size = (max(old.shape[1] // COARSE, 1), max(old.shape[0] // COARSE, 1))
        weights = _blurred(_coarse(weight, size), spreading)
        sums = _blurred(_coarse(difference * weight, size), spreading)
        spread = (sums + 1e-3 * usual) / (weights + 1e-3)
        return taken + np.asarray(cv2.resize(spread, old.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _blurred(values: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), max(sigma, 0.3)), np.float32)


def _coarse(values: NDArray[Any], size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(np.asarray(values, np.float32), size, interpolation=cv2.INTER_AREA), np.float32)
