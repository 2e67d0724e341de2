"""Faces that another program has drawn: its videos, laid over the frames of the output that they were made for.

output frame --time in the driving sound--> frame of a piece --fit--> through the crop's map: a drawn face
two pieces overlap, and pass into each other there
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Final

import numpy as np

from media.affine import Affine, Size, sample
from media.base.errors import MediaError, RenderError
from media.intervals import Interval
from media.orientation import Rectangle
from media.picture import PictureConverter, Pixels
from media.reader import FrameReader
from media.source_video import SourceVideo, scan_video
from renderer.networks.base import NetworkSpec

PROGRAM_SPEC: Final = NetworkSpec(face_px=512, variant="program")
"""Crops of faces that programs draw: as fine as most frames."""
SETTLED: Final = 0.25
"""Share of an overlap, at either end, in which one piece alone is seen: a program's first and last frames are worst."""
EARLY: Final = Fraction(3, 10)
"""Of a frame: how much earlier than its time a frame counts as shown. Containers round times."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a program's pictures lie over what it was given."""

    size: Size
    """Width and height of its pictures."""
    shift: tuple[float, float]
    """Pixels of what it was given by which its pictures lie too far to the right, and too low."""
    offset: tuple[float, float, float]
    """8-bit levels of blue, green and red by which its pictures are too bright."""


@dataclass(frozen=True, slots=True)
class DrawnPiece:
    """Consecutive output frames of one face that a program was given at once."""

    frames: Interval
    start_seconds: Fraction
    """Of the first, in the driving sound."""
    region: Rectangle
    """What it was shown, in the upright picture."""
    path: str
    """What it wrote; empty where it failed."""
    key: str
    """The content key of what it was given, and how it was called."""
    fit: Fit | None
    failure: str = ""
    """Why it failed."""

    def within(self, start: int, stop: int) -> bool:
        """Tell whether it holds any of the frames [start, stop)."""
        return self.frames[0] < stop and start < self.frames[1]

    @property
    def to_pixels(self) -> Affine:
        """The map from the upright picture to the pixels of the program's pictures."""
        assert self.fit is not None
        left, top, right, bottom = self.region
        scale = np.array([self.fit.size[0] / (right - left), self.fit.size[1] / (bottom - top)])
        # Pixel i of n covers [i, i + 1) / n of the region.
        move = (0.5 - np.array([left, top]) + self.fit.shift) * scale - 0.5
        return np.column_stack([np.diag(scale), move])


class DrawnFaces:
    """The faces of one clip that a program has drawn. Use it in a `with` statement; for one thread."""

    def __init__(self, faces: Sequence[Sequence[DrawnPiece]]) -> None:
        """faces: for each face of the clip its pieces, in order. Raises RenderError if the program failed at one."""
        if failure := next((piece.failure for pieces in faces for piece in pieces if piece.failure), ""):
            raise RenderError(failure)
        self._faces = faces
        self._files = ExitStack()
        self._videos: dict[str, _Video] = {}

    def __enter__(self) -> DrawnFaces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()
        self._videos.clear()

    def face(self, number: int, frame: int, seconds: Fraction, crop: Affine, size: Size) -> Pixels | None:
        """Return a face as it was drawn, (height, width, 3) BGR; None if it was not.

        number: of the face in the clip. frame: of the output. seconds: its time in the driving sound.
        crop: the map from its pixels to the upright picture.
        """
        pieces = [piece for piece in self._faces[number] if piece.frames[0] <= frame < piece.frames[1]]
        seen = [self._through(piece, seconds, crop, size) for piece in pieces]
        if len(seen) < 2:
            return seen[0] if seen else None
        share = passing(pieces[0].frames, pieces[1].frames, frame)
        if share in (0, 1):
            return seen[round(share)]
        return np.asarray(np.rint((1 - share) * seen[0].astype(np.float32) + share * seen[1]), np.uint8)

    def _through(self, piece: DrawnPiece, seconds: Fraction, crop: Affine, size: Size) -> Pixels:
        assert piece.fit is not None
        if piece.path not in self._videos:
            self._videos[piece.path] = _Video(piece.path, self._files)
        picture = self._videos[piece.path].picture(seconds - piece.start_seconds)
        to_pixels = np.vstack([piece.to_pixels, [0, 0, 1]]) @ np.vstack([crop, [0, 0, 1]])
        drawn = sample(picture, to_pixels[:2], size, is_cubic=True)
        if not any(piece.fit.offset):
            return drawn
        return np.asarray(np.clip(np.rint(drawn - np.array(piece.fit.offset, np.float32)), 0, 255), np.uint8)


def passing(first: Interval, second: Interval, frame: int) -> float:
    """Return how far a frame in the overlap of two pieces shows the second one, in [0, 1]."""
    overlap = first[1] - second[0]
    at = (frame - second[0] + 0.5) / overlap
    return float(np.clip((at - SETTLED) / (1 - 2 * SETTLED), 0, 1))


class _Video:
    """A program's video, read as far as frames of a clip need it."""

    def __init__(self, path: str, files: ExitStack) -> None:
        try:
            self._source = scan_video(path)
        except MediaError as exc:
            raise RenderError(f"what a program drew cannot be read here ({exc}).") from exc
        self._seconds = shown_seconds(self._source)
        self._reader = files.enter_context(FrameReader(self._source, num_threads=1))
        self._converter = PictureConverter(self._source.video.orientation)
        self._shown: tuple[int, Pixels] | None = None

    def picture(self, seconds: Fraction) -> Pixels:
        """Return the picture that is shown at a time; the first before it, the last behind it."""
        number = frame_shown(self._seconds, seconds, self._source.frame_rate)
        if self._shown is None or self._shown[0] != number:
            try:
                ((_, frame),) = self._reader.read([number])
            except MediaError as exc:
                raise RenderError(f"what a program drew cannot be read here ({exc}).") from exc
            self._shown = number, self._converter.upright_bgr(frame)
        return self._shown[1]


def shown_seconds(video: SourceVideo) -> list[Fraction]:
    """Return when each frame of a video is shown."""
    return [video.table.seconds(frame) for frame in range(len(video.table))]


def frame_shown(times: Sequence[Fraction], seconds: Fraction, rate: Fraction) -> int:
    """Return which of frames with increasing times is shown at a time; rate: of the frames, a second."""
    return max(bisect_right(times, seconds + EARLY / rate) - 1, 0)
