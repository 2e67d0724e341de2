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

from media.affine import shifted
from media.clips import TrackedFace
from media.orientation import Orientation
from media.picture import Pixels, VideoFrame
from renderer.compositor import Compositor, Pads
from renderer.networks.base import WAV2LIP_SPEC

RIM_PX = 8
"""Pixels around the renderer's crop, at its scale."""
CROP_PX = WAV2LIP_SPEC.face_px + 2 * RIM_PX
"""Height and width of a stored crop."""


class CropCutter:
    """Cuts faces with their rim out of frames. Keep one for each thread."""

    def __init__(self, orientation: Orientation) -> None:
        """orientation: of every frame that is given."""
        self._compositor = Compositor(orientation, pads=Pads())

    def cut(self, frame: VideoFrame, tracked: TrackedFace) -> Pixels | None:
        """Return a face as (112, 112, 3) uint8 BGR, or None where the renderer would find no face in the box.

        Beyond the picture's edge the rim repeats its last pixels.
        """
        crop = self._compositor.crop(frame, tracked.box, tracked.roll_degrees)
        if crop is None:
            return None
        rim = crop.affine[:, :2] @ (RIM_PX, RIM_PX)  # the same grid, continued outwards
        wide = self._compositor.sample(frame, shifted(crop.affine, -rim[0], -rim[1]), (CROP_PX, CROP_PX))
        wide[RIM_PX:-RIM_PX, RIM_PX:-RIM_PX] = crop.face
        return wide
