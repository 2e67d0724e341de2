"""Cut the face out of a frame, blend the drawn one back into the planes of the frame.

One affine map leads from the pixels of the face to those of the frame, exact to fractions of a pixel, and turned where
the face is tilted. The crop is sampled through it, the drawn face and its mask come back through it: a steady box gives
a steady mouth.

Only the region of the face is ever converted to BGR, and only where the mask is not zero is anything written back:
every other sample of the frame stays what the decoder gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from media.affine import Affine, Size, at_plane, bounds, sample, shifted
from media.clips import Visible
from media.faces import FaceBox
from media.orientation import Orientation, Plane, Rectangle
from media.picture import PictureConverter, Pixels, VideoFrame, copy_frame, largest_sample, plane_views, snap_to_chroma
from renderer.face_stages.base import Detail, FaceCrop, FacePatch
from renderer.networks.base import WAV2LIP_SPEC, NetworkSpec

LEAST_FACE_PX = 8
"""A box smaller than this holds no mouth worth changing."""
ENLARGED = 3
"""How much larger a patch is made before it is turned and set into the frame."""
MOST_ENLARGED_PX = 768
"""A patch that would become larger is fine enough as it is."""


@dataclass(frozen=True, slots=True)
class Pads:
    """Pixels by which the detected box grows before it is cropped, as Wav2Lip's --pads; negative ones shrink it."""

    top: int = 0
    bottom: int = 10
    left: int = 0
    right: int = 0


class Compositor:
    """Cuts faces out of frames and blends patches in. Keep one for each thread."""

    def __init__(self, orientation: Orientation, *, pads: Pads, spec: NetworkSpec = WAV2LIP_SPEC) -> None:
        """orientation: of every frame that is given. spec: of the network that the crops are for."""
        # Faces are small: OpenCV's threads would only get in the way of the other workers'.
        cv2.setNumThreads(1)
        self._converter = PictureConverter(orientation)
        self._orientation = orientation
        self._pads = pads
        self._spec = spec

    def crop(self, frame: VideoFrame, box: FaceBox, roll_degrees: float = 0.0) -> FaceCrop | None:
        """Return the face in a box (upright pixels), or None if hardly any of it is inside the frame.

        roll_degrees: how far the box is turned about its centre, clockwise. A box that is not turned ends where the
        frame does, as Wav2Lip's; in one that is, what lies beyond repeats the frame's last pixels.
        """
        width, height = frame.width, frame.height
        upright = self._orientation.upright_size(width, height)
        padded = self._padded(box, None if roll_degrees else upright)
        side = self._spec.face_px
        affine = _affine(self._with_margins(padded), box, roll_degrees, side)
        outline = bounds(affine, (side, side), upright)
        if min(padded.width, padded.height, outline[2] - outline[0], outline[3] - outline[1]) < LEAST_FACE_PX:
            return None
        region = snap_to_chroma(self._orientation.to_stored(outline, width, height), frame)
        pixels = self._sample_region(frame, region, affine, (side, side))
        return FaceCrop(pixels, affine, region, box, roll_degrees)

    def sample(self, frame: VideoFrame, affine: Affine, size: Size) -> Pixels:
        """Return pixels (height, width, 3) of a frame, of a (width, height), taken through any map.

        Beyond the frame its last pixels repeat. Raises ValueError if the map leads nowhere into the frame.
        """
        width, height = frame.width, frame.height
        outline = bounds(affine, size, self._orientation.upright_size(width, height), rim=1)
        region = snap_to_chroma(self._orientation.to_stored(outline, width, height), frame)
        if region[0] >= region[2] or region[1] >= region[3]:
            raise ValueError("the map leads nowhere into the frame")
        return self._sample_region(frame, region, affine, size)

    def _sample_region(self, frame: VideoFrame, region: Rectangle, affine: Affine, size: Size) -> Pixels:
        corner = self._orientation.to_upright(region, frame.width, frame.height)
        return sample(self._converter.region_bgr(frame, region), shifted(affine, -corner[0], -corner[1]), size)

    def _padded(self, box: FaceBox, size: tuple[int, int] | None) -> FaceBox:
        """Return a box with its pads, inside a picture of a size."""
        pads = self._pads
        left, top = box.left - pads.left, box.top - pads.top
        right, bottom = box.right + pads.right, box.bottom + pads.bottom
        if size is None:
            return FaceBox(left, top, right, bottom)
        return FaceBox(max(left, 0.0), max(top, 0.0), min(right, size[0]), min(bottom, size[1]))

    def _with_margins(self, box: FaceBox) -> FaceBox:
        """Return a box with what the network sees around it, beyond the picture's edge if need be."""
        margins = self._spec.margins
        width, height = box.width / (1 - margins.left - margins.right), box.height / (1 - margins.top - margins.bottom)
        return FaceBox(
            box.left - margins.left * width,
            box.top - margins.top * height,
            box.right + margins.right * width,
            box.bottom + margins.bottom * height,
        )

    def area(self, frame: VideoFrame, affine: Affine, size: Size, top_px: float = 0.0) -> Rectangle | None:
        """Return the stored rectangle in which pixels of a (width, height) lie; None if it is beyond the frame.

        affine: from these pixels to the upright picture. top_px: rows of them at the top that play no part.
        """
        width, height = frame.width, frame.height
        upright = bounds(affine, size, self._orientation.upright_size(width, height), top=top_px)
        area = snap_to_chroma(self._orientation.to_stored(upright, width, height), frame)
        return area if area[0] < area[2] and area[1] < area[3] else None

    def blend(self, frame: VideoFrame, patch: FacePatch, strength: float = 1.0) -> VideoFrame:
        """Return the frame with a patch blended in, as far as its mask lets it be seen.

        strength: how much of it is seen, in [0, 1]; at 0 nothing changes. The frame given stays as it is. Nothing
        changes outside the patch's area; only what lies in it is converted.
        """
        area = self.area(frame, patch.affine, patch.size, patch.top_px)
        if strength <= 0 or area is None:
            return frame
        left, top, right, bottom = self._orientation.to_upright(area, frame.width, frame.height)
        affine, size = shifted(patch.affine, -left, -top), (right - left, bottom - top)
        pixels = cv2.warpAffine(*_enlarged(patch.pixels, affine), size, borderMode=cv2.BORDER_REPLICATE)
        if patch.detail:
            pixels = _added(pixels, patch.detail, shifted(patch.detail.affine, -left, -top))
        mask = strength * cv2.warpAffine(patch.mask, affine, size, flags=cv2.INTER_LINEAR)
        if patch.visible:
            seen = shifted(patch.visible.affine, -left, -top)
            mask *= cv2.warpAffine(patch.visible.mask, seen, size, flags=cv2.INTER_LINEAR)
        stored_mask = self._orientation.turn_back(np.asarray(mask, np.float32))
        blended = copy_frame(frame)
        new_planes = self._converter.native_planes(np.asarray(pixels, np.uint8), frame)
        for plane, new in zip(plane_views(blended), new_planes, strict=True):
            blend_plane(_window(plane, area, frame), new, stored_mask)
        return blended

    def add(self, frame: VideoFrame, detail: Detail, strength: float, visible: Visible | None) -> VideoFrame:
        """Return the frame with a detail added to its own samples; where the detail is 0, none changes.

        strength: how much of it is added, in [0, 1]. visible: where it may be; None: wherever it lies.
        """
        area = self.area(frame, detail.affine, (detail.levels.shape[1], detail.levels.shape[0]))
        if strength <= 0 or area is None:
            return frame
        left, top, right, bottom = self._orientation.to_upright(area, frame.width, frame.height)
        size = (right - left, bottom - top)
        levels = strength * cv2.warpAffine(detail.levels, shifted(detail.affine, -left, -top), size)
        if visible:
            levels *= cv2.warpAffine(visible.mask, shifted(visible.affine, -left, -top), size)[:, :, None]
        changed = copy_frame(frame)
        add_levels(changed, area, np.asarray(levels, np.float32), self._converter)
        return changed


def add_levels(frame: VideoFrame, area: Rectangle, levels: NDArray[np.float32], converter: PictureConverter) -> None:
    """Add levels of 8 bits, (height, width, 3) BGR, upright, to the samples of a stored area, in place.

    Where they are 0, no sample changes, whatever the depth of the frame.
    """
    old = converter.region_bgr(frame, area)
    new = np.asarray(np.clip(np.rint(old + levels), 0, 255), np.uint8)
    # Both are converted, so that only what they differ by enters the samples.
    pairs = zip(converter.native_planes(old, frame), converter.native_planes(new, frame), strict=True)
    for plane, (before, after) in zip(plane_views(frame), pairs, strict=True):
        window = _window(plane, area, frame)
        sums = window.astype(np.int32) + after - before
        np.copyto(window, np.clip(sums, 0, largest_sample(frame)).astype(window.dtype))


def _affine(crop: FaceBox, box: FaceBox, roll_degrees: float, side: int) -> Affine:
    """Return the map from `side` x `side` pixels of a crop to the picture, turned about the centre of the face's box.

    Pixel i of n covers [i, i + 1) / n of the crop, so its centre lies at (i + 1/2) / n, as cv2.resize has it.
    """
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    cosine, sine = cos(radians(roll_degrees)), sin(radians(roll_degrees))
    turned = np.array([[cosine, -sine], [sine, cosine]])
    scale_x, scale_y = crop.width / side, crop.height / side
    first = np.array([crop.left - x + scale_x / 2, crop.top - y + scale_y / 2])
    shift = turned @ first + (x - 0.5, y - 0.5)
    return np.column_stack([turned * (scale_x, scale_y), shift])


def _enlarged(pixels: Pixels, affine: Affine) -> tuple[Pixels, Affine]:
    """Return a patch ENLARGED times as large, and where its pixels lie.

    Taken from there to first order it is as smooth as taken to third order from the patch itself, in a sixth of the
    time. The factor is odd, so that the patch's own pixels are among the new ones.
    """
    height, width = (ENLARGED * side for side in pixels.shape[:2])
    if max(height, width) > MOST_ENLARGED_PX:
        return pixels, affine
    finer = affine / (ENLARGED, ENLARGED, 1)
    finer[:, 2] += affine[:, :2].sum(axis=1) * (1 / ENLARGED - 1) / 2
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8), finer


def _added(pixels: NDArray[Any], detail: Detail, affine: Affine) -> Pixels:
    """Return pixels with a detail added; affine: from its pixels to these. Beyond it nothing is added."""
    size = (pixels.shape[1], pixels.shape[0])
    levels = cv2.warpAffine(detail.levels, affine, size, flags=cv2.INTER_LINEAR)
    return np.asarray(np.clip(np.rint(pixels + levels), 0, 255), np.uint8)


def _window(plane: Plane, region: Rectangle, frame: VideoFrame) -> Plane:
    """Return the part of a plane that shows a region; a view."""
    step_x, step_y = round(frame.width / plane.shape[1]), round(frame.height / plane.shape[0])
    left, top, right, bottom = region
    return plane[top // step_y : -(-bottom // step_y), left // step_x : -(-right // step_x)]


def blend_plane(target: Plane, new: Plane, mask: NDArray[np.float32]) -> None:
    """Mix new samples into a plane in place: mask 1 takes the new one, 0 leaves the old one bit for bit.

    target, new: (height, width) of the plane. mask: at luma resolution; averaged down for subsampled planes.
    """
    mask = at_plane(mask, target.shape)
    old = target.astype(np.float32)
    mixed = np.rint(old + (new.astype(np.float32) - old) * mask)
    np.copyto(target, mixed.astype(target.dtype), where=mask > 0)
