"""Crop the face, blend the new mouth back into the planes of the frame.

Only the region of the face is ever converted to BGR, and only inside a feathered mask over the lower face is anything
written back: every other sample of the frame stays what the decoder gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from media.picture import (
    PictureConverter,
    Pixels,
    Plane,
    Rectangle,
    VideoFrame,
    align,
    copy_frame,
    plane_views,
    to_stored,
    to_upright,
    turn,
)
from media.timeline import FaceBox

FACE_SIZE = 96
"""Height and width in pixels of the face crop that Wav2Lip takes."""
LEAST_FACE_PX = 8
"""A box smaller than this holds no mouth worth changing."""
MASK_TOP, MASK_SIDE, MASK_BOTTOM = 0.46, 0.04, 0.02
"""Where the mask begins, as shares of the box. The network redraws rows 48 to 95 of 96; its upper half is a copy."""


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
    inside: Rectangle
    """The face within the region, in upright pixels of the region."""
    region: Rectangle
    """The region that was converted, in stored pixels of the frame, on whole chroma samples."""
    pixels: Pixels
    """The region as upright (height, width, 3) uint8 BGR."""


class Compositor:
    """Cuts faces out of frames and blends mouths in. Keep one for each thread."""

    def __init__(self, rotation: int, *, pads: Pads, feather: float) -> None:
        """rotation: degrees clockwise from stored to upright. feather: width of the mask's edge, share of the box."""
        # Faces are small: OpenCV's threads would only get in the way of the other workers'.
        cv2.setNumThreads(1)
        self._converter = PictureConverter(rotation)
        self._rotation = rotation
        self._pads = pads
        self._mask = build_mask(feather)

    def crop(self, frame: VideoFrame, box: FaceBox) -> FaceCrop | None:
        """Return the face in a box (upright pixels), or None if hardly any of it is inside the frame."""
        width, height = frame.width, frame.height
        upright = (height, width) if self._rotation in (90, 270) else (width, height)
        face = (
            max(0, round(box.left) - self._pads.left),
            max(0, round(box.top) - self._pads.top),
            min(upright[0], round(box.right) + self._pads.right),
            min(upright[1], round(box.bottom) + self._pads.bottom),
        )
        if face[2] - face[0] < LEAST_FACE_PX or face[3] - face[1] < LEAST_FACE_PX:
            return None
        region = align(to_stored(face, self._rotation, width, height), frame)
        pixels = self._converter.region_bgr(frame, region)
        corner = to_upright(region, self._rotation, width, height)
        inside = (face[0] - corner[0], face[1] - corner[1], face[2] - corner[0], face[3] - corner[1])
        crop = pixels[inside[1] : inside[3], inside[0] : inside[2]]
        face_pixels = np.asarray(cv2.resize(crop, (FACE_SIZE, FACE_SIZE)), np.uint8)
        return FaceCrop(face_pixels, inside, region, pixels)

    def blend(self, frame: VideoFrame, crop: FaceCrop, mouth: Pixels, strength: float = 1.0) -> VideoFrame:
        """Return the frame with a mouth, (96, 96, 3) uint8 BGR, blended in where the face was cropped from.

        strength: how much of it is seen, in [0, 1]; at 0 nothing changes. The frame given stays as it is. Nothing
        changes outside crop.region.
        """
        if strength <= 0:
            return frame
        left, top, right, bottom = crop.inside
        pixels = crop.pixels.copy()
        pixels[top:bottom, left:right] = cv2.resize(mouth, (right - left, bottom - top), interpolation=cv2.INTER_CUBIC)
        mask = np.zeros(pixels.shape[:2], np.float32)
        mask[top:bottom, left:right] = strength * cv2.resize(self._mask, (right - left, bottom - top))
        stored_mask = turn(mask, -self._rotation % 360)
        blended = copy_frame(frame)
        new_planes = self._converter.native_planes(pixels, frame)
        for plane, new in zip(plane_views(blended), new_planes, strict=True):
            blend_plane(_window(plane, crop.region, frame), new, stored_mask)
        return blended


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
