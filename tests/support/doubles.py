"""Doubles for what is slow or needs weights. mypy checks them against the protocols that they stand in for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from lipstitch.job_file.renderer import RendererConfig
from lipstitch.progress import Silent
from lipstitch.tools import Tools
from media.clips import FaceSpan, TrackedFace
from media.faces import Face, FaceBox, FrameDetections
from media.orientation import Orientation
from media.picture import Pixels, VideoFrame
from renderer.mel import MelSpec
from renderer.networks.base import WAV2LIP_SPEC, NetworkSpec
from segmenter.scan import Scan
from segmenter.scanner import FaceScanner

SIZE = (192, 108)
"""Of the quick jobs' video."""
SPANS = {(8, 40): 0.9, (60, 90): 0.7}
"""Frames in which there is a face, with its score; the second one's drops to 0.5 for its last ten frames."""


class Listening(Silent):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    @property
    def lines(self) -> list[str]:
        """Return all lines of what was said."""
        return [line for text in self.said for line in text.split("\n")]

    def info(self, text: str) -> None:
        self.said.append(text)

    def warning(self, text: str) -> None:
        self.warned.append(text)


class DarkMouths:
    """An engine without a network: mouths only become darker."""

    batch_size = 16
    spec = WAV2LIP_SPEC

    def render(self, faces: Pixels, mel_windows: npt.NDArray[np.float32], references: Pixels | None = None) -> Pixels:
        return faces // 2

    def for_worker(self, num_threads: int | None) -> DarkMouths:
        return self

    def with_batch_size(self, batch_size: int) -> DarkMouths:
        return self


class StillFaces:
    """A tracker that needs no detector: the face stands where the scan saw it."""

    reach_frames = 0

    def track(
        self, frames: Iterable[tuple[int, VideoFrame]], spans: Sequence[FaceSpan]
    ) -> Iterator[tuple[int, VideoFrame, tuple[TrackedFace, ...]]]:
        for index, frame in frames:
            here = [span for span in spans if span.start_frame <= index < span.stop_frame]
            yield index, frame, tuple(TrackedFace(span, span.path.box_at(index)) for span in here)

    def pose(self, face: Face) -> tuple[FaceBox, float]:
        return face.box, 0.0


class NoMel:
    """A driving sound that is not read."""

    def window(self, seconds: Fraction) -> npt.NDArray[np.float32]:
        return np.zeros((80, 16), np.float32)

    def close(self) -> None:
        pass


class NoFaces:
    """A detector that finds nothing."""

    name: ClassVar[str] = "cascade"
    title: ClassVar[str] = "a detector that finds nothing"
    caveat: ClassVar[str] = "which finds nothing"
    has_landmarks: ClassVar[bool] = False
    weights: ClassVar[str | None] = None
    crop_px: ClassVar[int] = 192
    smoothing_frames: ClassVar[int] = 1
    preference: ClassVar[int] = 9

    def __init__(self, weights: Path | None) -> None:
        pass

    def detect(self, picture: Pixels, *, smallest_px: float = 16) -> tuple[Face, ...]:
        return ()


def build_no_faces(name: str, weights: Path | None) -> NoFaces:
    return NoFaces(weights)


def scan_canned(frames: Iterable[tuple[int, VideoFrame]], scanner: FaceScanner, **_: object) -> Scan:
    """Return the scan that belongs to the quick jobs' video."""
    samples = []
    for index, _frame in frames:
        span = next((span for span in SPANS if span[0] <= index < span[1]), None)
        score = 0.0 if span is None else 0.5 if span == (60, 90) and index >= 80 else SPANS[span]
        faces = (Face(FaceBox(60.0, 16.0, 120.0, 92.0), score),) if span else ()
        samples.append(FrameDetections(index, faces))
    cuts = tuple(border for span in SPANS for border in span)
    return Scan(tuple(samples), cuts, "cascade", SIZE)


def check_nothing(checkpoint: Path, settings: RendererConfig) -> None:
    """Take any file for a network."""


def load_dark_mouths(checkpoint: Path, settings: RendererConfig, device: str, num_threads: int) -> DarkMouths:
    return DarkMouths()


def build_still_faces(detector: object, orientation: Orientation, settings: RendererConfig) -> StillFaces:
    return StillFaces()


def read_wav2lip_spec(checkpoint: Path, settings: RendererConfig) -> NetworkSpec:
    return WAV2LIP_SPEC


def open_no_mel(path: Path, spec: MelSpec) -> NoMel:
    return NoMel()


QUICK_TOOLS = Tools(
    build_detector=build_no_faces,
    scan_faces=scan_canned,
    check_network=check_nothing,
    read_spec=read_wav2lip_spec,
    load_engine=load_dark_mouths,
    build_tracker=build_still_faces,
    open_mel=open_no_mel,
)
"""With these a job takes about a second."""
