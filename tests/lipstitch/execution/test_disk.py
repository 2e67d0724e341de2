"""A full disk: one sentence, nothing under the output's name, and a workspace that goes on once there is space."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile

import lipstitch.job
from demo.make_material import DUB_FILE
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.workspace import Workspace
from media.base.content import KEY_BYTES
from media.base.errors import WorkspaceError
from media.probe import probe
from tests.support.jobs import write_job
from tests.support.quick_jobs import FIRST, SECOND, make_talk, run_quick
from tests.support.synthetic import independent_times, stamps

DISK_BYTES = 16 << 20


@pytest.fixture
def disk(tmp_path):
    """Return the folder of a small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("small disks can be mounted by root alone")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def job(tmp_path):
    """Return a function that writes the job, with its output and workspace in folders, and loads it."""
    make_talk(tmp_path / "talk.mp4")
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(tmp_path / "dub.wav", dub[: 5 * rate], rate)
    (tmp_path / "weights.bin").write_bytes(b"weights")

    def write(output, workspace):
        content = {
            "input": {"video": "talk.mp4", "audio": "dub.wav", "length_policy": "cut"},
            "output": output / "out.mp4",
            "segmenter": {"detector": "cascade", "max_clip_seconds": 0.8},
            "renderer": {"method": "network", "checkpoint": "weights.bin", "device": "cpu"},
            "execution": {"backend": "serial", "keep": "all", "workspace": workspace},
        }
        return load_job(write_job(tmp_path, **content))

    return write


class Filler(Silent):
    """Fills a disk when a stage begins, or when it is over."""

    def __init__(self, folder, moment, stage):
        self.file, self.moment, self.stage = folder / "filler", moment, stage
        self.begun = ""

    def fill(self):
        with self.file.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def begin(self, stage, total, unit):
        self.begun = stage
        if (self.moment, self.stage) == ("begin", stage):
            self.fill()

    def end(self):
        if (self.moment, self.stage) == ("end", self.begun):
            self.fill()


ALL = FIRST | SECOND
MOMENTS = [
    ("begin", "scan", (True, ALL, True, True)),
    ("end", "scan", (True, ALL, True, True)),
    ("begin", "render", (False, ALL, False, None)),
    ("begin", "sound", (False, set(), False, None)),
    ("begin", "assemble", (False, set(), False, False)),
    ("end", "assemble", (False, set(), False, False)),
]
"""When the disk becomes full, and what is still to be made then: scan, clips, driving sound, soundtrack.

The soundtrack is made beside the clips: whether it was done is open (None) until both are."""


@pytest.mark.parametrize(("moment", "stage", "left"), MOMENTS)
def test_a_disk_that_is_full_in_a_stage(disk, job, moment, stage, left):
    config = job(disk, disk / "work")
    filler = Filler(disk, moment, stage)
    with pytest.raises(WorkspaceError, match=r"^[^\n]+No space left on device\)\. Make space[^\n]*\.$") as caught:
        run_quick(config, filler)
    assert caught.value.exit_code == 7
    assert str(disk) in str(caught.value)
    assert sorted(os.listdir(disk)) == ["filler", "work"]
    assert not [name for name in os.listdir(disk / "work") if name.endswith(".part")]

    filler.file.unlink()
    redone = run_quick(config)
    assert (redone.scanned, redone.clips, redone.driving) == left[:3]
    assert left[3] in (None, redone.sound)
    assert stamps(disk / "out.mp4") == list(range(100))


def test_space_is_counted_before_the_work(disk, job, tmp_path, monkeypatch):
    config = job(tmp_path, disk / "work")
    monkeypatch.setattr("lipstitch.plan.estimate.CODED_BITS_PER_PIXEL", 8 * DISK_BYTES / (192 * 108 * 30))
    with pytest.raises(WorkspaceError, match=r"disk/work: about \d+ MB are needed and 1\d MB are free\. Make space"):
        run_quick(config)
    assert not Workspace(disk / "work").num_bytes("clip")
    assert not (tmp_path / "out.mp4").exists()


def test_the_disk_of_the_output_is_counted_too(disk, job, tmp_path, monkeypatch):
    config = job(disk, tmp_path / "work")
    monkeypatch.setattr("lipstitch.plan.estimate.CODED_BITS_PER_PIXEL", 8 * DISK_BYTES / (192 * 108 * 30))
    with pytest.raises(WorkspaceError, match=r"/disk: about \d+ MB are needed and 1\d MB are free\. Make space"):
        run_quick(config)


def test_clips_that_are_there_need_no_space(disk, job, monkeypatch):
    """Else a run that filled the disk to the last clip could never go on."""
    config = job(disk, disk / "work")
    filler = Filler(disk, "begin", "assemble")
    with pytest.raises(WorkspaceError):
        run_quick(config, filler)
    filler.file.unlink()
    held = Workspace(disk / "work").num_bytes("clip")
    assert held > 50_000
    needed = []
    original = lipstitch.job.check_disk

    def check(plans, workspace, *, signs):
        needed.append(sum(plan.estimate.disk_bytes for plan in plans))
        with (disk / "filler").open("wb") as file:
            file.write(bytes(shutil.disk_usage(disk).free - needed[0] + held // 2))
        original(plans, workspace, signs=signs)

    monkeypatch.setattr(lipstitch.job, "check_disk", check)
    run_quick(config)
    assert needed


def test_clips_of_other_settings_are_not_those_that_are_needed(disk, job, tmp_path, monkeypatch):
    """Clips are kept, so they lie there whenever a setting was changed."""
    config = job(tmp_path, disk / "work")
    run_quick(config)
    Workspace(disk / "work").path("clip", "0" * 2 * KEY_BYTES, ".nut").write_bytes(bytes(4 << 20))
    monkeypatch.setattr("lipstitch.plan.estimate.CODED_BITS_PER_PIXEL", 8 * (2 << 20) / (192 * 108 * 82))
    with (disk / "filler").open("wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - (1 << 20)))
    changed = config.model_copy(update={"renderer": config.renderer.model_copy(update={"feather": 0.3})})
    with pytest.raises(WorkspaceError, match=r"disk/work: about 2.* MB are needed and 1.* MB are free\. Make space"):
        run_quick(changed, force=True)
    run_quick(config, force=True)


@pytest.mark.parametrize("other", ["output", "workspace"])
def test_output_and_workspace_on_two_disks(job, tmp_path, other):
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or os.stat(elsewhere).st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    folder = elsewhere / f"lipstitch-test-{os.getpid()}"
    folder.mkdir()
    try:
        config = job(folder, tmp_path / "work") if other == "output" else job(tmp_path, folder / "work")
        run_quick(config)
        assert stamps(config.output) == list(range(100))
        assert independent_times(config.output) == independent_times(tmp_path / "talk.mp4")
        assert probe(config.output).audio
        assert [name for name in os.listdir(config.output.parent) if name.endswith(".part")] == []
    finally:
        shutil.rmtree(folder)
