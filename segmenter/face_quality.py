"""Measure how light and how sharp a face is in a frame, and how open its mouth looks."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from media.faces import Face, FaceBox
from media.orientation import Orientation, Rectangle
from media.picture import VideoFrame, luma_levels, plane_views, snap_to_chroma

FIXED_PX = 32, 48
"""Width and height at which a face is measured, so that the result does not depend on its size."""
SIDE, TOP, BOTTOM = 0.15, 0.2, 0.05
"""Shares of the box that are left out: hair and background at its edges are not part of the face."""
MOUTH_PX = 24, 24
"""Width and height at which a mouth is measured."""
MOUTH_WIDTH, MOUTH_ABOVE, MOUTH_BELOW = 0.35, 0.11, 0.15
"""How far the mouth reaches from its middle: to the sides as a share of the distance of its corners, up and down as
shares of the face's height."""
USUAL_MOUTH = 0.75, 0.38
"""Height of a mouth in a box, and its width, without landmarks: medians of RetinaFace's over 15 people."""
LEAST_CONTRAST = 0.01
"""Standard deviation of luma below which sharpness cannot be measured."""


def with_quality(face: Face, frame: VideoFrame, orientation: Orientation) -> Face:
    """Return a face of a frame with its light, sharpness and openness, to four digits.

    Sharpness is the variance of the Laplacian over the variance of the luma, of the face at 32 x 48 pixels. Faces as
    cameras see them have 0.3 to 2; blurred by a Gaussian with a sigma of 2 % of their height they have 0.03 to 0.15, of
    4 %, 0.01 to 0.04. It is None for faces with fewer pixels, or without contrast. The luma is that of the frame as
    stored: HDR is not turned into light.
    """
    luma = _luma(face_middle(face.box), FIXED_PX, frame, orientation)
    mouth = _luma(mouth_of(face), MOUTH_PX, frame, orientation)
    if luma is None or mouth is None:
        return face
    light = min(max(float(luma.mean()), 0.0), 1.0)
    measured_px = (1 - 2 * SIDE) * face.box.width, (1 - TOP - BOTTOM) * face.box.height
    is_large = all(pixels > least - 1 for pixels, least in zip(measured_px, FIXED_PX, strict=True))
    sharpness = float(_laplacian(luma).var() / luma.var()) if is_large and luma.std() >= LEAST_CONTRAST else None
    # An open mouth is darker inside than the skin around, and its teeth are lighter than its lips.
    openness = (mouth.std() + luma.mean() - np.percentile(mouth, 5)) / max(float(luma.mean()), LEAST_CONTRAST)
    return replace(
        face,
        light=round(light, 4),
        sharpness=None if sharpness is None else round(sharpness, 4),
        openness=round(float(openness), 4),
    )


def _luma(
    upright: Rectangle, size: tuple[int, int], frame: VideoFrame, orientation: Orientation
) -> NDArray[np.float32] | None:
    """Return the luma of an upright rectangle, scaled to a size: 0 black, 1 white, as stored; None if empty."""
    left, top, right, bottom = snap_to_chroma(orientation.to_stored(upright, frame.width, frame.height), frame)
    luma = plane_views(frame)[0][top : max(bottom, top), left : max(right, left)]
    if not luma.size:
        return None
    black, white = luma_levels(frame)
    stretched = cv2.resize(luma, orientation.upright_size(*size), interpolation=cv2.INTER_AREA)
    return np.asarray((stretched.astype(np.float32) - black) / (white - black), np.float32)


def mouth_of(face: Face) -> Rectangle:
    """Return the rectangle of a face's mouth, in upright pixels."""
    box = face.box
    if face.landmarks:
        (x1, y1), (x2, y2) = face.landmarks[3:]
        x, y, width = (x1 + x2) / 2, (y1 + y2) / 2, abs(x2 - x1)
    else:
        x, y, width = (box.left + box.right) / 2, box.top + USUAL_MOUTH[0] * box.height, USUAL_MOUTH[1] * box.width
    aside = MOUTH_WIDTH * width
    return (
        round(x - aside),
        round(y - MOUTH_ABOVE * box.height),
        round(x + aside),
        round(y + MOUTH_BELOW * box.height),
    )


def face_middle(box: FaceBox) -> Rectangle:
    """Return a box without hair and background at its edges."""
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
