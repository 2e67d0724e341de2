"""Jobs whose mouths another program draws, on a real face: from the command line to the finished file."""

import re
import shlex
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from tests.support import lip_program
from tests.support.commands import run_command, start_python
from tests.support.crowd import Place, make_crowd, still
from tests.support.footage import make_footage
from tests.support.jobs import check_from_outside, load_report, rendered_hashes, run_job, start_job, write_job

FACE_FRAMES, GAP = 60, 8
"""At 25 frames/s; and frames without a face around it."""
NUM_PIECES = 2
"""Of two seconds at most; they overlap."""
MOUTH = slice(160, 176), slice(100, 130)
"""Rows and columns that the painted patch covers in every frame."""


@pytest.fixture(scope="module")
def talk(shared, tmp_path_factory):
    clip = shared / "clips" / "head_12_512.mp4"
    folder = tmp_path_factory.mktemp("talk")
    return make_footage(folder / "talk.mp4", clip, codec="h264", scale=0.5, face_frames=(FACE_FRAMES,), gaps=(GAP, GAP))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Return the workspace that jobs share, so that the video is scanned once."""
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def write(shared, talk, workspace):
    """Return a function that writes a job for a mode of the program into a folder, and returns (job, output)."""

    def write(folder, mode, *, command=None, seconds=1.5, **execution):
        words = [sys.executable, lip_program.__file__, mode, "{video}", "{audio}", "{output}", folder / "calls.txt"]
        given = {"run": shlex.join(map(str, words)), "piece_seconds": 2, **(command or {})}
        job = write_job(
            folder,
            input={"video": talk.path, "audio": shared / "clips" / "dub_a.wav", "length_policy": "cut"},
            output=folder / "out.mp4",
            segmenter={
                "detector": "retinaface",
                "detector_checkpoint": shared / "checkpoints" / "retinaface_mobilenet0.25.pth",
                "embedder": "none",
                "max_clip_seconds": seconds,
            },
            renderer={"command": given, "frame_hashes": True, "fade_seconds": 0},
            execution={"workspace": workspace, **execution},
        )
        return job, folder / "out.mp4"

    return write


@pytest.fixture
def make_job(write, tmp_path):
    """Return a function that writes a job of this test."""
    return partial(write, tmp_path)


@pytest.fixture(scope="module")
def finished(write, workspace, tmp_path_factory):
    """Return (job, output, what its plan said, what it said) of a job that painted; no test changes its files."""
    job, output = write(tmp_path_factory.mktemp("finished"), "paint", backend="serial", keep="all")
    planned, _ = run_job(job, "--plan")
    said, _ = run_job(job)
    assert not list(workspace.glob("scratch-*"))
    return job, output, planned, said


def colours(path):
    """Return the mean colour of the mouth in each frame, (frames, 3), BGR."""
    with av.open(str(path)) as container:
        return np.array([frame.to_ndarray(format="bgr24")[MOUTH].mean((0, 1)) for frame in container.decode(video=0)])


def is_painted(path, talk):
    """Tell for each frame that shows the face whether its mouth is painted."""
    start, stop = talk.face_spans[0]
    blue, _, red = colours(path)[start:stop].T
    return red - blue > 100


def test_a_program_draws_mouths_and_nothing_else(shared, talk, finished):
    job, output, planned, said = finished
    assert re.search(r"program  \d+ faces go through .*lip_program\.py paint", planned)
    report = load_report(output)
    assert "program: " in said
    assert "lip_program.py paint" in report["program"]
    assert report["num_rendered_frames"] >= FACE_FRAMES - 2
    assert is_painted(output, talk).mean() > 0.97
    assert run_command("verify", "--config", job).returncode == 0
    check_from_outside(shared, talk.path, output, shared / "clips" / "dub_a.wav")
    calls = (output.parent / "calls.txt").read_text().splitlines()
    assert len(calls) == NUM_PIECES
    start, stop = talk.face_spans[0]
    assert np.ptp(colours(output)[start + 2 : stop - 2, 1]) > 60  # it hears the dub


def test_neither_clips_nor_workers_change_a_plane(finished, make_job):
    job, output = make_job("paint", seconds=0.7, backend="processes", workers=2)
    run_job(job, start=start_python)
    one, other = (load_report(each) for each in (finished[1], output))
    assert len(other["clips"]) > len(one["clips"])
    assert rendered_hashes(one) == rendered_hashes(other)


@pytest.mark.parametrize(
    ("mode", "command"), [("25", {"fps": 30}), ("drop", {}), ("flaky", {}), ("moved", {"at_once": 2, "shown": "frame"})]
)
def test_what_programs_usually_do_costs_no_mouth(talk, make_job, mode, command):
    """A rate of its own, a frame that is missing at the end, a failure that does not come again, other colours."""
    job, output = make_job(mode, command=command)
    run_job(job)
    assert is_painted(output, talk).mean() > 0.97
    calls = (output.parent / "calls.txt").read_text().splitlines()
    assert len(calls) == NUM_PIECES + (mode == "flaky")


@pytest.mark.parametrize(("mode", "reason"), [("exit", "exit code 1: no CUDA device"), ("hang", r"ended after 0\.5 s")])
def test_where_it_fails_the_original_frames_stay(talk, make_job, mode, reason):
    job, output = make_job(mode, command={"attempts": 1, "timeout_seconds": 0.5 if mode == "hang" else 60})
    _, warned = run_job(job, expected=10)
    assert re.search(reason, warned)
    report = load_report(output)
    fell_back = [clip for clip in report["clips"] if clip["outcome"] == "fell_back"]
    assert fell_back
    assert all(re.search(reason, clip["reason"]) for clip in fell_back)
    assert not is_painted(output, talk).any()
    assert report["output"]["num_frames"] == talk.num_frames


def test_what_was_drawn_before_a_kill_is_not_drawn_again(talk, make_job, tmp_path):
    job, output = make_job("paint", workspace=tmp_path / "own")
    process = start_job(job)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "own").glob("drawn-*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = len(list((tmp_path / "own").glob("drawn-*.json")))
    assert 0 < kept < NUM_PIECES
    (tmp_path / "calls.txt").unlink()
    run_job(job)
    assert len((tmp_path / "calls.txt").read_text().splitlines()) == NUM_PIECES - kept
    assert is_painted(output, talk).mean() > 0.97


def test_each_of_two_people_is_drawn_by_itself(shared, make_job, tmp_path):
    both = still(Place("head_12_512", 0, 20, 320), Place("head_05_512", 320, 20, 320))
    crowd = make_crowd(tmp_path / "both.mp4", shared / "clips", [(30, both)])
    job, output = make_job("paint", workspace=tmp_path / "own", keep="all")
    content = yaml.safe_load(job.read_text())
    content["input"]["video"] = str(crowd.path)
    content["segmenter"] |= {"target": "all", "embedder": str(shared / "checkpoints" / "mobilefacenet.onnx")}
    job.write_text(yaml.safe_dump(content))
    run_job(job)
    assert len(list((tmp_path / "own").glob("drawn-*.video"))) == 2
    with av.open(str(output)) as container:
        pictures = [frame.to_ndarray(format="bgr24").astype(int) for frame in container.decode(video=0)]
    for half in (np.s_[:, :320], np.s_[:, 320:]):
        painted = [(picture[half][..., 2] - picture[half][..., 0] > 100).sum() for picture in pictures[2:-2]]
        assert min(painted) > 300  # pixels of the patch that the mask lets be seen


@pytest.mark.parametrize("signal_sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_that_is_stopped_leaves_no_program_behind(make_job, workspace, tmp_path, signal_sent):
    job, _ = make_job("hang")
    process = start_job(job)
    calls = tmp_path / "calls.txt"
    deadline = time.monotonic() + 60
    while not calls.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal_sent)
    process.communicate()
    deadline = time.monotonic() + 20
    while is_any_running(str(calls)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_any_running(str(calls))
    run_job(job, "--plan")
    assert not list(workspace.glob("scratch-*"))


def is_any_running(word):
    """Tell whether any process has a word in its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if word.encode() in path.read_bytes().split(b"\0"):
                return True
    return False


def test_a_program_that_is_missing_is_told_before_the_scan(make_job):
    job, _ = make_job("paint", command={"run": "no-such-program {video} {audio} {output}"})
    _, warned = run_job(job, expected=2)
    assert "renderer.command.run: no-such-program is not found" in warned
