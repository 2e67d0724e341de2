"""Spans and clips: which frames show which face, what is done with them, and the result. Frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from media.affine import Affine
from media.faces import FaceBox, FacePath, NeutralFace
from media.intervals import Interval
from media.mesh import Mesh
from media.orientation import Rectangle

CLOSED_RAMP_FRAMES = 4
"""Frames over which the original, closed mouth replaces a generated one."""
Kind = Literal["face", "no_face"]
Action = Literal["render", "reencode", "copy"]
Outcome = Literal["rendered", "copied", "reencoded", "fell_back"]


Method = Literal["footage", "network"]
Quality = Literal["fast", "improved", "enhanced"]
QUALITY_ORDER: tuple[Quality, ...] = get_args(Quality)
"""From the worst to the best."""


@dataclass(frozen=True, slots=True)
class MouthSource:
    """Where the new mouths of a face come from."""

    method: Method
    """footage: from other frames of the same person; network: drawn."""
    reason: str = ""
    """Why not from footage; empty where that needs no reason."""
    is_asked: bool = False
    """Whether the user wants it so for this very span."""
    strength: float | None = None
    """How far the sound opens and moves the mouths of this very span, in [0, 2]; None: as the job says."""
    quality: Quality | None = None
    """With what care they are made; None: as the job says."""


DRAWN = MouthSource("network")


@dataclass(frozen=True, slots=True)
class FaceSpan:
    """Frames of one shot in which one face is rendered. Spans of several faces may overlap in time.

    frame      3   4   5   6   7
             [---------------)        FaceSpan(3, 7, path)
    """

    kind: ClassVar[Kind] = "face"
    reason: ClassVar[str] = ""

    start_frame: int
    stop_frame: int
    path: FacePath
    """Where the face is."""
    person: int | None = None
    """Number of the person whose face it is; None if the face is unidentified."""
    drive_index: int = 0
    """Which of the sounds that drive lips drives this face: 0 the dub, n the n-th stem of a dialogue."""
    fades_in: bool = False
    """Whether the frame before it belongs to the same shot and shows the original mouth: the new one fades in."""
    fades_out: bool = False
    """The same for the frame behind it."""
    neutral_faces: tuple[NeutralFace, ...] = ()
    """By frame, about one a minute; empty if the scan did not look at mouths."""
    closed_mouth: tuple[Interval, ...] = ()
    """Frames in which the mouth seems to stay closed for a while: sorted, disjoint."""
    source: MouthSource = DRAWN

    def __len__(self) -> int:
        return self.stop_frame - self.start_frame

    def closed_mouth_at(self, frame: int) -> float:
        """Return how far inside a stretch with a closed mouth a frame lies: 0 outside, 1 from CLOSED_RAMP_FRAMES on."""
        inside = (min(frame - start + 1, stop - frame) for start, stop in self.closed_mouth)
        return min(max(max(inside, default=0) / CLOSED_RAMP_FRAMES, 0.0), 1.0)

    def neutral_face_at(self, frame: int) -> NeutralFace | None:
        """Return the neutral face nearest to a frame; None if the span has none."""
        return min(self.neutral_faces, key=lambda neutral: abs(neutral.frame - frame), default=None)

    def shortened(self, start: int, stop: int, margin: int) -> FaceSpan:
        """Return the span with only what frames [start, stop) need: the path with a margin, the nearest neutral faces.

        Its own borders stay.
        """
        nearest = {neutral for frame in (start, stop - 1) if (neutral := self.neutral_face_at(frame))}
        between = {neutral for neutral in self.neutral_faces if start <= neutral.frame < stop}
        return replace(
            self,
            path=self.path.within(start - margin, stop + margin),
            neutral_faces=tuple(sorted(nearest | between, key=lambda neutral: neutral.frame)),
            closed_mouth=tuple(part for part in self.closed_mouth if part[0] < stop and start < part[1]),
        )


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames in which no face is rendered, and why. Gaps overlap neither each other nor a face span."""

    kind: ClassVar[Kind] = "no_face"
    person: ClassVar[None] = None

    start_frame: int
    stop_frame: int
    reason: str

    def __len__(self) -> int:
        return self.stop_frame - self.start_frame


Span = FaceSpan | Gap


def in_time_order(spans: Iterable[Span]) -> list[Span]:
    """Return spans by their first frame; those that begin together by person."""
    return sorted(spans, key=lambda span: (span.start_frame, span.person or 0))


@dataclass(frozen=True, slots=True, eq=False)
class TrackedMesh:
    """The mesh of a face in one frame, in upright pixels."""

    mesh: Mesh
    """As found in this frame."""
    steady: Mesh
    """Smoothed over its neighbours; see media.mesh.steady."""
    doubt: float
    """About the lips, in eye distances, in this frame and around it; see media.mesh.steady_doubt."""


@dataclass(frozen=True, slots=True, eq=False)
class Visible:
    """How far each pixel of a face may be replaced in one frame: not where something is before it."""

    mask: NDArray[np.float32]
    """(height, width) in [0, 1]."""
    affine: Affine
    """(2, 3) map from its pixels to the upright picture."""
    covered: float
    """Share of the mouth that may not be replaced, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """A face to render in one frame."""

    span: FaceSpan
    """The span in which it is followed."""
    box: FaceBox
    roll_degrees: float = 0.0
    """How far the box is turned about its centre, clockwise as seen, -45 to 45: the tilt of the face, if crops are
    turned upright."""
    mesh: TrackedMesh | None = None
    """For a face whose mouths come from footage."""
    visible: Visible | None = None
    """None: all of it may be replaced."""


@dataclass(frozen=True, slots=True)
class Fade:
    """A frame in which a face shows its new mouth only partly, because the mouth comes or goes there."""

    frame: int
    """As an index of the output."""
    face: int
    """Which of the clip's faces."""
    strength: float
    """Weight of the new mouth, in (0, 1)."""


@dataclass(frozen=True, slots=True)
class Clip:
    """The unit of work: consecutive frames of the output."""

    index: int
    start_frame: int
    """First frame, as an index of the output."""
    stop_frame: int
    action: Action
    """render: some frames get a new mouth, the others are re-encoded; reencode: all are; copy: packets are copied."""
    reason: str
    """Why the clip is not rendered; for rendered clips, why some of its frames are re-encoded. May be empty."""
    source_frames: Sequence[int]
    """Source frame of each frame of the clip."""
    faces: tuple[FaceSpan, ...]
    """The face spans that the clip touches, whole (they may reach beyond it), in source frames."""
    rendered: tuple[Interval, ...]
    """Output frames that get a new mouth: sorted, disjoint, inside the clip. In a dialogue, cut wherever a turn begins
    or ends."""
    fades: tuple[Fade, ...] = ()
    """By frame; all other frames of `rendered` show new mouths in full."""

    def __len__(self) -> int:
        return self.stop_frame - self.start_frame

    @property
    def quality(self) -> Quality | None:
        """Return the quality that its faces ask for, the best if they differ; None: as the job says."""
        asked = {face.source.quality for face in self.faces}
        return next((quality for quality in reversed(QUALITY_ORDER) if quality in asked), None)

    def shows_part(self, face: FaceSpan, span: FaceSpan) -> bool:
        """Tell whether a face of the clip, whose path is shortened, is that of a span, however its mouths are made."""
        same = (face.start_frame, face.stop_frame, face.person) == (span.start_frame, span.stop_frame, span.person)
        if not (same and face.drive_index == span.drive_index):
            return False
        inside = min(max(self.source_frames[0], face.start_frame), face.stop_frame - 1)
        return face.path.box_at(inside) == span.path.box_at(inside)


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
    seconds: float | None
    """Wall time of the work; None if an earlier run did it."""
    boxes: tuple[Rectangle | None, ...] = ()
    """For each interval of clip.rendered the rectangle (left, top, right, bottom), in stored pixels, outside which
    nothing changed; None if nothing changed at all."""
    frame_hashes: tuple[int, ...] = ()
    """CRC-32 of the planes of each frame as given to the encoder, if the job asked for them."""
    damaged_frames: tuple[int, ...] = ()
    """Source frames that could not be decoded (their neighbours stand in), or not without guessing."""
    least_psnr: float = 99.0
    """Decibels of the worst frame that was re-encoded unchanged; 99 if no frame was, or all are equal."""

    @property
    def reused(self) -> bool:
        """Whether an earlier run made the file."""
        return self.seconds is None
