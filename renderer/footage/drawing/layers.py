"""Lips that are led far from where they were filmed: each lip moves by itself, over what lies behind both.

One smooth map could open closed lips only by pulling their seam apart, and close open ones only by pressing the teeth
between them into a line. So there are three layers:

    upper lip and all above it | lower lip and all below it      one map each; they meet where the new lips do
    what is seen between the lips                                uncovered, and painted where nothing was filmed
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from media.affine import at_plane
from media.mesh import LIPS, Mesh, eye_distance, points_at
from media.orientation import Rectangle
from renderer.footage.drawing.warp import CONTROL, Nodes, ThinPlate

Floats = NDArray[np.float32]

INNER_UPPER: Final = points_at((78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308))
INNER_LOWER: Final = points_at((78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308))
"""The inner lips from corner to corner."""
UPPER_LIP: Final = points_at((191, 80, 81, 82, 13, 312, 311, 310, 415, 185, 40, 39, 37, 0, 267, 269, 270, 409, 164))
LOWER_LIP: Final = points_at(
    (95, 88, 178, 87, 14, 317, 402, 318, 324, 146, 91, 181, 84, 17, 314, 405, 321, 375, 18, 43, 273, 204, 424)
)
ABOVE_THE_SEAM, BELOW_THE_SEAM = (sorted({*CONTROL, *LIPS} - {*lip}) for lip in (LOWER_LIP, UPPER_LIP))
"""The points that the maps of the two lips pass through."""
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
MOST_STRETCHED: Final = 1.3
"""How far what was filmed between the lips is stretched; below it, a mouth that is opened further shows paint."""
PAINT_SOFTNESS, PAINT_STRETCH = 0.02, 0.4
"""Eye distances over which paint begins; how much further than MOST_STRETCHED a mouth opens until all is paint."""
BLACK: Final = 16 / 255
CAVITY, TONGUE = 0.26, 0.5
"""Brightness of the inside of a mouth, and of the tongue at its lower edge, as shares of the lips'. In 4,252 open
mouths of 94 people the darkest rows have 0.25 of the skin's, the lowest 0.5 to 0.7."""


class Seam:
    """The inner lips of a mesh in their own frame: along the line of the corners, and down from it."""

    def __init__(self, mesh: Mesh) -> None:
        self.unit = float(eye_distance(mesh))
        self.corner, right = np.asarray(mesh[points_at((78, 308)), :2], np.float64)
        self.length = max(float(np.linalg.norm(right - self.corner)), 1e-3)
        self.across = (right - self.corner) / self.length
        brow, chin = np.asarray(mesh[points_at((168, 152)), :2], np.float64)
        down = np.array([-self.across[1], self.across[0]])
        # A picture may be stored mirrored.
        self.down = down if down @ (chin - brow) > 0 else -down
        (upper_at, upper), (lower_at, lower) = (
            self.local(*mesh[places, :2].T.astype(np.float32)) for places in (INNER_UPPER, INNER_LOWER)
        )
        order = np.argsort(upper_at + lower_at)
        self._along = ((upper_at + lower_at) / 2)[order]
        self._middle = ((upper + lower) / 2)[order]
        self._gap = np.maximum(lower - upper, 0)[order]

    def local(self, across: Floats, down: Floats) -> tuple[Floats, Floats]:
        """Return places (x, y), broadcast against each other, along the mouth and down from it.

        Along in widths of the mouth, down in eye distances.
        """
        x, y = across - np.float32(self.corner[0]), down - np.float32(self.corner[1])
        along, below = (self.across / self.length).astype(np.float32), (self.down / self.unit).astype(np.float32)
        return x * along[0] + y * along[1], x * below[0] + y * below[1]

    def places(self, along: Floats, down: Floats) -> Floats:
        """Return the places (..., 2) in the picture of local ones."""
        across, below = (self.across * self.length).astype(np.float32), (self.down * self.unit).astype(np.float32)
        return np.stack(
            [self.corner[axis].astype(np.float32) + along * across[axis] + down * below[axis] for axis in (0, 1)],
            axis=-1,
        )

    def middle(self, along: Floats) -> Floats:
        """Return how far down the middle between the lips lies."""
        return np.asarray(np.interp(along, self._along, self._middle), np.float32)

    def gap(self, along: Floats) -> Floats:
        """Return how far the lips are apart."""
        return np.asarray(np.interp(along, self._along, self._gap), np.float32)

    @property
    def widest(self) -> float:
        """The largest gap."""
        return float(self._gap.max())


def in_plane(places: NDArray[np.floating], step: tuple[int, int], corner: tuple[int, int]) -> NDArray[np.floating]:
    """Return luma pixels of a frame as samples of a plane whose first one is that of a corner.

    Sample i of a plane covers luma columns [i * step, (i + 1) * step).
    """
    return np.asarray((places + 0.5 - corner) / step - 0.5)


class LipLayers:
    """Where each sample of a region is taken from in a mouth's frame, and what is seen between its lips."""

    def __init__(self, source: Mesh, seen: Mesh, nodes: Nodes, chroma: tuple[int, int]) -> None:
        """source: the mesh of the mouth in its own picture. seen: where its points are to be seen.

        chroma: luma columns and rows that share a chroma sample.
        """
        left, top, right, bottom = nodes.region
        self._nodes, self._size = nodes, (right - left, bottom - top)
        new, old = Seam(seen), Seam(source)
        self._fields = [
            ThinPlate(seen[points, :2], source[points, :2], STIFFNESS)(nodes.places)
            for points in (ABOVE_THE_SEAM, BELOW_THE_SEAM)
        ]
        along, down = new.local(np.arange(left, right, dtype="f4")[None], np.arange(top, bottom, dtype="f4")[:, None])
        beyond = np.maximum(np.maximum(-along, along - 1), 0) * np.float32(new.length / new.unit)
        softness = 2 * (SEAM_SOFTNESS + SEAM_OPENING * beyond)
        self._is_below: Floats = np.clip(0.5 + (down - new.middle(along)) / softness, 0, 1)
        self.box = self._around_lips(seen, new.unit, chroma)
        """(left, top, right, bottom) in the region, on whole chroma samples: beyond it, only lips and skin are seen."""
        window = slice(self.box[1], self.box[3]), slice(self.box[0], self.box[2])
        along = along[window]
        gap, filmed = new.gap(along), old.gap(along)
        depth = down[window] - new.middle(along) + gap / 2
        # Upper teeth hang from the skull: what was filmed stays below the upper lip, and what opens under it is dark.
        stretch = gap / np.maximum(filmed, 1e-6)
        seen_depth = (depth / np.clip(stretch, 1, MOST_STRETCHED)).astype(np.float32)
        self.inside: Floats = old.places(along, (old.middle(along) - filmed / 2 + seen_depth).astype(np.float32))
        """Of the box, (height, width, 2): the places in the mouth's frame of what is seen between the lips."""
        self.is_inside: Floats = self._between_lips(seen, new)
        """Of the box: how far it is seen, in [0, 1]."""
        self._depth = np.clip(depth / np.maximum(gap, 1e-6), 0, 1)
        # The lower lip's edge would be seen where what was filmed ends, so paint begins before that where it is needed.
        opened = np.clip((stretch - MOST_STRETCHED) / PAINT_STRETCH, 0, 1)
        level: Floats = (np.clip((seen_depth - filmed) / PAINT_SOFTNESS + opened, 0, 1) * opened).astype(np.float32)
        self.painted: Floats = level * level * (3 - 2 * level)
        """Of the box: how far what was filmed between the lips is replaced by paint."""

    def lips(self, step: tuple[int, int], corner: tuple[int, int]) -> Floats:
        """Return the samples of the mouth's plane that show lips and skin, (height, width, 2).

        step: luma columns and rows that share a sample of the plane. corner: of the mouth's samples in its frame.
        """
        # Converted where there are few of them.
        above, below = (self._nodes.spread(in_plane(field, step, corner), step) for field in self._fields)
        share = at_plane(self._is_below, above.shape[:2])[..., None]
        return np.asarray(above + (below - above) * share, np.float32)

    def whole_inside(self) -> Floats:
        """Return how far what is between the lips is seen in the whole region, (height, width), in [0, 1]."""
        left, top, right, bottom = self.box
        whole = np.zeros(self._size[::-1], np.float32)
        whole[top:bottom, left:right] = self.is_inside
        return whole

    def paint(self, lip: float, full_scale: float, shape: tuple[int, int], *, is_luma: bool) -> Floats:
        """Return the paint of a plane's box, (height, width). lip: the lips' mean sample in it."""
        if not is_luma:
            return np.full(shape, lip, np.float32)
        black = BLACK * full_scale
        share = CAVITY + (TONGUE - CAVITY) * self._depth**2
        return np.asarray(black + at_plane(np.asarray(share, np.float32), shape) * (lip - black), np.float32)

    def _around_lips(self, seen: Mesh, unit: float, chroma: tuple[int, int]) -> Rectangle:
        points = seen[[*INNER_UPPER, *INNER_LOWER], :2] - self._nodes.region[:2]
        edges = []
        for axis in (0, 1):
            size, step = self._size[axis], chroma[axis]
            reach = 4 * max(INSIDE_SOFTNESS * unit, 0.5)
            first = int(np.clip(points[:, axis].min() - reach, 0, size - step)) // step * step
            last = int(np.clip(points[:, axis].max() + reach, first + step, size))
            edges.append((first, min(-(-last // step) * step, size)))
        (left, right), (top, bottom) = edges
        return left, top, right, bottom

    def _between_lips(self, seen: Mesh, seam: Seam) -> Floats:
        left, top, right, bottom = self.box
        mask = np.zeros((bottom - top, right - left), np.float32)
        outline = seen[[*INNER_UPPER, *INNER_LOWER[-2:0:-1]], :2] - self._nodes.region[:2] - (left, top)
        cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(mask, (0, 0), max(INSIDE_SOFTNESS * seam.unit, 0.5))
        return np.asarray(soft * min(seam.widest / LEAST_GAP, 1.0), np.float32)
