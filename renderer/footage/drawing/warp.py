"""How a mouth of one frame is brought into the pose of another: its mesh is turned in space, and its pixels follow."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from media.mesh import LIPS, NUM_POINTS, RIGID, Mesh, eye_distance, group, points_at
from media.orientation import Rectangle
from renderer.footage.lip_shape import rigid_fits

CONTROL: Final = sorted(
    {
        *group("lips_outer", "jaw", "nose", "round_the_mouth"),
        *points_at((78, 308, 13, 14, 82, 312, 87, 317, 50, 280, 118, 347)),
    }
)
"""Points that the warp passes through."""
STIFFNESS: Final = 0.02
"""How far the warp may miss its points, to stay smooth where they jitter."""
GRID: Final = 24
"""Steps on the longer side of the grid that the warp is computed on; between, it is sampled in proportion."""

JAW_EDGE: Final = [place for place in group("jaw") if place not in points_at((132, 361))]
"""The jaw below the ears."""
STILL: Final = points_at((2, 98, 327, 4, 50, 280, 36, 266, 132, 361, 93, 323))
EDGE_KNOTS: Final = 6
FOLLOWS, FOLLOWS_BELOW, FOLLOWS_SOFTNESS = 1.12, 0.2, 0.12
"""What moves with the frame's own jaw: the face a little enlarged, and the throat below it, with a soft edge; in eye
distances."""

Field = NDArray[np.float64]
"""(nodes, 2): for each node of a region, the place in the other frame that it is taken from."""


def turned_into(source: Mesh, steady: Mesh, target: Mesh) -> Mesh:
    """Return a mesh in the pose of another's head: its rigid points on the other's as nearly as can be.

    steady: the source smoothed over its neighbours. The fit is made with that, or a mouth would shake with the noise of
    its own frame.
    """
    own, wanted = np.asarray(steady[RIGID], np.float64), np.asarray(target[RIGID], np.float64)
    turns, scales = rigid_fits((own - own.mean(axis=0))[None], wanted - wanted.mean(axis=0))
    moved = (np.asarray(source, np.float64) - own.mean(axis=0)) @ turns[0] * scales[0] + wanted.mean(axis=0)
    return np.asarray(moved, np.float32)


class ThinPlate:
    """A smooth map of the plane that leads given places to others (Bookstein 1989), and need not quite reach them."""

    def __init__(
        self, places: NDArray[np.floating], values: NDArray[np.floating], stiffness: float = STIFFNESS
    ) -> None:
        """places, values: (n, 2)."""
        self._centre = np.asarray(places, np.float64).mean(axis=0)
        self._scale = float(np.abs(places - self._centre).max())
        self._knots = (places - self._centre) / self._scale
        count = len(places)
        kernel = _kernel(self._knots, self._knots) + stiffness * np.eye(count)
        plane = np.column_stack([np.ones(count), self._knots])
        system = np.block([[kernel, plane], [plane.T, np.zeros((3, 3))]])
        solved = np.linalg.solve(system, np.vstack([values, np.zeros((3, 2))]))
        self._weights, self._plane = solved[:count], solved[count:]

    def __call__(self, places: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return where places (n, 2) are led, to a hundredth of a pixel."""
        at = (places - self._centre) / self._scale
        bent = _kernel(at.astype(np.float32), self._knots.astype(np.float32)) @ self._weights.astype(np.float32)
        return np.asarray(bent + np.column_stack([np.ones(len(at)), at]) @ self._plane)


def _kernel(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    across, down = (first[:, None, axis] - second[None, :, axis] for axis in (0, 1))
    squared = across * across + down * down
    return np.asarray(squared * np.log(np.maximum(squared, 1e-12)))


class Nodes:
    """A grid of places over a region on which smooth maps are computed; its pixels lie between them, in proportion."""

    def __init__(self, region: Rectangle) -> None:
        """region: in whole pixels of a picture, luma ones, on whole chroma samples."""
        left, top, right, bottom = self.region = region
        self._size = right - left, bottom - top
        # A multiple of 4, so that planes of every subsampling have nodes in the same places.
        self.spacing = max(-(-max(self._size) // (4 * GRID)) * 4, 4)
        """Pixels between nodes."""
        columns, rows = (np.arange(-(-side // self.spacing) + 2) - 0.5 for side in self._size)
        across, down = np.meshgrid(columns * self.spacing - 0.5 + left, rows * self.spacing - 0.5 + top)
        self.shape = across.shape
        """Rows and columns of nodes; the first and the last lie outside the region."""
        self.places = np.stack([across, down], axis=-1).reshape(-1, 2)
        """(nodes, 2): x and y in the picture, row by row."""

    def spread(self, values: NDArray[np.floating], step: tuple[int, int] = (1, 1)) -> NDArray[np.float32]:
        """Return values at nodes, (nodes, n), at the samples of a plane: (height, width, n).

        step: luma columns and rows that share one of its samples.
        """
        across, down = (self.spacing // each for each in step)
        coarse = values.reshape(*self.shape, -1).astype(np.float32)
        whole = cv2.resize(coarse, None, fx=across, fy=down, interpolation=cv2.INTER_LINEAR)
        width, height = (-(-side // each) for side, each in zip(self._size, step, strict=True))
        return np.asarray(whole[down : down + height, across : across + width], np.float32)

    def bounds(self, marked: NDArray[np.bool_]) -> Rectangle:
        """Return the part of the region that lies beside marked nodes (nodes,), on whole chroma samples."""
        grid = marked.reshape(self.shape)
        edges = []
        for axis, (first, last) in enumerate((self.region[::2], self.region[1::2])):
            at = np.flatnonzero(grid.any(axis=axis))
            low = first + (int(at[0]) - 1) * self.spacing - self.spacing // 2
            high = first + (int(at[-1]) + 1) * self.spacing - self.spacing // 2
            edges.append((max(low, first), min(high, last)))
        (left, right), (top, bottom) = edges
        return left, top, right, bottom


def jaw_field(own: Mesh, seen: Mesh, region: Rectangle, nodes: Nodes) -> Field:
    """Return from where in a frame the nodes of a region are taken, so that its own jaw lies where another one will.

    own, seen: the mesh of the frame, and where the jaw is to be seen; both smoothed. Cheeks and nose stay, and so does
    the region's edge.
    """
    left, top, right, bottom = region
    across, down = np.linspace(left, right - 1, EDGE_KNOTS), np.linspace(top, bottom - 1, EDGE_KNOTS)
    edge = np.concatenate(
        [
            *(np.column_stack([across, np.full(EDGE_KNOTS, y)]) for y in (top, bottom - 1)),
            *(np.column_stack([np.full(EDGE_KNOTS - 2, x), down[1:-1]]) for x in (left, right - 1)),
        ]
    )
    still = own[STILL, :2].astype(np.float64)
    places = np.concatenate([seen[JAW_EDGE, :2].astype(np.float64), still, edge])
    values = np.concatenate([own[JAW_EDGE, :2].astype(np.float64), still, edge])
    moved = ThinPlate(places, values - places, stiffness=1e-3)(nodes.places)
    return np.asarray(nodes.places + moved * _around_the_jaw(own, seen, nodes).reshape(-1, 1))


def _around_the_jaw(own: Mesh, seen: Mesh, nodes: Nodes) -> NDArray[np.float64]:
    """Return how far nodes follow a jaw: 1 on the face and close below it, 0 farther away and at the region's edge."""
    unit = float(eye_distance(own))
    places = np.concatenate([own[JAW_EDGE, :2], seen[JAW_EDGE, :2]]).astype(np.float64)
    middle = own[points_at((13, 14)), :2].astype(np.float64).mean(axis=0)
    brow, chin, left, right = own[points_at((168, 152, 132, 361)), :2].astype(np.float64)
    down = (chin - brow) / np.linalg.norm(chin - brow)
    is_below = ((places - middle) @ down > 0)[:, None]
    outline = middle + (places - middle) * FOLLOWS + FOLLOWS_BELOW * unit * down * is_below
    hull = cv2.convexHull(((np.vstack([outline, left, right]) - nodes.places[0]) / nodes.spacing).astype(np.float32))
    level = np.zeros(nodes.shape, np.float32)
    cv2.fillConvexPoly(level, np.rint(hull * 16).astype(np.int32), 1.0, cv2.LINE_AA, 4)
    soft = np.asarray(cv2.GaussianBlur(level, (0, 0), FOLLOWS_SOFTNESS * unit / nodes.spacing), np.float64)
    for edge in (soft[:2], soft[-2:], soft[:, :2], soft[:, -2:]):
        edge[:] = 0
    return soft


def _mobility() -> NDArray[np.float32]:
    """Return how far each point follows when lips and chin are led elsewhere: 1 for these, less around them."""
    mobility = np.zeros(NUM_POINTS, np.float32)
    mobility[group("round_the_mouth")] = 1.0
    mobility[LIPS] = 1.0
    mobility[points_at((152, 148, 377, 176, 400, 149, 378))] = 1.0
    mobility[points_at((150, 379, 136, 365))] = 0.6
    mobility[points_at((172, 397, 203, 423, 206, 426))] = 0.25
    mobility[points_at((216, 436, 214, 434, 192, 416))] = 0.4
    return mobility


MOBILITY: Final = _mobility()
