"""Read the mouths of everyone who gets new ones from their own footage; what an earlier run read is reused."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from lipstitch.footage.conform import ConformedReader, ConformedVideo
from lipstitch.footage.further import (
    FurtherUse,
    FurtherVideo,
    first_numbers,
    frames_to_scan,
    uses_of,
    vectors_of,
)
from lipstitch.footage.neighbours import Neighbourhood, frames_near
from lipstitch.footage.subjects import (
    MOST_SECONDS,
    Stretch,
    Subject,
    choose_stretches,
    find_subjects,
    mouth_bytes,
    seconds_of_each,
)
from lipstitch.job_file.config import JobConfig
from lipstitch.progress import Reporter, Timings, stage
from lipstitch.source.scan import Scanned, scan_source
from lipstitch.source.source import OpenedVideo, identify_source, remember_source
from lipstitch.source.weights import FaceFinder
from lipstitch.workspace import Workspace, require_space
from media.base.content import content_key
from media.base.files import atomic_file
from media.base.machine import num_cores
from media.clips import FaceSpan, Span
from media.identity import EmbedderSettings
from media.intervals import Interval, intersect
from media.mesh import FoundMesh
from media.picture import PictureConverter, VideoFrame, bytes_per_pixel
from media.reader import FrameReader
from media.source_video import SourceVideo
from renderer.checkpoints import hash_file
from renderer.footage.bank import Bank
from renderer.footage.bank_writer import BankWriter, CutMouth, MouthCutter
from renderer.footage.lip_shape import Points, upright
from segmenter.mesh.mesher import FaceMesher
from segmenter.mesh.tracker import follow
from segmenter.people.identities import Identities
from segmenter.scan import Scan
from segmenter.spans.presence import SpanRule

BANK_VERSION = 8
"""Raised when the same frames give other mouths than before."""
MOST_THREADS = 8
REFERENCE_FRAMES = 25
"""From the middle of the footage: their mean is the upright face that looks are compared in."""
MOST_TASK_SECONDS = 5.0
"""Of footage that one thread reads in one go: decoding begins at a keyframe, which may lie seconds before."""


@dataclass(frozen=True, slots=True)
class SubjectBank:
    """The mouths of one subject."""

    subject: Subject
    path: Path
    hash: str
    num_mouths: int
    """Usable ones; none where all are blurred, dark, or too unsure."""


@dataclass(frozen=True, slots=True)
class Footage:
    """The banks of a job."""

    banks: tuple[SubjectBank, ...] = ()
    further: tuple[FurtherUse, ...] = ()
    """What was taken from further videos."""

    def number_of(self, span: FaceSpan) -> int | None:
        """Return which bank holds the mouths of a span's face; None if no footage of it was read."""
        return next((number for number, bank in enumerate(self.banks) if bank.subject.holds(span)), None)


@dataclass(frozen=True, slots=True)
class FootageReader:
    """Reads the footage of a job."""

    config: JobConfig
    scanned: Scanned
    workspace: Workspace
    reporter: Reporter
    timings: Timings
    further: tuple[OpenedVideo, ...] = ()
    """Further videos of the job's people."""

    def read(
        self,
        identities: Identities,
        spans: Sequence[Span],
        shown: Sequence[Interval],
        driven: Sequence[Interval],
        rule: SpanRule,
    ) -> Footage:
        """Return the banks of everyone who is seen in driven frames; nothing is read where no mesh is at hand.

        Where those that the job shows are too few, frames near them are looked at, too; see neighbours. spans, shown,
        driven: in frames of the source. Raises WorkspaceError if the disk has no room for them.
        """
        if self.scanned.finder.mesh is None:
            return Footage()
        subjects = [
            subject
            for subject in find_subjects(spans, identities)
            if intersect(driven, [(span.start_frame, span.stop_frame) for span in subject.spans])
        ]
        scan = self.scanned.scan
        near = frames_near(shown, self.scanned.source.table)
        if near and any(subject.num_frames < MOST_SECONDS * self.scanned.source.frame_rate for subject in subjects):
            around = self._look_around(shown, near)
            subjects, scan = [around.widened(subject, rule) for subject in subjects], around.scan
        most = seconds_of_each(len(subjects))
        beside = self._look_further(subjects, identities, rule, most)
        banks = [self._bank_of(subject, scan, most, beside.get(number, ())) for number, subject in enumerate(subjects)]
        uses = [use for number, found in beside.items() for use in uses_of(subjects[number], found)]
        return Footage(tuple(banks), tuple(uses))

    def _look_around(self, shown: Sequence[Interval], near: Sequence[Interval]) -> Neighbourhood:
        source, finder = self.scanned.source, self.scanned.finder
        scan = scan_source(self.config, source, finder, near, self.workspace, self.reporter, self.timings)
        settings = finder.embedder_settings or EmbedderSettings()
        return Neighbourhood.of(self.scanned.scan, scan, shown, source.table, settings)

    def _look_further(
        self, subjects: Sequence[Subject], identities: Identities, rule: SpanRule, most_seconds: float
    ) -> dict[int, tuple[Stretch, ...]]:
        """Return what is read of further videos for each subject, by its number."""
        found: dict[int, tuple[Stretch, ...]] = {}
        own, finder = self.scanned.source, self.scanned.finder
        settings, known = finder.embedder_settings or EmbedderSettings(), vectors_of(identities, subjects)
        for opened, first in zip(self.further, first_numbers(own, self.further), strict=True):
            if not known:
                self.reporter.warning(f"input.footage: {opened.info.path} is not used: whose lips move is not known.")
                continue
            source = identify_source(opened)
            remember_source(self.workspace, opened, source)
            frames = frames_to_scan(source.table)
            scan = scan_source(self.config, source, finder, frames, self.workspace, self.reporter, self.timings)
            video = FurtherVideo.of(source, first, scan, settings)
            matched, num_before = video.matched(known), sum(map(len, found.values()))
            for number, subject in enumerate(subjects):
                if people := matched.get(subject.spans[0].person or 0):
                    more = video.stretches(people, subject, own, rule.settings, most_seconds / len(self.further))
                    found[number] = (*found.get(number, ()), *more)
            if sum(map(len, found.values())) == num_before:
                self.reporter.warning(
                    f"input.footage: {source.info.path} shows no one whose lips move, or only small. It is not used."
                )
        return found

    def _bank_of(self, subject: Subject, scan: Scan, most_seconds: float, further: Sequence[Stretch]) -> SubjectBank:
        source, finder, workspace = self.scanned.source, self.scanned.finder, self.workspace
        assert finder.mesh is not None
        pixel_bytes = bytes_per_pixel(source.video.pixel_format)
        stretches = [*choose_stretches(subject, scan, source.table, pixel_bytes, most_seconds), *further]
        where = [(stretch.frames, stretch.path) for stretch in stretches]
        others = [stretch.video.key for stretch in further if stretch.video]
        key = content_key(BANK_VERSION, source.fingerprint, where, hash_file(finder.mesh), *others)
        path = workspace.path("bank", key, ".bank")
        if workspace.sealed(path) is None:
            num_frames = sum(stretch.frames[1] - stretch.frames[0] for stretch in stretches)
            require_space(workspace.folder, int(num_frames * mouth_bytes(subject, pixel_bytes)))
            with self.timings.measure("footage"), atomic_file(path) as partial:
                _write_bank(partial, stretches, source, finder, self.reporter)
            workspace.seal(path, {})
        return SubjectBank(subject, path, path.stem, len(Bank(path)))


def _write_bank(
    path: Path, stretches: Sequence[Stretch], source: SourceVideo, finder: FaceFinder, reporter: Reporter
) -> None:
    """Read stretches side by side; mouths are written as they come, and put in order at the end."""
    num_frames = sum(stretch.frames[1] - stretch.frames[0] for stretch in stretches)
    tasks = _adjacent(stretches, round(MOST_TASK_SECONDS * source.frame_rate))
    with ExitStack() as readers, stage(reporter, "footage", num_frames, "frames"):
        eyes = _Eyes(source, finder, readers)
        own = [stretch for stretch in stretches if stretch.video is None]
        some = islice(eyes.look(own[len(own) // 2]), REFERENCE_FRAMES)
        _, reference = upright(np.stack([found.mesh for _, _, found in some]))
        lock, stopped = threading.Lock(), threading.Event()
        with BankWriter(path, reference) as writer:

            def read(task: Sequence[Stretch]) -> None:
                for stretch in task:
                    for mouth in eyes.cut(stretch, reference):
                        with lock:
                            writer.add(mouth)
                            reporter.advance(len(writer))
                        if stopped.is_set():
                            return

            with ThreadPoolExecutor(min(num_cores(), MOST_THREADS, len(tasks)), "footage") as pool:
                try:
                    for finished in as_completed([pool.submit(read, task) for task in tasks]):
                        finished.result()
                finally:
                    stopped.set()
                    pool.shutdown(cancel_futures=True)
            writer.finish()


def _adjacent(stretches: Sequence[Stretch], most: int) -> list[list[Stretch]]:
    """Return stretches in groups that a decoder reads without leaving out a frame, of `most` frames at most."""
    groups: list[list[Stretch]] = []
    for stretch in stretches:
        fits = groups and stretch.frames[1] - groups[-1][0].frames[0] <= most
        if fits and stretch.frames[0] == groups[-1][-1].frames[1]:
            groups[-1].append(stretch)
        else:
            groups.append([stretch])
    return groups


class _Eyes:
    """What the threads that read footage look with: each has a decoder and a mesh network of its own."""

    def __init__(self, source: SourceVideo, finder: FaceFinder, readers: ExitStack) -> None:
        """readers: closes the decoders."""
        self._source, self._finder, self._readers = source, finder, readers
        self._own = threading.local()
        self._lock = threading.Lock()

    def look(self, stretch: Stretch) -> Iterator[tuple[int, VideoFrame, FoundMesh]]:
        """Yield the frames of a stretch with the mesh of its face."""
        _, mesher = self._networks()
        return follow(self._reader(stretch.video).read(range(*stretch.frames)), stretch.path, mesher)

    def cut(self, stretch: Stretch, reference: Points) -> Iterator[CutMouth]:
        """Yield the mouths of a stretch."""
        cutter = MouthCutter(self._networks()[0], reference)
        for each in self.look(stretch):
            if (mouth := cutter.cut(*each)) is not None:
                yield mouth

    def _networks(self) -> tuple[PictureConverter, FaceMesher]:
        """Return the thread's own; conformed frames are turned as the job's are."""
        networks: tuple[PictureConverter, FaceMesher] | None = getattr(self._own, "networks", None)
        if networks is None:
            converter = PictureConverter(self._source.video.orientation)
            mesher = self._finder.build_mesher(converter)
            assert mesher is not None
            networks = self._own.networks = converter, mesher
        return networks

    def _reader(self, video: ConformedVideo | None) -> FrameReader | ConformedReader:
        """Return the thread's reader of a video; that of the video before is closed."""
        if not hasattr(self._own, "files"):
            with self._lock:
                self._own.files = self._readers.enter_context(ExitStack())
            self._own.readers = {}
        readers: dict[ConformedVideo | None, FrameReader | ConformedReader] = self._own.readers
        if video not in readers:
            self._own.files.close()
            readers.clear()
            file = self._own.files.enter_context(FrameReader(video.source if video else self._source, num_threads=1))
            readers[video] = ConformedReader(file, video) if video else file
        return readers[video]
