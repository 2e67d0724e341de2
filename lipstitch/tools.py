"""What a job uses that is slow, or needs weights: each made by a function that a caller may replace.

`run_job(config, reporter, tools=Tools(load_engine=mine))` replaces one of them. Tools travel to worker processes with
every clip, so they must pickle: use functions from the top level of a module. A worker keeps what it has loaded for as
long as the tools compare equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lipstitch.job_file.renderer import RendererConfig
from media.base.once import once_a_file
from media.identity import EmbedderSettings
from media.orientation import Orientation
from media.picture import PictureConverter, VideoFrame
from media.reader import FaceTracker
from renderer.face_stages.base import DEFAULT_STAGES
from renderer.mel import Mel, MelSpec, MelTrack
from renderer.networks.base import Engine, NetworkSpec, load_network, read_spec
from renderer.weight_files import NetworkOptions
from segmenter.detectors.base import FaceDetector
from segmenter.find_detector import build_detector
from segmenter.mesh.mesher import MeshModel, OnnxMesh
from segmenter.people.embedder import FaceEmbedder, OnnxEmbedder
from segmenter.scan import Scan
from segmenter.scanner import FaceScanner, ScanPart, scan_faces
from segmenter.tracker import BoxTracker


class SharedEngine(Engine, Protocol):
    """A lip network that several workers of one process use."""

    def for_worker(self, num_threads: int | None) -> SharedEngine:
        """Return an engine with the same network for one worker.

        num_threads: threads of its own on a CPU; None: the threads of this engine, shared with the other workers.
        """
        ...

    def with_batch_size(self, batch_size: int) -> SharedEngine:
        """Return an engine with the same network that takes another number of faces in a pass."""
        ...


class DrivingMel(Mel, Protocol):
    """The mel spectrogram of a sound file that drives lips."""

    def close(self) -> None:
        """Close the file."""
        ...


class ScanFaces(Protocol):
    """Finds cuts and faces in frames; see segmenter.scanner.scan_faces."""

    def __call__(
        self,
        frames: Iterable[tuple[int, VideoFrame]],
        scanner: FaceScanner,
        *,
        part: ScanPart | None,
        on_progress: Callable[[int], None],
    ) -> Scan:
        """Return the cuts and the faces of the frames."""
        ...


def load_engine(checkpoint: Path, settings: RendererConfig, device: str, num_threads: int) -> SharedEngine:
    """Load a lip network onto a device.

    num_threads: threads on a CPU. Raises CheckpointError, ConfigError, or OutOfMemory.
    """
    from renderer.engine import load_engine  # imports torch, which takes seconds

    return load_engine(
        checkpoint,
        device=device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        num_threads=num_threads,
        options=settings.network_options,
    )


def check_network(checkpoint: Path, settings: RendererConfig) -> None:
    """Raise CheckpointError if a file holds no lip network that can be loaded."""
    _can_be_loaded(checkpoint, settings.network_options)


@once_a_file
def _can_be_loaded(checkpoint: Path, options: NetworkOptions) -> bool:
    load_network(checkpoint, options)
    return True


def read_network_spec(checkpoint: Path, settings: RendererConfig) -> NetworkSpec:
    """Return the spec of the lip network in a file, from its header. Raises CheckpointError."""
    return read_spec(checkpoint, settings.network_options)


def build_tracker(detector: FaceDetector, orientation: Orientation, settings: RendererConfig) -> FaceTracker:
    """Return the tracker that follows faces through a clip. It is not thread-safe."""
    return BoxTracker(
        detector,
        PictureConverter(orientation),
        every_frames=settings.detect_every_frames,
        smoothing_frames=settings.smoothing_frames,
        align=settings.align,
    )


@dataclass(frozen=True, slots=True)
class Tools:
    """The functions that make what is slow or needs weights."""

    build_detector: Callable[[str, Path | None], FaceDetector] = build_detector
    """(detector's name, its weights) -> a face detector for one thread."""
    load_embedder: Callable[[Path, EmbedderSettings], FaceEmbedder] = OnnxEmbedder
    """(weights, settings) -> the network that tells people apart, for all threads."""
    load_mesh: Callable[[Path], MeshModel] = OnnxMesh
    """Weights -> the network that finds the points of a face, for one thread."""
    scan_faces: ScanFaces = scan_faces
    """Finds cuts and faces in a part of the video."""
    check_network: Callable[[Path, RendererConfig], None] = check_network
    """(weights, settings) -> None; raises CheckpointError before the work starts."""
    read_spec: Callable[[Path, RendererConfig], NetworkSpec] = read_network_spec
    """(weights, settings) -> what the renderer has to know of the lip network."""
    load_engine: Callable[[Path, RendererConfig, str, int], SharedEngine] = load_engine
    """(weights, settings, device, threads) -> the lip network, for all workers of a process."""
    build_tracker: Callable[[FaceDetector, Orientation, RendererConfig], FaceTracker] = build_tracker
    """(detector, orientation of the video, settings) -> the face tracker of one worker."""
    face_stages: tuple[str, ...] = DEFAULT_STAGES
    """Names of the stages that a drawn face passes before it is blended, in order."""
    open_mel: Callable[[Path, MelSpec], DrivingMel] = MelTrack
    """(WAV file, spec of the lip network) -> the driving sound as the network hears it."""


DEFAULT_TOOLS = Tools()
"""Those of a real job."""
