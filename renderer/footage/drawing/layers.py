"""Lips that are led far from where they were filmed: each lip moves by itself, over what lies behind both.

One smooth map could open closed lips only by pulling their seam apart, and close open ones only by pressing the teeth
between them into a line. So there are three layers:

    upper lip and all above it | lower lip and all below it      one map each; they meet where the new lips do
    what is seen between the lips                                uncovered or covered, stretched a little, else painted
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from media.affine import at_plane
from media.mesh import LIPS, Mesh, eye_distance, points_at
from renderer.footage.drawing.warp import CONTROL, Nodes, ThinPlate

Floats = NDArray[np.float32]

INNER_UPPER: Final = points_at((78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308))
INNER_LOWER: Final = points_at((78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308))
"""The inner lips from corner to corner."""
UPPER_LIP: Final = points_at((191, 80, 81, 82, 13, 312, 311, 310, 415, 185, 40, 39, 37, 0, 267, 269, 270, 409, 164))
LOWER_LIP: Final = points_at(
    (95, 88, 178, 87, 14, 317, 402, 318, 324, 146, 91, 181, 84, 17, 314, 405, 321, 375, 18, 43, 273, 204, 424)
)
STIFFNESS: Final = 2e-3
"""Of the maps of each lip: less than elsewhere, since lips are led far and precisely."""
SEAM_SOFTNESS: Final = 0.008
"""Eye distances over which one lip's map passes into the other's between the corners of the mouth."""
SEAM_OPENING: Final = 0.6
"""How much softer it becomes for each step beyond a corner: there the maps differ little."""
INSIDE_SOFTNESS: Final = 0.012
"""Eye distances: standard deviation of the edge of what is seen between the lips."""
LEAST_GAP: Final = 0.006
"""Eye distances: a gap below which nothing is seen between the lips."""
STRETCHED: Final = (1.5, 2.6)
"""How far what was filmed between the lips is stretched before paint begins to replace it, and when it is all paint."""
BLACK: Final = 16 / 255
CAVITY, TONGUE = 0.26, 0.5
"""Brightness of the inside of a mouth, and of the tongue at its lower edge, as shares of the lips'. In 4,252 open
mouths of 94 people the darkest rows have 0.25 of the skin's, the lowest 0.5 to 0.7."""


class Seam:
    """The inner lips of a mesh in their own frame: along the line of the corners, and down from it."""

    def __init__(self, mesh: Mesh) -> None:
        points = np.asarray(mesh[:, :2], np.float64)
        self.unit = float(eye_distance(mesh))
        self.corner, right = points[points_at((78, 308))]
        self.length = max(float(np.linalg.norm(right - self.corner)), 1e-3)
        self.across = (right - self.corner) / self.length
        self.down = np.array([-self.across[1], self.across[0]])
        upper, lower = (self.local(points[places]) for places in (INNER_UPPER, INNER_LOWER))
        order = np.argsort((upper[:, 0] + lower[:, 0]) / 2)
        self._along = ((upper[:, 0] + lower[:, 0]) / 2)[order]
        self._middle = ((upper[:, 1] + lower[:, 1]) / 2)[order]
        self._gap = np.maximum(lower[:, 1] - upper[:, 1], 0)[order]

    def local(self, places: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return places (..., 2) as (along, down): along in widths of the mouth, down in eye distances."""
        away = places - self.corner
        return np.stack([away @ self.across / self.length, away @ self.down / self.unit], axis=-1)

    def places(self, along: NDArray[np.floating], down: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the places (..., 2) in the picture of local ones."""
        return np.asarray(
            self.corner + along[..., None] * self.length * self.across + down[..., None] * self.unit * self.down
        )

    def middle(self, along: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return how far down the middle between the lips lies."""
        return np.asarray(np.interp(along, self._along, self._middle), np.float64)

    def gap(self, along: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return how far the lips are apart."""
        return np.asarray(np.interp(along, self._along, self._gap), np.float64)

    @property
    def widest(self) -> float:
        """The largest gap."""
        return float(self._gap.max())


class LipLayers:
    """Where each luma pixel of a region is taken from in a mouth's frame, and what is seen between its lips."""

    def __init__(self, source: Mesh, seen: Mesh, nodes: Nodes) -> None:
        """source: the mesh of the mouth in its own picture. seen: where its points are to be seen."""
        left, top, right, bottom = nodes.region
        across, down = np.meshgrid(np.arange(left, right, dtype=np.float64), np.arange(top, bottom, dtype=np.float64))
        new, old = Seam(seen), Seam(source)
        local = new.local(np.stack([across, down], axis=-1))
        along, below = local[..., 0], local[..., 1] - new.middle(local[..., 0])
        beyond = np.maximum(np.maximum(-along, along - 1), 0) * new.length / new.unit
        lower = np.clip(0.5 + below / (2 * (SEAM_SOFTNESS + SEAM_OPENING * beyond)), 0, 1)[..., None]
        upper_map, lower_map = (
            nodes.spread(ThinPlate(seen[points, :2], source[points, :2], STIFFNESS)(nodes.places))
            for points in (_without(LOWER_LIP), _without(UPPER_LIP))
        )
        self.lips: Floats = np.asarray(upper_map * (1 - lower) + lower_map * lower, np.float32)
        """(height, width, 2): places in the mouth's frame."""
        gap, filmed = new.gap(along), old.gap(along)
        scale = np.where(gap > filmed, filmed / np.maximum(gap, 1e-6), 1.0)
        self.inside: Floats = old.places(along, old.middle(along) + below * scale).astype(np.float32)
        """As `lips`, of what is seen between them."""
        self.is_inside: Floats = _between_lips(seen, new, nodes)
        """(height, width): how far what is between the lips is seen, in [0, 1]."""
        first, last = STRETCHED
        stretch = new.widest / max(old.widest, 1e-6)
        level = np.clip((stretch - first) / (last - first), 0, 1)
        self.painted = float(level * level * (3 - 2 * level))
        """How far what was filmed between the lips is replaced by paint."""
        deep = np.clip(0.5 + below / np.maximum(gap, 1e-6), 0, 1)
        self.deep: Floats = deep.astype(np.float32)
        """(height, width): 0 at the upper lip's edge, 1 at the lower one's."""

    def paint(self, lip: float, full_scale: float, shape: tuple[int, int], *, is_luma: bool) -> Floats:
        """Return the paint of a plane. lip: the lips' mean sample in it. shape: of the plane's region."""
        if not is_luma:
            return np.full(shape, lip, np.float32)
        black = BLACK * full_scale
        share = CAVITY + (TONGUE - CAVITY) * self.deep**2
        return np.asarray(black + at_plane(np.asarray(share, np.float32), shape) * (lip - black), np.float32)


def _without(lip: list[int]) -> list[int]:
    return sorted({*CONTROL, *LIPS} - set(lip))


def _between_lips(seen: Mesh, seam: Seam, nodes: Nodes) -> Floats:
    left, top, right, bottom = nodes.region
    mask = np.zeros((bottom - top, right - left), np.float32)
    outline = seen[[*INNER_UPPER, *INNER_LOWER[-2:0:-1]], :2].astype(np.float64) - (left, top)
    cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), max(INSIDE_SOFTNESS * seam.unit, 0.5))
    return np.asarray(soft * min(seam.widest / LEAST_GAP, 1.0), np.float32)
