"""Affine maps from the pixels of a face to those of the picture, and pixels taken through them.

A map is a (2, 3) float64 matrix: it leads from the pixel (x, y, 1) of a face to a place in the upright picture. Whole
numbers are the centres of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, lcm

import cv2
import numpy as np
from numpy.typing import NDArray

from media.orientation import Rectangle
from media.picture import PictureConverter, Pixels, VideoFrame, chroma_step

Affine = NDArray[np.float64]
Size = tuple[int, int]
"""Width and height in pixels."""

ROUNDING = 1e-6
"""A place may miss a whole pixel by this much without taking in another row."""


def shifted(affine: Affine, right: float, down: float) -> Affine:
    """Return a map to places that lie `right` and `down` pixels further."""
    shift = np.array([[0, 0, right], [0, 0, down]], np.float64)
    return np.asarray(affine + shift, np.float64)


def between(source: Affine, target: Affine) -> Affine:
    """Return the map from the pixels of one face to those of another that shows the same picture."""
    linear = np.linalg.inv(target[:, :2])
    return np.column_stack([linear @ source[:, :2], linear @ (source[:, 2] - target[:, 2])])


def bounds(affine: Affine, face: Size, picture: Size, *, rim: float = 0.0, top: float = 0.0) -> Rectangle:
    """Return the rectangle of whole pixels of a picture that shows a face; empty if the face lies outside of it.

    rim: pixels of the face by which it is taken wider. top: pixels of the face that are left out above.
    """
    left, above = -0.5 - rim, -0.5 - rim + top
    right, below = face[0] - 0.5 + rim, face[1] - 0.5 + rim
    corners = affine @ np.array([[left, right, left, right], [above, above, below, below], [1, 1, 1, 1]]) + 0.5
    lowest, highest = corners.min(axis=1), corners.max(axis=1)
    return (
        max(floor(lowest[0] + ROUNDING), 0),
        max(floor(lowest[1] + ROUNDING), 0),
        min(ceil(highest[0] - ROUNDING), picture[0]),
        min(ceil(highest[1] - ROUNDING), picture[1]),
    )


def sample(pixels: Pixels, affine: Affine, size: Size, *, is_cubic: bool = False) -> Pixels:
    """Return (height, width, 3) pixels taken from the places of a map; beyond the picture its last pixels repeat.

    is_cubic: to third order, for pictures that are made finer and will be sampled again.
    """
    flags = (cv2.INTER_CUBIC if is_cubic else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
    taken = cv2.warpAffine(pixels, affine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(taken, np.uint8)


def sample_shrunk(pixels: Pixels, affine: Affine, size: Size) -> Pixels:
    """Return what `sample` does, averaged where the picture is finer than the pixels that are taken from it."""
    shrink = max(int(np.hypot(*affine[:, 0])), 1)
    if shrink == 1:
        return sample(pixels, affine, size)
    width, height = pixels.shape[1] // shrink, pixels.shape[0] // shrink
    whole = pixels[: height * shrink, : width * shrink]
    coarse = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    # Pixel i of the coarse picture covers [i, i + 1) * shrink of the fine one.
    coarser = affine / shrink
    coarser[:, 2] -= (shrink - 1) / 2 / shrink
    return sample(coarse, coarser, size)


def at_plane(mask: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return values at luma samples, (height, width, ...), at the resolution of a plane: averaged where coarser.

    Where a side is odd, the last chroma sample stands for the last luma sample alone.
    """
    if mask.shape[:2] == shape:
        return mask
    rows, columns = (-(-side // coarse) for side, coarse in zip(mask.shape[:2], shape, strict=True))
    below, right = shape[0] * rows - mask.shape[0], shape[1] * columns - mask.shape[1]
    room = [(0, below), (0, right), *[(0, 0)] * (mask.ndim - 2)]
    whole = np.pad(mask, room, mode="edge") if below or right else mask
    return np.asarray(cv2.resize(whole, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """A part of an upright picture, perhaps shrunk."""

    pixels: Pixels
    corner: tuple[int, int]
    """(left, top) in the picture."""
    shrink: int
    """Pixel i covers [i, i + 1) * shrink of the picture."""

    def affine(self, affine: Affine) -> Affine:
        """Return a map to the cutout's pixels in place of the picture's."""
        moved = shifted(affine, 0.5 - self.corner[0], 0.5 - self.corner[1]) / self.shrink
        return shifted(moved, -0.5, -0.5)

    def points(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return points (..., 3) of the picture in pixels of the cutout."""
        corner = np.array([*self.corner, 0], np.float32)
        half = np.array([0.5, 0.5, 0], np.float32)
        return np.asarray((points - corner + half) / self.shrink - half, np.float32)


def cut_out(frame: VideoFrame, stored: Rectangle, converter: PictureConverter, shrink: int) -> Cutout | None:
    """Return a stored rectangle of a frame, on whole chroma samples, as upright BGR; None if it is empty.

    shrink: pixels on a side that become one. The rectangle loses what does not fill a whole one, right and below.
    """
    left, top, right, bottom = stored
    whole_x, whole_y = (lcm(shrink, step) for step in chroma_step(frame.format))
    right, bottom = right - (right - left) % whole_x, bottom - (bottom - top) % whole_y
    if left >= right or top >= bottom:
        return None
    pixels = converter.region_bgr(frame, (left, top, right, bottom), shrink=shrink)
    upright = converter.orientation.to_upright((left, top, right, bottom), frame.width, frame.height)
    return Cutout(pixels, (upright[0], upright[1]), shrink)
