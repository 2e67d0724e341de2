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
"""Steps on a side of the grid that the warp is computed on; between, it is sampled in proportion."""

JAW_EDGE: Final = [place for place in group("jaw") if place not in points_at((132, 361))]
"""The jaw below the ears."""
STILL: Final = points_at((2, 98, 327, 4, 50, 280, 36, 266, 132, 361, 93, 323))
EDGE_KNOTS: Final = 6
FOLLOWS, FOLLOWS_BELOW, FOLLOWS_SOFTNESS = 1.12, 0.2, 0.12
"""What moves with the frame's own jaw: the face a little enlarged, and the throat below it, with a soft edge; in eye
distances."""

Field = NDArray[np.float32]
"""(height, width, 2): for each pixel of a region, the place in the other frame that it is taken from."""


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


def field(source: Mesh, seen: Mesh, region: Rectangle) -> Field:
    """Return from where in the source's picture the pixels of a region of the target's are taken.

    source: the mesh of the mouth in its own picture. seen: where its points are to be seen in the target's. region:
    in whole pixels of the target's picture.
    """
    plate = ThinPlate(seen[CONTROL, :2], source[CONTROL, :2])
    return _between_nodes(plate(_nodes(region)), region)


def jaw_field(own: Mesh, seen: Mesh, region: Rectangle) -> tuple[Field, NDArray[np.float32]]:
    """Return from where in a frame the pixels of a region are taken, so that its own jaw lies where another one will.

    own, seen: the mesh of the frame, and where the jaw is to be seen; both smoothed. Cheeks and nose stay, and so does
    the region's edge. The second result, (height, width) in pixels, is how far each pixel moves.
    """
    nodes = _nodes(region)
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
    moved = ThinPlate(places, values - places, stiffness=1e-3)(nodes)
    moved *= _around_the_jaw(own, seen, region).reshape(-1, 1)
    found = _between_nodes(np.column_stack([nodes + moved, np.hypot(*moved.T)]), region)
    return found[..., :2], found[..., 2]


def _around_the_jaw(own: Mesh, seen: Mesh, region: Rectangle) -> NDArray[np.float64]:
    """Return how far the nodes of a region follow a jaw: 1 on the face and close below it, 0 farther away."""
    unit = float(eye_distance(own))
    places = np.concatenate([own[JAW_EDGE, :2], seen[JAW_EDGE, :2]]).astype(np.float64)
    middle = own[points_at((13, 14)), :2].astype(np.float64).mean(axis=0)
    brow, chin, left, right = own[points_at((168, 152, 132, 361)), :2].astype(np.float64)
    down = (chin - brow) / np.linalg.norm(chin - brow)
    is_below = ((places - middle) @ down > 0)[:, None]
    outline = middle + (places - middle) * FOLLOWS + FOLLOWS_BELOW * unit * down * is_below
    # In steps of the grid: node 0 is the region's first pixel, node GRID its last.
    steps = np.array([region[2] - region[0] - 1, region[3] - region[1] - 1]) / GRID
    hull = cv2.convexHull(((np.vstack([outline, left, right]) - region[:2]) / steps).astype(np.float32))
    level = np.zeros((GRID + 1, GRID + 1), np.float32)
    cv2.fillConvexPoly(level, np.rint(hull * 16).astype(np.int32), 1.0, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(level, (0, 0), FOLLOWS_SOFTNESS * unit / steps[0], None, FOLLOWS_SOFTNESS * unit / steps[1])
    soft[[0, -1]] = 0
    soft[:, [0, -1]] = 0
    return np.asarray(soft, np.float64)


def _nodes(region: Rectangle) -> NDArray[np.float64]:
    """Return the places of a grid that spans a region from its first pixel to its last, row by row."""
    left, top, right, bottom = region
    columns, rows = np.linspace(left, right - 1, GRID + 1), np.linspace(top, bottom - 1, GRID + 1)
    return np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)


def _between_nodes(values: NDArray[np.float64], region: Rectangle) -> NDArray[np.float32]:
    """Return values of a region's nodes at all its pixels, in proportion."""
    left, top, right, bottom = region
    coarse = values.reshape(GRID + 1, GRID + 1, -1).astype(np.float32)
    across = np.linspace(0, GRID, right - left, dtype=np.float32)
    down = np.linspace(0, GRID, bottom - top, dtype=np.float32)
    maps = np.meshgrid(across, down)
    return np.asarray(cv2.remap(coarse, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


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
