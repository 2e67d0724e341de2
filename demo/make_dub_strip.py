"""Make the picture of a network's model card: the demonstration's own face, still and with two dubs.

    python -m demo.make_dub_strip checkpoints/compact.safetensors docs/compact.png

needs build/demo/talk.mp4, which `make demo` makes. Above the video's frames, below what the network draws of them for
two stretches of demo/dub.flac.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from demo.make_material import DUB_FILE
from lipstitch.progress import PlainLines
from lipstitch.training.dataset.augment import plain_faces
from lipstitch.training.dataset.dataset import FaceData
from lipstitch.training.evaluation.measures import draw_faces
from lipstitch.training.evaluation.pictures import draw_rows
from lipstitch.training.preparation.prepare import DetectorSource, prepare_dataset
from renderer.mel import MelTrack
from renderer.networks.base import load_module

VIDEO, FACES = Path("build/demo/talk.mp4"), Path("build/demo/faces")
DUBS = (Fraction(12), Fraction(40))
"""Seconds of the dub at which the two stretches begin."""
NUM_FACES, STEP_ROWS = 12, 4
"""12 moments, 0.16 s apart."""


def make_dub_strip(weights: Path, picture: Path) -> None:
    """Write the picture of a network's weights."""
    prepare_dataset([VIDEO], FACES, PlainLines(), detector=DetectorSource("cascade"))
    data = FaceData(FACES, names=[VIDEO.stem])
    rows = data.tracks[-1].start + np.arange(NUM_FACES) * STEP_ROWS
    faces = plain_faces(data.crops_at(rows))
    network = load_module(weights)
    strips = [("source", [faces])]
    with MelTrack(DUB_FILE) as mel:
        for number, start in enumerate(DUBS, start=1):
            windows = [mel.window(start + Fraction(each * STEP_ROWS, 25)) for each in range(NUM_FACES)]
            mels = torch.from_numpy(np.stack(windows)[:, None])
            strips.append((f"dub {number}", [draw_faces(network, faces, faces, mels)]))
    draw_rows(picture, strips)


if __name__ == "__main__":
    make_dub_strip(Path(sys.argv[1]), Path(sys.argv[2]))
