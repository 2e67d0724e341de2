"""A clip's strip of pictures: three of its frames, the face as it was above the face as it became.

The frames are looked at while the clip is rendered, so that nothing is decoded for them a second time. What is below is
the frame as given to the encoder.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from media.clips import TrackedFace
from media.faces import FaceBox
from media.intervals import Interval
from media.orientation import Orientation, Rectangle
from media.picture import PictureConverter, Pixels, VideoFrame, crop, snap_to_chroma

NUM_PICTURES: Final = 3
"""Frames of a clip that are looked at, at even distances."""
PICTURE_PX: Final = 192
"""Side of a picture. A mouth is about half as wide."""
SIDE: Final = 0.9
"""Of a picture, as a share of the longer side of the face's box: from the eyes to below the chin."""
LOWERED: Final = 0.12
"""How far a picture lies below the face's centre, in the same shares: a chin moves, a forehead does not."""
JPEG_QUALITY: Final = 88


@dataclass(frozen=True, slots=True, eq=False)
class PicturedFrame:
    """A frame that is looked at: as it was decoded, and where in it."""

    decoded: VideoFrame
    square: Rectangle
    """In upright pixels."""


class FaceStrip:
    """Collects the pictures of one clip. For one thread."""

    def __init__(self, rendered: Sequence[Interval], orientation: Orientation) -> None:
        """rendered: output frames of the clip that get a new mouth. orientation: of its frames."""
        self._orientation = orientation
        self._converter = PictureConverter(orientation)
        self._wanted = choose_frames(rendered)
        self._columns: list[Pixels] = []

    def look(self, number: int, decoded: VideoFrame, faces: Sequence[TrackedFace]) -> PicturedFrame | None:
        """Return what to show of a frame of the output, before mouths are drawn; None if it is not looked at.

        Of several faces the first is shown.
        """
        if number not in self._wanted or not faces:
            return None
        size = self._orientation.upright_size(decoded.width, decoded.height)
        return PicturedFrame(decoded, square_around(faces[0].box, size))

    def add(self, pictured: PicturedFrame, result: VideoFrame) -> None:
        """Add a frame once its mouths are drawn."""
        pictures = [self._picture(frame, pictured.square) for frame in (pictured.decoded, result)]
        self._columns.append(np.concatenate(pictures))

    def _picture(self, frame: VideoFrame, square: Rectangle) -> Pixels:
        stored = snap_to_chroma(self._orientation.to_stored(square, frame.width, frame.height), frame)
        return self._converter.upright_bgr(crop(frame, stored), (PICTURE_PX, PICTURE_PX))

    def jpeg(self) -> bytes:
        """Return the strip as a JPEG file, two pictures high and up to NUM_PICTURES wide; empty without pictures."""
        if not self._columns:
            return b""
        file = io.BytesIO()
        strip = np.concatenate(self._columns, axis=1)
        Image.fromarray(np.ascontiguousarray(strip[:, :, ::-1])).save(file, "JPEG", quality=JPEG_QUALITY)
        return file.getvalue()


def choose_frames(rendered: Sequence[Interval]) -> frozenset[int]:
    """Return NUM_PICTURES frames of intervals, or all of them if they are fewer, away from the ends: mouths fade there.

    one interval   [-----x-----x-----x-----)
    """
    numbers = [*(number for part in rendered for number in range(*part))]
    count = min(NUM_PICTURES, len(numbers))
    return frozenset(numbers[(2 * at + 1) * len(numbers) // (2 * count)] for at in range(count))


def square_around(box: FaceBox, size: tuple[int, int]) -> Rectangle:
    """Return the square of an upright picture of a size (width, height) that shows a face: moved to lie inside it."""
    longer = max(box.width, box.height)
    side = max(min(round(SIDE * longer), *size), 1)
    left = round((box.left + box.right - side) / 2)
    top = round((box.top + box.bottom - side) / 2 + LOWERED * longer)
    left, top = (min(max(at, 0), length - side) for at, length in zip((left, top), size, strict=True))
    return left, top, left + side, top + side
