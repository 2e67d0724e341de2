"""measure_video(): one pass over a video, and over its reference if it has one, to all its figures.

frames -> FaceFollower -> for each face: MouthReader, and the crops of each judge -> SyncRun -> Tally -> Scores
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import torch

from lipstitch.evaluation.faces import FaceFollower, SeenFace
from lipstitch.evaluation.fidelity import FidelitySums, compare
from lipstitch.evaluation.judges import SHIPPED_EXPERT, ExpertJudge, FaceJudge, SyncNetJudge
from lipstitch.evaluation.mouths import MouthReader
from lipstitch.evaluation.shifts import SyncRun
from lipstitch.evaluation.sound import HeardSound, hear
from lipstitch.evaluation.steps import steps_of
from lipstitch.evaluation.tally import Figures, Tally
from lipstitch.progress import Reporter, stage
from media.base.errors import UnsupportedMedia
from media.faces import FaceBox
from media.info import MediaInfo
from media.mesh import LIPS, Mesh
from media.orientation import Rectangle
from media.picture import PictureConverter, VideoFrame
from media.reader import FrameReader
from media.source_video import SourceVideo
from segmenter.detectors.base import FaceDetector
from segmenter.mesh.mesher import FaceMesher, OnnxMesh
from segmenter.scan import ScanSettings
from segmenter.scanner import FaceScanner


@dataclass(frozen=True, slots=True)
class Reference:
    """What the pictures of a video are compared with."""

    video: SourceVideo
    frame_of: Callable[[int], int]
    """Frame of it that shows what a frame of the video shows."""
    left_out: Callable[[int], Rectangle | None]
    """Stored rectangle of a frame of the video that is not compared; None: all of it is."""
    suffix: str = ""
    """Of the figures' names."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured."""

    video: SourceVideo
    sound: MediaInfo | None
    """A file whose sound is taken in place of the video's own."""
    frames: Sequence[int]
    """Increasing."""
    clip_of: Callable[[int], int]
    """Clip of a frame; 0 where there are no clips."""
    counts: Callable[[int, tuple[float, float]], bool]
    """(frame, middle of a mouth in upright pixels) -> whether that mouth is one of those to be measured."""
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class Instruments:
    """What is measured with."""

    detector: FaceDetector
    device: torch.device
    """Of the judges."""
    syncnet: Path | None
    """SyncNet's weights; None: without its figures."""
    box: FaceBox | None = None
    """Where the only face is; None: faces are looked for."""


@dataclass(frozen=True, slots=True)
class TrackScore:
    """One face, followed through a shot."""

    start_seconds: float
    stop_seconds: float
    figures: Figures


@dataclass(frozen=True, slots=True)
class Scores:
    """What was measured."""

    whole: Figures
    clips: dict[int, Figures]
    tracks: tuple[TrackScore, ...]


def measure_video(subject: Subject, instruments: Instruments, reporter: Reporter) -> Scores:
    """Measure a video in one pass. Raises MissingStream without sound, UnsupportedMedia without a face that counts."""
    video = subject.video
    with ExitStack() as stack:
        sound = stack.enter_context(hear(video, subject.sound))
        measuring = _Measuring(subject, _judges(subject, instruments, sound), sound)
        frames = stack.enter_context(FrameReader(video)).read(subject.frames)
        others = _reference_frames(subject, stack)
        follower = FaceFollower(_scanner(video, instruments), _mesher(video))
        stack.enter_context(stage(reporter, "score", len(subject.frames), "frames"))
        for done, (index, frame, faces) in enumerate(follower.follow(frames), start=1):
            measuring.add(index, (frame, *next(others)), faces)
            reporter.advance(done)
        measuring.finish()
    return measuring.scores()


def _judges(subject: Subject, instruments: Instruments, sound: HeardSound) -> list[FaceJudge]:
    orientation, device = subject.video.video.orientation, instruments.device
    judges: list[FaceJudge] = [ExpertJudge(SHIPPED_EXPERT, sound.mel, orientation, device)]
    if instruments.syncnet is not None:
        judges.append(SyncNetJudge(instruments.syncnet, sound, orientation, device))
    return judges


def _reference_frames(subject: Subject, stack: ExitStack) -> Iterator[tuple[VideoFrame, ...]]:
    """Yield the frame of the reference for each frame of the subject; nothing each time without a reference."""
    reference = subject.reference
    if reference is None:
        return repeat(())
    reader = stack.enter_context(FrameReader(reference.video))
    return ((frame,) for _, frame in reader.read([reference.frame_of(index) for index in subject.frames]))


def _scanner(video: SourceVideo, instruments: Instruments) -> FaceScanner:
    converter, settings = PictureConverter(video.video.orientation), ScanSettings(box=instruments.box)
    return FaceScanner(video.table, video.video.upright_size, instruments.detector, converter, settings)


def _mesher(video: SourceVideo) -> FaceMesher:
    return FaceMesher(OnnxMesh(), PictureConverter(video.video.orientation))


@dataclass(slots=True)
class _Track:
    """A face that is being followed."""

    reader: MouthReader
    first: int
    """Its first frame."""
    last: int
    runs: dict[str, SyncRun] = field(default_factory=dict)
    """By the prefix of the judge."""


class _Measuring:
    """The sums so far, and the faces that are followed."""

    def __init__(self, subject: Subject, judges: Sequence[FaceJudge], sound: HeardSound) -> None:
        self._subject, self._judges, self._sound = subject, judges, sound
        self._converter = PictureConverter(subject.video.video.orientation)
        self._tally = Tally()
        self._going: dict[int, _Track] = {}
        self._ended: dict[int, tuple[int, int]] = {}
        """First and last frame of tracks."""

    def add(self, index: int, frames: tuple[VideoFrame, ...], faces: Sequence[SeenFace]) -> None:
        """Measure a frame. frames: of the video, and of its reference."""
        clip = self._subject.clip_of(index)
        if (reference := self._subject.reference) is not None:
            sums = compare(frames[0], frames[1], reference.left_out(index))
            self._tally.pictures.setdefault(clip, FidelitySums()).add(sums)
        for number in self._going.keys() - {face.track for face in faces}:
            self._end(number)
        table = self._subject.video.table
        seconds, steps = float(table.seconds(index)), steps_of(table, index)
        for face in faces:
            track = self._going.get(face.track)
            if track is None:
                track = self._going[face.track] = _Track(MouthReader(self._sound, self._converter), index, index)
            track.last = index
            is_counted = self._subject.counts(index, _middle(face.mesh))
            if is_counted:
                sums_of_mouths = self._tally.face(face.track, clip).mouths
                track.reader.read(index, seconds, face, frames, sums_of_mouths)
            for judge in self._judges:
                self._show(judge, frames[0], face, steps, clip if is_counted else None)

    def _show(self, judge: FaceJudge, frame: VideoFrame, face: SeenFace, steps: list[int], clip: int | None) -> None:
        """Show a face to a judge, as often as its frame stands for a step."""
        runs = self._going[face.track].runs
        crop = judge.crop(frame, face) if steps else None
        for step in steps:
            if judge.prefix in runs and (runs[judge.prefix].next_step != step or crop is None):
                self._settle(face.track, judge.prefix)
            if crop is not None:
                if judge.prefix not in runs:
                    runs[judge.prefix] = SyncRun(judge, step)
                runs[judge.prefix].add(crop, clip)

    def _settle(self, track: int, prefix: str) -> None:
        run = self._going[track].runs.pop(prefix)
        for clip, sums in run.finish().items():
            own = self._tally.face(track, clip).shifts
            own.setdefault(prefix, type(sums)()).add(sums)

    def _end(self, number: int) -> None:
        for prefix in list(self._going[number].runs):
            self._settle(number, prefix)
        track = self._going.pop(number)
        track.reader.finish()
        self._ended[number] = (track.first, track.last)

    def finish(self) -> None:
        """End what is followed."""
        for number in list(self._going):
            self._end(number)

    def scores(self) -> Scores:
        """Return all figures. Raises UnsupportedMedia if no face was seen that counts."""
        if not self._tally.faces:
            raise UnsupportedMedia(
                f"{self._subject.video.info.path}: no face to measure was found. Faces must be 64 pixels high, forehead"
                " to chin."
            )
        reference = self._subject.reference
        has_reference, suffix = reference is not None, reference.suffix if reference else ""
        clips = sorted({clip for _, clip in self._tally.faces} | self._tally.pictures.keys())
        table = self._subject.video.table
        counted = sorted({track for track, _ in self._tally.faces})
        return Scores(
            self._tally.of_all(has_reference=has_reference, suffix=suffix),
            {clip: self._tally.of_clip(clip, has_reference=has_reference, suffix=suffix) for clip in clips},
            tuple(
                TrackScore(
                    float(table.seconds(self._ended[track][0])),
                    float(table.seconds(self._ended[track][1] + 1)),
                    self._tally.of_track(track, has_reference=has_reference),
                )
                for track in counted
            ),
        )


def _middle(mesh: Mesh) -> tuple[float, float]:
    x, y = mesh[LIPS, :2].mean(axis=0)
    return float(x), float(y)
