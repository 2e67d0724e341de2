"""Kill -9 at any moment, Ctrl-C, and two runs at once: nothing is lost, and nothing half made is ever seen."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import av
import pytest

import media.base.files
from demo.make_material import DUB_FILE, make_material
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.source.checks import check_output
from lipstitch.workspace import Workspace
from media.base.errors import ConfigError
from media.base.files import atomic_file, clear_leftovers, scratch_file
from stitcher.audio.soundtrack import sound_file
from tests.support.commands import ROOT, run_command, start_command, start_python
from tests.support.jobs import run_job, start_job, write_job
from tests.support.quick_jobs import make_talk, run_quick
from tests.support.synthetic import digest

FULL = bool(os.environ.get("LIPSTITCH_FULL"))
NUM_KILLS = 40 if FULL else 12
SEED = 3
ENDED_SECONDS = 15.0
"""Two on a machine with nothing else to do (`python -m benchmarks.run --only W7`); a test machine may be busy."""


# Kill -9


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Return two seconds of the demonstration's video."""
    return make_material(tmp_path_factory.mktemp("material"), seconds_scale=0.03, size_px=(640, 360))


def quick_job_of(folder, talk):
    return write_job(
        folder,
        input={"video": talk, "audio": DUB_FILE, "length_policy": "cut"},
        output=folder / "out.mp4",
        segmenter={"detector": "cascade", "max_clip_seconds": 0.3},
        renderer={"device": "cpu", "method": "network"},
        execution={"backend": "serial", "keep": "all"},
    )


def job_of(folder, material, **changes):
    return write_job(
        folder,
        **{
            "input": {"video": material.video, "audio": DUB_FILE, "length_policy": "cut"},
            "output": folder / "out.mp4",
            "segmenter": {"detector": "cascade", "max_clip_seconds": 0.24},
            "renderer": {"method": "network"},
            "execution": {"backend": "serial", "keep": "all"},
            **changes,
        },
    )


def finished_clips(workspace):
    """Return {name: (inode, time of writing)} of the clips that are whole."""
    return {
        path.name: (status.st_ino, status.st_mtime_ns)
        for path in workspace.glob("clip-*.nut")
        if path.with_suffix(".json").exists()
        for status in [path.stat()]
    }


def test_killed_at_random_moments_it_ends_as_if_it_never_was(tmp_path):
    """A job is killed run after run, in one workspace, until it is done; then the next one is."""
    whole = tmp_path / "whole"
    whole.mkdir()
    talk = make_talk(tmp_path / "talk.mp4")
    run_to_its_end(quick_job_of(whole, talk))
    frames, clips = pictures(whole / "out.mp4"), finished_clips(whole / "out.mp4.lipstitch")
    assert len(clips) > 8
    moments = random.Random(SEED)
    killed_in = []
    while len(killed_in) < NUM_KILLS:
        folder = tmp_path / f"after{len(killed_in)}"
        folder.mkdir()
        job, workspace, made = quick_job_of(folder, talk), folder / "out.mp4.lipstitch", {}
        while len(killed_in) < NUM_KILLS and not (folder / "out.mp4").exists():
            stage = moments.choice(["start", "scan", "render", "render", "render", "sound", "assemble"])
            if run_and_kill(job, stage, moments.uniform(0, 0.1)):
                killed_in.append(stage)
            assert not (folder / "out.mp4").exists() or pictures(folder / "out.mp4") == frames
            now = finished_clips(workspace)
            assert {name: now.get(name) for name in made} == made, "a finished clip was made again"
            made = now
        run_to_its_end(job)
        assert {name: finished_clips(workspace).get(name) for name in made} == made
        assert set(finished_clips(workspace)) == set(clips)
        assert pictures(folder / "out.mp4") == frames
        assert (folder / "out.mp4.report.json").exists()
        assert not [name for name in [*os.listdir(folder), *os.listdir(workspace)] if name.endswith(".part")]
    assert set(killed_in) >= {"start", "scan", "render"}


def run_to_its_end(job):
    """Run a job that may have been finished by a run that was killed just then."""
    assert run_command("--config", job, "--quiet", "--force", quick=True).returncode == 0


def run_and_kill(job, stage, delay_seconds):
    """Run a job and kill it some time after a stage began; tell whether it lived until then."""
    process = start_command("--config", job, "--progress", "json", quick=True)
    started = {"event": "begin", "stage": "start"}
    for event in chain([started], map(json.loads, process.stdout)):
        if event["event"] == "begin" and event["stage"] == stage:
            time.sleep(delay_seconds)
            process.kill()
            break
    process.communicate()
    return process.returncode == -signal.SIGKILL


def pictures(path):
    """Return (seconds, checksum of all planes) of every decoded frame."""
    with av.open(str(path)) as container:
        return [(frame.pts * frame.time_base, digest(frame)) for frame in container.decode(video=0)]


def test_an_output_of_a_job_that_was_stopped_may_be_replaced_by_that_job_alone(tmp_path):
    """Killed in its second output, a job goes on without --force, though its first one is there."""
    make_talk(tmp_path / "talk.mp4")
    (tmp_path / "weights.bin").write_bytes(b"weights")
    content = {
        "input": {"video": "talk.mp4"},
        "output": "out.mp4",
        "mode": "extract",
        "ranges": [{"start": 0, "end": 1.2, "name": "one"}, {"start": 2, "end": 3, "name": "two"}],
        "segmenter": {"detector": "cascade"},
        "renderer": {"method": "network", "checkpoint": "weights.bin", "device": "cpu"},
        "execution": {"backend": "serial"},
    }
    job = load_job(write_job(tmp_path, **content))

    class Killed(Silent):
        assembled = 0

        def begin(self, stage, total, unit):
            self.assembled += stage == "assemble"
            if self.assembled == 2:
                raise SystemExit

    with pytest.raises(SystemExit):
        run_quick(job, Killed())
    assert (tmp_path / "out.one.mp4").exists()
    assert not (tmp_path / "out.two.mp4").exists()
    other = load_job(write_job(tmp_path, **content), ["renderer.feather=0.2"])
    with pytest.raises(ConfigError, match=r"out\.one\.mp4 exists"):
        check_output(other, tmp_path / "out.one.mp4", force=False)
    run_quick(job)
    # Done: now it is an output like any other.
    with pytest.raises(ConfigError, match="exists"):
        run_quick(job)


def test_a_job_killed_just_before_its_output_got_its_name_goes_on(tmp_path, monkeypatch):
    job = load_job(quick_job_of(tmp_path, make_talk(tmp_path / "talk.mp4")))

    note_output = Workspace.note_output

    def note_and_die(*known):
        note_output(*known)
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(Workspace, "note_output", note_and_die)
        with pytest.raises(SystemExit):
            run_quick(job)
    assert not (tmp_path / "out.mp4").exists()
    run_quick(job)


# Power cuts


@pytest.mark.parametrize("write", [atomic_file, sound_file])
def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_end(write, tmp_path, monkeypatch):
    calls, opened = [], {}
    real = {name: getattr(os, name) for name in ("open", "fsync", "replace")}

    def note_open(path, *rest, **keys):
        handle = real["open"](path, *rest, **keys)
        opened[handle] = Path(path)
        return handle

    monkeypatch.setattr(os, "open", note_open)
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(("fsync", opened[handle])), real["fsync"](handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append(("replace", b)), real["replace"](a, b)))
    with write(tmp_path / "clip.nut") as partial:
        partial.write_text("whole")
    assert calls == [("fsync", partial), ("replace", tmp_path / "clip.nut"), ("fsync", tmp_path)]


def test_a_worker_that_outlives_its_run_cannot_spoil_the_next_one(tmp_path):
    """Both write the same clip at the same time; each has a partial file of its own."""
    path = tmp_path / "clip.nut"
    with atomic_file(path) as old:
        old.write_text("old, whole")
        with atomic_file(path) as new:
            new.write_text("new, ha")
            assert old != new
            assert old.read_text() == "old, whole"
            new.write_text("new, whole")
        assert path.read_text() == "new, whole"
    assert path.read_text() == "old, whole"


def test_leftovers_of_dead_writers_go_and_those_of_living_ones_stay(tmp_path):
    path = tmp_path / "a [1].mp4"
    foreign = ["a [1].mp4.notes.part", "other.mp4.0123abcd.part", "a 1.mp4.0123abcd.part"]
    for name in [*foreign, f"{path.name}.0123abcd.part", f"{path.name}.part"]:
        (tmp_path / name).touch()
    with atomic_file(path) as living:
        living.write_text("half")
        clear_leftovers(path)
        assert set(os.listdir(tmp_path)) == {*foreign, living.name}


def test_what_is_beside_a_file_goes_in_any_case(tmp_path):
    path = tmp_path / "a.mp4"
    with pytest.raises(ZeroDivisionError), scratch_file(path) as scratch:
        scratch.write_text(f"unsigned {1 / 0}")
    assert not any(tmp_path.iterdir())
    with scratch_file(path) as scratch:
        scratch.write_text("as a killed run leaves it")
        clear_leftovers(path)
        assert not scratch.exists()


def test_a_full_folder_of_locks_is_no_hindrance(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError

    monkeypatch.setattr(media.base.files.fcntl, "flock", refuse)
    with atomic_file(tmp_path / "a") as partial:
        partial.write_text("whole")
    assert (tmp_path / "a").read_text() == "whole"


# Ctrl-C


def processes_of(session):
    """Return what runs in a session, zombies left out."""
    listed = subprocess.run(
        ["ps", "--no-headers", "-o", "pid,stat,args", "-s", str(session)], capture_output=True, text=True
    ).stdout
    return [line for line in listed.splitlines() if line.split()[1][0] != "Z"]


@pytest.mark.skipif(not shutil.which("ps"), reason="needs ps")
@pytest.mark.parametrize(
    ("number", "to_all", "stage", "backend"),
    [
        (signal.SIGINT, True, "scan", "serial"),
        (signal.SIGINT, True, "render", "processes"),
        (signal.SIGTERM, False, "render", "processes"),
        (signal.SIGINT, False, "render", "threads"),
    ],
)
def test_a_job_that_is_stopped_ends_at_once_with_its_children(material, tmp_path, number, to_all, stage, backend):
    """to_all: the signal goes to every process of the session, as a terminal's Ctrl-C does."""
    execution = {"backend": backend, "workers": 2}
    job = job_of(tmp_path, material, execution=execution)
    arguments = ["--config", job, "--progress", "json", "--set", "renderer.feather=0.2"]
    # loky's workers begin anew; what runs in the process itself need not import everything for that.
    start = start_python if backend == "processes" else start_command
    process = start(*arguments, start_new_session=True)
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "begin" and event["stage"] == stage:
            break
    workspace = tmp_path / "out.mp4.lipstitch"
    deadline = time.monotonic() + 60
    while backend == "processes" and not list(workspace.glob("clip-*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(processes_of(process.pid)) >= (3 if backend == "processes" else 1)
    begun = time.monotonic()
    (os.killpg if to_all else os.kill)(process.pid, number)
    process.wait(timeout=30)
    while processes_of(process.pid) and time.monotonic() < begun + ENDED_SECONDS:
        time.sleep(0.02)
    seconds = time.monotonic() - begun
    err = process.stderr.read()
    assert err == (
        f"Error: stopped. Finished clips are kept; to continue, run: python main.py {shlex.join(map(str, arguments))}\n"
    )
    assert process.returncode == 130
    assert seconds < ENDED_SECONDS
    assert sorted(os.listdir(tmp_path)) == ["job.yaml", "out.mp4.lipstitch"]


HANG = """
import os, sys, time
from lipstitch.stop import StopSignals
signals = StopSignals("last words")
while True:
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        pass  # as a library may
"""


def test_what_swallows_the_interruption_is_ended_all_the_same():
    process = subprocess.Popen(
        [sys.executable, "-c", HANG], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "last words\n")
    assert time.monotonic() - begun < ENDED_SECONDS


FOLLOW = """
import os, subprocess, sys, time
child = "import os, time; from lipstitch.stop import follow_parent as f; f(os.getppid()); time.sleep(60)"
process = subprocess.Popen([sys.executable, "-c", child])
print(process.pid, flush=True)
time.sleep(60)
"""


def test_workers_follow_a_run_that_was_killed():
    process = subprocess.Popen([sys.executable, "-c", FOLLOW], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    time.sleep(0.5)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# Two runs


def test_a_second_run_names_the_first_and_leaves_it_alone(material, tmp_path):
    job = job_of(tmp_path, material)
    first = start_job(job, "--progress", "json")
    next(line for line in first.stdout if '"begin"' in line)
    first.send_signal(signal.SIGSTOP)  # lest it is done before the second one has begun
    _, err = run_job(job, expected=7)
    assert re.fullmatch(rf"Error: {tmp_path}/out\.mp4\.lipstitch: process {first.pid} is working here\. [^\n]+\n", err)
    first.kill()
    first.communicate()
    with Workspace(tmp_path / "out.mp4.lipstitch"):  # a lock that the dead do not keep
        pass
