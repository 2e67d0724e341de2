"""A canned scan of two people, for whole jobs within a second: A alone, both, B alone, A alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from lipstitch.job_file.renderer import RendererConfig
from media.audio.buffer import Samples
from media.audio.driving import DRIVING_RATE
from media.audio.voice_activity import Speech, find_loud, measure_levels
from media.base.errors import UnsupportedCheckpoint
from media.faces import Face, FaceBox, FrameDetections
from media.identity import EmbedderSettings, Vector, pack, unit
from media.picture import PictureConverter, Pixels, VideoFrame
from renderer.mel import MelSpec
from renderer.networks.base import WAV2LIP_SPEC
from segmenter.scan import Scan
from segmenter.scanner import FaceScanner
from tests.support.doubles import QUICK_TOOLS, SIZE, NoFaces

CUTS = (30, 60, 80)
SEEN = {"A": [(0, 60), (80, 100)], "B": [(30, 80)]}
"""Frames in which each is seen: A alone, both, B alone, A alone."""
BOXES = {"A": FaceBox(10.0, 16.0, 70.0, 92.0), "B": FaceBox(120.0, 16.0, 180.0, 92.0)}
PLACES = ((18.0, 30.0), (42.0, 30.0), (30.0, 45.0), (20.0, 60.0), (40.0, 60.0))
"""Of eyes, nose and corners of the mouth in a box."""


def vector_of(who: str) -> Vector:
    return unit(np.random.default_rng(ord(who)).standard_normal(64).astype(np.float32))


def face(who: str, *, is_embedded: bool) -> Face:
    box = BOXES[who]
    one, two, three, four, five = ((box.left + x, box.top + y) for x, y in PLACES)
    return Face(box, 0.95, (one, two, three, four, five), pack(vector_of(who)) if is_embedded else b"")


def scan_two_people(frames: Iterable[tuple[int, VideoFrame]], scanner: FaceScanner, **_: object) -> Scan:
    samples = []
    for index, _frame in frames:
        there = [who for who, spans in SEEN.items() if any(a <= index < b for a, b in spans)]
        faces = tuple(face(who, is_embedded=scanner.embedder is not None) for who in there)
        samples.append(FrameDetections(index, faces))
    return Scan(tuple(samples), CUTS, "retinaface", SIZE)


class NamedPhotos:
    """An embedder that knows a photo by its colour."""

    def __init__(self, path: Path, settings: EmbedderSettings) -> None:
        if path.read_bytes() == b"broken":
            raise UnsupportedCheckpoint(f"{path}: not an ONNX network.")

    def embed(self, frame: VideoFrame, face: Face, converter: PictureConverter) -> bytes:
        raise AssertionError("the canned scan embeds no frames")

    def embed_aligned(self, picture: Pixels) -> bytes:
        return pack(vector_of("B" if picture.mean() > 128 else "A"))


class OtherPhotos(NamedPhotos):
    """An embedder for which every photo shows a person who is not in the video."""

    def embed_aligned(self, picture: Pixels) -> bytes:
        return pack(vector_of("X"))


class OneFace(NoFaces):
    """A detector that sees one face in every photo, and none in a black one."""

    name = "retinaface"
    has_landmarks = True

    def detect(self, picture: Pixels, *, smallest_px: float = 16) -> tuple[Face, ...]:
        return (face("A", is_embedded=False),) if picture.max() > 5 else ()


class Level:
    """A mel that holds the level of its voice at a moment."""

    def __init__(self, path: Path, spec: MelSpec) -> None:
        self._samples, self._rate = soundfile.read(path)

    def window(self, seconds: Fraction) -> npt.NDArray[np.float32]:
        at = min(int(seconds * self._rate), len(self._samples) - 1)
        return np.full((80, 16), self._samples[at], np.float32)

    def close(self) -> None:
        pass


def hear_levels(blocks: Iterable[Samples], network: object) -> Speech:
    """Take for speech whatever is loud, a constant level as well."""
    return Speech(tuple(find_loud(measure_levels(blocks, DRIVING_RATE), DRIVING_RATE)), "network")


class Painted:
    """An engine that paints a face as bright as its voice is loud."""

    batch_size = 16
    spec = WAV2LIP_SPEC

    def render(self, faces: Pixels, mel_windows: npt.NDArray[np.float32], references: Pixels | None = None) -> Pixels:
        shades = (255 * mel_windows[:, :1, :1, None]).astype(np.uint8)
        return np.broadcast_to(shades, faces.shape)

    def for_worker(self, num_threads: int | None) -> Painted:
        return self

    def with_batch_size(self, batch_size: int) -> Painted:
        return self


def load_painted(checkpoint: Path, settings: RendererConfig, device: str, num_threads: int) -> Painted:
    return Painted()


def build_one_face(name: str, weights: Path | None) -> OneFace:
    return OneFace(weights)


TOOLS = replace(QUICK_TOOLS, scan_faces=scan_two_people, build_detector=build_one_face, load_embedder=NamedPhotos)
"""Those of a quick job with two people."""
DIALOGUE_TOOLS = replace(TOOLS, open_mel=Level, load_engine=load_painted)
"""With mouths that show by which voice they were driven."""
