"""A picture as the video of a job."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
import soundfile
from PIL import Image

from demo.make_material import DUB_FILE
from demo.talking import PORTRAIT_FILE
from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.opened import open_job
from lipstitch.progress import Silent
from lipstitch.report.contact_sheet import list_people
from lipstitch.report.verify import verify_job
from media.base.errors import ConfigError, MissingStream
from media.reader import FrameReader
from media.source_video import scan_video
from tests.support.doubles import QUICK_TOOLS
from tests.support.jobs import load_report, write_job

RATE = 16000
QUIET, SECONDS = 1.0, 3.0
"""Seconds of silence at the head of the dub, and its length."""
FACE_PX = (150, 60, 310, 200)
"""Of the portrait: left, top, right, bottom."""


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Return a folder with a portrait and a dub that begins with silence."""
    folder = tmp_path_factory.mktemp("stills")
    Image.open(PORTRAIT_FILE).save(folder / "portrait.png")
    speech, _ = soundfile.read(DUB_FILE, start=8 * RATE, frames=int((SECONDS - QUIET) * RATE))
    soundfile.write(folder / "dub.wav", np.concatenate([np.zeros(int(QUIET * RATE)), speech]), RATE)
    return folder


def job_in(folder, name="job", **changes):
    content = {"video": "portrait.png", "audio": "dub.wav", **changes.pop("input", {})}
    keys = {"segmenter": {"detector": "cascade"}, "execution": {"workspace": f"{name}.work", "keep": "all"}, **changes}
    return load_job(write_job(folder, input=content, output=f"{name}.mp4", **keys))


def stills(folder, name="job"):
    return sorted(path.name for path in (folder / f"{name}.work").glob("still-*.mp4"))


@pytest.fixture(scope="module")
def finished(stock):
    """Return the folder and the file of a finished job."""
    config = job_in(stock)
    assert run_job(config, Silent()).exit_code == 0
    return stock, config


def test_a_portrait_speaks(finished):
    folder, config = finished
    report = load_report(config.output)
    source = scan_video(folder / "job.work" / stills(folder)[0])
    result = scan_video(config.output)
    assert report["source"]["path"] == str(folder / "portrait.png")
    assert [span["method"] for span in report["spans"]] == ["footage"]
    assert len(result.table) == len(source.table) == SECONDS * 25
    assert len(result.info.audio) == 1
    left, top, right, bottom = FACE_PX
    with FrameReader(source) as before, FrameReader(result) as after:
        given = next(frame for _, frame in before.read(range(1))).to_ndarray(format="gray").astype(int)
        shown = [frame.to_ndarray(format="gray").astype(int) for _, frame in after.read(range(75))]
    mouths = np.array([frame[(top + bottom) // 2 : bottom, left:right] for frame in shown])
    moved = np.abs(np.diff(mouths, axis=0)).mean(axis=(1, 2))
    assert moved[5:20].max() < 0.4 < 2 * moved[30:].mean(), moved
    around = np.ones(given.shape, bool)
    around[top : bottom + 60, left:right] = False  # and the throat
    assert max(np.abs(frame - given)[around].mean() for frame in shown) < 1.5  # 45 dB: coding alone
    assert max(np.abs(frame - given).max() for frame in shown[30:]) > 50


def test_the_video_is_made_once(finished):
    folder, config = finished
    (still,) = stills(folder)
    before = (folder / "job.work" / still).stat()
    assert verify_job(config, Silent()) == 0
    assert run_job(config, Silent(), force=True).exit_code == 0
    assert (folder / "job.work" / still).stat().st_ino == before.st_ino
    assert all(clip["reused"] for clip in load_report(config.output)["clips"])


def test_a_damaged_video_is_made_anew(stock):
    config = job_in(stock, "damaged")
    first = open_job(config, Silent(), force=True).video
    path = stock / "damaged.work" / stills(stock, "damaged")[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = open_job(config, Silent(), force=True).video
    assert path.read_bytes() == whole
    assert first.info.path == again.info.path == str(path)


@pytest.mark.parametrize(
    ("changes", "num_frames", "rate"),
    [
        ({}, 75, 25),
        ({"audio_offset": 400}, 85, 25),
        ({"audio_offset": -400, "audio_start": 1}, 90, 25),
        ({"still_fps": 29.97}, 90, Fraction(30000, 1001)),
        ({"still_fps": "24000/1001"}, 72, Fraction(24000, 1001)),
        ({"still_fps": 50}, 150, 50),
        ({"audio_start": 1}, 100, 25),
        ({"audio_start": -1}, 50, 25),
    ],
)
def test_length_and_rate(stock, changes, num_frames, rate):
    job = open_job(job_in(stock, "lengths", input=changes), Silent(), force=True)
    assert (len(job.video.table), job.video.frame_rate) == (num_frames, rate)
    assert len(job.specs[0].timeline) == num_frames


def test_ranges_alone(stock):
    ranges = [{"start": 0, "end": 2, "audio": "dub.wav"}, {"start": 4, "end": 5.5, "audio": "dub.wav"}]
    config = job_in(stock, "ranges", input={"audio": None, "length_policy": "cut"}, ranges=ranges)
    assert len(open_job(config, Silent(), force=True).video.table) == ceil(5.5 * 25)


def test_a_portrait_without_a_dub(stock):
    config = job_in(stock, "mute", input={"audio": None})
    with pytest.raises(MissingStream, match=r"Give input\.audio"):
        open_job(config, Silent(), force=True)
    with pytest.raises(ConfigError, match=r"needs the video's own sound, and .*portrait\.png has none"):
        open_job(job_in(stock, "mute", segmenter={"target": "speaker"}), Silent(), force=True)


@pytest.mark.parametrize("value", [0, 0.5, 121, "25/0", "fast", True, "1e3", [25]])
def test_rates_that_are_none(stock, value):
    with pytest.raises(ConfigError, match=r"input\.still_fps.*give frames a second, 1 to 120"):
        job_in(stock, "rates", input={"still_fps": value})


def test_who_is_in_a_picture(stock):
    """The contact sheet needs no dub; QUICK_TOOLS see no one, since recognising people needs weights."""
    config = job_in(stock, "sheet", input={"audio": None})
    with pytest.raises(ConfigError, match="people cannot be told apart"):
        list_people(config, stock / "people.html", Silent(), force=True, tools=QUICK_TOOLS)
    assert len(scan_video(stock / "sheet.work" / stills(stock, "sheet")[0]).table) == 25
