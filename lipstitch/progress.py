"""Show how a run is going: a live line, plain lines, JSON lines, or nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PLAIN_LINE_SECONDS = 5.0
"""How often a stage reports when stdout is not a terminal."""
LOG_COLUMNS = 160
"""Width of a table where stdout is not a terminal."""
JSON_LINE_SECONDS = 0.2
"""How often a stage reports in JSON: some stages advance thousands of times a second."""


class Reporter(Protocol):
    """Is told what a job is doing. May ignore everything except warnings."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Note that a stage begins. total: its number of units, 0 if unknown."""

    def advance(self, done: int, note: str = "") -> None:
        """Note that `done` units of the stage are finished."""

    def end(self) -> None:
        """Note that the stage has ended."""

    def info(self, text: str) -> None:
        """Report something that the user may want to know."""

    def warning(self, text: str) -> None:
        """Report something that the user should know or act on."""


Status = Literal["done", "fell_back", "finished_before", "failed"]
STATUS_WORDS: dict[Status, str] = {
    "done": "done",
    "fell_back": "done, some clips fell back",
    "finished_before": "finished before",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What came of one of many jobs."""

    job: str
    """Where it is listed: a line, or a file."""
    output: str
    """What it writes; empty where that is not known."""
    status: Status
    exit_code: int
    """That of a run of this job alone."""
    seconds: float
    text: str = ""
    """What failed, in one sentence."""


class JobsReporter(Reporter, Protocol):
    """Is told what many jobs are doing, one after another."""

    def begin_job(self, number: int, total: int, job: str, output: str) -> None:
        """Note that a job begins. number: from 1 on."""

    def end_job(self, outcome: JobOutcome) -> None:
        """Note what has come of it."""

    def end_jobs(self, outcomes: Sequence[JobOutcome], exit_code: int) -> None:
        """Note that all jobs have ended."""


class Silent:
    """Prints only warnings and errors, on stderr."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Ignore it."""

    def advance(self, done: int, note: str = "") -> None:
        """Ignore it."""

    def end(self) -> None:
        """Ignore it."""

    def info(self, text: str) -> None:
        """Ignore it."""

    def warning(self, text: str) -> None:
        """Print it."""
        print(f"Warning: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def begin_job(self, number: int, total: int, job: str, output: str) -> None:
        """Ignore it."""

    def end_job(self, outcome: JobOutcome) -> None:
        """Print what failed."""
        if outcome.text:
            print(f"Error: {outcome.job}: {outcome.text}", file=sys.stderr, flush=True)  # noqa: T201

    def end_jobs(self, outcomes: Sequence[JobOutcome], exit_code: int) -> None:
        """Ignore it."""


class JsonLines(Silent):
    """Prints one JSON object per line on stdout, for programs; warnings on stderr."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        """Write to a stream; None: stdout."""
        self._stream = stream or sys.stdout
        self._stage, self._total, self._unit = "", 0, ""
        self._start = self._last = 0.0

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Write {"event": "begin", stage, total, unit}."""
        self._stage, self._total, self._unit = stage, total, unit
        self._start, self._last = time.monotonic(), 0.0
        self._write(event="begin", stage=stage, total=total, unit=unit)

    def advance(self, done: int, note: str = "") -> None:
        """Write {"event": "advance", stage, done, total, seconds, eta_seconds, note}, a few times a second."""
        now = time.monotonic()
        if now - self._last < JSON_LINE_SECONDS and done != self._total:
            return
        self._last = now
        seconds = now - self._start
        eta = seconds * (self._total - done) / done if done and self._total else None
        self._write(
            event="advance",
            stage=self._stage,
            done=done,
            total=self._total,
            seconds=round(seconds, 3),
            eta_seconds=None if eta is None else round(eta, 1),
            note=note,
        )

    def end(self) -> None:
        """Write {"event": "end", stage, seconds}."""
        self._write(event="end", stage=self._stage, seconds=round(time.monotonic() - self._start, 3))

    def info(self, text: str) -> None:
        """Write {"event": "say", text}. Programs read this name, so it stays."""
        self._write(event="say", text=text)

    def begin_job(self, number: int, total: int, job: str, output: str) -> None:
        """Write {"event": "job", number, total, job, output}."""
        self._write(event="job", number=number, total=total, job=job, output=output)

    def end_job(self, outcome: JobOutcome) -> None:
        """Write {"event": "job_end", job, output, status, exit_code, seconds, text}."""
        super().end_job(outcome)
        self._write(event="job_end", **asdict(outcome))

    def end_jobs(self, outcomes: Sequence[JobOutcome], exit_code: int) -> None:
        """Write {"event": "jobs_end", exit_code} with the number of jobs of each status."""
        counts = Counter(outcome.status for outcome in outcomes)
        self._write(event="jobs_end", exit_code=exit_code, **{status: counts[status] for status in STATUS_WORDS})

    def _write(self, **event: Any) -> None:
        print(json.dumps(event), file=self._stream, flush=True)


class PlainLines(Silent):
    """Prints a line every few seconds, for logs."""

    def __init__(self) -> None:
        self._stage, self._total, self._unit = "", 0, ""
        self._start = self._last = 0.0
        self._done = 0

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Start the clock."""
        self._stage, self._total, self._unit, self._done = stage, total, unit, 0
        self._start = self._last = time.monotonic()

    def advance(self, done: int, note: str = "") -> None:
        """Print a line if the last one is a few seconds old."""
        self._done = done
        now = time.monotonic()
        if now - self._last >= PLAIN_LINE_SECONDS:
            self._last = now
            rate = done / (now - self._start)
            left = f", {(self._total - done) / rate:.0f} s left" if rate and self._total else ""
            self.info(f"{self._stage}: {done}/{self._total} {self._unit}, {rate:.1f}/s{left} {note}".rstrip())

    def end(self) -> None:
        """Print how long the stage took."""
        self.info(f"{self._stage}: {self._done} {self._unit} in {time.monotonic() - self._start:.1f} s")

    def info(self, text: str) -> None:
        """Print it."""
        print(text, flush=True)  # noqa: T201

    def begin_job(self, number: int, total: int, job: str, output: str) -> None:
        """Print which one."""
        self.info(_heading(number, total, job, output))

    def end_jobs(self, outcomes: Sequence[JobOutcome], exit_code: int) -> None:
        """Print a table of them."""
        Console(width=LOG_COLUMNS).print(_table_of(outcomes))


class LiveLine(Silent):
    """Draws one live line per stage, with rich."""

    def __init__(self) -> None:
        self._console = Console()
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._start = 0.0

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Start a new line."""
        self._start = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
        )
        self._task = self._progress.add_task(stage, total=total, rate="", note="")
        self._progress.start()

    def advance(self, done: int, note: str = "") -> None:
        """Move the line."""
        if self._progress:
            rate = done / max(time.monotonic() - self._start, 1e-3)
            self._progress.update(self._task, completed=done, rate=f"{rate:.1f}/s", note=note)

    def end(self) -> None:
        """Leave the line as it is."""
        if self._progress:
            self._progress.stop()
            self._progress = None

    def info(self, text: str) -> None:
        """Print it above the line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin_job(self, number: int, total: int, job: str, output: str) -> None:
        """Print which one."""
        self.info(_heading(number, total, job, output))

    def end_jobs(self, outcomes: Sequence[JobOutcome], exit_code: int) -> None:
        """Print a table of them."""
        self._console.print(_table_of(outcomes))


def _heading(number: int, total: int, job: str, output: str) -> str:
    return f"Job {number} of {total}, {job}{f': {output}' if output else ''}"


def _table_of(outcomes: Sequence[JobOutcome]) -> Table:
    table = Table(title="Jobs", title_justify="left")
    for name in ("job", "output", "outcome"):
        table.add_column(name, overflow="fold")
    table.add_column("time", justify="right")
    for outcome in outcomes:
        said = f"{STATUS_WORDS[outcome.status]}: {outcome.text}" if outcome.text else STATUS_WORDS[outcome.status]
        cells = (outcome.job, _seen_from_here(outcome.output), said, f"{outcome.seconds:.1f} s")
        table.add_row(*(Text(cell) for cell in cells))  # not markup: names of files may hold brackets
    return table


def _seen_from_here(path: str) -> str:
    """Return a path without the working folder, if it lies in there."""
    return path.removeprefix(f"{os.getcwd()}{os.sep}")


class Timings:
    """Wall time of a job's stages, in seconds by name; stages of one name add up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


@contextmanager
def stage(reporter: Reporter, name: str, total: int, unit: str, timings: Timings | None = None) -> Iterator[Reporter]:
    """Report the begin and the end of a stage, also when it fails. timings: where its time is added."""
    reporter.begin(name, total, unit)
    try:
        with timings.measure(name) if timings else nullcontext():
            yield reporter
    finally:
        reporter.end()


def choose_reporter(*, quiet: bool, progress: Literal["auto", "json"]) -> JobsReporter:
    """Return the reporter for these options and this terminal; quiet overrides progress."""
    if quiet:
        return Silent()
    if progress == "json":
        return JsonLines()
    return LiveLine() if sys.stdout.isatty() else PlainLines()
