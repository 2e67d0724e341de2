"""Whole jobs on files as containers make them hard: what is lost is said before and after, and ranges of FLV."""

from fractions import Fraction

import pytest
import soundfile

from demo.make_material import DUB_FILE
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.report.verify import verify_job
from tests.stitcher.test_losses import make_phone
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import run_quick
from tests.support.synthetic import Sound, independent_times, make_video, stamps


class Listening(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.said, self.warned = [], []

    def info(self, text):
        self.said.append(text)

    def warning(self, text):
        self.warned.append(text)


def job_of(folder, video, output, **more):
    """Return a job on a video with a dub of its length, checked in full."""
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(folder / "dub.wav", dub[: 4 * rate], rate)
    (folder / "weights.bin").write_bytes(b"weights")
    content = {
        "input": {"video": str(video), "audio": "dub.wav", "length_policy": "cut"},
        "output": output,
        "segmenter": {"detector": "cascade", "embedder": "none", "max_clip_seconds": 0.8},
        "renderer": {"method": "network", "checkpoint": "weights.bin", "device": "cpu"},
        "stitcher": {"verify": "full"},
        "execution": {"backend": "threads", "workers": 1},
        **more,
    }
    return load_job(write_job(folder, **content), [])


def run(job, **options):
    listening = Listening()
    run_quick(job, listening, **options)
    return listening


def test_plan_console_and_report_say_what_is_lost(tmp_path):
    job = job_of(tmp_path, make_phone(tmp_path / "a.mov"), "out.mov")
    lost = "stream 2 (data, SoundHandler): mov cannot hold it"
    assert f"  lost     {lost}" in run(job, plan_only=True).said[0].splitlines()
    assert f"{job.output} lacks {lost}." in run(job).warned
    assert load_report(job.output)["output"]["dropped_streams"] == [lost]
    assert verify_job(job, Listening()) == 0


@pytest.mark.parametrize("join", [True, False])
def test_ranges_of_flv_with_b_frames(tmp_path, join):
    talk = make_video(
        tmp_path / "a.flv", 100, size=(192, 108), start=240, sounds=[Sound()], time_base=Fraction(1, 1000)
    )
    ranges = [{"name": "one", "start": 0.5, "end": 1.5}, {"name": "two", "start": 2, "end": 2.4}]
    job = job_of(tmp_path, talk, "out.flv", mode="extract", extract={"join": join}, ranges=ranges)
    run(job)
    if join:
        assert stamps(job.output) == [*range(13, 38), *range(50, 60)]
    else:
        assert stamps(tmp_path / "out.one.flv") == list(range(13, 38))
        assert len(independent_times(tmp_path / "out.two.flv")) == 10
    assert verify_job(job, Listening()) == 0
