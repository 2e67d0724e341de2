"""What the fuzzer breaks, and how: bytes, archives and trees of values."""

from __future__ import annotations

import io
import random
import shutil
import zipfile
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml

from media.orientation import Orientation
from tests.support.synthetic import Sound, click_track, make_video

SCALARS: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 0.5, -0.0, 1e308, -1e308, 1e-320, float("inf"), float("nan"), 10**20, 10**400),
    *(
        "",
        " ",
        "~",
        "~nosuchuser",
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
ROOT = Path(__file__).resolve().parent.parent
HEAD_BYTES = 4096


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
