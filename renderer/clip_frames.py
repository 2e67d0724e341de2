"""The frames of one clip on their way from the decoder to the encoder, and what is noted of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from media.clips import Clip, TrackedFace, Visible
from media.coding.writer import ClipWriter
from media.faces import NeutralFace
from media.intervals import Interval, contains
from media.orientation import Rectangle
from media.picture import Pixels, VideoFrame, copy_frame, plane_views
from media.source_video import SourceVideo
from renderer.compositor import Compositor
from renderer.face_stages.base import DrawnFace, FaceCrop, FaceStage, apply_stages
from renderer.footage.lips import FootageFace, FootageLips
from renderer.footage.transitions import Shown
from renderer.strip import FaceStrip, PicturedFrame

COVERED_FADE = 0.1
"""Share of the mouth, beyond what may be covered, over which the new mouth fades away."""


@dataclass(frozen=True, slots=True)
class ClipResult:
    """What became of the frames of a clip."""

    num_rendered: int
    boxes: tuple[Rectangle | None, ...]
    """For each interval of clip.rendered, the stored rectangle outside which nothing changed; None if nothing did."""
    frame_hashes: tuple[int, ...]
    least_psnr: float
    """Of the frames that were encoded unchanged, in dB; infinite if every frame changed."""
    damaged_frames: tuple[int, ...] = ()
    """Source frames of the clip that could not be decoded (their neighbours stand in), or not without guessing."""
    strip: bytes = b""
    """A JPEG file of some frames, before and after; see renderer.strip. Empty if no mouth was rendered."""


@dataclass(frozen=True, slots=True)
class FaceInFlight:
    """A face to render, cut from a frame as it was decoded."""

    number: int
    """Which of the clip's faces."""
    crop: FaceCrop
    strength: float
    """How much of its new mouth is to be seen."""
    neutral: Pixels | None
    """The neutral face of the same person, for frames without speech; None if the clip needs none."""
    closed_mouth: float
    """How far its own mouth may stay in such frames, if it is closed; in [0, 1]."""
    visible: Visible | None


@dataclass(slots=True)
class FrameInFlight:
    """A frame on its way through a clip."""

    number: int
    """Index of the output."""
    source_frame: int
    frame: VideoFrame
    """Changes as faces are blended in."""
    faces: tuple[FaceInFlight, ...] = ()
    footage: tuple[FootageFace, ...] = ()
    pictured: PicturedFrame | None = None


class ClipFrames:
    """Cuts faces out of a clip's frames, blends them in, hands frames to the encoder, and notes what happened."""

    def __init__(self, clip: Clip, source: SourceVideo, *, wants_hashes: bool, most_covered: float = 1.0) -> None:
        """wants_hashes: whether to hash the planes of each frame as given to the encoder.

        most_covered: share of a mouth that something before it may cover; where it is more, the mouth stays.
        """
        self._most_covered = most_covered
        self._clip, self._table, self._wants_hashes = clip, source.table, wants_hashes
        self._strip = FaceStrip(clip.rendered, source.video.orientation)
        self._strengths = {(fade.frame, fade.face): fade.strength for fade in clip.fades}
        self._boxes: dict[Interval, Rectangle] = {}
        self._hashes: list[int] = []
        self._rendered: set[int] = set()

    def cut_faces(
        self,
        tracked: Iterator[tuple[int, VideoFrame, tuple[TrackedFace, ...]]],
        numbers: Sequence[int],
        compositor: Compositor,
        neutrals: Mapping[NeutralFace, Pixels],
        shown: Sequence[Mapping[int, tuple[int, Shown]]],
    ) -> Iterator[FrameInFlight]:
        """Yield the clip's own frames, each with its faces if it is to be rendered; margins are dropped.

        numbers: the source frames that are tracked. shown: for each face of the clip the frames of the output that show
        footage, as FootageLips.shown gives them.
        """
        clip = self._clip
        skipped = _find(numbers, clip.source_frames)
        for position, (source_frame, decoded, faces) in enumerate(tracked):
            number = clip.start_frame + position - skipped
            if not clip.start_frame <= number < clip.stop_frame:
                continue
            frame = FrameInFlight(number, source_frame, decoded)
            if contains(clip.rendered, number):
                drawn = [face for face in faces if face.span.source.method == "network"]
                cut = (self._cut(frame, face, compositor, neutrals) for face in drawn)
                frame.faces = tuple(face for face in cut if face)
                frame.footage = tuple(self._footage_of(frame, faces, shown))
                frame.pictured = self._strip.look(number, decoded, faces)
            yield frame

    def _footage_of(
        self, frame: FrameInFlight, faces: Sequence[TrackedFace], shown: Sequence[Mapping[int, tuple[int, Shown]]]
    ) -> Iterator[FootageFace]:
        for face in faces:
            number = self._clip.faces.index(face.span)
            if face.mesh is not None and frame.number in shown[number]:
                strength = self._strength(frame, face)
                yield FootageFace(face.mesh, *shown[number][frame.number], strength, face.visible)

    def _strength(self, frame: FrameInFlight, face: TrackedFace) -> float:
        fading = self._strengths.get((frame.number, self._clip.faces.index(face.span)), 1.0)
        covered = face.visible.covered if face.visible else 0.0
        return fading * min(max((self._most_covered - covered) / COVERED_FADE + 1, 0.0), 1.0)

    def _cut(
        self,
        frame: FrameInFlight,
        face: TrackedFace,
        compositor: Compositor,
        neutrals: Mapping[NeutralFace, Pixels],
    ) -> FaceInFlight | None:
        crop = compositor.crop(frame.frame, face.box, face.roll_degrees)
        if crop is None:
            return None
        span = face.span
        neutral = span.neutral_face_at(frame.source_frame) if neutrals else None
        return FaceInFlight(
            number=self._clip.faces.index(span),
            crop=crop,
            strength=self._strength(frame, face),
            neutral=neutrals.get(neutral) if neutral else None,
            closed_mouth=span.closed_mouth_at(frame.source_frame),
            visible=face.visible,
        )

    def blend(self, frame: FrameInFlight, face: DrawnFace, compositor: Compositor, stages: Sequence[FaceStage]) -> None:
        """Blend a drawn face into its frame, over those that are in it already; at strength 0 its mouth stays."""
        reaches_around = any(stage.reaches_around for stage in stages)
        if (face.presence if reaches_around else face.strength) <= 0:
            return
        patch = replace(apply_stages(stages, face), visible=face.visible)
        areas = [face.crop.region, compositor.area(frame.frame, patch.affine, patch.size, patch.top_px)]
        frame.frame = compositor.blend(frame.frame, patch, face.strength)
        if around := patch.around:
            frame.frame = compositor.add(frame.frame, around, face.presence, face.visible)
            size = (around.levels.shape[1], around.levels.shape[0])
            areas.append(compositor.area(frame.frame, around.affine, size))
        self._note_change(frame.number, reduce(_union, [area for area in areas if area]))

    def draw_footage(self, frame: FrameInFlight, lips: FootageLips) -> None:
        """Draw the mouths from footage into a frame, over what is in it already; at strength 0 nothing changes.

        What is held before a mouth stays there, and with it the frame's own mouth.
        """
        strengths = [face.strength * lips.uncovered(face.bank, face.mesh) for face in frame.footage]
        if not any(strengths):
            return
        drawn = copy_frame(frame.frame)
        for face, strength in zip(frame.footage, strengths, strict=True):
            if strength > 0:
                self._note_change(frame.number, lips.draw(drawn, face, strength))
        frame.frame = drawn

    def _note_change(self, number: int, region: Rectangle) -> None:
        self._rendered.add(number)
        interval = next(part for part in self._clip.rendered if part[0] <= number < part[1])
        self._boxes[interval] = _union(self._boxes.get(interval, region), region)

    def write(self, writer: ClipWriter, frame: FrameInFlight) -> None:
        """Hand a frame to the encoder. Runs on the writing thread, in order of the frames."""
        if self._wants_hashes:
            self._hashes.append(hash_planes(frame.frame))
        if frame.pictured:
            self._strip.add(frame.pictured, frame.frame)
        forwards = len(self._clip) == 1 or self._clip.source_frames[1] > self._clip.source_frames[0]
        keyframe = forwards and bool(self._table.keyframe[frame.source_frame])
        writer.write(frame.frame, keyframe=keyframe, is_unchanged=frame.number not in self._rendered)

    def result(self, psnr: Sequence[float], damaged: frozenset[int]) -> ClipResult:
        """Sum up. psnr: of each frame of the clip, as the writer noted it; damaged: source frames read badly."""
        start = self._clip.start_frame
        unchanged = [value for number, value in enumerate(psnr, start) if number not in self._rendered]
        return ClipResult(
            num_rendered=len(self._rendered),
            boxes=tuple(self._boxes.get(interval) for interval in self._clip.rendered),
            frame_hashes=tuple(self._hashes),
            least_psnr=min(unchanged, default=float("inf")),
            damaged_frames=tuple(sorted(damaged.intersection(self._clip.source_frames))),
            strip=self._strip.jpeg(),
        )


def hash_planes(frame: VideoFrame) -> int:
    """Return the CRC-32 of a frame's visible samples, plane after plane."""
    value = 0
    for plane in plane_views(frame):
        value = zlib.crc32(plane.tobytes(), value)
    return value


def _find(frames: Sequence[int], own: Sequence[int]) -> int:
    """Return where a clip's own frames begin among those that are read."""
    return next(at for at, frame in enumerate(frames) if frame == own[0])


def _union(a: Rectangle, b: Rectangle) -> Rectangle:
    return (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
