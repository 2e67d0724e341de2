"""Whole jobs on turned and mirrored videos: the mouth lies where it is watched, and the output says the same."""

from dataclasses import replace

import av
import numpy as np
import pytest
import soundfile

from demo.make_material import DUB_FILE
from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.report.contact_sheet import list_people
from lipstitch.report.verify import verify_job
from media.base.errors import ContractBroken, UnsupportedMedia
from media.faces import Face, FaceBox, FrameDetections
from media.orientation import ORIENTATIONS, UPRIGHT, Orientation
from media.probe import probe
from segmenter.scan import Scan
from tests.support.display import message, patch_matrix, with_message
from tests.support.doubles import QUICK_TOOLS
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import run_quick
from tests.support.synthetic import Sound, make_video

SIZE = (192, 108)
"""Of the upright picture."""
BOX = (100, 12, 170, 92)
"""Of the face in it: neither in the middle nor as wide as high."""
NUM_FRAMES, SPAN = 24, (3, 14)
MIRRORED = Orientation(90, is_mirrored=True)
LEAST_CHANGE = 20
"""Of luma: coding changes less, DarkMouths more."""


def canned_scan(frames, scanner, **_):
    faces = (Face(FaceBox(*map(float, BOX)), 0.9),)
    samples = [FrameDetections(index, faces if SPAN[0] <= index < SPAN[1] else ()) for index, _ in frames]
    return Scan(tuple(samples), SPAN, "cascade", scanner.upright_size)


@pytest.fixture
def job(tmp_path):
    """Return a function that writes a job on a video of an orientation, and loads it."""
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(tmp_path / "dub.wav", dub[:rate], rate)
    (tmp_path / "weights.bin").write_bytes(b"weights")

    def build(orientation, output="out.mp4", matrix=None, **changes):
        size = orientation.upright_size(*SIZE)
        video = make_video(tmp_path / "talk.mp4", NUM_FRAMES, size=size, gop=8, sounds=[Sound()])
        numbers = [number / 2**16 for number in orientation.display_matrix]
        patch_matrix(video, matrix or (*numbers[:2], *numbers[3:5]))
        content = {
            "input": {"video": "talk.mp4", "audio": "dub.wav", "length_policy": "cut"},
            "output": output,
            "segmenter": {"detector": "cascade", "embedder": "none"},
            "renderer": {"method": "network", "checkpoint": "weights.bin", "device": "cpu", "fade_seconds": 0},
            "stitcher": {"verify": "full"},
            "execution": {"backend": "serial"},
        }
        return load_job(write_job(tmp_path, **content | changes))

    return build


def run(job):
    run_quick(job, tools=replace(QUICK_TOOLS, scan_faces=canned_scan))
    return load_report(job.output)


def luma(path, frame, orientation):
    """Return the luma of a frame as it is watched."""
    a, b, _, c, d, *_ = (number >> 16 for number in orientation.display_matrix)
    with av.open(str(path)) as container:
        stored = list(container.decode(video=0))[frame].to_ndarray(format="gray").astype(int)
    q, p = np.indices(stored.shape)
    x, y = a * p + c * q, b * p + d * q
    upright = np.empty(SIZE[::-1], int)
    upright[y - y.min(), x - x.min()] = stored
    return upright


def changes(job, orientation, frame=8):
    """Return (left, top, right, bottom) of what a job changed in a rendered frame, as it is watched."""
    before, after = (luma(path, frame, orientation) for path in (job.input.video, job.output))
    rows, columns = np.nonzero(before - after > LEAST_CHANGE)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def is_lower_face(found):
    """Tell whether a rectangle is the lower part of BOX, with the usual 10 pixels below."""
    left, top, right, bottom = BOX
    return np.allclose(found, (left, top + 0.5 * (bottom - top), right, bottom + 10), atol=10)


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_the_mouth_lies_where_it_is_watched(job, orientation):
    config = job(orientation)
    report = run(config)
    assert is_lower_face(changes(config, orientation))
    assert report["check"]["spans"] == [[*SPAN]]
    assert report["source"]["orientation"] == str(orientation)
    assert probe(config.output).require_video().orientation == orientation


@pytest.mark.parametrize("output", ["out.mov", "out.mkv", "out.webm"])
def test_other_containers_say_the_same(job, output):
    """Into WebM the video is transcoded."""
    config = job(MIRRORED, output)
    run(config)
    assert is_lower_face(changes(config, MIRRORED))
    assert probe(config.output).require_video().orientation == MIRRORED


AFTER_SPAN = {"mode": "extract", "extract": {"join": True}, "ranges": [{"start": 0.64, "end": 0.9}]}
"""A job without a face."""


def test_copied_pictures_are_shown_as_before(job):
    config = job(MIRRORED, **AFTER_SPAN)
    assert run(config)["num_clips"] == {"copied": 1}
    assert probe(config.output).require_video().orientation == MIRRORED


@pytest.mark.parametrize(("name", "output"), [("told.mp4", "out.mp4"), ("told.ts", "out.ts"), ("told.mp4", "out.webm")])
def test_pictures_that_say_it_themselves(job, tmp_path, name, output):
    """Those that are re-encoded say it, too; where the video is transcoded, the container does."""
    job(MIRRORED)
    told = with_message(tmp_path / "talk.mp4", message(90, top=1), tmp_path / name)
    config = job(MIRRORED, output, input={"video": name, "audio": "dub.wav", "length_policy": "cut"})
    if name == "told.mp4":
        patch_matrix(told, (1, 0, 0, 1))
    run(config)
    assert is_lower_face(changes(config, MIRRORED))
    assert probe(config.output).require_video().orientation == MIRRORED
    with av.open(str(config.output)) as container:
        frames = [(frame.key_frame, "DISPLAYMATRIX" in frame.side_data) for frame in container.decode(video=0)]
    assert len(frames) == NUM_FRAMES
    assert all(is_told == (is_key or output == "out.webm") for is_key, is_told in frames)
    assert sum(is_key for is_key, _ in frames) >= 3 or output == "out.webm"


def test_of_pictures_of_which_the_first_one_says_it_others_may_be_extracted(job, tmp_path):
    job(MIRRORED)
    told = with_message(tmp_path / "talk.mp4", message(90, top=1), tmp_path / "told.mp4", everywhere=False)
    patch_matrix(told, (1, 0, 0, 1))
    config = job(MIRRORED, input={"video": "told.mp4", "audio": "dub.wav", "length_policy": "cut"}, **AFTER_SPAN)
    assert run(config)["num_clips"] == {"copied": 1}


def test_an_output_that_is_shown_otherwise_breaks_the_contract(job):
    config = job(MIRRORED)
    run(config)
    patch_matrix(config.output, (0, 1, -1, 0))
    words = "the orientation of the video is turned by 90 degrees instead of mirrored and turned by 90 degrees"
    with pytest.raises(ContractBroken, match=words):
        verify_job(config, Silent())


# What is refused


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("output", "matrix", "words"),
    [
        ("out.mp4", (0.7071, 0.7071, -0.7071, 0.7071), "its display matrix turns the picture by 45 degrees"),
        ("out.mkv", (1, 0, 0.3, 1), "its display matrix stretches or distorts the picture"),
        ("out.ts", (-1, 0, 0, 1), "mpegts files cannot say that the picture of .*talk.mp4 is mirrored"),
    ],
)
def test_it_is_refused_before_any_work(job, tmp_path, output, matrix, words):
    config = job(UPRIGHT, output, matrix)
    before = listing(tmp_path)
    refusing = [lambda: run_job(config, Silent()), lambda: run_job(config, Silent(), plan_only=True)]
    if output.endswith(".mp4"):  # `faces` writes no video, so it does not mind which container is asked for
        refusing.append(lambda: list_people(config, tmp_path / "faces.html", Silent(), force=False))
    for refuse in refusing:
        with pytest.raises(UnsupportedMedia, match=words) as caught:
            refuse()
        assert "\n" not in str(caught.value)
        assert f"ffmpeg -i {tmp_path / 'talk.mp4'} -c:a copy" in str(caught.value)
        assert listing(tmp_path) == before


def test_a_dub_whose_picture_is_askew_is_heard(job, tmp_path):
    config = job(UPRIGHT, input={"video": "talk.mp4", "audio": "dub.mp4", "length_policy": "cut"})
    patch_matrix(make_video(tmp_path / "dub.mp4", 24, sounds=[Sound()]), (0.7071, 0.7071, -0.7071, 0.7071))
    run(config)
