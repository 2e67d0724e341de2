"""A source is indexed and hashed once, as long as its file is the same."""

import os
import shutil
import time

import pytest

import lipstitch.source.source
from lipstitch.job_file.config import JobConfig
from lipstitch.source.source import identify_source, open_source, remember_source
from lipstitch.workspace import Workspace, workspace_folder
from media.packets.scan import scan_packets
from media.probe import probe
from tests.support.synthetic import make_video

LAST_YEAR = time.time() - 3e7


@pytest.fixture
def job(tmp_path):
    make_video(tmp_path / "talk.mp4", 30)
    make_video(tmp_path / "other.mp4", 30, b_frames=0)
    return JobConfig.model_validate({"input": {"video": tmp_path / "talk.mp4"}, "output": tmp_path / "out.mp4"})


@pytest.fixture
def work(monkeypatch):
    """Note what is read of whole files."""
    done = []

    def noted(name):
        original = getattr(lipstitch.source.source, name)

        def call(*args):
            done.append(name)
            return original(*args)

        monkeypatch.setattr(lipstitch.source.source, name, call)

    noted("scan_packets")
    noted("fingerprint")
    monkeypatch.setattr("lipstitch.source.remembered.SETTLED_SECONDS", 0.2)
    return done


def run(config, work):
    """Open and identify the source as a job does; return it, and what was read."""
    work.clear()
    time.sleep(0.3)
    video = open_source(config)
    source = identify_source(video)
    with Workspace(workspace_folder(config)) as workspace:
        remember_source(workspace, video, source)
    return source, [*work]


BOTH = ["scan_packets", "fingerprint"]


def test_a_second_run_reads_nothing_of_the_whole_file(job, work):
    first, read = run(job, work)
    assert read == BOTH
    second, read = run(job, work)
    assert read == []
    assert second == first


def test_a_workspace_that_is_moved_along(job, work, tmp_path):
    first, _ = run(job, work)
    shutil.move(workspace_folder(job), tmp_path / "elsewhere")
    moved = job.model_copy(update={"execution": job.execution.model_copy(update={"workspace": tmp_path / "elsewhere"})})
    assert run(moved, work) == (first, [])


def _overwrite(path, content):
    """Write other bytes of the same number into the same file, and give it its old dates."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("way", ["another", "in place", "in place, with its old dates", "a copy"])
def test_another_file_is_read_anew(job, work, tmp_path, way):
    video = job.input.video
    os.utime(video, (LAST_YEAR, LAST_YEAR))
    first, _ = run(job, work)
    content = video.read_bytes()
    if way == "another":
        (tmp_path / "other.mp4").replace(video)
    elif way == "in place":
        video.write_bytes((tmp_path / "other.mp4").read_bytes())
    elif way == "in place, with its old dates":
        at = content.index(b"mdat") + 100
        _overwrite(video, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    else:
        shutil.copy2(video, tmp_path / "copy.mp4")
        (tmp_path / "copy.mp4").replace(video)
    second, read = run(job, work)
    assert read == BOTH
    assert (second.fingerprint == first.fingerprint) == (way == "a copy")
    assert second.table == scan_packets(probe(video))


def test_a_file_that_was_just_written_is_not_remembered(job, work, monkeypatch):
    """However long reading took: it may have been written to again within one tick of the file system's clock."""
    monkeypatch.setattr("lipstitch.source.remembered.SETTLED_SECONDS", 2)
    os.utime(job.input.video)
    video = open_source(job)
    time.sleep(2.2)
    with Workspace(workspace_folder(job)) as workspace:
        remember_source(workspace, video, identify_source(video))
    assert run(job, work)[1] == BOTH


def test_a_damaged_note_counts_for_nothing(job, work):
    first, _ = run(job, work)
    (note,) = workspace_folder(job).glob("source-*.json")
    text = note.read_text()
    note.write_text(text.replace('"end_pts": ', '"end_pts": 1'))
    second, read = run(job, work)
    assert read == BOTH
    assert second == first
