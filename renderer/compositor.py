"""Crop the face, blend the new mouth back into the planes of the frame.

One affine map leads from the pixels of the crop to those of the frame, exact to fractions of a pixel, and turned where
the face is tilted. The crop is sampled through it, mouth and mask come back through it: a steady box gives a steady
mouth.

Only the region of the face is ever converted to BGR, and only inside a feathered mask over the lower face is anything
written back: every other sample of the frame stays what the decoder gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, cos, floor, radians, sin
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from media.faces import FaceBox
from media.orientation import Orientation, Plane, Rectangle
from media.picture import PictureConverter, Pixels, VideoFrame, copy_frame, plane_views, snap_to_chroma

FACE_SIZE = 96
"""Height and width in pixels of the face crop that Wav2Lip takes."""
LEAST_FACE_PX = 8
"""A box smaller than this holds no mouth worth changing."""
ENLARGED = 3
"""How much larger a mouth is made before it is turned and set into the frame."""
ROUNDING = 1e-6
"""Of a pixel: by so much a box may miss a whole one without taking in another row."""
MASK_TOP, MASK_SIDE, MASK_BOTTOM = 0.46, 0.04, 0.02
"""Where the mask begins, as shares of the box. The network redraws rows 48 to 95 of 96; its upper half is a copy."""
MASK_TOP_PX = MASK_TOP * FACE_SIZE - 2
"""Pixels of the face above everything that the mask, once it is sampled, touches."""


@dataclass(frozen=True, slots=True)
class Pads:
    """Pixels by which the detected box grows before it is cropped, as Wav2Lip's --pads; negative ones shrink it."""

    top: int = 0
    bottom: int = 10
    left: int = 0
    right: int = 0


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """One face cut out of one frame."""

    face: Pixels
    """(96, 96, 3) uint8 BGR, upright."""
    places: NDArray[np.float64]
    """(2, 3): where the pixel (x, y, 1) of the face lies in the upright picture; centres are whole numbers."""
    region: Rectangle
    """The face's region in stored pixels of the frame, on whole chroma samples."""


class Compositor:
    """Cuts faces out of frames and blends mouths in. Keep one for each thread."""

    def __init__(self, orientation: Orientation, *, pads: Pads, feather: float) -> None:
        """orientation: of every frame that is given. feather: width of the mask's edge, share of the box."""
        # Faces are small: OpenCV's threads would only get in the way of the other workers'.
        cv2.setNumThreads(1)
        self._converter = PictureConverter(orientation)
        self._orientation = orientation
        self._pads = pads
        self._mask = build_mask(feather)

    def crop(self, frame: VideoFrame, box: FaceBox, roll_degrees: float = 0.0) -> FaceCrop | None:
        """Return the face in a box (upright pixels), or None if hardly any of it is inside the frame.

        roll_degrees: how far the box is turned about its centre, clockwise. A box that is not turned ends where the
        frame does, as Wav2Lip's; in one that is, what lies beyond repeats the frame's last pixels.
        """
        width, height = frame.width, frame.height
        upright = self._orientation.upright_size(width, height)
        padded = self._padded(box, None if roll_degrees else upright)
        places = _places(padded, box, roll_degrees)
        outline = bounds(places, upright)
        if min(padded.width, padded.height, outline[2] - outline[0], outline[3] - outline[1]) < LEAST_FACE_PX:
            return None
        region = snap_to_chroma(self._orientation.to_stored(outline, width, height), frame)
        pixels = self._converter.region_bgr(frame, region)
        corner = self._orientation.to_upright(region, width, height)
        return FaceCrop(sample(pixels, moved(places, -corner[0], -corner[1]), FACE_SIZE), places, region)

    def _padded(self, box: FaceBox, size: tuple[int, int] | None) -> FaceBox:
        """Return a box with its pads, inside a picture of a size."""
        pads = self._pads
        left, top = box.left - pads.left, box.top - pads.top
        right, bottom = box.right + pads.right, box.bottom + pads.bottom
        if size is None:
            return FaceBox(left, top, right, bottom)
        return FaceBox(max(left, 0.0), max(top, 0.0), min(right, size[0]), min(bottom, size[1]))

    def blend(self, frame: VideoFrame, crop: FaceCrop, mouth: Pixels, strength: float = 1.0) -> VideoFrame:
        """Return the frame with a mouth, (96, 96, 3) uint8 BGR, blended in where the face was cropped from.

        strength: how much of it is seen, in [0, 1]; at 0 nothing changes. The frame given stays as it is. Nothing
        changes outside crop.region; only what lies under the mask is converted.
        """
        width, height = frame.width, frame.height
        upright = self._orientation.upright_size(width, height)
        under = self._orientation.to_stored(bounds(crop.places, upright, top=MASK_TOP_PX), width, height)
        area = snap_to_chroma(under, frame)
        left, top, right, bottom = self._orientation.to_upright(area, width, height)
        places, size = moved(crop.places, -left, -top), (right - left, bottom - top)
        if strength <= 0 or min(size) <= 0:  # unseen, or beyond the frame
            return frame
        pixels = cv2.warpAffine(*_enlarged(mouth, places), size, borderMode=cv2.BORDER_REPLICATE)
        mask = strength * cv2.warpAffine(self._mask, places, size, flags=cv2.INTER_LINEAR)
        stored_mask = self._orientation.turn_back(np.asarray(mask, np.float32))
        blended = copy_frame(frame)
        new_planes = self._converter.native_planes(np.asarray(pixels, np.uint8), frame)
        for plane, new in zip(plane_views(blended), new_planes, strict=True):
            blend_plane(_window(plane, area, frame), new, stored_mask)
        return blended


def _places(padded: FaceBox, box: FaceBox, roll_degrees: float) -> NDArray[np.float64]:
    """Return the (2, 3) map from pixels of the face to pixels of the picture: padded, turned about the box's centre.

    Pixel i of n covers [i, i + 1) / n of the box, so its centre lies at (i + 1/2) / n, as cv2.resize has it.
    """
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    cosine, sine = cos(radians(roll_degrees)), sin(radians(roll_degrees))
    turned = np.array([[cosine, -sine], [sine, cosine]])
    scale_x, scale_y = padded.width / FACE_SIZE, padded.height / FACE_SIZE
    first = np.array([padded.left - x + scale_x / 2, padded.top - y + scale_y / 2])
    shift = turned @ first + (x - 0.5, y - 0.5)
    return np.column_stack([turned * (scale_x, scale_y), shift])


def moved(places: NDArray[np.float64], right: float, down: float) -> NDArray[np.float64]:
    """Return a map that leads to places so many pixels further right and down."""
    shift = np.array([[0, 0, right], [0, 0, down]], np.float64)
    return np.asarray(places + shift, np.float64)


def bounds(places: NDArray[np.float64], size: tuple[int, int], *, rim: float = 0.0, top: float = 0.0) -> Rectangle:
    """Return the whole pixels of a picture of a size that show a face.

    rim: pixels of the face by which it is taken wider. top: pixels of the face that are left out above.
    """
    low, high = -0.5 - rim, FACE_SIZE - 0.5 + rim
    above = low + top
    corners = places @ np.array([[low, high, low, high], [above, above, high, high], [1, 1, 1, 1]]) + 0.5
    (left, top), (right, bottom) = corners.min(axis=1), corners.max(axis=1)
    return (
        max(floor(left + ROUNDING), 0),
        max(floor(top + ROUNDING), 0),
        min(ceil(right - ROUNDING), size[0]),
        min(ceil(bottom - ROUNDING), size[1]),
    )


def _enlarged(mouth: Pixels, places: NDArray[np.float64]) -> tuple[Pixels, NDArray[np.float64]]:
    """Return a mouth ENLARGED times as large, and where its pixels lie.

    Taken from there to first order it is as smooth as taken to third order from the mouth itself, in a sixth of the
    time. The factor is odd, so that the mouth's own pixels are among the new ones.
    """
    side = ENLARGED * FACE_SIZE
    finer = places / (ENLARGED, ENLARGED, 1)
    finer[:, 2] += places[:, :2].sum(axis=1) * (1 / ENLARGED - 1) / 2
    return np.asarray(cv2.resize(mouth, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8), finer


def sample(pixels: Pixels, places: NDArray[np.float64], side: int) -> Pixels:
    """Return (side, side, 3) pixels taken from the places that a map gives them; beyond the edge, from the edge."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    taken = cv2.warpAffine(pixels, places, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(taken, np.uint8)


def _window(plane: Plane, region: Rectangle, frame: VideoFrame) -> Plane:
    """Return the part of a plane that shows a region; a view."""
    step_x, step_y = round(frame.width / plane.shape[1]), round(frame.height / plane.shape[0])
    left, top, right, bottom = region
    return plane[top // step_y : -(-bottom // step_y), left // step_x : -(-right // step_x)]


def blend_plane(target: Plane, new: Plane, mask: NDArray[np.float32]) -> None:
    """Mix new samples into a plane in place: mask 1 takes the new one, 0 leaves the old one bit for bit.

    target, new: (height, width) of the plane. mask: at luma resolution; averaged down for subsampled planes.
    """
    if mask.shape != target.shape:
        mask = cv2.resize(mask, (target.shape[1], target.shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32)
    old = target.astype(np.float32)
    mixed = np.rint(old + (new.astype(np.float32) - old) * mask)
    np.copyto(target, mixed.astype(target.dtype), where=mask > 0)


@lru_cache(maxsize=4)
def build_mask(feather: float) -> NDArray[np.float32]:
    """Return the mask of the lower face over its box, (96, 96) float32 in [0, 1], zero on its outermost pixels.

    feather: width of the soft edge as a share of the box, (0, 0.4]. Below half its height the outline narrows as a
    jaw does (an ellipse), so that the corners of the box, which often show background, stay as they are.
    """
    across = (np.arange(FACE_SIZE, dtype=np.float32) + 0.5) / FACE_SIZE
    x, y = across[None, :], across[:, None]
    below_top = _ramp((y - MASK_TOP) / feather)
    # The ellipse's half axes: it touches both sides at the top of the mask and the bottom edge in the middle.
    radius_x, radius_y = 0.5 - MASK_SIDE, 1.0 - MASK_BOTTOM - MASK_TOP
    distance = np.sqrt(((x - 0.5) / radius_x) ** 2 + (np.maximum(y - MASK_TOP, 0) / radius_y) ** 2)
    inside = _ramp((1.0 - distance) * radius_x / feather)
    return np.asarray(below_top * inside, np.float32)


def _ramp(value: NDArray[Any]) -> NDArray[np.float32]:
    """Return a smooth step: 0 below 0, 1 above 1, with level ends (3t^2 - 2t^3)."""
    clipped = np.clip(value, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped), np.float32)
