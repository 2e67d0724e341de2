"""A canned scan of two people, for whole jobs within a second: A alone, both, B alone, A alone."""

import numpy as np

from base.errors import UnsupportedCheckpoint
from lipstitch.progress import Silent
from media.faces import Face, FaceBox, FrameDetections
from media.identity import pack, unit
from segmenter.scan import Scan
from tests.support.quick_jobs import SIZE

CUTS = (30, 60, 80)
SEEN = {"A": [(0, 60), (80, 100)], "B": [(30, 80)]}
"""Frames in which each is seen: A alone, both, B alone, A alone."""
BOXES = {"A": FaceBox(10.0, 16.0, 70.0, 92.0), "B": FaceBox(120.0, 16.0, 180.0, 92.0)}
LANDMARKS = {
    who: tuple((box.left + x, box.top + y) for x, y in [(18, 30), (42, 30), (30, 45), (20, 60), (40, 60)])
    for who, box in BOXES.items()
}


def vector_of(who):
    return unit(np.random.default_rng(ord(who)).standard_normal(64).astype(np.float32))


def face(who, embedder):
    return Face(BOXES[who], 0.95, LANDMARKS[who], pack(vector_of(who)) if embedder else b"")


def canned_scan(frames, scanner, **_):
    samples = []
    for index, _ in frames:
        there = [who for who, spans in SEEN.items() if any(a <= index < b for a, b in spans)]
        samples.append(FrameDetections(index, tuple(face(who, scanner.embedder) for who in there)))
    return Scan(tuple(samples), CUTS, "retinaface", SIZE)


class NamedPhotos:
    """An embedder that knows a photo by its colour."""

    def __init__(self, path, settings):
        if path.read_bytes() == b"broken":
            raise UnsupportedCheckpoint(f"{path}: not an ONNX network.")

    def embed_aligned(self, picture):
        return pack(vector_of("B" if picture.mean() > 128 else "A"))


class OneFace:
    """A detector that sees one face in every photo, and none in a black one."""

    name = "retinaface"

    def detect(self, picture, *, smallest_px=16):
        return (face("A", None),) if picture.max() > 5 else ()


class Said(Silent):
    def __init__(self):
        self.lines, self.warnings = [], []

    def info(self, text):
        self.lines += text.split("\n")

    def warning(self, text):
        self.warnings.append(text)
