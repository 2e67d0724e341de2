"""Spans and clips: which frames show whom, what is done with them, and what came of it. Frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from media.faces import FaceBox, FacePath, NeutralFace
from media.intervals import Interval
from media.orientation import Rectangle

CLOSED_RAMP_FRAMES = 4
"""Frames over which a mouth that is shut takes the place of one that is drawn."""
Kind = Literal["face", "no_face"]
Action = Literal["render", "reencode", "copy"]
Outcome = Literal["rendered", "copied", "reencoded", "fell_back"]


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
    rests: tuple[NeutralFace, ...] = ()
    """By frame, one in each minute or so; empty where nobody looked."""
    shut: tuple[Interval, ...] = ()
    """Frames in which the mouth seems to stay shut for a while: sorted, disjoint."""

    def closed_mouth_at(self, frame: int) -> float:
        """Return how far inside such a stretch a frame lies, in [0, 1]: 1 from CLOSED_RAMP_FRAMES off its ends."""
        inside = (min(frame - start + 1, stop - frame) for start, stop in self.shut)
        return min(max(max(inside, default=0) / CLOSED_RAMP_FRAMES, 0.0), 1.0)

    def neutral_face_at(self, frame: int) -> NeutralFace | None:
        """Return the rest nearest to a frame; None if there is none."""
        return min(self.rests, key=lambda rest: abs(rest.frame - frame), default=None)

    def shortened(self, start: int, stop: int, margin: int) -> Span:
        """Return the span with no more of its path and rests than frames [start, stop) and a margin around need."""
        path = self.path.within(start - margin, stop + margin) if self.path else None
        rests = dict.fromkeys(rest for frame in (start, stop - 1) if (rest := self.neutral_face_at(frame)))
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
    """render: some frames get a new mouth, the others are re-encoded; code: re-encoded; copy: packets copied."""
    reason: str
    """Why the clip is not rendered; for rendered clips, why some of its frames are re-encoded. May be empty."""
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
    boxes: tuple[Rectangle | None, ...] = ()
    """For each interval of clip.rendered the rectangle, in stored pixels, outside which nothing changed; None if
    nothing changed at all."""
    frame_hashes: tuple[int, ...] = ()
    """CRC-32 of the planes of each frame as given to the encoder, if the job asked for them."""
    damaged_frames: tuple[int, ...] = ()
    """Source frames that could not be decoded (their neighbours stand in), or not without guessing."""
    least_psnr: float = 99.0
    """Decibels of the worst frame that was re-encoded unchanged; 99 if there is none, or all are equal."""
