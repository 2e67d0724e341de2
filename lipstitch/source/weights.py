"""The weights that a job names: of detectors, of the network that tells people apart, of the network that renders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from base.errors import CheckpointError, CheckpointNotFound, ConfigError
from lipstitch.job_file.config import JobConfig
from lipstitch.progress import Reporter
from media.identity import EmbedderSettings
from renderer.checkpoints import SHIPPED_REGISTRY, find_checkpoint, load_registry
from segmenter.detectors.base import FaceDetector
from segmenter.detectors.build import build_detector
from segmenter.people.embedder import OnnxEmbedder

CHECKPOINTS = SHIPPED_REGISTRY.parent
DEFAULT_EMBEDDER = "sface"


@dataclass(frozen=True, slots=True)
class FaceFinder:
    """How faces are found in a video, and how people are told apart."""

    detector: str
    """retinaface or cascade."""
    detector_weights: Path | None
    embedder: Path | None = None
    """The network that tells people apart; None where they are not told apart."""
    embedder_settings: EmbedderSettings | None = None
    """How it is used."""

    def build_detector(self) -> FaceDetector:
        """Return a detector of its own for the calling thread. Raises CheckpointError."""
        return build_detector(self.detector, self.detector_weights)  # type: ignore[arg-type]

    def load_embedder(self) -> OnnxEmbedder | None:
        """Return the network that tells people apart; None where they are not. Raises CheckpointError."""
        if self.embedder is None:
            return None
        return OnnxEmbedder(self.embedder, self.embedder_settings or EmbedderSettings())


def find_network(config: JobConfig, reporter: Reporter) -> Path:
    """Return the weights of the network that renders, downloaded if need be. Raises CheckpointError."""
    return find_weights(config.renderer.checkpoint, config, reporter, download=True)


def find_local_network(config: JobConfig, reporter: Reporter) -> Path | None:
    """Return the weights of the network that renders if they are on this machine already, else None."""
    try:
        return find_weights(config.renderer.checkpoint, config, reporter, download=False)
    except CheckpointNotFound:
        return None


def find_weights(name: str, config: JobConfig, reporter: Reporter, *, download: bool) -> Path:
    """Return the file of a checkpoint, downloaded if need be. Raises CheckpointError."""
    folder = config.execution.checkpoints or CHECKPOINTS
    shown = False

    def show(done: int, total: int) -> None:
        nonlocal shown
        if not shown:
            reporter.begin(f"download {name}", total, "bytes")
            shown = True
        reporter.advance(done)

    try:
        return find_checkpoint(name, folder=folder, download=download, on_progress=show)
    finally:
        if shown:
            reporter.end()


def find_detector(config: JobConfig, reporter: Reporter, *, has_cascade: bool) -> tuple[str, Path | None]:
    """Return the detector to use and its weights; has_cascade: an earlier run has already scanned with the cascade.

    auto: RetinaFace where its weights are here or can be downloaded, else the cascade with a warning. After a scan with
    the cascade no download is tried again, so that a resumed run never mixes detectors.
    Raises CheckpointNotFound if the job asks for RetinaFace by name and its weights cannot be found.
    """
    choice = config.segmenter.detector
    if choice == "cascade":
        return "cascade", None
    try:
        download = not (choice == "auto" and has_cascade)
        return "retinaface", find_weights(config.segmenter.detector_checkpoint, config, reporter, download=download)
    except CheckpointNotFound as exc:
        if choice == "retinaface":
            raise
        if not has_cascade:
            reporter.warning(f"using OpenCV's frontal-face cascade, which misses turned faces. For RetinaFace: {exc}")
        return "cascade", None


def find_embedder(
    config: JobConfig, detector: str, reporter: Reporter, *, has_plain: bool, is_needed: bool
) -> tuple[Path, EmbedderSettings] | None:
    """Return the network that tells people apart and how it is used; None where people are not told apart.

    has_plain: an earlier run has already scanned without it; no download is tried again then. is_needed: the job is
    impossible without it. Raises CheckpointError if weights that the job names or needs cannot be found, ConfigError if
    people are to be told apart by a detector that gives no landmarks.
    """
    choice = config.segmenter.embedder
    if choice == "none" or detector == "cascade":
        if is_needed:
            reason = "segmenter.embedder is none" if choice == "none" else "OpenCV's cascade finds no eyes"
            raise ConfigError(f"people cannot be told apart: {reason}. Use detector retinaface and an embedder.")
        return None
    name = DEFAULT_EMBEDDER if choice == "auto" else choice
    try:
        download = is_needed or choice != "auto" or not has_plain
        path = find_weights(name, config, reporter, download=download)
    except CheckpointError as exc:
        if is_needed or choice != "auto":
            raise
        if not has_plain:
            reporter.info(f"People are not told apart: {exc}")
        return None
    entry = load_registry().get(name)
    return path, (entry.embedder if entry else None) or EmbedderSettings()
