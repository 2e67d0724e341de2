"""The shared language: frames, spans, clips. Frozen values, standard library only.

The canonical coordinate is the frame index: 0-based, presentation order. Ranges are half-open, so that a clip's stop
*is* the next clip's start. Seconds are Fractions, derived through a FrameTable and never added up.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from media.intervals import Interval as Interval
from media.intervals import complement as complement
from media.intervals import contains as contains
from media.intervals import even_pieces as even_pieces
from media.intervals import intersect as intersect
from media.intervals import merge as merge

SHUT_RAMP_FRAMES = 4
"""Frames over which a mouth that is shut takes the place of one that is drawn."""
Kind = Literal["face", "no_face"]
Action = Literal["render", "code", "copy"]
Outcome = Literal["rendered", "copied", "coded_again", "fell_back"]


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A rectangle in pixels of the upright picture; edges are floats, right and bottom exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Area in square pixels; 0 for an empty or inverted box."""
        return max(0.0, self.width) * max(0.0, self.height)

    def overlap(self, other: FaceBox) -> float:
        """Return intersection over union with another box, in [0, 1]."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        return shared / (self.area + other.area - shared)

    def towards(self, other: FaceBox, share: float) -> FaceBox:
        """Return the box that lies `share` (0 to 1) of the way to another one."""
        rest = 1.0 - share
        return FaceBox(
            rest * self.left + share * other.left,
            rest * self.top + share * other.top,
            rest * self.right + share * other.right,
            rest * self.bottom + share * other.bottom,
        )


Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face, in pixels of the upright picture."""

    box: FaceBox
    score: float
    """Detector confidence in [0, 1]."""
    landmarks: tuple[Point, Point, Point, Point, Point] | None = None
    """Right eye, left eye, nose, right and left corner of the mouth (as seen: left to right); None if unknown."""
    embedding: bytes = b""
    """Whose face it is, packed as media.identity does; empty where nobody looked."""
    light: float | None = None
    """Mean luma of the face, 0 (black) to 1 (white); None where nobody looked."""
    sharpness: float | None = None
    """How much of the face's contrast lies in fine detail (segmenter.appearance); None where that cannot be told."""
    openness: float | None = None
    """How open the mouth looks, to be compared with the same face at other times alone; None where nobody looked."""

    def scaled(self, across: float, down: float, *, left: float = 0.0, top: float = 0.0) -> Face:
        """Return the face in a picture that is so many times as wide and as high, its corner lying at left, top."""
        box = self.box
        edges = FaceBox(
            left + box.left * across, top + box.top * down, left + box.right * across, top + box.bottom * down
        )
        if self.landmarks is None:
            return replace(self, box=edges)
        first, second, third, fourth, fifth = ((left + x * across, top + y * down) for x, y in self.landmarks)
        return replace(self, box=edges, landmarks=(first, second, third, fourth, fifth))


@dataclass(frozen=True, slots=True)
class FaceSample:
    """The faces that a detector saw in one frame; empty if it saw none."""

    frame: int
    faces: tuple[Face, ...]


@dataclass(frozen=True, slots=True)
class FacePath:
    """Where the target face is at some frames of one span: the hint that a tracker starts from."""

    frames: tuple[int, ...]
    """Increasing frame indexes, at least one."""
    boxes: tuple[FaceBox, ...]

    def box_at(self, frame: int) -> FaceBox:
        """Return the box at a frame: interpolated between neighbours, held before the first and after the last."""
        after = bisect_left(self.frames, frame)
        if after == 0:
            return self.boxes[0]
        if after == len(self.frames):
            return self.boxes[-1]
        start, stop = self.frames[after - 1], self.frames[after]
        return self.boxes[after - 1].towards(self.boxes[after], (frame - start) / (stop - start))

    def within(self, start: int, stop: int) -> FacePath:
        """Return what box_at needs in [start, stop): the boxes there, and one beyond on either side."""
        first = max(bisect_right(self.frames, start) - 1, 0)
        last = min(bisect_left(self.frames, stop) + 1, len(self.frames))
        return FacePath(self.frames[first:last], self.boxes[first:last])


@dataclass(frozen=True, slots=True)
class Rest:
    """Where a face of a span was seen with its mouth as good as shut: what it looks like while it says nothing."""

    frame: int
    face: Face


@dataclass(frozen=True, slots=True)
class Span:
    """Frames of one kind, inside one shot if the kind is face. Face spans of several people may overlap in time.

    frame      3   4   5   6   7
             [---------------)        Span(3, 7)
    """

    start_frame: int
    stop_frame: int
    kind: Kind
    reason: str = ""
    """Why there is no face to render; empty for face spans."""
    path: FacePath | None = None
    """The target face; None unless the kind is face."""
    person: int | None = None
    """Number of the person whose face it is; None for other spans, and where people are not told apart."""
    voice: int = 0
    """Which of the sounds that drive lips drives this face: 0 the dub, others the stems of a dialogue."""
    fades_in: bool = False
    """Whether the frame before it belongs to the same shot and keeps the face's own mouth, so that none may pop up."""
    fades_out: bool = False
    """The same of the frame behind it."""
    rests: tuple[Rest, ...] = ()
    """By frame, one in each minute or so; empty where nobody looked."""
    shut: tuple[Interval, ...] = ()
    """Frames in which the mouth seems to stay shut for a while: sorted, disjoint."""

    def shut_at(self, frame: int) -> float:
        """Return how far inside such a stretch a frame lies, in [0, 1]: 1 from SHUT_RAMP_FRAMES off its ends."""
        inside = (min(frame - start + 1, stop - frame) for start, stop in self.shut)
        return min(max(max(inside, default=0) / SHUT_RAMP_FRAMES, 0.0), 1.0)

    def rest_at(self, frame: int) -> Rest | None:
        """Return the rest nearest to a frame; None if there is none."""
        return min(self.rests, key=lambda rest: abs(rest.frame - frame), default=None)

    def shortened(self, start: int, stop: int, margin: int) -> Span:
        """Return the span with no more of its path and rests than frames [start, stop) and a margin around need."""
        path = self.path.within(start - margin, stop + margin) if self.path else None
        rests = dict.fromkeys(rest for frame in (start, stop - 1) if (rest := self.rest_at(frame)))
        between = (rest for rest in self.rests if start <= rest.frame < stop)
        return replace(
            self,
            path=path,
            rests=tuple(sorted({*rests, *between}, key=lambda rest: rest.frame)),
            shut=tuple(part for part in self.shut if part[0] < stop and start < part[1]),
        )

    def __len__(self) -> int:
        return self.stop_frame - self.start_frame


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """Where a face to render is in one frame."""

    span: Span
    """The face span that it is followed in."""
    box: FaceBox
    roll_degrees: float = 0.0
    """How far the box is turned about its centre, clockwise as seen, -45 to 45: the tilt of the face, where crops are
    to be upright."""


@dataclass(frozen=True, slots=True)
class Run:
    """Output frames that show consecutive source frames: forwards (step 1), backwards (-1) or one held (0)."""

    start_frame: int
    """First frame, as an index of the output."""
    stop_frame: int
    source_frame: int
    """Source frame shown first."""
    step: int

    def source_frames(self, start: int, stop: int) -> Sequence[int]:
        """Return the source frames of output frames [start, stop), which must lie inside the run."""
        first = self.source_frame + self.step * (start - self.start_frame)
        if self.step == 0:
            return (first,) * (stop - start)
        return range(first, first + self.step * (stop - start), self.step)

    def output_interval(self, start: int, stop: int) -> Interval:
        """Return the output frames of this run that show source frames [start, stop); empty if there are none."""
        if self.step == 0:
            return (self.start_frame, self.stop_frame if start <= self.source_frame < stop else self.start_frame)
        if self.step == 1:
            first, last = start - self.source_frame, stop - self.source_frame
        else:
            first, last = self.source_frame - stop + 1, self.source_frame - start + 1
        length = self.stop_frame - self.start_frame
        first, last = min(max(first, 0), length), min(max(last, 0), length)
        return (self.start_frame + first, self.start_frame + last)


@dataclass(frozen=True, slots=True)
class OutputTimeline:
    """Which source frame is shown as which output frame, and when.

    The whole video maps onto itself; an extraction skips frames; a policy that prolongs shows some again.
    """

    runs: tuple[Run, ...]
    """In order, tiling the output."""
    pts: Sequence[int]
    """Presentation time of each output frame in ticks of the source's time base, strictly increasing."""
    end_pts: int
    """Where the last frame stops being shown, in ticks."""
    time_base: Fraction
    is_source: bool
    """Whether output frame i is source frame i at its own time, as far as the source goes."""

    def __len__(self) -> int:
        return len(self.pts)

    def seconds(self, frame: int) -> Fraction:
        """Return the time of an output frame in seconds since the first one; frame == len gives the end."""
        ticks = self.end_pts if frame == len(self.pts) else self.pts[frame]
        return (ticks - self.pts[0]) * self.time_base

    def frame_at(self, seconds: Fraction) -> int:
        """Return the first output frame shown at or after a time; len if there is none."""
        return bisect_left(self.pts, self.pts[0] + seconds / self.time_base)

    def source_intervals(self, intervals: Sequence[Interval]) -> list[Interval]:
        """Return the source frames that are shown in intervals of the output."""
        shown = []
        for run in self.runs:
            for start, stop in intersect(intervals, [(run.start_frame, run.stop_frame)]):
                frames = run.source_frames(start, stop)
                shown.append((min(frames[0], frames[-1]), max(frames[0], frames[-1]) + 1))
        return merge(shown)


@dataclass(frozen=True, slots=True)
class Fade:
    """A frame in which a face has its new mouth only in part, because it comes or goes there."""

    frame: int
    """As an index of the output."""
    face: int
    """Which of the clip's faces."""
    strength: float
    """How much of the new mouth is seen, in (0, 1)."""


@dataclass(frozen=True, slots=True)
class Clip:
    """The unit of work: consecutive frames of the output with their slice of the driving audio."""

    index: int
    start_frame: int
    """First frame, as an index of the output."""
    stop_frame: int
    action: Action
    """render: some frames get a new mouth, the others are coded again; code: coded again; copy: packets copied."""
    reason: str
    """Why the clip is not rendered; for rendered clips, why some of its frames are coded again. May be empty."""
    source_frames: Sequence[int]
    """Source frame of each frame of the clip."""
    faces: tuple[Span, ...]
    """The face spans that the clip touches, whole (they may reach beyond it), in source frames."""
    rendered: tuple[Interval, ...]
    """Output frames that get a new mouth: sorted, disjoint, inside the clip. In a dialogue, cut wherever a turn begins
    or ends."""
    start_sample: int
    """First sample of the driving audio (16 kHz) heard while the clip is shown."""
    stop_sample: int
    fades: tuple[Fade, ...] = ()
    """By frame; in all other frames of `rendered` new mouths are seen in full."""

    def __len__(self) -> int:
        return self.stop_frame - self.start_frame


@dataclass(frozen=True, slots=True)
class CodedSpan:
    """Output frames that were coded again although they were not rendered, and why."""

    start_frame: int
    stop_frame: int
    reason: str
    least_psnr: float = 99.0
    """As of the clips that they come from."""


@dataclass(frozen=True, slots=True)
class RenderedClip:
    """What a worker made of a clip."""

    clip: Clip
    path: str | None
    """The coded file; None where packets are copied from the source."""
    outcome: Outcome
    reason: str
    num_rendered: int
    """Frames that got a new mouth."""
    seconds: float
    """Wall time of the work; 0 if reused."""
    reused: bool = False
    boxes: tuple[tuple[int, int, int, int] | None, ...] = ()
    """For each interval of clip.rendered the rectangle (x, y, width, height), in stored pixels, outside which
    nothing changed."""
    frame_hashes: tuple[int, ...] = ()
    """CRC-32 of the planes of each frame as given to the encoder, if the job asked for them."""
    damaged_frames: tuple[int, ...] = ()
    """Source frames that could not be decoded (their neighbours stand in), or not without guessing."""
    least_psnr: float = 99.0
    """Decibels of the worst frame that was coded again unchanged; 99 if there is none, or all are equal."""
