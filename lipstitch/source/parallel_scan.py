"""Scan a video on all cores: parts of it side by side, each thread with a decoder and a detector of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial

from lipstitch.progress import Reporter, Timings, stage
from lipstitch.source.weights import FaceFinder
from media.base.machine import num_cores
from media.intervals import Interval
from media.picture import PictureConverter
from media.reader import FrameReader
from media.source_video import SourceVideo
from segmenter.scan import Scan, ScanSettings
from segmenter.scanner import FaceScanner, ScanPart, join_scans, plan_scan

MOST_THREADS = 16
"""Each holds some frames and a decoder; more than this many find no more work in the memory's bandwidth."""


def scan_in_parts(
    source: SourceVideo,
    intervals: Sequence[Interval],
    finder: FaceFinder,
    settings: ScanSettings,
    reporter: Reporter,
    timings: Timings,
) -> Scan:
    """Return the scan of all frames of the intervals; it does not depend on the number of cores."""
    table, video = source.table, source.video
    embedder = finder.load_embedder()  # one for all threads
    parts = plan_scan(table, intervals)
    scans: dict[int, Scan] = {}
    waiting = iter(enumerate(parts))
    num_done = 0
    lock, stopped = threading.Lock(), threading.Event()

    def take() -> tuple[int, ScanPart] | None:
        with lock:
            return None if stopped.is_set() else next(waiting, None)

    def count(frame: int, part: ScanPart) -> None:
        nonlocal num_done
        if stopped.is_set():
            raise InterruptedError
        with lock:
            num_done += frame <= part.stop - part.start  # those behind it are counted by the next part
            reporter.advance(num_done)

    def work() -> None:
        detector = finder.build_detector()
        converter = PictureConverter(video.orientation)
        mesher = finder.build_mesher(converter)
        scanner = FaceScanner(table, video.upright_size, detector, converter, settings, embedder, mesher)
        with FrameReader(source, num_threads=1, roughly=True) as reader:
            while taken := take():
                number, part = taken
                frames = reader.read(range(part.start, part.read_stop))
                scans[number] = finder.tools.scan_faces(
                    frames, scanner, part=part, on_progress=partial(count, part=part)
                )

    num_threads = min(num_cores(), MOST_THREADS, len(parts))
    num_frames = sum(part.stop - part.start for part in parts)
    with (
        stage(reporter, "scan", num_frames, "frames", timings),
        ThreadPoolExecutor(max(num_threads, 1), "scan") as pool,
    ):
        try:
            for finished in as_completed([pool.submit(work) for _ in range(num_threads)]):
                finished.result()
        finally:
            stopped.set()  # after a failure, the other threads end at their next frame
    return join_scans([scans[number] for number in range(len(parts))], finder.detector, video.upright_size)
