"""How a face looks in a frame: how light it is, and how sharp."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from media.picture import VideoFrame, align, luma_levels, plane_views, to_stored
from media.timeline import Face, FaceBox

FIXED_PX = 32, 48
"""Width and height at which a face is measured, so that neither its size nor the video's decides."""
SIDE, TOP, BOTTOM = 0.15, 0.2, 0.05
"""Shares of the box that are left out: what stands beside and above a face is as sharp as the camera makes it."""
LEAST_CONTRAST = 0.01
"""Standard deviation of luma below which there is nothing that could be sharp."""


def with_looks(face: Face, frame: VideoFrame, rotation: int) -> Face:
    """Return a face of a frame with its light and sharpness, to four digits.

    Sharpness is the variance of the Laplacian over the variance of the luma, of the face at 32 x 48 pixels. Faces as
    cameras see them have 0.3 to 2; blurred by a Gaussian with a sigma of 2 % of their height they have 0.03 to 0.15, of
    4 %, 0.01 to 0.04. It is not told for faces that have fewer pixels, or no contrast. The luma is that of the frame as
    it is stored: HDR is not turned into light.
    """
    stored = to_stored(_middle(face.box), rotation, frame.width, frame.height)
    left, top, right, bottom = align(stored, frame)
    luma = plane_views(frame)[0][top : max(bottom, top), left : max(right, left)]
    if not luma.size:
        return face
    size = FIXED_PX[::-1] if rotation in (90, 270) else FIXED_PX
    black, white = luma_levels(frame)
    stretched = cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = np.asarray((stretched - black) / (white - black), np.float32)
    light = min(max(float(small.mean()), 0.0), 1.0)
    is_measurable = small.std() >= LEAST_CONTRAST and luma.shape[1] >= size[0] and luma.shape[0] >= size[1]
    sharpness = float(_laplacian(small).var() / small.var()) if is_measurable else None
    return replace(face, light=round(light, 4), sharpness=None if sharpness is None else round(sharpness, 4))


def _middle(box: FaceBox) -> tuple[int, int, int, int]:
    aside = SIDE * box.width
    return (
        round(box.left + aside),
        round(box.top + TOP * box.height),
        round(box.right - aside),
        round(box.bottom - BOTTOM * box.height),
    )


def _laplacian(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    inner = pixels[1:-1, 1:-1]
    return pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:] - 4 * inner
