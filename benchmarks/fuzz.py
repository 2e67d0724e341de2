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
import io
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
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml

from base.errors import LipstitchError
from lipstitch.job import open_job
from lipstitch.job_file.config import JobConfig, load_job
from lipstitch.progress import Silent
from media.audio.reader import read_samples
from media.orientation import Orientation
from media.packets.truncation import check_complete
from media.probe import probe
from media.reader import FrameReader
from renderer.networks.base import load_network
from segmenter.find_detector import build_detector
from tests.support.synthetic import Sound, click_track, make_video

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "fuzz"
LIMIT_SECONDS = 20.0
"""A case that takes longer hangs."""
HEAD_BYTES = 4096
MAX_SENTENCE = 6000
"""Characters of an error: a path alone may have 4096."""
MAX_FRAMES, MAX_SECONDS = 100, Fraction(10)
"""What is decoded of a video and of a sound, after the plan."""
MEMORY_BYTES = 8 << 30
"""Address space of a worker, so that a case cannot take the machine down."""

# What is broken


def make_stock(folder: Path) -> None:
    """Write small good files: what job files name, one video a container, and one file a kind of weights."""
    tone, opus = [Sound()], [Sound("libopus")]
    kinds: dict[str, dict[str, Any]] = {
        "a.mp4": {"sounds": tone},
        "b.mkv": {"sounds": tone, "open_gop": True},
        "c.webm": {"codec": "libvpx-vp9", "sounds": opus},
        "d.ts": {"sounds": tone},
        "e.avi": {"codec": "mpeg4", "b_frames": 0, "sounds": [Sound("mp3")]},
        "f.flv": {"sounds": [Sound(rate=44100)]},
        "g.mpg": {"codec": "mpeg2video", "time_base": Fraction(1, 25), "sounds": [Sound("mp2")]},
        "h.mov": {"codec": "libx265", "sounds": [Sound("pcm_s16le")], "orientation": Orientation(90)},
        "i.mp4": {"start": -300, "sounds": tone},
    }
    for name, options in kinds.items():
        make_video(folder / name, 24, size=(96, 64), **options)
    for name, codec in (("j.wav", "pcm_s16le"), ("k.m4a", "aac"), ("l.mp3", "mp3"), ("m.flac", "flac")):
        _make_sound(folder / name, codec)
    jobs = folder / "jobs"
    jobs.mkdir()
    for name in ("talk.mp4", "talk.hi.mp4"):
        shutil.copy(folder / "a.mp4", jobs / name)
    for name in ("talk.hi.wav", "vocals.wav", "line7.wav", "lines8to12.wav"):
        shutil.copy(folder / "j.wav", jobs / name)
    _make_weights(folder)


def _make_sound(path: Path, codec: str) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16000, layout="stereo")
        assert isinstance(stream, av.AudioStream)
        samples = np.rint(click_track(16000, 16000).T.reshape(1, -1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _make_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    weights = {f"inp.0.{name}": torch.arange(8.0) for name in ("c.weight", "c.bias", "n.weight")}
    save_file(weights, folder / "small.safetensors")
    torch.save({"state_dict": weights, "global_step": 3}, folder / "zip.pth")
    torch.save({"state_dict": weights}, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    shutil.copy(ROOT / "checkpoints" / "compact.safetensors", folder / "whole.safetensors")


# How it is broken

WORDS = [b"\0\0\0\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\1\0\0\0", b"\0\xff\xff\xff"]


def break_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return a file's content with a few bytes flipped, zeroed, inserted, removed, or with its end cut off."""
    broken = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 8, 32))):
        length = max(len(broken), 1)
        head = min(HEAD_BYTES, length)
        at = rng.choice((rng.randrange(head), rng.randrange(head), length - 1 - rng.randrange(head)))
        run = rng.choice((1, 2, 4, 8, 64, 500))
        how = rng.randrange(8)
        if how == 0:
            broken[at : at + 1] = bytes([broken[at] ^ 1 << rng.randrange(8)]) if broken else b"\0"
        elif how == 1:
            broken[at : at + 1] = bytes([rng.randrange(256)])
        elif how == 2:
            broken[at : at + run] = bytes(run)
        elif how == 3:
            broken[at:at] = rng.randbytes(run)
        elif how == 4:
            del broken[at : at + run]
        elif how == 5:
            broken[at : at + 4] = rng.choice(WORDS)
        elif how == 6:
            broken[at:at] = broken[at : at + run]
        elif rng.random() < 0.2:
            del broken[at:]
    return bytes(broken)


def break_archive(content: bytes, rng: random.Random) -> bytes:
    """Return a zip archive with one member broken and its check sum right, so that the member is looked at."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as archive:
        chosen = rng.choice([name for name in source.namelist() if name.endswith("data.pkl")] * 3 + source.namelist())
        for name in source.namelist():
            member = source.read(name)
            archive.writestr(name, break_bytes(member, rng) if name == chosen else member)
    return target.getvalue()


SCALARS: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 0.5, -0.0, 1e308, -1e308, 1e-320, float("inf"), float("nan"), 10**20, 10**400),
    *(
        "",
        " ",
        "~",
        "~nobody",
        "~root/x.mp4",
        ".",
        "..",
        "/",
        "../../x.mp4",
        "a" * 300,
        "a" * 5000 + ".mp4",
        "a\0b.mp4",
    ),
    *("talk.mp4", "./talk.mp4", "talk.mp4/x.mp4", "-x.mp4", "file:x.mp4", "concat:a|b", "http://x/y.mp4", "%s%n.mp4"),
    *("a\nb.mp4", "\x1b[31m.mp4", "ü\u202e.mp4", "\ud800.mp4", "\udc80.mp4", "\ufeff", "😀.mkv", "pipe:0", "/dev/zero"),
    *("1:02", "1:2:3:4", "00:00:00.2", "0.1", "٣", "1_000", "1e3", "0x10", "²", "9" * 4000, "9" * 5000, "NaN", "inf"),
    *(
        "auto",
        "patch",
        "extract",
        "compact",
        "wav2lip",
        "../compact",
        "compact.safetensors",
        "retinaface",
        "freeze",
        "yes",
    ),
    *([], {}, [[]], [{}], {"start": 0, "end": 0.5}, [{"start": 0, "end": 0.5}], {1: 2}, {None: 1}, {"a": {"b": {}}}),
]
SNIPPETS = [
    *(
        "&a ",
        "*a",
        "<<: *a\n",
        "!!python/object/apply:os.system [id]\n",
        "!!binary aGk=",
        "!!int 1x",
        "!!float x",
        "? ",
    ),
    *("!!timestamp 2001-99-99", "!!set {a}", "!!omap [a: 1]", "!!null x", "!x y", "%YAML 9.9\n---\n", "---\n", "...\n"),
    *(
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "'",
        '"',
        "|\n",
        ">\n",
        "#",
        "\t",
        "\0",
        "\x07",
        "\x85",
        "\u2028",
        "\ufffe",
        "\r",
    ),
    *(
        '"\\uD800"',
        '"\\x00"',
        "0x" + "f" * 6000,
        "1:" * 3000 + "1",
        "9" * 6000,
        "1e999999",
        ".inf",
        "2001-02-30",
        "=",
        "~",
    ),
    *("[" * 500, "{a: " * 500, "- " * 800, "x: " * 50),
]


def break_tree(value: Any, rng: random.Random) -> Any:
    """Return a job's content with one place changed: a value, a key, an entry more or less, or nesting."""
    if isinstance(value, dict | list) and value and rng.random() < 0.8:
        copied: Any = value.copy()
        key = rng.choice(list(copied)) if isinstance(copied, dict) else rng.randrange(len(copied))
        how = rng.randrange(8)
        if how == 0:
            del copied[key]
        elif how == 1 and isinstance(copied, dict):
            copied[rng.choice(["x", "", 1, "a\nb", "a" * 3000, "input", "ranges", "\ud800"])] = copied.pop(key)
        elif how == 2 and isinstance(copied, list):
            copied += [copied[key]] * rng.choice((1, 3, 2000))
        else:
            copied[key] = break_tree(copied[key], rng)
        return copied
    if rng.random() < 0.1:
        for _ in range(rng.choice((1, 5, 90))):
            value = rng.choice(([value], {"a": value}))
        return value
    return rng.choice(SCALARS)


def break_text(text: str, rng: random.Random) -> bytes:
    """Return a job file with lines doubled, left out or moved, and odd pieces put in; or with broken bytes."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        how = rng.randrange(5)
        if how == 0:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif how == 1:
            del lines[at]
        elif how == 2:
            lines[at] = "  " * rng.randrange(3) + lines[at].strip()
        elif how == 3 and ":" in lines[at]:
            lines[at] = f"{lines[at].partition(':')[0]}: {rng.choice(SNIPPETS)}"
        else:
            column = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:column] + rng.choice(SNIPPETS) + lines[at][column:]
        text = "\n".join(lines)
    content = text.encode(errors="surrogatepass")
    return break_bytes(content, rng) if rng.random() < 0.2 else content


FITTING = {
    "input": {"video": "talk.mp4", "audio": "talk.hi.wav", "drive_audio": "vocals.wav", "length_policy": "cut"},
    "output": "out.mp4",
    "mode": "extract",
    "ranges": [{"name": "a", "start": 0, "end": 0.4}, {"start": "0:00.4", "end": 0.9, "audio": "line7.wav"}],
    "extract": {"join": False},
    "segmenter": {"detector": "cascade", "samples_per_second": 5, "onset": 0.6, "offset": 0.4},
    "renderer": {"checkpoint": "compact", "pads": [0, 10, 0, 0], "batch_size": 4, "device": "cpu"},
    "stitcher": {"audio": {"codec": "auto", "language": "hin"}, "video": {"crf": 13}, "crossfade_seconds": 0.02},
    "execution": {"backend": "serial", "workers": 1, "workspace": "work", "keep": "none"},
}
"""A job with nearly all keys that fits the files beside it; those of configs/ are of longer videos."""


def break_job(rng: random.Random) -> bytes:
    """Return the content of a broken job file."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "configs").glob("*.yaml"))]
    text = rng.choice([*texts, *[yaml.safe_dump(FITTING)] * len(texts)])
    if rng.random() < 0.4:
        return break_text(text, rng)
    content = yaml.safe_load(text)
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = break_tree(content, rng)
    with suppress(yaml.YAMLError, UnicodeError, ValueError):  # what YAML cannot even write
        return yaml.safe_dump(content, allow_unicode=rng.random() < 0.5).encode()
    return break_text(text, rng)


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
