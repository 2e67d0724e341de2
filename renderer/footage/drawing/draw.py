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

from media.affine import at_plane
from media.mesh import RIGID, Mesh, eye_distance, points_at
from media.orientation import Plane, Rectangle
from renderer.footage.drawing.layers import LipLayers, in_plane
from renderer.footage.drawing.mask import FREE, OVAL, Floats, Pose, Ring, build_mask
from renderer.footage.drawing.warp import MOBILITY, Field, Nodes, jaw_field, turned_into
from renderer.footage.lip_shape import Points, rigid_fits

REACH_SIDE, REACH_UP, REACH_DOWN = 1.15, 0.8, 1.25
"""From the middle of the lips, in eye distances: the region in which anything may change."""
KEPT_SIDE, KEPT_UP, KEPT_DOWN = 0.95, 0.65, 1.25
"""The region that is kept of a mouth: what the mask may show of it, and room for heads that turn."""
LEAST_MOVED: Final = 0.004
"""Of an eye distance: a shift of the frame's own jaw below which its pixels stay as they are."""
OUTER_LIPS: Final = points_at((0, 37, 267, 17, 84, 314))
"""On the red of the lips."""
NO_MAP: Final = np.empty(0, np.float32)
"""cv2.remap's second map, where the first has both coordinates."""


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

    def seen(self, pose: Pose, *, is_steady: bool = False) -> Mesh:
        """Return where the mouth's points are to be seen in a frame. is_steady: smoothed over its neighbours."""
        mesh = self.mouth.steady if is_steady else self.mouth.mesh
        seen = turned_into(mesh, self.mouth.steady, pose.steady)
        return seen if self.led is None else np.asarray(seen + self.led * MOBILITY[:, None], np.float32)


def changed_region(mesh: Mesh, size: tuple[int, int], steps: tuple[int, int]) -> Rectangle:
    """Return the region around a mouth in which anything may change; size, steps: as of kept_region."""
    return _around_mouth(mesh, (REACH_SIDE, REACH_UP, REACH_DOWN), size, steps)


def kept_region(mesh: Mesh, size: tuple[int, int], steps: tuple[int, int]) -> Rectangle:
    """Return the region of a mouth that a bank keeps, inside a frame of a (width, height), on whole chroma samples.

    steps: luma columns and rows that share a chroma sample.
    """
    return _around_mouth(mesh, (KEPT_SIDE, KEPT_UP, KEPT_DOWN), size, steps)


def _around_mouth(
    mesh: Mesh, reach: tuple[float, float, float], size: tuple[int, int], steps: tuple[int, int]
) -> Rectangle:
    """Return a region around a mouth. reach: to the sides, up and down the face, in eye distances."""
    unit = float(eye_distance(mesh))
    points = np.asarray(mesh[:, :2], np.float64)
    middle = points[points_at((13, 14))].mean(axis=0)
    brow, chin = points[points_at((168, 152))]
    down = (chin - brow) / np.linalg.norm(chin - brow)
    across = np.array([down[1], -down[0]])
    side, up, low = reach
    corners = middle + unit * np.array(
        [right * side * across + along * down for right in (-1, 1) for along in (-up, low)]
    )
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
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


def draw(
    planes: Sequence[Plane],
    pose: Pose,
    parts: Sequence[Part],
    *,
    full_scale: float,
    strength: float = 1.0,
    seen: Floats | None = None,
) -> Rectangle:
    """Draw mouths into the planes of a frame, in place; return the region outside which nothing changed.

    planes: luma first, writable. full_scale: the largest sample, (1 << depth) - 1. strength: how much of the new mouth
    is seen, in [0, 1]. seen: how far each luma pixel of the changed region may be replaced; None: wholly.
    """
    height, width = planes[0].shape
    steps = _steps(planes)
    chroma = max(x for x, _ in steps), max(y for _, y in steps)
    region = changed_region(pose.steady, (width, height), chroma)
    free = np.float32(1) if seen is None else seen
    pose = _move_jaw(planes, pose, parts, region, full_scale=full_scale, strength=strength, free=free)
    masks = [build_mask(pose, part.seen(pose), region) for part in parts]
    inner = _bounds_of(masks, region, chroma)
    targets = [_window(plane, inner, step) for plane, step in zip(planes, steps, strict=True)]
    olds = [target.astype(np.float32) for target in targets]
    added = [np.zeros_like(old) for old in olds]
    nodes = Nodes(inner)
    every = [LipLayers(part.mouth.mesh, part.seen(pose), nodes, chroma) for part in parts]
    # Two rows of teeth would make a grid: of what is between the lips, the first mouth's alone is seen.
    between = every[0].whole_inside()
    for part, layers, whole in zip(parts, every, masks, strict=True):
        mask = np.ascontiguousarray(_part(whole, inner, region))
        places = _LayeredPlaces(layers, part.mouth, full_scale)
        weight = part.weight + ((part is parts[0]) - part.weight) * between
        shown = weight * mask if seen is None else weight * mask * _part(seen, inner, region)
        of_step = {step: strength * at_plane(shown, old.shape) for old, step in zip(olds, steps, strict=True)}
        ring = Ring(mask, pose.unit, None if seen is None else _part(seen, inner, region))
        for number, (old, step) in enumerate(zip(olds, steps, strict=True)):
            new = ring.recoloured(places.taken(number, step), old, step, full_scale, is_luma=number == 0)
            added[number] += (new - old) * of_step[step]
    changed = _part(np.asarray(np.max(masks, axis=0) * free, np.float32), inner, region)
    for target, old, more in zip(targets, olds, added, strict=True):
        _write(target, old + more, at_plane(changed, target.shape) > 0, full_scale)
    return region


def _part(values: NDArray[Any], inner: Rectangle, region: Rectangle, step: tuple[int, int] = (1, 1)) -> NDArray[Any]:
    """Return what values at the samples of a plane are in a part of a region; a view."""
    left, top, right, bottom = (edge - region[side % 2] for side, edge in enumerate(inner))
    return values[top // step[1] : -(-bottom // step[1]), left // step[0] : -(-right // step[0])]


def _write(target: Plane, new: Floats, where: NDArray[np.bool_], full_scale: float) -> None:
    limited = np.clip(np.rint(new), 0, full_scale)
    np.copyto(target, limited.astype(target.dtype), where=where)


def _steps(planes: Sequence[Plane]) -> list[tuple[int, int]]:
    """Return for each plane of a frame how many luma columns and rows share a sample."""
    height, width = planes[0].shape
    return [(round(width / plane.shape[1]), round(height / plane.shape[0])) for plane in planes]


def _move_jaw(
    planes: Sequence[Plane],
    pose: Pose,
    parts: Sequence[Part],
    region: Rectangle,
    *,
    full_scale: float,
    strength: float,
    free: Floats | np.float32,
) -> Pose:
    """Move the frame's own jaw to where the new one will be, in place; return the pose with the jaw there.

    Otherwise a jaw that hangs lower in the frame would show as a second line below the new one.
    """
    steps = _steps(planes)
    away = sum(
        part.weight * (part.seen(pose, is_steady=True) - pose.steady)[:, :2].astype(np.float64) for part in parts
    )
    shift = (strength * np.asarray(away)).astype(np.float32)
    wanted, own = pose.steady.copy(), pose.mesh.copy()
    wanted[:, :2] += shift
    own[OVAL, :2] += shift[OVAL]
    nodes = Nodes(region)
    places = jaw_field(pose.steady, wanted, region, nodes)
    distance = np.linalg.norm(places - nodes.places, axis=1, keepdims=True)
    share = np.clip(distance / (LEAST_MOVED * pose.unit) - 1, 0, 1)
    if not share.any():
        return Pose(own, pose.steady)
    inner = nodes.bounds(share[:, 0] > 0)
    targets = [_window(plane, region, step) for plane, step in zip(planes, steps, strict=True)]
    kept = tuple(target.copy() for target in targets)
    planes_and_free = (*kept, free) if isinstance(free, np.ndarray) else kept
    sources = _Places(places, nodes, Mouth(planes_and_free, (region[0], region[1]), pose.mesh, pose.steady))
    allowed = free
    if isinstance(free, np.ndarray):  # skin is neither moved over what is before the face, nor taken from there
        allowed = np.asarray(free * (sources.taken(len(kept), (1, 1)) > FREE), np.float32)
    of_step = {}
    for step, target in zip(steps, targets, strict=True):
        spread = nodes.spread(share, step)
        may = at_plane(allowed, target.shape) if isinstance(allowed, np.ndarray) else allowed
        of_step[step] = _part(np.asarray(spread * may, np.float32), inner, region, step)
    for number, (target, step) in enumerate(zip(targets, steps, strict=True)):
        inside, seen = _part(target, inner, region, step), of_step[step]
        old = inside.astype(np.float32)
        taken = sources.taken(number, step, inner)
        _write(inside, old + (taken - old) * seen, seen > 0, full_scale)
    return Pose(own, pose.steady)


def _bounds_of(masks: Sequence[Floats], region: Rectangle, chroma: tuple[int, int]) -> Rectangle:
    """Return the part of a region that masks cover, on whole chroma samples; all of it if they cover nothing."""
    covered = np.max(masks, axis=0) > 0
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    if not len(rows):
        return region
    step_x, step_y = chroma
    return (
        region[0] + int(columns[0]) // step_x * step_x,
        region[1] + int(rows[0]) // step_y * step_y,
        min(region[0] + -(-(int(columns[-1]) + 1) // step_x) * step_x, region[2]),
        min(region[1] + -(-(int(rows[-1]) + 1) // step_y) * step_y, region[3]),
    )


def _window(plane: Plane, region: Rectangle, step: tuple[int, int]) -> Plane:
    left, top, right, bottom = region
    return plane[top // step[1] : -(-bottom // step[1]), left // step[0] : -(-right // step[0])]


class _Places:
    """Where the samples of a region are taken from, for planes of any resolution."""

    def __init__(self, places: Field, nodes: Nodes, mouth: Mouth) -> None:
        """places: of the nodes, in luma pixels of the mouth's frame."""
        self._places, self._nodes, self._mouth = places, nodes, mouth
        self._of_step: dict[tuple[int, int], Floats] = {}

    def taken(self, number: int, step: tuple[int, int], inner: Rectangle | None = None) -> Floats:
        """Return samples of one of the mouth's planes; beyond its region its last ones repeat.

        inner: the part of the nodes' region that is asked for; None: all of it.
        """
        if step not in self._of_step:
            self._of_step[step] = self._nodes.spread(in_plane(self._places, step, self._mouth.corner), step)
        plane = self._mouth.planes[number]
        whole = self._of_step[step]
        wanted = whole if inner is None else _part(whole, inner, self._nodes.region, step)
        return _remapped(plane, wanted)


class _LayeredPlaces:
    """Samples of a mouth whose lips are led, and of what is seen between them, for planes of any resolution."""

    def __init__(self, layers: LipLayers, mouth: Mouth, full_scale: float) -> None:
        self._layers, self._mouth, self._full_scale = layers, mouth, full_scale
        self._of_step: dict[tuple[int, int], tuple[Floats, Floats, Floats]] = {}

    def taken(self, number: int, step: tuple[int, int]) -> Floats:
        """Return samples of one of the mouth's planes; beyond its region its last ones repeat."""
        plane, layers = self._mouth.planes[number], self._layers
        if step not in self._of_step:
            self._of_step[step] = self._places(step)
        lips, inside, seen = self._of_step[step]
        taken = _remapped(plane, lips)
        between = _remapped(plane, inside)
        painted = at_plane(layers.painted, seen.shape)
        if painted.any():
            lips_at = in_plane(self._mouth.mesh[None, OUTER_LIPS, :2], step, self._mouth.corner)
            lip = float(_remapped(plane, lips_at.astype(np.float32)).mean())
            paint = layers.paint(lip, self._full_scale, seen.shape, is_luma=number == 0)
            between += (paint - between) * painted
        left, top = layers.box[0] // step[0], layers.box[1] // step[1]
        window = taken[top : top + seen.shape[0], left : left + seen.shape[1]]
        window += (between - window) * seen
        return taken

    def _places(self, step: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
        """Return the places of lips and of what is between them in a plane, and how far that is seen."""
        left, top, right, bottom = self._layers.box
        shape = -(-(bottom - top) // step[1]), -(-(right - left) // step[0])
        inside, seen = (at_plane(values, shape) for values in (self._layers.inside, self._layers.is_inside))
        corner = self._mouth.corner
        return self._layers.lips(step, corner), in_plane(inside, step, corner).astype(np.float32), seen


def _remapped(plane: Plane, places: Floats) -> Floats:
    taken = cv2.remap(plane, places, NO_MAP, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(taken, np.float32)
