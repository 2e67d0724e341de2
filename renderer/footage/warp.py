"""How a mouth of one frame is brought into the pose of another: its mesh is turned in space, and its pixels follow."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from media.mesh import LIPS, NUM_POINTS, RIGID, Mesh, group, points_at
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
        """Return where places (n, 2) are led."""
        at = (places - self._centre) / self._scale
        return np.asarray(
            _kernel(at, self._knots) @ self._weights + np.column_stack([np.ones(len(at)), at]) @ self._plane
        )


def _kernel(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = ((first[:, None] - second[None]) ** 2).sum(axis=2)
    return np.asarray(squared * np.log(np.maximum(squared, 1e-12)))


def field(source: Mesh, seen: Mesh, region: tuple[int, int, int, int]) -> Field:
    """Return from where in the source's picture the pixels of a region of the target's are taken.

    source: the mesh of the mouth in its own picture. seen: where its points are to be seen in the target's. region:
    (left, top, right, bottom) in whole pixels of the target's picture.
    """
    left, top, right, bottom = region
    plate = ThinPlate(seen[CONTROL, :2], source[CONTROL, :2])
    columns, rows = np.linspace(left, right - 1, GRID + 1), np.linspace(top, bottom - 1, GRID + 1)
    knots = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    coarse = plate(knots).reshape(GRID + 1, GRID + 1, 2).astype(np.float32)
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
