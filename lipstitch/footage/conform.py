"""Frames of a further video as if they were the job's own: at its rate, stored as it stores them, faces as large.

    decoded frame --scaled, pixel format, matrix, range, turned--> numbered behind the frames of the job's video

So neither what reads a bank's footage nor what chooses among it need know that there are several videos.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any, Final

from lipstitch.source.source import Source
from media.faces import FaceBox, FacePath
from media.intervals import Interval
from media.picture import FrameConformer, VideoFrame
from media.reader import FrameReader
from media.source_video import SourceVideo

GAP_FRAMES: Final = 1000
"""Numbers between two videos: no mouth of one counts as a neighbour of the other's."""


@dataclass(frozen=True, slots=True, eq=False)
class ConformedVideo:
    """A further video, told in frames of the job's."""

    source: Source
    like: SourceVideo
    """The job's."""
    first_number: int
    """Of its first frame, as the job counts."""
    scale: float
    """By which its pictures are scaled."""

    @property
    def key(self) -> list[Any]:
        """What its conformed frames depend on, beside the job's video."""
        return [self.source.fingerprint, self.scale]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its upright pictures once they are scaled: even, as chroma needs."""
        width, height = (max(round(self.scale * side / 2), 1) * 2 for side in self.source.video.upright_size)
        return width, height

    def interval(self, frames: Interval) -> Interval:
        """Return the numbers of all conformed frames that show some of its own; empty if they are too few for one."""
        start, last = (self.source.table.seconds(frame) * self.like.frame_rate for frame in (frames[0], frames[1] - 1))
        return self.first_number + ceil(start), self.first_number + max(floor(last) + 1, ceil(start))

    def path(self, path: FacePath) -> FacePath:
        """Return where a face is in conformed frames."""
        width, height = self.source.video.upright_size
        across, down = self.size[0] / width, self.size[1] / height
        boxes = {
            self.first_number + round(self.source.table.seconds(frame) * self.like.frame_rate): FaceBox(
                box.left * across, box.top * down, box.right * across, box.bottom * down
            )
            for frame, box in zip(path.frames, path.boxes, strict=True)
        }
        return FacePath(tuple(boxes), tuple(boxes.values()))

    def shown_at(self, number: int) -> int:
        """Return which of its own frames a conformed one shows."""
        seconds = Fraction(number - self.first_number) / self.like.frame_rate
        return min(self.source.table.frame_at(seconds), len(self.source.table) - 1)


class ConformedReader:
    """Reads conformed frames; not thread-safe."""

    def __init__(self, reader: FrameReader, video: ConformedVideo) -> None:
        """reader: of the further video."""
        self._reader, self._video = reader, video
        self._conformer = FrameConformer(video.source.video.orientation, video.like.video, video.size)

    def read(self, numbers: range) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (number, frame) for each number; see FrameReader.read."""
        frames = self._reader.read([self._video.shown_at(number) for number in numbers])
        for number, (_, frame) in zip(numbers, frames, strict=True):
            yield number, self._conformer.conform(frame)
