"""Feed broken job files, videos, dubs and weights to everything that comes before the work, and see what it says.

    python -m benchmarks.fuzz --seconds 600 --seed 0

Every case must end well or with a LipstitchError, within 20 s. Anything else is a finding: it is printed, and its case
is kept under build/fuzz/findings/. The exit code is 1 if there is one. Cases are numbered, and depend on the seed and
on their number alone; `--only NUMBER` does a single one. They are done in processes of their own, because a library
that crashes or hangs takes its process along.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.fuzz_cases import ROOT, SCALARS, SNIPPETS, break_archive, break_bytes, break_job, make_stock
from lipstitch.job_file.config import JobConfig, load_job
from lipstitch.opened import open_job
from lipstitch.progress import Silent
from media.audio.reader import read_samples
from media.base.errors import LipstitchError
from media.packets.truncation import check_complete
from media.probe import probe
from media.reader import FrameReader
from renderer.networks.base import load_network
from segmenter.find_detector import build_detector

FOLDER = ROOT / "build" / "fuzz"
LIMIT_SECONDS = 20.0
"""A case that takes longer hangs."""
MAX_SENTENCE = 6000
"""Characters of an error: a path alone may have 4096."""
MAX_FRAMES, MAX_SECONDS = 100, Fraction(10)
"""What is decoded of a video and of a sound, after the plan."""
MEMORY_BYTES = 8 << 30
"""Address space of a worker, so that a case cannot take the machine down."""


# What is done with it


@dataclass(frozen=True)
class Case:
    """A broken file, and what it is given as."""

    number: int
    kind: str
    path: Path
    overrides: tuple[str, ...] = ()
    """Of a job: what --set says."""


def make_case(number: int, seed: int, stock: Path, folder: Path) -> Case:
    """Write the case of a number into a folder."""
    rng = random.Random(f"{seed}:{number}")
    kind = ("job", "video", "job", "dub", "video", "weights")[number % 6]
    if kind == "job":
        path = folder / "jobs" / "job.yaml"
        path.write_bytes(break_job(rng))
        keys = (
            "input.video",
            "ranges",
            "ranges.0",
            "x",
            "",
            "renderer",
            "renderer.batch_size",
            "a.b.c",
            "\ud800",
            "mode",
        )
        values = (*SNIPPETS, *(str(scalar)[:100] for scalar in SCALARS))
        some = range(rng.choice((0, 0, 0, 1, 2)))
        return Case(number, kind, path, tuple(f"{rng.choice(keys)}={rng.choice(values)}" for _ in some))
    if kind == "weights":
        names = ("small.safetensors", "zip.pth", "zip.pth", "legacy.pth", "legacy.pth", "whole.safetensors")
    else:
        names = tuple(sorted(path.name for path in stock.glob("?.*")))
        names = names if kind == "dub" else names[:9]
    name = rng.choice(names)
    content = (stock / name).read_bytes()
    broken = break_archive(content, rng) if name == "zip.pth" and rng.random() < 0.6 else break_bytes(content, rng)
    path = folder / name
    path.write_bytes(broken)
    return Case(number, kind, path)


def do_case(case: Case, stock: Path) -> None:
    """Give a case to the program, as far as a plan goes, and decode a little of what it lets pass."""
    if case.kind == "weights":
        with suppress(LipstitchError):
            build_detector("retinaface", case.path)
        load_network(case.path)
        return
    if case.kind == "job":
        os.chdir(case.path.parent)
        config = load_job(case.path, case.overrides)
    else:
        given = {"video": case.path} if case.kind == "video" else {"video": stock / "a.mp4", "audio": case.path}
        policy = ("video", "cut", "freeze")[case.number % 3]
        accepts = case.number % 4 > 0  # most broken files would otherwise be refused before they are looked at
        config = JobConfig.model_validate(
            {
                "input": {**given, "length_policy": policy, "accept_damaged": accepts},
                "output": case.path.with_name("out.mkv"),
            }
        )
    opened = open_job(config, Silent(), force=True)
    source = opened.video
    if case.kind == "job":
        return
    with suppress(LipstitchError):
        check_complete(source.info)
    with suppress(LipstitchError), FrameReader(source, num_threads=1) as reader:
        for _ in reader.read(range(min(len(source.table), MAX_FRAMES))):
            pass
    for spec in opened.specs:
        for piece in spec.drive_audio.main.pieces:
            audio = probe(piece.path).require_audio()
            for _ in read_samples(
                piece.path, stream_index=audio.index, rate=16000, layout="mono", stop=MAX_SECONDS, zero=piece.zero
            ):
                pass


def _serve(connection: Connection, stock: Path, log: Path) -> None:
    """Do the cases that come over a connection, and answer each with (outcome, signature, text)."""
    import safetensors.torch  # noqa: F401  (seconds that must not count as a case's)
    import torch

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
    connection.send(None)
    while True:
        case = connection.recv()
        os.ftruncate(2, 0)
        faulthandler.dump_traceback_later(LIMIT_SECONDS - 1)
        connection.send(_outcome(case, stock))
        faulthandler.cancel_dump_traceback_later()


def _outcome(case: Case, stock: Path) -> tuple[str, str, str]:
    try:
        do_case(case, stock)
    except LipstitchError as exc:
        if len(str(exc)) > MAX_SENTENCE:
            return "finding", f"{type(exc).__name__} of too many characters", str(exc)[:300]
        return "refused", "", ""
    except BaseException as exc:
        own = [frame for frame in traceback.extract_tb(exc.__traceback__) if ".venv" not in frame.filename]
        place = f"{Path(own[-1].filename).name}, {own[-1].name}"
        return "finding", f"{type(exc).__name__} in {place}", traceback.format_exc()
    return "passed", "", ""


# All of it


@dataclass
class Tally:
    """What became of the cases."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Of each (kind, outcome)."""
    findings: dict[str, list[int]] = field(default_factory=dict)
    """Numbers of the cases of each signature."""
    texts: dict[str, str] = field(default_factory=dict)
    """What the first of them showed."""
    slowest: tuple[float, int] = (0.0, -1)
    """Seconds and number of the case that took longest."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, case: Case, answer: tuple[str, str, str], seconds: float) -> None:
        """Note what became of a case; keep it if it is a finding."""
        outcome, signature, text = answer
        with self._lock:
            self.counts[case.kind, outcome] += 1
            self.slowest = max(self.slowest, (seconds, case.number))
            if outcome != "finding":
                return
            signature = f"{case.kind}: {signature}"
            self.texts.setdefault(signature, text)
            self.findings.setdefault(signature, []).append(case.number)
            if len(self.findings[signature]) <= 3:
                kept = FOLDER / "findings" / f"{case.number}-{case.path.name}"
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(case.path, kept)
                kept.with_name(f"{kept.name}.txt").write_text(f"{signature}\n{case.overrides!a}\n{text}\n", "utf-8")


class _Worker:
    """A process that does cases, replaced when it crashes or hangs."""

    def __init__(self, stock: Path, folder: Path) -> None:
        shutil.copytree(stock / "jobs", folder / "jobs")
        self._stock, self._log = stock, folder / "log.txt"
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._stock, self._log), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()

    def do(self, case: Case) -> tuple[str, str, str]:
        """Return what became of a case."""
        self._connection.send(case)
        with suppress(EOFError, ConnectionError):
            if self._connection.poll(LIMIT_SECONDS):
                answer: tuple[str, str, str] = self._connection.recv()
                return answer
        self._process.join(1)
        code = self._process.exitcode
        self.end()
        said = self._log.read_text(errors="replace")[-3000:]
        self._start()
        if code is None:
            return "finding", f"hangs for {LIMIT_SECONDS:g} s", said
        return "finding", f"the process dies ({code})", said

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def fuzz(seconds: float, seed: int, *, num_workers: int = 2, numbers: Iterator[int] | None = None) -> Tally:
    """Do cases for a while; numbers: which, all from 0 on if not given."""
    tally, numbers, lock = Tally(), numbers or itertools.count(), threading.Lock()
    with tempfile.TemporaryDirectory() as name:
        stock = Path(name, "stock")
        stock.mkdir()
        make_stock(stock)
        folders = [Path(name, f"worker{index}") for index in range(num_workers)]
        stop = time.monotonic() + seconds

        def work(folder: Path) -> None:
            folder.mkdir()
            worker = _Worker(stock, folder)
            try:
                while time.monotonic() < stop:
                    with lock:
                        number = next(numbers, None)
                    if number is None:
                        return
                    case = make_case(number, seed, stock, folder)
                    start = time.monotonic()
                    tally.add(case, worker.do(case), time.monotonic() - start)
            finally:
                worker.end()

        _all_at_once([lambda folder=folder: work(folder) for folder in folders])
    return tally


def _all_at_once(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> int:
    """Print the counts and the findings; return the exit code."""
    parser = argparse.ArgumentParser(description="Feed broken files to the program.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", type=int, help="the number of a single case")
    arguments = parser.parse_args()
    numbers = None if arguments.only is None else iter([arguments.only])
    workers = 1 if numbers else arguments.workers
    tally = fuzz(arguments.seconds, arguments.seed, num_workers=workers, numbers=numbers)
    print(f"{'kind':8} {'outcome':8} {'cases':>7}")
    for (kind, outcome), count in sorted(tally.counts.items()):
        print(f"{kind:8} {outcome:8} {count:>7}")
    print(f"{tally.counts.total()} cases; the slowest, {tally.slowest[1]}, took {tally.slowest[0]:.1f} s")
    for signature, cases in tally.findings.items():
        print(f"\n{signature} ({len(cases)}: {' '.join(map(str, cases[:5]))})\n{tally.texts[signature]}")
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
