"""How a stored picture is shown: turned by quarters, mirrored, or both. Files tell it by a display matrix.

A rectangle is (left, top, right, bottom) in whole pixels, right and bottom exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, degrees, radians, sin, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rectangle = tuple[int, int, int, int]
Plane = NDArray[Any]
"""(height, width) view of uint8 or uint16 samples."""
DisplayMatrix = tuple[int, ...]
"""The nine numbers (a, b, u, c, d, v, x, y, w) of ISO/IEC 14496-12 8.3.2, row by row: a pixel at (p, q) is shown at
(a p + c q + x, b p + d q + y). Those of u, v, w are in units of 2^-30, the others in units of 2^-16."""

ONE = 1 << 16
PLAIN: DisplayMatrix = (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
TOLERANCE = 0.01
"""How far a matrix, scaled to keep areas, may be from one of the eight: half a degree, or 2 % between the sides."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways to show a picture: mirrored or not, then turned clockwise by quarters."""

    rotation: int = 0
    """Degrees clockwise by which the picture is turned, once it is mirrored: 0, 90, 180 or 270."""
    is_mirrored: bool = False
    """Whether left and right of the stored picture are swapped before it is turned."""

    def __str__(self) -> str:
        parts = ["mirrored"] * self.is_mirrored + [f"turned by {self.rotation} degrees"] * bool(self.rotation)
        return " and ".join(parts) or "upright"

    @property
    def is_sideways(self) -> bool:
        """Whether the upright picture is as wide as the stored one is high."""
        return self.rotation in (90, 270)

    @property
    def display_matrix(self) -> DisplayMatrix:
        """The matrix that tells players so."""
        cosine, sine = round(cos(radians(self.rotation))), round(sin(radians(self.rotation)))
        across = -1 if self.is_mirrored else 1
        return (across * cosine * ONE, across * sine * ONE, 0, -sine * ONE, cosine * ONE, 0, 0, 0, 1 << 30)

    def upright_size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of the upright picture from those of the stored one, or the other way round."""
        return (height, width) if self.is_sideways else (width, height)

    def to_stored(self, upright: Rectangle, width: int, height: int) -> Rectangle:
        """Return an upright rectangle in stored coordinates; width, height: of the stored picture."""
        turned = _turned(upright, -self.rotation % 360, *self.upright_size(width, height))
        return _mirrored(turned, width) if self.is_mirrored else turned

    def to_upright(self, stored: Rectangle, width: int, height: int) -> Rectangle:
        """Return a stored rectangle in upright coordinates; width, height: of the stored picture."""
        seen = _mirrored(stored, width) if self.is_mirrored else stored
        return _turned(seen, self.rotation, width, height)

    def points_to_stored(self, upright: NDArray[Any], width: int, height: int) -> NDArray[Any]:
        """Return points (..., 2 or more) of the upright picture in stored coordinates; what follows x and y stays.

        Whole numbers are the centres of pixels. width, height: of the stored picture.
        """
        x, y = upright[..., 0], upright[..., 1]
        last_x, last_y = width - 1, height - 1
        turned = {0: (x, y), 90: (y, last_y - x), 180: (last_x - x, last_y - y), 270: (last_x - y, x)}[self.rotation]
        stored = upright.copy()
        stored[..., 0] = last_x - turned[0] if self.is_mirrored else turned[0]
        stored[..., 1] = turned[1]
        return stored

    def turn(self, stored: Plane) -> Plane:
        """Return a stored image, (height, width, ...), as it stands upright: contiguous, a copy if anything moves."""
        seen = stored[:, ::-1] if self.is_mirrored else stored
        return np.ascontiguousarray(np.rot90(seen, -self.rotation // 90))

    def turn_back(self, upright: Plane) -> Plane:
        """Return an upright image as it is stored: contiguous, a copy if anything moves."""
        turned = np.rot90(upright, self.rotation // 90)
        return np.ascontiguousarray(turned[:, ::-1] if self.is_mirrored else turned)


UPRIGHT = Orientation()
ORIENTATIONS = tuple(
    Orientation(rotation, is_mirrored=is_mirrored) for is_mirrored in (False, True) for rotation in (0, 90, 180, 270)
)
"""All eight."""


def _turned(rectangle: Rectangle, rotation: int, width: int, height: int) -> Rectangle:
    """Return where a rectangle of a picture of a size is once the picture is turned clockwise."""
    left, top, right, bottom = rectangle
    if rotation == 90:
        return height - bottom, left, height - top, right
    if rotation == 180:
        return width - right, height - bottom, width - left, height - top
    if rotation == 270:
        return top, width - right, bottom, width - left
    return rectangle


def _mirrored(rectangle: Rectangle, width: int) -> Rectangle:
    left, top, right, bottom = rectangle
    return width - right, top, width - left, bottom


def find_orientation(matrix: DisplayMatrix) -> Orientation:
    """Return the orientation of a display matrix; raise ValueError, with the reason, for any other than the eight.

    Translation and uniform scaling do not matter. A matrix of zeros states no orientation, and players treat it as
    upright.
    """
    a, b, u, c, d, v, *_ = matrix
    if not any((a, b, c, d)):
        return UPRIGHT
    scale = sqrt(abs(a * d - b * c))
    for orientation in ORIENTATIONS if scale and not (u or v) else ():
        e, f, _, g, h, *_ = orientation.display_matrix
        if all(abs(x / scale - y / ONE) <= TOLERANCE for x, y in zip((a, b, c, d), (e, f, g, h), strict=True)):
            return orientation
    raise ValueError(_describe(matrix, scale))


def _describe(matrix: DisplayMatrix, scale: float) -> str:
    """Describe what a matrix does that matches none of the eight orientations."""
    a, b, u, c, d, v, *_ = matrix
    across = -1 if a * d < b * c else 1
    is_rigid = scale and max(abs(a - across * d), abs(b + across * c)) <= TOLERANCE * scale
    if is_rigid and not (u or v):
        angle = degrees(atan2(-c, d)) % 360
        return f"{'mirrors the picture and turns it' if across < 0 else 'turns the picture'} by {angle:.3g} degrees"
    numbers = "; ".join(f"{x / ONE:.3g} {y / ONE:.3g} {z / (1 << 30):.3g}" for x, y, z in ((a, b, u), (c, d, v)))
    return f"stretches or distorts the picture ({numbers})"


def build_matrix(rotation: float, *, flips_sides: bool, flips_top: bool) -> DisplayMatrix:
    """Return the matrix that mirrors left and right, top and bottom, then turns by degrees anticlockwise."""
    cosine, sine = cos(radians(rotation)), sin(radians(rotation))
    across, down = -1 if flips_sides else 1, -1 if flips_top else 1
    a, b, c, d = across * cosine, -across * sine, down * sine, down * cosine
    return (round(a * ONE), round(b * ONE), 0, round(c * ONE), round(d * ONE), 0, 0, 0, 1 << 30)
