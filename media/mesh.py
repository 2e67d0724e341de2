"""The points of a face mesh: which they are, where they lie in an array, and what a face's pose is by them.

A mesh is an array (NUM_POINTS, 3) float32: x and y in pixels of the upright picture, z in the same unit, smaller
towards the camera, zero about the middle of the head. Its points are a selection of those that MediaPipe's canonical
face numbers; left and right are those of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from media.affine import sample
from media.picture import Pixels

Mesh = NDArray[np.float32]
"""(NUM_POINTS, 3), or a batch of them."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundMesh:
    """A face's mesh, and how sure it is."""

    mesh: Mesh
    """(NUM_POINTS, 3), in pixels of the upright picture."""
    doubts: tuple[float, float, float]
    """How far lips, jaw and all points are likely off on average, as shares of the eye distance."""


_MIDLINE_AND_PAIRS: Final[dict[str, tuple[tuple[int, ...], tuple[tuple[int, int], ...]]]] = {
    "lips_outer": (
        (0, 17),
        ((61, 291), (146, 375), (91, 321), (181, 405), (84, 314), (185, 409), (40, 270), (39, 269), (37, 267)),
    ),
    "lips_inner": (
        (13, 14),
        ((78, 308), (95, 324), (88, 318), (178, 402), (87, 317), (191, 415), (80, 310), (81, 311), (82, 312)),
    ),
    "jaw": (
        (152,),
        ((132, 361), (58, 288), (172, 397), (136, 365), (150, 379), (149, 378), (176, 400), (148, 377)),
    ),
    "outline": ((10,), ((93, 323), (234, 454), (54, 284), (67, 297))),
    "nose": ((168, 6, 197, 195, 5, 4, 1, 2), ((98, 327), (129, 358))),
    "eyes": ((), ((33, 263), (133, 362), (159, 386), (145, 374), (158, 385), (153, 380))),
    "brows": ((), ((70, 300), (105, 334), (107, 336))),
    "cheeks": ((), ((50, 280), (101, 330), (116, 345), (117, 346), (118, 347), (36, 266))),
    "round_the_mouth": (
        (164, 18, 200, 199),
        (
            *((203, 423), (206, 426), (216, 436), (212, 432), (214, 434), (192, 416)),
            *((202, 422), (57, 287), (43, 273), (204, 424)),
        ),
    ),
}
"""Each group of points: those of the midline, and pairs (left, right) of MediaPipe's numbers."""

POINT_NUMBERS: Final[tuple[int, ...]] = tuple(
    number
    for midline, pairs in _MIDLINE_AND_PAIRS.values()
    for number in (*midline, *(one for pair in pairs for one in pair))
)
"""MediaPipe's number of each point."""
NUM_POINTS: Final = len(POINT_NUMBERS)
_PLACES: Final = {number: place for place, number in enumerate(POINT_NUMBERS)}


def points_at(numbers: Sequence[int]) -> list[int]:
    """Return the places, in a mesh, of points that MediaPipe numbers so. Raises KeyError for one that is not there."""
    return [_PLACES[number] for number in numbers]


def group(*names: str) -> list[int]:
    """Return the places of all points of groups: see _MIDLINE_AND_PAIRS for their names."""
    found: list[int] = []
    for name in names:
        midline, pairs = _MIDLINE_AND_PAIRS[name]
        found += points_at([*midline, *(one for pair in pairs for one in pair)])
    return found


LIPS: Final = group("lips_outer", "lips_inner")
JAW: Final = group("jaw")
RIGID: Final = group("nose", "eyes", "cheeks") + points_at([70, 300, 107, 336, 105, 334])
"""Points that speech hardly moves: the pose of a head is measured on them."""
EYE_CORNERS: Final = points_at([33, 263])
"""The outer corners of the eyes; their distance is the unit of everything that is measured on a face."""


def _mirrored() -> list[int]:
    partner = {number: number for midline, _ in _MIDLINE_AND_PAIRS.values() for number in midline}
    for _, pairs in _MIDLINE_AND_PAIRS.values():
        partner |= dict(pairs) | {right: left for left, right in pairs}
    return points_at([partner[number] for number in POINT_NUMBERS])


MIRRORED: Final = _mirrored()
"""Of each point, the place of the one that takes its place in a mirrored face."""


def eye_distance(mesh: Mesh) -> NDArray[np.float32]:
    """Return the distance of the outer corners of the eyes in three dimensions, which turning leaves as it is."""
    left, right = (mesh[..., place, :] for place in EYE_CORNERS)
    return np.asarray(np.linalg.norm(right - left, axis=-1), np.float32)


def head_pose(mesh: Mesh) -> NDArray[np.float32]:
    """Return yaw, pitch and roll in degrees, and the natural logarithm of the eye distance: (..., 4).

    Yaw is positive if the face looks to the right of the picture, roll if it is turned clockwise. Pitch is that of the
    bridge of the nose, which leans a little in every face: differences of one person's tell how a head is bowed.
    """
    left, right = (mesh[..., place, :].astype(np.float64) for place in EYE_CORNERS)
    brow, nose = (mesh[..., place, :].astype(np.float64) for place in points_at((168, 2)))
    across, down = right - left, nose - brow
    yaw = np.degrees(np.arctan2(across[..., 2], np.hypot(across[..., 0], across[..., 1])))
    pitch = np.degrees(np.arctan2(down[..., 2], np.hypot(down[..., 0], down[..., 1])))
    roll = np.degrees(np.arctan2(across[..., 1], across[..., 0]))
    return np.stack([yaw, pitch, roll, np.log(eye_distance(mesh))], axis=-1).astype(np.float32)


STEADY_REACH: Final = 4
"""Frames on either side that a steady mesh depends on."""


def steady(meshes: Mesh) -> Mesh:
    """Return meshes smoothed in time, twice, each time by the mean of STEADY_REACH / 2 neighbours on either side.

    (frames, points, 3), of consecutive frames. At the ends the window shrinks on both sides alike, so that nothing runs
    ahead.
    """
    smooth = np.asarray(meshes, np.float64)
    numbers = np.arange(len(smooth))
    room = np.minimum(np.minimum(numbers, numbers[::-1]), STEADY_REACH // 2)
    for _ in range(2):
        sums = np.concatenate([np.zeros_like(smooth[:1]), smooth.cumsum(axis=0)])
        smooth = (sums[numbers + room + 1] - sums[numbers - room]) / (2 * room + 1)[:, None, None]
    return smooth.astype(np.float32)


DOUBT_AHEAD, DOUBT_SOFT = 4, 2
"""Frames by which a doubt is known ahead: a hand is before the chin before it is before the lips; and over which it
comes and goes."""
DOUBT_REACH: Final = DOUBT_AHEAD + DOUBT_SOFT
"""Frames on either side that a steady doubt depends on."""


def steady_doubt(doubts: Sequence[float], at: int) -> float:
    """Return the doubt about a frame: the mean, over DOUBT_SOFT frames on either side, of the largest near each.

    doubts: of consecutive frames, DOUBT_REACH on either side of it; fewer at an end. Near are DOUBT_AHEAD frames.
    """
    soft = range(max(at - DOUBT_SOFT, 0), min(at + DOUBT_SOFT + 1, len(doubts)))
    return sum(max(doubts[max(each - DOUBT_AHEAD, 0) : each + DOUBT_AHEAD + 1]) for each in soft) / len(soft)


LIGHT_POINTS: Final = points_at([50, 280, 216, 436, 164])
"""Cheeks, beside the mouth, and the upper lip."""
NUM_LIGHTS: Final = 3 * len(LIGHT_POINTS)
LIGHT_SIDE: Final = 0.2
"""Side of the squares around them, in eye distances."""


def light_around(picture: Pixels, mesh: Mesh) -> NDArray[np.float32]:
    """Return how bright a face is around its mouth: (NUM_LIGHTS,), blue, green and red in 8-bit levels.

    picture: BGR. mesh: in its pixels.
    """
    step = LIGHT_SIDE * float(eye_distance(mesh)) / 4
    corners = mesh[LIGHT_POINTS, :2].astype(np.float64) - 1.5 * step
    squares = (sample(picture, np.array([[step, 0, x], [0, step, y]]), (4, 4)) for x, y in corners)
    return np.concatenate([square.mean(axis=(0, 1)) for square in squares]).astype(np.float32)
