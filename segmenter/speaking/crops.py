"""Faces as the network that tells who speaks was shown them: grey, a little below the middle of the box."""

from __future__ import annotations

from math import ceil, floor
from typing import Final

import cv2
import numpy as np

from media.faces import FaceBox
from media.orientation import Orientation, Rectangle
from media.picture import Pixels, VideoFrame, luma_levels, plane_views, snap_to_chroma

CROP_PX: Final = 112
SIDE: Final = 0.7
"""Of the crop, in longer sides of the box. The public program cuts 2.8 half sides ("scale 0.4"), from one above the
box's middle to 1.8 below it, and keeps the middle half."""
BELOW: Final = 0.2
"""How far below that of the box its middle lies, in longer sides."""
BEYOND: Final = 110
"""What the public program shows outside of the picture."""


def cut_face(frame: VideoFrame, box: FaceBox, orientation: Orientation) -> Pixels:
    """Return a face (112, 112), grey. box: in pixels of the upright picture.

    The luma of the frame as stored, stretched to full range, is what a conversion to grey by way of BGR gives but for
    its matrix.
    """
    side = SIDE * max(box.width, box.height, 1.0)
    left = (box.left + box.right - side) / 2
    top = (box.top + box.bottom - side) / 2 + BELOW / SIDE * side
    around = (floor(left) - 1, floor(top) - 1, ceil(left + side) + 1, ceil(top + side) + 1)
    shown, corner = _luma(around, frame, orientation)
    crop = np.full((CROP_PX, CROP_PX), BEYOND, np.uint8)
    if not shown.size:
        return crop
    shrink = max(side / CROP_PX / 2, 1.0)  # averaged first, where a pixel of the crop covers several of the picture
    height, width = (max(round(pixels / shrink), 1) for pixels in shown.shape)
    rates = width / shown.shape[1], height / shown.shape[0]
    coarse = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA) if shrink > 1 else shown
    scale = side / CROP_PX
    affine = np.array(
        [
            [scale * rates[0], 0, (left - corner[0] + scale / 2) * rates[0] - 0.5],
            [0, scale * rates[1], (top - corner[1] + scale / 2) * rates[1] - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cv2.warpAffine(coarse, affine, (CROP_PX, CROP_PX), crop, flags, cv2.BORDER_CONSTANT, BEYOND)
    return crop


def _luma(upright: Rectangle, frame: VideoFrame, orientation: Orientation) -> tuple[Pixels, tuple[int, int]]:
    """Return the luma of an upright rectangle, as far as it lies in the picture, in 8 bits of full range.

    Second is where its corner lies in the upright picture.
    """
    left, top, right, bottom = snap_to_chroma(orientation.to_stored(upright, frame.width, frame.height), frame)
    stored = plane_views(frame)[0][top : max(bottom, top), left : max(right, left)]
    black, white = luma_levels(frame)
    levels = np.clip((stored.astype(np.float32) - black) * (255 / (white - black)), 0, 255)
    corner = orientation.to_upright((left, top, right, bottom), frame.width, frame.height)[:2]
    return orientation.turn(np.rint(levels).astype(np.uint8)), corner
