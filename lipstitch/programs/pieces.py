"""PURE: what a program is given at once: some seconds of one face with its surroundings; pieces overlap.

frames that show the face      0123456789012345678901234567890123456789
pieces, each with its region   [------------)
[------------)
[------------------)      and no short rest
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Final, Literal

from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.plan.plan import Plan
from media.clips import FaceSpan
from media.faces import FaceBox
from media.intervals import Interval
from media.orientation import Rectangle
from renderer.drawn_video import frame_shown

OVERLAP_SECONDS: Final = 0.5
MARGINS: Final = (0.6, 0.5, 0.6, 0.6)
"""Of the height of the face's box: what is shown of its surroundings on its left, above, on its right, and below."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive output frames of one face."""

    span: FaceSpan
    frames: Interval
    source_frames: tuple[int, ...]
    seconds: tuple[Fraction, ...]
    """Of each frame, in the driving sound; and when the last one ends."""
    region: Rectangle
    """What is shown, in the upright picture; width and height are even."""
    box: FaceBox
    """Around the face in all of its frames."""

    def given(self, rate: Fraction) -> list[int]:
        """Return the source frames that a program is given at a constant rate, a second."""
        length = self.seconds[-1] - self.seconds[0]
        times = [self.seconds[0] + number / rate for number in range(max(ceil(length * rate - Fraction(1, 100)), 1))]
        own = self.seconds[:-1]
        return [self.source_frames[frame_shown(own, time, len(own) / length)] for time in times]


def find_pieces(
    plan: Plan, upright_size: tuple[int, int], *, most_seconds: float, shown: Literal["face", "frame"]
) -> Iterator[Piece]:
    """Yield what a program is given of an output, for each face that is to be drawn.

    upright_size: of the picture. most_seconds: of a piece. shown: face: the face with its surroundings.
    """
    spec = plan.spec
    source_of = spec.timeline.source_of_each()
    whole = (0, 0, upright_size[0] // 2 * 2, upright_size[1] // 2 * 2)
    for (start, stop), span in ((part, span) for frames, span in plan.drawn for part in _heard_on(spec, *frames)):
        seconds = [spec.drive_seconds(frame) for frame in range(start, stop)]
        a_frame = (seconds[-1] - seconds[0]) / (len(seconds) - 1) if len(seconds) > 1 else Fraction(1, 25)
        seconds.append(seconds[-1] + a_frame)
        for first, last in cut(stop - start, most_seconds / float(a_frame), OVERLAP_SECONDS / float(a_frame)):
            own = source_of[start + first : start + last].tolist()
            boxes = [span.path.box_at(frame) for frame in own]
            box, height = around(boxes), max(each.height for each in boxes)
            yield Piece(
                span=span,
                frames=(start + first, start + last),
                source_frames=tuple(own),
                seconds=tuple(seconds[first : last + 1]),
                region=whole if shown == "frame" else region_around(box, height, upright_size),
                box=box,
            )


def _heard_on(spec: OutputSpec, start: int, stop: int) -> list[Interval]:
    """Return the parts of some frames in each of which the driving sound runs on without a jump."""
    inner = (segment.start_frame for segment in spec.drive_audio.segments)
    edges = [start, *(frame for frame in inner if start < frame < stop), stop]
    return list(pairwise(edges))


def cut(num_frames: int, most: float, overlap: float) -> list[Interval]:
    """Return [first, stop) of pieces that cover some frames, each overlapping the next.

    They begin at the same places however many frames follow, so that a longer dub changes the last ones alone. most:
    frames of a piece at most, overlap included. Those before the last have a fifth less: it takes in a short rest.
    """
    shared = max(round(overlap), 1)
    step = max(int(most / 1.25) - shared, shared)
    pieces: list[Interval] = []
    for first in range(0, max(num_frames - shared, 1), step):
        if pieces and num_frames - first < shared + step / 4:
            pieces[-1] = pieces[-1][0], num_frames
            break
        pieces.append((first, min(first + step + shared, num_frames)))
    return pieces


def around(boxes: Sequence[FaceBox]) -> FaceBox:
    """Return the box around boxes."""
    return FaceBox(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )


def region_around(box: FaceBox, face_height: float, upright_size: tuple[int, int]) -> Rectangle:
    """Return a rectangle of the picture around a face, with its surroundings and with even sides."""
    width, height = upright_size
    left, top, right, bottom = (share * face_height for share in MARGINS)
    x, y = max(int(box.left - left), 0), max(int(box.top - top), 0)
    wide, high = min(ceil(box.right + right), width) - x, min(ceil(box.bottom + bottom), height) - y
    return x, y, x + wide // 2 * 2, y + high // 2 * 2
