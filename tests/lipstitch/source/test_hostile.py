"""Unexpected names and files: odd ones must work, broken and hostile ones end in one sentence.

What test_cli.py asserts already is not repeated here. Jobs run in this process, through the command line's own code.
"""

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from benchmarks import fuzz
from lipstitch.cli import app
from lipstitch.commands import exits
from tests.support.commands import ROOT
from tests.support.jobs import NoSignals, load_report, write_job
from tests.support.synthetic import Sound, make_video, stamps

DONE, CONFIG, MEDIA, CHECKPOINT, WORKSPACE = 0, 2, 3, 4, 7
CASCADE = {"detector": "cascade"}
SERIAL = {"backend": "serial", "keep": "none"}
NUM_FRAMES = 12
NUM_FUZZED = 60


@pytest.fixture(autouse=True)
def _no_signals(monkeypatch):
    monkeypatch.setattr(exits, "StopSignals", NoSignals)


def _run(job, *arguments):
    """Run the command line on a job file and return what came of it."""
    result = CliRunner().invoke(app, ["--config", str(job), *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def _children():
    return {int(name) for path in Path("/proc/self/task").glob("*/children") for name in path.read_text().split()}


def _listing(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Return a folder of good files and bad ones, which no test changes."""
    folder = tmp_path_factory.mktemp("stock")
    talk = make_video(folder / "talk.mp4", NUM_FRAMES, size=(96, 64), sounds=[Sound()])
    matroska = make_video(folder / "talk.mkv", NUM_FRAMES, size=(96, 64), sounds=[Sound()])
    soundfile.write(folder / "dub.wav", 0.5 * np.sin(np.arange(7680) / 9), 16000)
    (folder / "cut.mkv").write_bytes(matroska.read_bytes()[:-900])
    (folder / "cut.wav").write_bytes((folder / "dub.wav").read_bytes()[:-2000])
    (folder / "text.wav").write_text("this is not a sound\n" * 100)
    (folder / "empty.wav").touch()
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "pipe.wav")
    for name in ("dangling.mp4", "dangling.wav"):
        (folder / name).symlink_to("nothing")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    Image.new("RGB", (96, 64)).save(folder / "picture.png", "PNG")
    Image.effect_noise((96, 64), 50).save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:1000])
    if shutil.which("ffmpeg"):
        scheme = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "76" * 16, "-encryption_kid", "a7" * 16]
        target = folder / "locked.mp4"
        subprocess.run(["ffmpeg", "-v", "error", "-i", talk, "-c", "copy", *scheme, target], check=True)
    return folder


@pytest.fixture
def refused(stock, tmp_path):
    """Return a function that runs a job, checks that it is refused as it should be, and gives the sentence.

    The job is the smallest that works, with keys replaced; relative names are files in stock.
    """

    def run(exit_code, *arguments, video="talk.mp4", audio=None, text=None, job=None, given=None, **keys):
        if text is None:
            files = {"video": stock / video, **({"audio": stock / audio} if audio else {}), **(given or {})}
            keys = {"input": files, "output": "out.mp4", "segmenter": CASCADE, "execution": SERIAL, **keys}
            job = write_job(tmp_path, **keys)
        else:
            job = tmp_path / "job.yaml"
            job.write_bytes(text if isinstance(text, bytes) else text.encode())
        before, children = _listing(tmp_path), _children()
        result = _run(job, *arguments)
        assert result.exit_code == exit_code, result.output
        assert re.fullmatch(r"Error: [^\x00-\x1f]+\.\n", result.stderr), result.stderr
        assert len(result.stderr) < 2500
        assert result.stdout == ""
        assert _listing(tmp_path) == before
        assert _children() <= children
        return result.stderr

    return run


# Names that must work

NAMES = [
    " with  spaces ",
    "qu'o\"t`e$HOME",
    "100%d%s%%",
    "a:b",
    "file:concat:a|b",
    "-i",
    "new\nline\ttab",
    "ünï 日本語 😀 \u202e",
    "[0-9]*?{a,b}",
    "~",
    "#&;<>\\",
    os.fsdecode(b"latin-\xfc"),
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_odd_names_of_folder_video_dub_and_output_work(stock, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(stock / "talk.mp4", folder / f"{name}.mp4")
    shutil.copy(stock / "dub.wav", folder / f"{name}.wav")
    job = folder / f"{name}.yaml"
    plain = write_job(
        tmp_path,
        input={"video": f"./{name}.mp4", "audio": f"./{name}.wav"},
        output=f"{name}.out.mp4",
        segmenter=CASCADE,
        execution=SERIAL,
    )
    plain.rename(job)
    result = _run(job, "--quiet")
    assert (result.exit_code, result.output) == (DONE, "")
    output = folder / f"{name}.out.mp4"
    assert _listing(tmp_path) == sorted([name, *(f"{name}/{path.name}" for path in folder.iterdir())])
    assert {path.name for path in folder.iterdir()} == {
        *(f"{name}{ending}" for ending in (".mp4", ".wav", ".yaml", ".out.mp4")),
        *(f"{name}.out.mp4.report{ending}" for ending in (".html", ".json")),
    }
    assert stamps(output.rename(tmp_path / "seen.mp4")) == list(range(NUM_FRAMES))
    assert load_report(output)["output"]["num_frames"] == NUM_FRAMES


def test_what_is_said_of_a_name_that_is_not_utf8_can_be_printed(stock, tmp_path):
    name = os.fsdecode(b"latin-\xfc")
    folder = tmp_path / name
    folder.mkdir()
    keys = {"input": {"video": stock / "talk.mp4"}, "segmenter": CASCADE, "execution": SERIAL}
    job = write_job(folder, output="out.mp4", **keys)
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}  # as in every locale but C
    command = [sys.executable, ROOT / "main.py", "--config", job, "--plan"]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (DONE, b"")
    assert b"latin-" in done.stdout


def test_links_are_followed_and_stay(stock, tmp_path):
    (tmp_path / "talk.mp4").symlink_to(stock / "talk.mp4")
    (tmp_path / "link.wav").symlink_to("dub.wav")
    os.link(shutil.copy(stock / "dub.wav", tmp_path / "other.wav"), tmp_path / "dub.wav")
    given = {"video": "talk.mp4", "audio": "link.wav"}
    result = _run(write_job(tmp_path, input=given, output="out.mp4", segmenter=CASCADE, execution=SERIAL), "--quiet")
    assert (result.exit_code, result.output) == (DONE, "")
    assert (tmp_path / "talk.mp4").is_symlink()
    assert stamps(tmp_path / "out.mp4") == list(range(NUM_FRAMES))


def test_an_output_that_is_a_dangling_link_is_replaced_and_not_followed(stock, tmp_path):
    (tmp_path / "out.mp4").symlink_to("elsewhere.mp4")
    given = {"video": stock / "talk.mp4", "audio": stock / "dub.wav"}
    job = write_job(tmp_path, input=given, output="out.mp4", segmenter=CASCADE, execution=SERIAL)
    assert _run(job, "--quiet").exit_code == DONE
    assert not (tmp_path / "out.mp4").is_symlink()
    assert not (tmp_path / "elsewhere.mp4").exists()


# Media that must be refused


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        ("dangling.mp4", "dangling.mp4: no such file"),
        ("loop.mp4", "loop.mp4: cannot be read"),
        ("cut.png", "cut.png: the picture is damaged"),
        ("talk.mp4/talk.mp4", "no such file"),
        ("new\nline.mp4", "no such file"),
        ("\x1b[2J.mp4", "no such file"),
    ],
)
def test_a_video_that_cannot_be_used(refused, video, expected):
    assert expected in refused(MEDIA, video=video)


def test_an_encrypted_video(refused, stock):
    if not (stock / "locked.mp4").exists():
        pytest.skip("needs ffmpeg to make an encrypted file")
    assert "encrypted" in refused(MEDIA, video="locked.mp4")


@pytest.mark.parametrize(
    ("audio", "expected"),
    [
        ("dangling.wav", "dangling.wav: no such file"),
        ("empty.wav", "empty.wav: the file is empty"),
        ("folder.wav", "folder.wav: this is a folder"),
        ("pipe.wav", "pipe.wav: not a regular file"),
        ("text.wav", "text.wav: cannot be read as a media file"),
        ("picture.png", "this is a picture"),
    ],
)
def test_a_dub_that_cannot_be_used(refused, audio, expected):
    assert expected in refused(MEDIA, audio=audio)


@pytest.mark.parametrize("files", [{"video": "cut.mkv"}, {"audio": "cut.wav"}], ids=str)
def test_what_is_cut_off_is_refused_unless_the_job_accepts_it(refused, stock, tmp_path, files):
    said = refused(MEDIA, **files)
    assert "is cut off" in said
    assert "input.accept_damaged: true" in said
    result = _run(tmp_path / "job.yaml", "--plan", "--quiet", "--set", "input.accept_damaged=true")
    assert (result.exit_code, result.output) == (DONE, "")


def test_times_that_make_a_recording_of_weeks(refused, tmp_path):
    times = [*range(0, 480, 40), 60 * 24 * 3600 * 1000]
    video = make_video(
        tmp_path / "weeks.mkv", 13, size=(96, 64), pts=times, time_base=fuzz.Fraction(1, 1000), sounds=[], b_frames=0
    )
    assert "would last 1440 hours, so they are damaged" in refused(MEDIA, video=video, audio="dub.wav")


# Places that must be refused


def test_an_output_folder_that_is_read_only(refused, tmp_path):
    (tmp_path / "folder").mkdir(mode=0o500)
    if os.access(tmp_path / "folder", os.W_OK):
        pytest.skip("permissions do not bind this user")
    assert "nothing can be written" in refused(CONFIG, output="folder/out.mp4")


@pytest.mark.parametrize("workspace", ["job.yaml", "job.yaml/work", "/proc/work"])
def test_a_workspace_that_cannot_be_made(refused, workspace):
    assert "cannot be written" in refused(WORKSPACE, audio="dub.wav", execution={**SERIAL, "workspace": workspace})


@pytest.mark.parametrize("name", ["../up", "a/b", "..", ".", "/tmp/x", "a\\b/c", "-x", "a\nb", "a\n", "a\0", "", "~/x"])
def test_the_name_of_a_range_stays_in_its_folder(refused, name):
    said = refused(CONFIG, mode="extract", ranges=[{"start": 0, "end": 0.2, "name": name}])
    assert "ranges.0.name" in said


def test_the_name_of_a_range_may_be_too_long_for_a_file_system(refused):
    ranges = [{"start": 0, "end": 0.2, "name": "日" * 100}]
    assert "the name is longer than" in refused(CONFIG, audio="dub.wav", mode="extract", ranges=ranges)


@pytest.mark.parametrize(
    "name", ["../compact", "./compact", "compact/../../x", "~/none.pth", "..", "compact\n", "com\0p", "c" * 300]
)
def test_a_name_of_the_registry_is_no_path(refused, name):
    is_none = "\0" in name or len(name) > 255
    refused(CONFIG if is_none else CHECKPOINT, audio="dub.wav", renderer={"checkpoint": name})


def test_links_in_a_workspace_are_removed_and_not_followed(stock, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    work = tmp_path / "work"
    work.mkdir()
    names = (f"scan-{'0' * 24}.json", f"clip-{'0' * 24}.mkv.part", "holiday.mkv")
    for name in names:
        (work / name).symlink_to(precious)
    given = {"video": stock / "talk.mp4", "audio": stock / "dub.wav"}
    execution = {**SERIAL, "workspace": "work"}
    job = write_job(tmp_path, input=given, output="out.mp4", segmenter=CASCADE, execution=execution)
    assert _run(job, "--quiet").exit_code == DONE
    assert precious.read_text() == "precious"
    assert _listing(work) == ["holiday.mkv"]


def test_a_lock_that_is_a_link_is_not_followed(refused, tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "lock").symlink_to("../precious")
    refused(WORKSPACE, audio="dub.wav", execution={**SERIAL, "workspace": "work"})
    assert (tmp_path / "precious").read_text() == "precious"


# The job file

BOMB = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOMB, "aliases are not allowed"),
        ("a: " + "[" * 5000, "this is not YAML"),
        ("a: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
        ("a: !!timestamp 2001-99-99\n", "month must be in 1..12"),
        ("a: !!timestamp now\n", "this is not YAML"),
        ("a: !!bool perhaps\n", "this is not YAML"),
        ("? [a]\n: 1\n", "line 1"),
        ("a: 9" + "9" * 9000, "this is not YAML"),
        ('"a\\nb": 1\n"a\\nb": 2\n', r"a\nb is given twice"),
        ('"x\\e[2J": 1\n', r"x\x1b[2J (now 1): unknown key"),
        ("input: {video: a.mp4}\noutput: b.mp4\nmode: " + "x" * 100_000, "mode (now 'xxx"),
        ("\n".join(f"{number}{'k' * 200}: 1" for number in range(3000)), "faults more"),
        ("input: {video: a.mp4}\noutput: b.mp4\nrenderer: {batch_size: 0x" + "f" * 6000 + "}", "very many digits"),
        ('input: {video: "\\ud800.mp4"}\noutput: b.mp4', "input.video"),
        ('input: {video: a.mp4}\noutput: "\\udbff.mp4"', "output"),
        ("input: {video: a.mp4}\noutput: b.mp4\nranges: [{start: 0, end: " + "9" * 4000 + "}]", "1000 hours"),
        ("input: {video: a.mp4}\noutput: b.mp4\nranges: [{start: 0, end: .inf}]", "ranges.0.end (now inf)"),
        (b"\xff\xfe\0\0", "not a text file"),
        (b"\0" * 100, "this is not YAML"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_job_file_that_is_none(refused, text, expected):
    assert expected in refused(CONFIG, text=text)


def test_a_job_file_that_is_no_file(refused, tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    result = _run(tmp_path / "pipe.yaml")
    assert result.exit_code == CONFIG
    assert "pipe.yaml: not a regular file" in result.stderr


@pytest.mark.parametrize(
    "override", ["x" * 9000, "a.b=" + "[" * 9000, "renderer\n.x=1", "input.video=\x1b", "=", "a=&x *x"]
)
def test_an_override_that_is_none(refused, override):
    refused(CONFIG, "--set", override)


# Weights


class Shell:
    """Runs a command when it is unpickled without care."""

    def __init__(self, marker):
        self.command = f"touch '{marker}'"

    def __reduce__(self):
        return os.system, (self.command,)


def _write_weights(path, kind, marker):
    if kind == "truncated":
        path.write_bytes((ROOT / "checkpoints" / "compact.safetensors").read_bytes()[:100_000])
    elif kind == "other":
        save_file({"backbone.weight": torch.zeros(3)}, path)
    elif kind == "shapes":
        torch.save({"state_dict": {"inp.0.c.weight": torch.zeros(3)}}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Shell(marker)}))
    else:
        torch.save({"state_dict": Shell(marker)}, path, _use_new_zipfile_serialization=kind == "code in zip")


KINDS = {
    "truncated": "damaged, cut short",
    "other": "not the weights of a lip network",
    "shapes": "lack tensors",
    "pickle": "weights.pth: this",
    "code in zip": "would have to execute code",
    "code in pickle": "would have to execute code",
}


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_cannot_be_used(refused, tmp_path, kind):
    marker = tmp_path / "marker"
    _write_weights(tmp_path / "weights.pth", kind, marker)
    said = refused(CHECKPOINT, audio="dub.wav", renderer={"checkpoint": "weights.pth"})
    assert KINDS[kind] in said
    if kind.startswith("code"):
        torch.load(tmp_path / "weights.pth", weights_only=False)
        assert marker.exists()  # the trap works


@pytest.mark.parametrize("kind", ["truncated", "other", "pickle", "code in zip"])
def test_weights_of_a_detector_that_cannot_be_used(stock, tmp_path, kind):
    marker = tmp_path / "marker"
    _write_weights(tmp_path / "weights.pth", kind, marker)
    given = {"video": stock / "talk.mp4", "audio": stock / "dub.wav"}
    detector = {"detector": "retinaface", "detector_checkpoint": "weights.pth", "embedder": "none"}
    result = _run(write_job(tmp_path, input=given, output="out.mp4", segmenter=detector, execution=SERIAL), "--quiet")
    assert result.exit_code == CHECKPOINT, result.output
    assert re.fullmatch(r"Error: [^\x00-\x1f]+weights\.pth[^\x00-\x1f]+\.\n", result.stderr), result.stderr
    assert not marker.exists()
    assert not (tmp_path / "out.mp4").exists()


# Chance


def test_a_short_fuzz_run_finds_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "FOLDER", tmp_path)
    tally = fuzz.fuzz(300, 7, num_workers=1, numbers=iter(range(NUM_FUZZED)))
    assert tally.findings == {}, tally.texts
    assert tally.counts.total() == NUM_FUZZED
    assert len({outcome for _, outcome in tally.counts}) == 2
