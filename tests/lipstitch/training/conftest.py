"""Two datasets: talking faces drawn here, whose sound opens their mouths, and the demonstration's own video."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock

from demo.make_material import make_material
from lipstitch.progress import Silent
from lipstitch.training.dataset.dataset import FaceData
from lipstitch.training.dataset.facts import VideoFacts
from lipstitch.training.preparation.prepare import DetectorSource, prepare_dataset

NUM_ROWS = 100
"""Rows of each drawn face: 4 s."""
PEOPLE = ("anna", "bert_1", "bert_2", "carl")
CASCADE = DetectorSource("cascade")


class Noting(Silent):
    """Remembers what it is told."""

    def __init__(self):
        self.said, self.warned = [], []

    def info(self, text):
        self.said.append(text)

    def warning(self, text):
        self.warned.append(text)

    @property
    def text(self):
        return "\n".join(self.said)


@pytest.fixture
def reporter():
    return Noting()


def draw_talker(seed, num_rows=NUM_ROWS):
    """Return (crops, columns, mel) of a face that opens its mouth as far as its sound is loud."""
    random = np.random.default_rng(seed)
    loudness = np.clip(np.cumsum(random.normal(0, 0.35, num_rows + 8)) % 2, 0, 2)
    loudness = np.abs(loudness - 1)
    steps = np.arange(int((num_rows + 8) * 3.2)) / 3.2
    over_time = np.interp(steps, np.arange(num_rows + 8), loudness)
    bands = random.uniform(0.6, 1.0, 80)
    mel = (-4 + 7 * over_time[:, None] * bands).astype(np.float32)
    skin = random.integers(90, 220, 3)
    crops = np.empty((num_rows, 112, 112, 3), np.uint8)
    for row in range(num_rows):
        picture = np.full((112, 112, 3), skin // 3, np.uint8)
        sway = int(3 * np.sin(row / 9 + seed))
        cv2.ellipse(picture, (56 + sway, 56), (42, 52), 0, 0, 360, [int(value) for value in skin], -1)
        for eye in (38, 74):
            cv2.circle(picture, (eye + sway, 44), 5, (40, 30, 20), -1)
        cv2.ellipse(picture, (56 + sway, 81), (16, 2 + int(11 * loudness[row])), 0, 0, 360, (60, 40, 150), -1)
        crops[row] = picture
    columns = np.floor(np.arange(num_rows) * 3.2).astype(np.int32)
    return crops, columns, mel


def write_talker(folder, name, seed, num_rows=NUM_ROWS):
    """Write a drawn face into a dataset as `prepare` would."""
    place = folder / name
    place.mkdir(parents=True)
    crops, columns, mel = draw_talker(seed, num_rows)
    for array, content in (("crops", crops), ("columns", columns), ("mel", mel), ("frames", np.arange(num_rows))):
        np.save(place / f"{array}.npy", content)
    VideoFacts(name, f"key-{seed}", ((0, num_rows),), len(mel)).store(place)


@pytest.fixture(scope="session")
def talkers(tmp_path_factory):
    """Return the folder of a dataset of four drawn faces; no test changes it."""
    folder = tmp_path_factory.mktemp("talkers")
    for seed, name in enumerate(PEOPLE):
        write_talker(folder, name, seed)
    return folder


@pytest.fixture(scope="session")
def talking_data(talkers):
    return FaceData(talkers)


@pytest.fixture(scope="session")
def demo_video(tmp_path_factory):
    """Return a tenth of the demonstration's video with its truth; made once for all workers of a run."""
    folder = _shared_by_workers(tmp_path_factory) / "demo"
    with FileLock(f"{folder}.lock"):
        if not (folder / "truth.json").exists():
            make_material(folder, seconds_scale=0.1, size_px=(640, 360))
    return folder / "talk.mp4"


@pytest.fixture(scope="session")
def demo_truth(demo_video):
    return json.loads(demo_video.with_name("truth.json").read_text())


@pytest.fixture(scope="session")
def demo_faces(demo_video, tmp_path_factory):
    """Return the dataset of the demonstration's video; made once for all workers of a run, changed by no test."""
    folder = _shared_by_workers(tmp_path_factory) / "faces"
    with FileLock(f"{folder}.lock"):
        prepare_dataset([demo_video], folder, Silent(), detector=CASCADE)
    return folder


def _shared_by_workers(tmp_path_factory) -> Path:
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
