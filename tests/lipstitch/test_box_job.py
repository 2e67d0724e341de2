"""A job that says where the face is: no detector, no weights of one, and nothing changes outside the box."""

import av
import numpy as np
import pytest

from demo.make_material import DUB_FILE
from lipstitch.evaluation.score import ScoreOptions, score_job
from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from media.base.errors import ConfigError
from tests.support.doubles import Listening
from tests.support.jobs import load_report, write_job
from tests.support.light import light_network, light_weights
from tests.support.quick_jobs import make_talk

BOX = (20, 100, 60, 130)
"""Top, bottom, left, right, of a picture of 192 x 108 that shows no face."""


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    make_talk(folder / "talk.mp4")
    light_weights(folder)
    return folder


def load(folder, **segmenter):
    content = {
        "input": {"video": "talk.mp4", "audio": DUB_FILE, "length_policy": "cut"},
        "output": "out.mp4",
        "segmenter": segmenter,
        "renderer": {"method": "network", "checkpoint": "./light.safetensors", "silence": "render"},
        "execution": {"backend": "serial", "keep": "all"},
    }
    return load_job(write_job(folder, **content))


def gray(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray").astype(int) for frame in container.decode(video=0)])


def test_the_face_is_drawn_where_the_job_says_in_every_frame(stock):
    told = Listening()
    with light_network():
        run_job(load(stock, box=[*BOX], min_face_px=64), told, force=True)
    report = load_report(stock / "out.mp4")
    assert report["detector"] == "given"
    assert report["num_rendered_frames"] == 100
    changed = np.abs(gray(stock / "out.mp4") - gray(stock / "talk.mp4"))
    top, bottom, left, right = BOX
    inside = changed[:, (top + bottom) // 2 : bottom, left + 10 : right - 10].mean()
    changed[:, top : bottom + 10, left:right] = 0  # the pads reach 10 pixels below the chin
    assert inside > 10
    assert changed.mean() < 1


def test_another_box_is_scanned_anew(stock):
    def areas(box):
        run_job(load(stock, box=box, min_face_px=64), Listening(), force=True)
        return [clip["rendered"] and clip["reused"] for clip in load_report(stock / "out.mp4")["clips"]]

    with light_network():
        areas([20, 100, 50, 120])
        assert not any(areas([20, 100, 51, 121]))
        assert all(areas([20, 100, 51, 121]))


def test_what_was_drawn_there_is_measured(stock, shared):
    content = {
        "input": {"video": shared / "clips" / "head_13_512.mp4"},
        "output": "head.mp4",
        "mode": "extract",
        "ranges": [{"start": 1, "end": 2.6}],
        "extract": {"join": True},
        "segmenter": {"box": [80, 430, 160, 410]},
        "renderer": {"method": "network", "checkpoint": "./light.safetensors", "silence": "render"},
        "execution": {"backend": "serial"},
    }
    config = load_job(write_job(stock, **content))
    with light_network():
        run_job(config, Listening())
    assert score_job(config, ScoreOptions("none", "cpu"), Listening()) == 0
    assert load_report(config.output)["measures"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"box": [20, 10, 60, 130]}, "box is top, bottom, left, right"),
        ({"box": [20, 100, 60]}, "segmenter.box.3"),
        ({"box": [20, 100, 60, 130], "detector": "cascade"}, "detector given and box belong together"),
        ({"detector": "given"}, "detector given and box belong together"),
        ({"box": [20, 100, 60, 130], "target": 2}, "cannot tell people apart"),
    ],
)
def test_boxes_that_say_nothing_are_refused(stock, keys, expected):
    with pytest.raises(ConfigError) as caught:
        load(stock, **keys)
    assert expected in str(caught.value)


def test_a_box_outside_of_the_picture_is_refused_before_the_scan(stock):
    with light_network(), pytest.raises(ConfigError, match="bottom 100 and right 230 lie outside of the picture"):
        run_job(load(stock, box=[20, 100, 160, 230]), Listening(), force=True)
