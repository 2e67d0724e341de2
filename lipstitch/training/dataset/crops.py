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

from media.clips import TrackedFace
from media.orientation import Orientation
from media.picture import PictureConverter, Pixels, VideoFrame, snap_to_chroma
from renderer.compositor import FACE_SIZE, Compositor, FaceCrop, Pads, bounds, moved, sample

RIM_PX = 8
"""Pixels around the renderer's crop, at its scale."""
CROP_PX = FACE_SIZE + 2 * RIM_PX
"""Height and width of a stored crop."""


class CropCutter:
    """Cuts faces with their rim out of frames. Keep one for each thread."""

    def __init__(self, orientation: Orientation) -> None:
        """orientation: of every frame that is given."""
        self._compositor = Compositor(orientation, pads=Pads(), feather=0.1)
        self._converter = PictureConverter(orientation)
        self._orientation = orientation

    def cut(self, frame: VideoFrame, tracked: TrackedFace) -> Pixels | None:
        """Return a face as (112, 112, 3) uint8 BGR, or None where the renderer would find no face in the box.

        Beyond the picture's edge the rim repeats its last pixels.
        """
        crop = self._compositor.crop(frame, tracked.box, tracked.roll_degrees)
        if crop is None:
            return None
        wide = self._with_rim(frame, crop)
        wide[RIM_PX:-RIM_PX, RIM_PX:-RIM_PX] = crop.face
        return wide

    def _with_rim(self, frame: VideoFrame, crop: FaceCrop) -> Pixels:
        """Sample the face and its surroundings on the grid of the renderer's crop, continued outwards."""
        size = frame.width, frame.height
        around = bounds(crop.places, self._orientation.upright_size(*size), rim=RIM_PX + 1)
        region = snap_to_chroma(self._orientation.to_stored(around, *size), frame)
        corner = self._orientation.to_upright(region, *size)
        rim = crop.places[:, :2] @ (RIM_PX, RIM_PX)
        places = moved(crop.places, -corner[0] - rim[0], -corner[1] - rim[1])
        return sample(self._converter.region_bgr(frame, region), places, CROP_PX)
