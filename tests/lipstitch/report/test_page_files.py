"""When a page is written and when not, what stands in it from run to run, and how large it grows."""

import io
import os
import re
import shutil

import numpy as np
import pytest
import soundfile
from PIL import Image

import lipstitch.execution.pages
from demo.make_material import DUB_FILE
from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.report.page.page import read_page
from lipstitch.report.page.pictures import FINENESSES, PageStrips
from lipstitch.report.page.ranking import rank_clips
from lipstitch.report.page.view import clock
from lipstitch.report.records import OUTCOME_NAMES, ClipRecord
from lipstitch.report.report import page_path, report_path
from lipstitch.report.verify import verify_job
from media.base.errors import ConfigError, WorkspaceError
from tests.support.doubles import QUICK_TOOLS, Listening
from tests.support.jobs import write_job
from tests.support.quick_jobs import make_talk, run_quick

PICTURE = re.compile(r'data-strip="(\d+)" src="([^"]+)"')


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("material")
    make_talk(folder / "talk.mp4")
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(folder / "dub.wav", dub[: 5 * rate], rate)
    (folder / "weights.bin").write_bytes(b"weights")
    return folder


@pytest.fixture
def job(material, tmp_path):
    """Return what gives the job with some sections changed."""
    shutil.copytree(material, tmp_path, dirs_exist_ok=True)

    def configure(report="html", **changes):
        content = {
            "input": {"video": "talk.mp4", "audio": "dub.wav", "length_policy": "cut"},
            "output": "out.mp4",
            "segmenter": {"detector": "cascade", "embedder": "none"},
            "renderer": {"method": "network", "checkpoint": "weights.bin", "device": "cpu"},
            "execution": {"backend": "serial", "keep": "all"},
            "stitcher": {"report": report},
        }
        return load_job(write_job(tmp_path, **content, **changes))

    return configure


def side_files(config):
    return sorted(name for name in os.listdir(config.output.parent) if name.startswith("out.mp4.report"))


@pytest.mark.parametrize(
    ("report", "names"),
    [("html", ["out.mp4.report.html", "out.mp4.report.json"]), ("json", ["out.mp4.report.json"]), ("none", [])],
)
def test_what_is_written_beside_the_output(job, report, names):
    """A report of an earlier output under the same name does not stay."""
    config = job(report)
    for path in (page_path(config.output), report_path(config.output)):
        path.write_text("of an earlier output")
    said = Listening()
    assert run_job(config, said, tools=QUICK_TOOLS).exit_code == 0
    assert side_files(config) == names
    assert "an earlier output" not in "".join(path.read_text() for path in config.output.parent.glob("*.report.*"))
    assert any("out.mp4.report.json" in line for line in said.said) == (report != "none")


def test_an_output_without_a_report_is_not_verified(job):
    config = job("none")
    run_job(config, Listening(), tools=QUICK_TOOLS)
    with pytest.raises(ConfigError, match=r"no report .*stitcher.report: html or json"):
        verify_job(config, Listening())


def test_reused_clips_have_their_pictures_and_asking_for_a_page_renders_nothing(job):
    run_quick(job("html"))
    config = job("html")
    first = dict(PICTURE.findall(page_path(config.output).read_text()))
    assert len(first) == 2
    assert run_quick(job("json"), force=True).clips == set()
    assert side_files(config) == ["out.mp4.report.json"]
    assert run_quick(job("html"), force=True).clips == set()
    assert dict(PICTURE.findall(page_path(config.output).read_text())) == first


def test_each_output_has_a_page_and_all_rows_of_the_job(job):
    ranges = [{"start": 0, "end": 1.5, "name": "one"}, {"start": 2, "end": 4, "name": "two"}]
    config = job("html", ranges=ranges, mode="extract")
    run_job(config, Listening(), tools=QUICK_TOOLS)
    pages = sorted(config.output.parent.glob("*.report.html"))
    assert [len(PICTURE.findall(page.read_text())) for page in pages] == [1, 1]
    (rows,) = {read_page(page)[0].rows for page in pages}
    assert [row.kind for row in rows].count("face") == 2
    assert all("Ranges: 2 parts" in page.read_text() for page in pages)


@pytest.mark.parametrize(
    ("error", "warned"),
    [
        (WorkspaceError("out.mp4.report.html: cannot be written (full). Make space."), "cannot be written (full)"),
        (KeyError("a bug"), "KeyError: 'a bug'"),
    ],
)
def test_a_page_that_fails_is_a_warning_of_a_job_that_is_done(job, monkeypatch, error, warned):
    def fail(*_):
        raise error

    monkeypatch.setattr(lipstitch.execution.pages, "write_page", fail)
    config, said = job("html"), Listening()
    run_quick(config, said)
    assert side_files(config) == ["out.mp4.report.json"]
    (warning,) = [text for text in said.warned if "report.html" in text]
    assert warned in warning
    assert "out.mp4.report.json are complete" in warning
    assert ("Traceback" in warning) == isinstance(error, KeyError)


# Pictures and their size


def noise(seed, sides=(3, 2), picture_px=192):
    """Return a strip, a JPEG file, of something about as hard to encode as faces."""
    rough = np.random.default_rng(seed).integers(0, 255, (sides[1] * 24, sides[0] * 24, 3), np.uint8)
    size = (sides[0] * picture_px, sides[1] * picture_px)
    file = io.BytesIO()
    Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=88)
    return file.getvalue()


@pytest.mark.parametrize(("num_clips", "max_chars"), [(1, 3_000_000), (24, 1_200_000), (24, 600_000), (24, 320_000)])
def test_pictures_are_as_fine_as_fits(num_clips, max_chars):
    strips = {clip: noise(clip) for clip in range(num_clips)}
    page = PageStrips([*strips], strips.__getitem__, max_chars)
    uris = [page(clip) for clip in strips]
    assert all(uris)
    assert page.num_left_out == 0
    assert max_chars / 3 < sum(map(len, uris)) <= max_chars or "jpeg" in uris[0]


def test_pictures_that_do_not_fit_are_left_out_from_the_end_on():
    strips = {clip: noise(clip) for clip in range(24)}
    page = PageStrips([*strips], strips.__getitem__, 72_000)
    shown = [bool(page(clip)) for clip in strips]
    assert 5 < sum(shown) < 24
    assert shown[:5] == [True] * 5
    assert page.num_left_out == 24 - sum(shown)


def test_a_strip_that_is_gone_is_not_shown():
    page = PageStrips([1, 2], {1: b"", 2: noise(2)}.__getitem__, 1_000_000)
    assert [bool(page(clip)) for clip in (0, 1, 2)] == [False, False, True]


def test_finer_steps_are_larger():
    strip = noise(0)
    sizes = [len(strip), *(len(each.encode(strip)) for each in FINENESSES if each)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 5


# Order


def clip(index, outcome="rendered"):
    frames = {"start_frame": 10 * index, "stop_frame": 10 * index + 10, "start_seconds": 0.4 * index}
    return ClipRecord(index=index, **frames, outcome=outcome, reason="", rendered=(), seconds=1.0, reused=False)


def test_order_by_outcome_then_concerns_then_time():
    clips = [clip(0, "copied"), clip(1), clip(2), clip(3, OUTCOME_NAMES["reencoded"]), clip(4, "fell_back")]
    assert rank_clips(clips, [(), (), ("why",), (), ()], {}) == [4, 2, 1, 3, 0]


def test_order_by_the_mean_rank_of_what_was_measured():
    clips = [clip(index) for index in range(4)]
    figures = {
        0: {"lse_c": 7.0, "lse_d": 6.0, "unknown": 1e9},
        1: {"lse_c": 1.0, "lse_d": 9.0},
        2: {"lse_c": 5.0, "lse_d": 7.0, "offset_frames": -4},
        3: {},
    }
    assert rank_clips(clips, [()] * 4, figures) == [1, 2, 0, 3]


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "00:00:00.00"), (36.52, "00:00:36.52"), (3661.999, "01:01:01.99")])
def test_clocks_do_not_run_ahead(seconds, text):
    assert clock(seconds) == text
