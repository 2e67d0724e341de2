"""Jobs in which something green is moved before the mouth of a real face, and a network that knows what is green."""

import av
import cv2
import numpy as np
import pytest

from lipstitch.job_file.config import load_job
from lipstitch.job_file.renderer import FACE_PARSING, QUALITIES
from lipstitch.progress import Silent
from lipstitch.source import weights
from media.base.errors import CheckpointNotFound
from tests.support.commands import run_command
from tests.support.footage import make_footage
from tests.support.jobs import load_report, rendered_hashes, run_job, write_job
from tests.support.onnx_graphs import write_occluder, write_painter, write_restorer

FACE_FRAMES, GAP = 50, 4
SHORT_FRAMES, EARLIER = 20, 18
"""Of a shorter video, in which the bar comes so many frames earlier: for a network, which needs no footage."""
GREEN = (40, 210, 50)
MOUTH_Y, MOUTH_X = 172, 116


def cover(number, picture):
    """Draw a bar that comes from the right, stands before a corner of the mouth, and goes away to the left."""
    at = number - GAP
    if 15 <= at < 45:
        left = MOUTH_X + 90 - 6 * (at - 15)
        picture[MOUTH_Y - 60 : MOUTH_Y + 60, max(left, 0) : max(left + 14, 0)] = GREEN


def make_talk(shared, path, num_frames, draw_over):
    clip = shared / "clips" / "head_12_512.mp4"
    return make_footage(
        path, clip, codec="h264", scale=0.5, face_frames=(num_frames,), gaps=(GAP, GAP), draw_over=draw_over
    )


@pytest.fixture(scope="module")
def talk(shared, tmp_path_factory):
    return make_talk(shared, tmp_path_factory.mktemp("talk") / "talk.mp4", FACE_FRAMES, cover)


@pytest.fixture(scope="module")
def short_talk(shared, tmp_path_factory):
    def cover_earlier(number, picture):
        cover(number + EARLIER, picture)

    return make_talk(shared, tmp_path_factory.mktemp("short") / "talk.mp4", SHORT_FRAMES, cover_earlier)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture
def make_job(shared, talk, workspace, painter, tmp_path):
    def make(method, mask, *, video=talk, seconds=5.0, backend="serial", **renderer):
        content = {
            "input": {"video": video.path, "audio": shared / "clips" / "dub_a.wav", "length_policy": "cut"},
            "output": tmp_path / "out.mp4",
            "segmenter": {
                "detector": "retinaface",
                "detector_checkpoint": shared / "checkpoints" / "retinaface_mobilenet0.25.pth",
                "embedder": "none",
                "max_clip_seconds": seconds,
                "min_sharpness": 0,
            },
            "renderer": {"method": method, "mask": mask, "frame_hashes": True, "checkpoint": painter, **renderer},
            "stitcher": {"video": {"crf": 4}},
            "execution": {"workspace": workspace, "backend": backend},
        }
        return write_job(tmp_path, **content), tmp_path / "out.mp4"

    return make


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
    """Return the path of a network that darkens whatever it is shown."""
    return write_painter(tmp_path_factory.mktemp("painter") / "painter.onnx", 96)


@pytest.fixture(scope="module")
def occluder(tmp_path_factory):
    return write_occluder(tmp_path_factory.mktemp("occluder") / "green.onnx")


class Told(Silent):
    """Keeps what a job says."""

    def __init__(self):
        super().__init__()
        self.text = []

    def warning(self, text):
        self.text.append(text)


def lumas(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="yuv420p")[: frame.height] for frame in container.decode(video=0)]


def greens(path):
    """Return for each frame which pixels are surely green: the inside of the bar."""
    with av.open(str(path)) as container:
        found = []
        for frame in container.decode(video=0):
            blue, green, red = np.moveaxis(frame.to_ndarray(format="bgr24").astype(int), 2, 0)
            is_green = green - np.maximum(blue, red) > 110
            found.append(is_green & np.roll(is_green, 1, 1) & np.roll(is_green, -1, 1))
        return found


def greenness(path):
    """Return for each frame how much greener than anything else each pixel is, smoothed."""
    with av.open(str(path)) as container:
        found = []
        for frame in container.decode(video=0):
            blue, green, red = np.moveaxis(frame.to_ndarray(format="bgr24").astype(np.float32), 2, 0)
            found.append(cv2.GaussianBlur(np.maximum(green - np.maximum(blue, red), 0), (0, 0), 2))
        return found


def changes(source, result, where):
    """Return the mean absolute difference of luma in some pixels of each frame; 0 in one without any."""
    pairs = zip(lumas(source), lumas(result), where, strict=True)
    return np.array([np.abs(one.astype(int) - two)[there].mean() if there.any() else 0.0 for one, two, there in pairs])


@pytest.mark.parametrize("method", ["network", "footage"])
def test_what_is_before_a_mouth_stays_before_it(talk, make_job, occluder, method):
    job, output = make_job(method, str(occluder), most_covered=0.9)
    planned, _ = run_job(job, "--plan")
    assert f"mask     {occluder}" in planned
    run_job(job)
    report = load_report(output)
    assert report["masks"] == [str(occluder)]
    where = greens(talk.path)
    assert sum(there.any() for there in where) >= 25
    assert changes(talk.path, output, where).max() < 1.5  # coding alone
    mouth = np.zeros_like(where[0])
    mouth[MOUTH_Y - 12 : MOUTH_Y + 16, MOUTH_X - 25 : MOUTH_X + 25] = True
    moved = changes(talk.path, output, [mouth & ~there for there in where])[GAP + 2 : GAP + FACE_FRAMES - 2]
    assert np.median(moved) > 2  # the mouth is a new one nevertheless
    for before, after, there in zip(greenness(talk.path), greenness(output), where, strict=True):
        if method == "network":  # which draws what it sees, the bar too
            break
        beside = ~cv2.dilate(there.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
        assert (after - before)[beside].max() < 4, "its colour does not spread to the skin beside it"
    assert run_command("verify", "--config", job).returncode == 0
    job, output = make_job(method, "fixed")
    run_job(job, "--force")
    assert changes(talk.path, output, where).max() > 5  # without the mask it is drawn over


@pytest.mark.parametrize(("method", "quality"), [*(("network", word) for word in QUALITIES), ("footage", "enhanced")])
def test_on_every_level_the_contract_holds_and_clips_change_no_plane(
    talk, short_talk, make_job, occluder, tmp_path, method, quality
):
    video = short_talk if method == "network" else talk
    mask, restore = "fixed", {}
    if quality == "enhanced":
        mask, restore = str(occluder), {"restore": {"model": write_restorer(tmp_path / "sharpen.onnx", "sharpen")}}
    hashes = []
    for seconds, backend in ((5.0, "serial"), (0.5, "threads")):
        job, output = make_job(method, mask, video=video, seconds=seconds, backend=backend, quality=quality, **restore)
        run_job(job, "--force")
        assert run_command("verify", "--config", job).returncode == 0
        hashes.append(rendered_hashes(load_report(output)))
    assert len(hashes[0]) >= video.num_frames - 2 * GAP - 2
    assert hashes[0] == hashes[1]


def test_a_mouth_that_is_covered_too_far_stays(talk, make_job, occluder):
    job, output = make_job("network", str(occluder), most_covered=0.0)
    run_job(job)
    before = lumas(talk.path)
    after = lumas(output)
    mouth = np.s_[MOUTH_Y - 10 : MOUTH_Y + 14, MOUTH_X - 20 : MOUTH_X + 20]
    moved = [np.abs(one[mouth].astype(int) - two[mouth]).mean() for one, two in zip(before, after, strict=True)]
    hidden = [number for number, there in enumerate(greens(talk.path)) if there[mouth].mean() > 0.15]
    assert len(hidden) >= 4
    assert max(moved[number] for number in hidden) < 1.5
    assert max(moved[GAP : GAP + FACE_FRAMES]) > 5


def test_without_its_weights_parsing_is_fixed_and_says_so(make_job, monkeypatch):
    def find(name, **settings):
        if name == FACE_PARSING:
            raise CheckpointNotFound(f"{name}: not here.")
        return found(name, **settings)

    found = weights.find_checkpoint
    monkeypatch.setattr(weights, "find_checkpoint", find)
    told = Told()
    assert weights.find_rendering_weights(load_job(make_job("footage", "parsing")[0]), told).maskers == ()
    assert told.text == ["renderer.mask is fixed: face_parsing: not here."]
    with pytest.raises(CheckpointNotFound):
        weights.find_rendering_weights(load_job(make_job("footage", [FACE_PARSING])[0]), told)
