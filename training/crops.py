"""Face crops for training: what the renderer gives to the network, and a rim around it to move about in.

|<------- 112 px ------->|
+------------------------+
|  8 px of rim           |     the middle 96 x 96 pixels are the renderer's own crop, bit for bit; the rim
|   +----------------+   |     continues it at the same scale, so that augmentation may shift, turn and zoom
|   |  renderer: 96  |   |
|   +----------------+   |
+------------------------+
"""

from __future__ import annotations

from math import ceil

import cv2
import numpy as np

from media.picture import PictureConverter, Pixels, VideoFrame, align, to_stored, to_upright
from media.timeline import FaceBox
from renderer.compositor import FACE_SIZE, Compositor, FaceCrop, Pads

RIM_PX = 8
"""Pixels around the renderer's crop, at its scale."""
CROP_PX = FACE_SIZE + 2 * RIM_PX
"""Height and width of a stored crop."""


class CropCutter:
    """Cuts faces with their rim out of frames. Keep one for each thread."""

    def __init__(self, rotation: int) -> None:
        """rotation: degrees clockwise from stored to upright."""
        self._compositor = Compositor(rotation, pads=Pads(), feather=0.1)
        self._converter = PictureConverter(rotation)
        self._rotation = rotation

    def cut(self, frame: VideoFrame, box: FaceBox) -> Pixels | None:
        """Return a face as (112, 112, 3) uint8 BGR, or None where the renderer would find no face in the box.

        Beyond the picture's edge the rim repeats its last pixels.
        """
        crop = self._compositor.crop(frame, box)
        if crop is None:
            return None
        wide = self._with_rim(frame, crop)
        wide[RIM_PX:-RIM_PX, RIM_PX:-RIM_PX] = crop.face
        return wide

    def _with_rim(self, frame: VideoFrame, crop: FaceCrop) -> Pixels:
        """Sample the face and its surroundings on the grid that the renderer's resize uses, continued outwards."""
        corner = to_upright(crop.region, self._rotation, frame.width, frame.height)
        left, top = corner[0] + crop.inside[0], corner[1] + crop.inside[1]
        width, height = crop.inside[2] - crop.inside[0], crop.inside[3] - crop.inside[1]
        rim_x, rim_y = (ceil(side * RIM_PX / FACE_SIZE) + 2 for side in (width, height))
        upright = (frame.height, frame.width) if self._rotation in (90, 270) else (frame.width, frame.height)
        wanted = (
            max(left - rim_x, 0),
            max(top - rim_y, 0),
            min(left + width + rim_x, upright[0]),
            min(top + height + rim_y, upright[1]),
        )
        region = align(to_stored(wanted, self._rotation, frame.width, frame.height), frame)
        pixels = self._converter.region_bgr(frame, region)
        origin = to_upright(region, self._rotation, frame.width, frame.height)
        # Pixel i of the crop is sampled at (i + 1/2) * scale - 1/2 of the face, as cv2.resize does.
        scale_x, scale_y = width / FACE_SIZE, height / FACE_SIZE
        places = np.array(
            [
                [scale_x, 0, left - origin[0] + (0.5 - RIM_PX) * scale_x - 0.5],
                [0, scale_y, top - origin[1] + (0.5 - RIM_PX) * scale_y - 0.5],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        wide = cv2.warpAffine(pixels, places, (CROP_PX, CROP_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(wide, np.uint8)
