"""render_clip(): read, track, crop, draw the mouth, blend, code: the loop that makes one coded clip.

Three threads with bounded queues between them: one decodes ahead, this one finds the face and runs the network, one
codes behind. Nothing here depends on where the clip begins: the tracker reads past its borders, a mel window belongs to
a time of the track, and a face's mouth does not depend on its batch.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from media.clips import Clip, TrackedFace
from media.coding.encoder_options import VideoCoding
from media.coding.writer import ClipWriter
from media.faces import NeutralFace
from media.info import MediaInfo
from media.intervals import Interval, contains
from media.orientation import Rectangle
from media.packets.frame_table import FrameTable
from media.picture import Pixels, VideoFrame, plane_views
from media.reader import FaceTracker, FrameReader
from media.source_video import SourceVideo
from renderer.compositor import Compositor, FaceCrop
from renderer.silence import Engine, generate_lips, silence_of
from renderer.stream import WriteBehind, read_ahead

QUEUE_FRAMES = 12
"""Frames that may wait between two threads."""


class Mel(Protocol):
    """The driving sound, as a network sees it."""

    def window(self, seconds: Fraction) -> NDArray[np.float32]:
        """Return the mel window (80, 16) of a frame shown `seconds` after the sound's first sample."""
        ...


@dataclass(frozen=True, slots=True)
class ClipJob:
    """One clip and what belongs to its frames."""

    clip: Clip
    seconds: tuple[Fraction, ...]
    """For each frame of the clip, its time in the driving sound."""
    wants_hashes: bool = False
    """Whether to hash the planes of each frame as given to the encoder."""


@dataclass(frozen=True, slots=True)
class ClipResult:
    """What became of the frames of a clip."""

    num_rendered: int
    boxes: tuple[Rectangle | None, ...]
    """For each interval of clip.rendered, the stored rectangle outside which nothing changed; None if nothing did."""
    frame_hashes: tuple[int, ...]
    least_psnr: float
    """Of the frames that were coded unchanged, in dB; infinite if there are none."""
    damaged_frames: tuple[int, ...] = ()
    """Source frames of the clip that could not be decoded (their neighbours stand in), or not without guessing."""


@dataclass(frozen=True, slots=True)
class _Face:
    """A face to render, cut from a frame as it was decoded."""

    crop: FaceCrop
    voice: int
    """Number of the sound that drives it."""
    strength: float
    """How much of its new mouth is to be seen."""
    rest: Pixels | None
    """The same face at rest, for frames in which nobody speaks; None if there is none."""
    shut: float
    """How far its own mouth may stay in such frames, if it is shut; in [0, 1]."""


@dataclass(slots=True)
class _FrameInFlight:
    """A frame on its way through a clip."""

    number: int
    """Index of the output."""
    source_frame: int
    frame: VideoFrame
    faces: tuple[_Face, ...] = ()


def render_clip(
    job: ClipJob,
    path: Path,
    *,
    info: MediaInfo,
    table: FrameTable,
    coding: VideoCoding,
    compositor: Compositor,
    tracker: FaceTracker | None,
    engine: Engine | None,
    mels: Sequence[Mel],
    closes_mouths: bool = False,
    num_threads: int = 0,
) -> ClipResult:
    """Write a clip's frames, coded, to a file: new mouths in clip.rendered, the others as they are.

    mels: the sounds that drive lips; a face span names its own by number. closes_mouths: whether mouths are shut while
    their sound is silent. num_threads: threads of the decoder, 0 for one a core.
    Without tracker and engine nothing is rendered: every frame is re-encoded unchanged. Raises UnreadableMedia
    if no frame can be decoded, OutOfMemory if the batch is too large, WorkspaceError if the disk is full.
    """
    work = _Work(job, table, compositor)
    frames = read_frames(job.clip, tracker.reach_frames if tracker else 0)
    with (
        FrameReader(SourceVideo(info, table), num_threads=num_threads) as reader,
        ClipWriter(path, info.require_video(), coding) as writer,
    ):
        if closes_mouths and tracker:
            work.rests = _read_rests(job, reader, compositor, tracker, mels)
        decoded = read_ahead(reader.read(frames), QUEUE_FRAMES)
        with WriteBehind[_FrameInFlight](lambda shot: work.write(writer, shot), QUEUE_FRAMES) as behind:
            try:
                if tracker is None or engine is None:
                    for number, (index, frame) in enumerate(decoded, job.clip.start_frame):
                        behind.put(_FrameInFlight(number, index, frame))
                else:
                    tracked = tracker.track(decoded, job.clip.faces)
                    for batch in _batches(work.shots(tracked, frames), engine.batch_size):
                        _draw(batch, job, engine, mels, work)
                        for shot in batch:
                            behind.put(shot)
            finally:
                decoded.close()
    return work.result(writer.psnr, reader.damaged)


def read_frames(clip: Clip, reach: int) -> Sequence[int]:
    """Return the source frames to decode for a clip: its own, and up to `reach` more on either side.

    The margin ends where the face span does, so that a tracker sees the same frames whatever the clip's borders. A
    held frame has its margin before it. Frames of the clip stay consecutive in the result.
    """
    own = clip.source_frames
    step = own[1] - own[0] if len(own) > 1 else 1
    before, after = own[0], own[-1]
    first, last = min(own[0], own[-1]), max(own[0], own[-1])
    low, high = first, last
    for span in clip.faces:
        if span.start_frame <= first < span.stop_frame:
            low = min(low, max(span.start_frame, first - reach))
        if span.start_frame <= last < span.stop_frame:
            high = max(high, min(span.stop_frame - 1, last + reach))
    if step == -1:
        return range(high, low - 1, -1)
    if step == 0:
        return (*range(low, before), *own, *range(after + 1, high + 1))
    return range(low, high + 1)


def _draw(batch: Sequence[_FrameInFlight], job: ClipJob, engine: Engine, mels: Sequence[Mel], work: _Work) -> None:
    """Give the shots of a batch that hold faces their new mouths."""
    drawn = [(shot, face) for shot in batch for face in shot.faces]
    for start in range(0, len(drawn), engine.batch_size):  # the last frame's faces may be more than fill a batch
        part = drawn[start : start + engine.batch_size]
        seconds = (job.seconds[shot.number - job.clip.start_frame] for shot, _ in part)
        windows = np.stack([mels[face.voice].window(at) for at, (_, face) in zip(seconds, part, strict=True)])
        faces = np.stack([face.crop.face for _, face in part])
        mouths = generate_lips(faces, windows, [face.rest for _, face in part], engine)
        for (shot, face), (mouth, shut) in zip(part, mouths, strict=True):
            work.blend(shot, face.crop, mouth, face.strength * (1 - face.shut * shut))


def _read_rests(
    job: ClipJob, reader: FrameReader, compositor: Compositor, tracker: FaceTracker, mels: Sequence[Mel]
) -> dict[NeutralFace, Pixels]:
    """Return the faces at rest, (96, 96, 3), that a clip's frames without speech need."""
    clip = job.clip
    needed: set[NeutralFace] = set()
    for part in clip.rendered:
        for at in range(part[0] - clip.start_frame, part[1] - clip.start_frame):
            source_frame = clip.source_frames[at]
            here = [span for span in clip.faces if span.start_frame <= source_frame < span.stop_frame]
            silent = [span for span in here if span.rests and silence_of(mels[span.voice].window(job.seconds[at])) > 0]
            needed |= {rest for span in silent if (rest := span.neutral_face_at(source_frame))}
    rests: dict[NeutralFace, Pixels] = {}
    for rest in sorted(needed, key=lambda rest: rest.frame):
        for _, frame in reader.read([rest.frame]):
            if crop := compositor.crop(frame, *tracker.pose(rest.face)):
                rests[rest] = crop.face
    return rests


def _batches(shots: Iterator[_FrameInFlight], num_faces: int) -> Iterator[list[_FrameInFlight]]:
    """Group shots until a group holds `num_faces` faces or more, or twice as many frames."""
    group: list[_FrameInFlight] = []
    faces = 0
    for shot in shots:
        group.append(shot)
        faces += len(shot.faces)
        if faces >= num_faces or len(group) == 2 * num_faces:
            yield group
            group, faces = [], 0
    if group:
        yield group


class _Work:
    """What is counted while a clip's frames go by."""

    def __init__(self, job: ClipJob, table: FrameTable, compositor: Compositor) -> None:
        self._clip, self._table, self._compositor = job.clip, table, compositor
        self._wants_hashes = job.wants_hashes
        self._strengths = {(fade.frame, fade.face): fade.strength for fade in job.clip.fades}
        self.rests: dict[NeutralFace, Pixels] = {}
        """Faces at rest, where some are needed."""
        self._boxes: dict[Interval, Rectangle] = {}
        self._hashes: list[int] = []
        self._rendered: set[int] = set()

    def shots(
        self, tracked: Iterator[tuple[int, VideoFrame, tuple[TrackedFace, ...]]], frames: Sequence[int]
    ) -> Iterator[_FrameInFlight]:
        """Yield the clip's own frames, each with its faces if it is to be rendered; margins are dropped."""
        clip = self._clip
        skipped = _find(frames, clip.source_frames)
        for position, (source_frame, frame, faces) in enumerate(tracked):
            number = clip.start_frame + position - skipped
            if not clip.start_frame <= number < clip.stop_frame:
                continue
            shot = _FrameInFlight(number, source_frame, frame)
            if contains(clip.rendered, number):
                shot.faces = tuple(cut for face in faces if (cut := self._cut(shot, face)))
            yield shot

    def _cut(self, shot: _FrameInFlight, face: TrackedFace) -> _Face | None:
        crop = self._compositor.crop(shot.frame, face.box, face.roll_degrees)
        if crop is None:
            return None
        strength = self._strengths.get((shot.number, self._clip.faces.index(face.span)), 1.0)
        rest = face.span.neutral_face_at(shot.source_frame) if self.rests else None
        at_rest = self.rests.get(rest) if rest else None
        return _Face(crop, face.span.voice, strength, at_rest, face.span.closed_mouth_at(shot.source_frame))

    def blend(self, shot: _FrameInFlight, crop: FaceCrop, mouth: Pixels, strength: float) -> None:
        """Blend a mouth into a shot's frame, over those that are in it already; at strength 0 it stays as it is."""
        if strength <= 0:
            return
        shot.frame = self._compositor.blend(shot.frame, crop, mouth, strength)
        self._rendered.add(shot.number)
        interval = next(part for part in self._clip.rendered if part[0] <= shot.number < part[1])
        self._boxes[interval] = _union(self._boxes.get(interval, crop.region), crop.region)

    def write(self, writer: ClipWriter, shot: _FrameInFlight) -> None:
        """Hand a shot's frame to the encoder. Runs on the writing thread, in order of the frames."""
        if self._wants_hashes:
            self._hashes.append(hash_planes(shot.frame))
        forwards = len(self._clip) == 1 or self._clip.source_frames[1] > self._clip.source_frames[0]
        writer.write(shot.frame, keyframe=forwards and bool(self._table.keyframe[shot.source_frame]))

    def result(self, psnr: Sequence[float], damaged: frozenset[int]) -> ClipResult:
        """Sum up. psnr: of each frame of the clip, as the writer noted it; damaged: source frames read badly."""
        start = self._clip.start_frame
        kept = [value for number, value in enumerate(psnr, start) if number not in self._rendered]
        return ClipResult(
            num_rendered=len(self._rendered),
            boxes=tuple(self._boxes.get(interval) for interval in self._clip.rendered),
            frame_hashes=tuple(self._hashes),
            least_psnr=min(kept, default=float("inf")),
            damaged_frames=tuple(sorted(damaged.intersection(self._clip.source_frames))),
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
