"""sync(): a whole job by one call, for other programs.

It may be called from any thread, again and again, and from several threads at once as long as their outputs differ.
What it finishes is kept beside the output, so that a call that was stopped goes on where it was.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipstitch.job import run_job
from lipstitch.job_file.config import build_job
from lipstitch.report.report import Report

LOG = logging.getLogger("lipstitch")
PathLike = str | os.PathLike[str]
TimeLike = float | str
"""Seconds since the first frame, or text: [hh:]mm:ss[.mmm]."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage of a job is."""

    stage: str
    """scan, render, sound, assemble ..."""
    done: int
    total: int
    """Units of the stage; 0 if their number is unknown."""
    unit: str
    """What is counted: frames, clips ..."""
    seconds: float
    """Since the stage began."""


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a job has come to."""

    reports: tuple[Report, ...]
    """Of each output, in order: one, or in mode extract one a range."""
    warnings: tuple[str, ...]
    """What the user should know or act on."""

    @property
    def report(self) -> Report:
        """The report of the only output, or of the first."""
        return self.reports[0]

    @property
    def num_fell_back(self) -> int:
        """Clips that could not be rendered, and show the original frames."""
        return sum(report.num_clips.get("fell_back", 0) for report in self.reports)


def sync(
    video: PathLike,
    audio: PathLike | None,
    output: PathLike,
    *,
    ranges: Sequence[tuple[TimeLike, TimeLike]] = (),
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
    replace: bool = False,
) -> SyncResult:
    """Re-sync the lips of a video with its dub, write the output, and return what was done.

    video, audio, output: any file that FFmpeg reads, the dub (None: the video's own sound), and the file to write,
    whose ending chooses the container. Relative paths start at the working folder.
    ranges: (start, end) of the stretches to re-sync, end excluded; none: the whole video.
    settings: further keys of a job file (docs/job-file.md), by dotted key path: {"renderer.method": "network"}. Keys
    that the other arguments set (input.video, input.audio, output, ranges) must not be among them.
    progress: called from the calling thread as a stage goes on, at least about once a second while clips are rendered.
    Whatever it raises ends the job and comes out of this function: raise `Cancelled` to call the job off. Clips that
    are being rendered are finished first, and kept.
    replace: whether an existing output may be replaced.

    Raises LipstitchError; each kind of it has a class of its own, and every message is one sentence for the user.
    """
    content: dict[str, Any] = {
        "input": {"video": os.fspath(video), **({"audio": os.fspath(audio)} if audio is not None else {})},
        "output": os.fspath(output),
        **({"ranges": [{"start": start, "end": end} for start, end in ranges]} if ranges else {}),
    }
    reporter = _Listener(progress)
    from renderer.engine import own_threads  # imports torch, which takes seconds

    with own_threads():
        result = run_job(build_job(content, settings or {}, folder=Path.cwd()), reporter, force=replace)
    return SyncResult(result.reports, tuple(reporter.warnings))


class _Listener:
    """Passes progress on to a callback, and words to the log."""

    def __init__(self, progress: Callable[[Progress], None] | None) -> None:
        self.warnings: list[str] = []
        self._progress = progress
        self._stage, self._total, self._unit, self._start = "", 0, "", 0.0

    def begin(self, stage: str, total: int, unit: str) -> None:
        self._stage, self._total, self._unit, self._start = stage, total, unit, time.monotonic()
        self.advance(0)

    def advance(self, done: int, note: str = "") -> None:
        if self._progress:
            seconds = time.monotonic() - self._start
            self._progress(Progress(self._stage, done, self._total, self._unit, seconds))

    def end(self) -> None:
        pass

    def info(self, text: str) -> None:
        LOG.info(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)
        LOG.warning(text)
