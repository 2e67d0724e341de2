"""ClipRenderer: read, track, crop, generate the lips, blend, encode: the loop that makes one encoded clip.

Three threads with bounded queues between them: one decodes ahead, this one finds the face and runs the network, one
encodes behind. Nothing here depends on where the clip begins: the tracker reads past its borders, a mel window belongs
to a time of the track, and a face's lips do not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from media.clips import Clip, FaceSpan
from media.coding.encoder_options import VideoCoding
from media.coding.writer import ClipWriter
from media.faces import NeutralFace
from media.picture import Pixels, VideoFrame
from media.reader import FaceTracker, FrameReader
from media.source_video import SourceVideo
from renderer.clip_frames import ClipFrames, ClipResult, FrameInFlight
from renderer.compositor import Compositor
from renderer.drawn_video import DrawnFaces, DrawnPiece
from renderer.face_stages.base import DrawnFace, FaceStage
from renderer.footage.lips import FootageLips, Way
from renderer.footage.transitions import Shown
from renderer.mel import Mel
from renderer.networks.base import Engine
from renderer.silence import generate_lips, silence_of, strengthened
from renderer.stream import WriteBehind, read_ahead

QUEUE_FRAMES = 12
"""Frames that may wait between two threads."""


@dataclass(frozen=True, slots=True)
class ClipJob:
    """One clip and what belongs to its frames."""

    clip: Clip
    seconds: tuple[Fraction, ...]
    """For each frame of the clip, its time in the driving sound."""
    wants_hashes: bool = False
    """Whether to hash the planes of each frame as given to the encoder."""
    ways: tuple[tuple[Way, ...], ...] = ()
    """For each face of the clip what it shows of footage, with WAY_MARGIN frames on either side; empty if no face of
    the output shows any."""
    drawn: tuple[tuple[DrawnPiece, ...], ...] | None = None
    """For each face of the clip what a program has drawn of it; None where a network draws."""

    @property
    def uses_network(self) -> bool:
        """Whether a network, or a program in its place, draws any of its mouths."""
        return any(face.source.method == "network" for face in self.clip.faces)


@dataclass(frozen=True, slots=True)
class LipSync:
    """What new lips are made with. For one thread."""

    tracker: FaceTracker
    compositor: Compositor
    engine: Engine | None
    """None where no mouth of the clip is drawn by a network."""
    mels: Sequence[Mel]
    """The sounds that drive lips; a face span names its own by number."""
    stages: Sequence[FaceStage]
    """What happens to a drawn face before it is blended."""
    closes_mouths: bool = False
    """Whether mouths are closed while their sound is silent."""
    footage: FootageLips | None = None
    """What draws mouths from footage; None where the job has none."""
    strength: float = 1.0
    """How far above silence a network hears the sounds, unless a span says so itself: 1 as they are; in [0, 2]."""
    most_covered: float = 1.0
    """As of ClipFrames."""

    def heard(self, face: FaceSpan, seconds: Fraction) -> NDArray[np.float32]:
        """Return the mel window (bands, columns) that a network is given for a face at a time of the sound."""
        strength = self.strength if face.source.strength is None else face.source.strength
        return strengthened(self.mels[face.drive_index].window(seconds), strength)


@dataclass(frozen=True, slots=True)
class ClipRenderer:
    """Makes clips of one video."""

    video: SourceVideo
    coding: VideoCoding
    lips: LipSync | None
    """None: nothing is rendered, and every frame is re-encoded unchanged."""
    num_threads: int = 0
    """Threads of the decoder, 0 for one a core."""
    enhance: Callable[[VideoFrame], VideoFrame] | None = None
    """What every frame goes through before it is encoded; None: nothing."""

    def render(self, job: ClipJob, path: Path) -> ClipResult:
        """Write a clip's frames, encoded, to a file: new lips in clip.rendered, the others as they are.

        Raises UnreadableMedia if no frame can be decoded, OutOfMemory if the batch is too large, WorkspaceError if the
        disk is full.
        """
        most_covered = self.lips.most_covered if self.lips else 1.0
        frames = ClipFrames(job.clip, self.video, wants_hashes=job.wants_hashes, most_covered=most_covered)
        numbers = read_frames(job.clip, self.lips.tracker.reach_frames if self.lips else 0)
        with (
            FrameReader(self.video, num_threads=self.num_threads) as reader,
            ClipWriter(path, self.video.video, self.coding) as writer,
            DrawnFaces(job.drawn) if self.lips and job.drawn else nullcontext() as drawn,
        ):
            closes = self.lips is not None and self.lips.closes_mouths and job.drawn is None
            neutrals = read_neutral_faces(job, reader, self.lips) if self.lips and closes else {}
            decoded = read_ahead(reader.read(numbers), QUEUE_FRAMES)
            with WriteBehind[FrameInFlight](lambda frame: frames.write(writer, frame), QUEUE_FRAMES) as behind:
                try:
                    if self.lips is None:
                        for number, (index, frame) in enumerate(decoded, job.clip.start_frame):
                            behind.put(self._enhanced(FrameInFlight(number, index, frame)))
                    else:
                        lips, shown = self.lips, _shown(job, self.lips)
                        tracked = lips.tracker.track(decoded, job.clip.faces)
                        cut = frames.cut_faces(tracked, numbers, lips.compositor, neutrals, shown)
                        for batch in _batches(cut, lips.engine.batch_size if lips.engine else 1):
                            if lips.engine:
                                _draw(batch, job, lips, lips.engine, frames)
                            if drawn:
                                _take(batch, job, lips, drawn, frames)
                            for frame_in_flight in batch:
                                if lips.footage:
                                    frames.draw_footage(frame_in_flight, lips.footage)
                                behind.put(self._enhanced(frame_in_flight))
                finally:
                    decoded.close()
        return frames.result(writer.psnr, reader.damaged)

    def _enhanced(self, frame: FrameInFlight) -> FrameInFlight:
        if self.enhance:
            frame.frame = self.enhance(frame.frame)
        return frame


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


def read_neutral_faces(job: ClipJob, reader: FrameReader, lips: LipSync) -> dict[NeutralFace, Pixels]:
    """Return the neutral faces, (face_px, face_px, 3), that a clip's frames without speech need."""
    clip = job.clip
    needed: set[NeutralFace] = set()
    for start, stop in clip.rendered:
        for at in range(start - clip.start_frame, stop - clip.start_frame):
            source_frame = clip.source_frames[at]
            for span in clip.faces:
                if (
                    span.source.method == "network"
                    and span.start_frame <= source_frame < span.stop_frame
                    and (neutral := span.neutral_face_at(source_frame))
                    and silence_of(lips.heard(span, job.seconds[at])) > 0
                ):
                    needed.add(neutral)
    crops: dict[NeutralFace, Pixels] = {}
    for neutral in sorted(needed, key=lambda neutral: neutral.frame):
        for _, frame in reader.read([neutral.frame]):
            if crop := lips.compositor.crop(frame, *lips.tracker.pose(neutral.face)):
                crops[neutral] = crop.face
    return crops


def _shown(job: ClipJob, lips: LipSync) -> list[dict[int, tuple[int, Shown]]]:
    """Return for each face of a clip the frames that show footage, and what."""
    if lips.footage is None:
        return [{} for _ in job.clip.faces]
    return [lips.footage.shown(ways) for ways in job.ways]


def _draw(batch: Sequence[FrameInFlight], job: ClipJob, lips: LipSync, engine: Engine, frames: ClipFrames) -> None:
    """Give the faces of a batch of frames the lips that a network draws."""
    size = engine.batch_size
    # With each face its frame as it was decoded: blending the faces before it replaces frame.frame.
    todo = [(frame, frame.frame, face) for frame in batch for face in frame.faces]
    for start in range(0, len(todo), size):  # the last frame's faces may be more than fill a batch
        part = todo[start : start + size]
        seconds = [job.seconds[frame.number - job.clip.start_frame] for frame, _, _ in part]
        spans = [job.clip.faces[face.number] for _, _, face in part]
        windows = np.stack([lips.heard(*each) for each in zip(spans, seconds, strict=True)])
        faces = np.stack([face.crop.face for _, _, face in part])
        lips_drawn = generate_lips(faces, windows, [face.neutral for _, _, face in part], engine)
        for (frame, decoded, face), at, (pixels, closed) in zip(part, seconds, lips_drawn, strict=True):
            drawn = DrawnFace(
                crop=face.crop,
                pixels=pixels,
                strength=face.strength * (1 - face.closed_mouth * closed),
                presence=face.strength,
                frame_number=frame.number,
                source_frame=frame.source_frame,
                seconds=at,
                visible=face.visible,
                sample_source=partial(lips.compositor.sample, decoded),
            )
            frames.blend(frame, drawn, lips.compositor, lips.stages)


def _take(batch: Sequence[FrameInFlight], job: ClipJob, lips: LipSync, faces: DrawnFaces, frames: ClipFrames) -> None:
    """Give the faces of a batch of frames the lips that a program has drawn."""
    for frame in batch:
        decoded, at = frame.frame, job.seconds[frame.number - job.clip.start_frame]
        for face in frame.faces:
            side = face.crop.face.shape[0]
            pixels = faces.face(face.number, frame.number, at, face.crop.affine, (side, side))
            if pixels is not None:
                drawn = DrawnFace(
                    crop=face.crop,
                    pixels=pixels,
                    strength=face.strength,
                    presence=face.strength,
                    frame_number=frame.number,
                    source_frame=frame.source_frame,
                    seconds=at,
                    visible=face.visible,
                    sample_source=partial(lips.compositor.sample, decoded),
                )
                frames.blend(frame, drawn, lips.compositor, lips.stages)


def _batches(frames: Iterator[FrameInFlight], num_faces: int) -> Iterator[list[FrameInFlight]]:
    """Group frames until a group holds `num_faces` faces or more, or twice as many frames."""
    group: list[FrameInFlight] = []
    faces = 0
    for frame in frames:
        group.append(frame)
        faces += len(frame.faces)
        if faces >= num_faces or len(group) == 2 * num_faces:
            yield group
            group, faces = [], 0
    if group:
        yield group
