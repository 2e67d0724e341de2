"""A detector is one file: one from outside runs a whole job under the name of its file."""

import importlib
import sys
from dataclasses import replace

import pytest

import segmenter.detectors
from lipstitch.job_file.config import load_job
from lipstitch.tools import Tools
from media.base.errors import ConfigError
from tests.support.doubles import QUICK_TOOLS
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import NUM_FRAMES, make_talk, run_quick

DETECTOR_FILE = '''
from media.faces import Face, FaceBox

class MiddleDetector:
    """Sees one face in the middle of every picture."""

    name = "middle"
    title = "a detector from outside"
    caveat = "which sees one place alone"
    has_landmarks = False
    weights = None
    crop_px = 72
    smoothing_frames = 3
    preference = 5

    sizes = set()

    def __init__(self, weights):
        assert weights is None

    def detect(self, picture, *, smallest_px=16):
        height, width = picture.shape[:2]
        self.sizes.add((width, height))
        return (Face(FaceBox(0.3 * width, 0.1 * height, 0.7 * width, 0.9 * height), 0.9),)

DETECTOR = MiddleDetector
'''


@pytest.fixture
def middle(tmp_path, monkeypatch):
    """Put the file into a folder of its own that counts as one of the detectors' package; return the class."""
    folder = tmp_path / "more_detectors"
    folder.mkdir()
    (folder / "middle.py").write_text(DETECTOR_FILE)
    monkeypatch.setattr(segmenter.detectors, "__path__", [*segmenter.detectors.__path__, str(folder)])
    importlib.invalidate_caches()
    yield importlib.import_module("segmenter.detectors.middle").MiddleDetector
    del sys.modules["segmenter.detectors.middle"], segmenter.detectors.middle


def job(folder, **segmenter_settings):
    make_talk(folder / "talk.mp4")
    return write_job(
        folder,
        input={"video": "talk.mp4"},
        output="out.mp4",
        segmenter={"embedder": "none", "min_sharpness": 0, "min_light": 0, **segmenter_settings},
        renderer={"method": "network", "checkpoint": "weights.bin", "device": "cpu", "silence": "render"},
        execution={"backend": "serial", "workspace": "work"},
    )


def test_a_detector_from_outside_runs_a_whole_job(middle, tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"weights")
    real = Tools()
    tools = replace(
        QUICK_TOOLS,
        build_detector=real.build_detector,
        scan_faces=real.scan_faces,
        build_tracker=real.build_tracker,
    )
    run_quick(load_job(job(tmp_path, detector="middle")), tools=tools)
    report = load_report(tmp_path / "out.mp4")
    assert report["detector"] == "middle"
    assert [(span["start_frame"], span["stop_frame"], span["kind"]) for span in report["spans"]] == [
        (0, NUM_FRAMES, "face")
    ]
    rendered = [part for clip in report["clips"] for part in clip["rendered"]]
    assert sum(stop - start for start, stop in rendered) == NUM_FRAMES
    assert (middle.crop_px, middle.crop_px) in middle.sizes  # the tracker asked it, and at its own size
    assert report["align"].startswith("box instead of similarity")


def test_what_a_detector_cannot_do_is_said_of_one_from_outside(middle, tmp_path):
    with pytest.raises(ConfigError, match="detector middle cannot tell people apart; use retinaface"):
        load_job(job(tmp_path, detector="middle", target=1, embedder="auto"))


def test_an_unknown_detector_is_refused_with_the_names_of_all(middle, tmp_path):
    with pytest.raises(
        ConfigError, match=r"segmenter.detector \(now 'edge'\): give auto, cascade, given, middle or retinaface"
    ):
        load_job(job(tmp_path, detector="edge"))


@pytest.mark.parametrize(
    ("detector", "weights"),
    [("auto", "retinaface_mobilenet"), ("cascade", "retinaface_mobilenet"), ("middle", "middle_weights")],
)
def test_weights_are_those_of_the_detector_or_else_of_the_preferred_one(
    middle, monkeypatch, tmp_path, detector, weights
):
    monkeypatch.setattr(middle, "weights", "middle_weights")
    assert load_job(job(tmp_path, detector=detector)).segmenter.detector_checkpoint == weights
    named = load_job(job(tmp_path, detector=detector, detector_checkpoint="own.pth"))
    assert named.segmenter.detector_checkpoint == str(tmp_path / "own.pth")
