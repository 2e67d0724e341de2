"""The weights that a job names: of detectors, of the network that tells people apart, of the network that renders."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lipstitch.job_file.config import JobConfig
from lipstitch.progress import Reporter
from lipstitch.tools import DEFAULT_TOOLS, Tools
from media.base.errors import CheckpointError, CheckpointNotFound, ConfigError
from media.clips import Quality
from media.identity import EmbedderSettings
from media.picture import PictureConverter
from renderer.checkpoints import download_folder, find_checkpoint, hash_file, load_registry
from segmenter.detectors.base import FaceDetector
from segmenter.find_detector import (
    AUTO,
    choose_detector,
    detector_class,
    detector_with_weights,
    names_with_landmarks,
)
from segmenter.mesh.mesher import FaceMesher
from segmenter.people.embedder import FaceEmbedder

DEFAULT_EMBEDDER = "sface"
SOUND_SHAPE = "sound_shape"


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights that new mouths are made with."""

    network: Path
    """Of the network that draws them."""
    sound_shape: Path | None
    """Of the one that tells shapes of lips from sound; None where no mouth comes from footage."""
    restorer: Path | None
    """Of the one that restores what the network draws, if the job says so."""
    maskers: tuple[Path, ...]
    """Of those that tell which pixels of a face may change."""
    enhancer: Path | None = None
    """Of the one that enhances whole frames, if the job says so."""
    others: Mapping[Quality, Weights] = field(default_factory=dict)
    """What the qualities need that the user wants of some frames."""

    def of(self, quality: Quality | None) -> Weights:
        """Return what frames of a quality need; None: as the job says."""
        return self.others[quality] if quality else self


@dataclass(frozen=True, slots=True)
class FaceFinder:
    """How faces are found in a video, and how people are recognised."""

    detector: str
    """Its name."""
    detector_weights: Path | None
    embedder: Path | None = None
    """The network that recognises people; None where they are not recognised."""
    embedder_settings: EmbedderSettings | None = None
    """How it is used."""
    mesh: Path | None = None
    """The network that finds the points of a face; None where no mouth comes from footage."""
    tools: Tools = DEFAULT_TOOLS
    """What makes the parts of this job: those that find faces, and those that render."""

    def build_detector(self) -> FaceDetector:
        """Return a detector of its own for the calling thread. Raises CheckpointError."""
        return self.tools.build_detector(self.detector, self.detector_weights)

    def build_mesher(self, converter: PictureConverter) -> FaceMesher | None:
        """Return what finds meshes, of its own for the calling thread; None where none is asked for.

        Raises CheckpointError.
        """
        return FaceMesher(self.tools.load_mesh(self.mesh), converter) if self.mesh else None

    def load_embedder(self) -> FaceEmbedder | None:
        """Return the network that tells people apart; None where they are not. Raises CheckpointError."""
        if self.embedder is None:
            return None
        return self.tools.load_embedder(self.embedder, self.embedder_settings or EmbedderSettings())


def find_rendering_weights(
    config: JobConfig, reporter: Reporter, qualities: Collection[Quality] = (), *, may_draw: bool = False
) -> Weights:
    """Return the weights that new mouths are made with, downloaded if need be. Raises CheckpointError or ConfigError.

    qualities: that the user wants of some frames. may_draw: whether a network may draw mouths though
    the job does not say so itself.
    """
    check_licence(config)  # before anything is downloaded
    others = {
        word: find_rendering_weights(config.with_quality(word), reporter, may_draw=may_draw) for word in qualities
    }
    network = find_weights(config.renderer.checkpoint, config, reporter, download=True)
    needs_shapes, restore = config.renderer.method != "network", config.renderer.restore
    sound_shape = find_weights(SOUND_SHAPE, config, reporter, download=True) if needs_shapes else None
    restorer = None
    if restore and (config.renderer.may_draw or may_draw):
        restorer = find_weights(restore.model, config, reporter, download=True)
    check_licence(config, restorer)
    enhance = config.stitcher.enhance
    enhancer = find_weights(enhance.model, config, reporter, download=True) if enhance else None
    return Weights(network, sound_shape, restorer, tuple(_find_maskers(config, reporter)), enhancer, others)


def _find_maskers(config: JobConfig, reporter: Reporter) -> Iterator[Path]:
    """Yield the weights of networks for masks. Raises CheckpointError for one that the job names itself."""
    for name in config.renderer.masks:
        try:
            yield find_weights(name, config, reporter, download=True)
        except CheckpointNotFound as exc:
            if config.renderer.mask != "parsing":
                raise
            reporter.warning(f"renderer.mask is fixed: {exc}")


def describe_restorer(config: JobConfig) -> str:
    """Return in one line what restores drawn faces, with the licence of registered weights; empty if nothing does."""
    restore = config.renderer.restore
    if restore is None:
        return ""
    entry = load_registry().get(restore.model)
    licence = f"; {entry.licence}" if entry else ""
    area = " in the whole face" if restore.area == "face" else ""
    return f"{restore.model}, {restore.strength:.0%} of what it changes{area}{licence}"


def describe_enhancer(config: JobConfig) -> str:
    """Return in one line what enhances whole frames, with the licence of registered weights; empty if nothing does."""
    enhance = config.stitcher.enhance
    if enhance is None:
        return ""
    entry = load_registry().get(enhance.model)
    licence = f"; {entry.licence}" if entry else ""
    what = "every frame" if enhance.frames == "all" else "frames that are re-encoded"
    return f"{enhance.model} in {what}, {enhance.strength:.0%} of what it changes{licence}"


def check_licence(config: JobConfig, restorer: Path | None = None) -> None:
    """Raise ConfigError if the licence of the job's restorer has to be accepted first.

    restorer: its file, once it is here: it may be registered under another name than the job's.
    """
    restore = config.renderer.restore
    if restore is None or restore.accept_licence:
        return
    for entry in load_registry().values():
        is_meant = entry.name == restore.model or (restorer is not None and hash_file(restorer) == entry.sha256)
        if is_meant and not entry.is_commercial:
            raise ConfigError(
                f"renderer.restore: {entry.name} may not be used commercially ({entry.licence.rstrip('.')}). Set"
                f" renderer.restore.accept_licence: true if that suits your use."
            )


def find_local_network(config: JobConfig, reporter: Reporter) -> Path | None:
    """Return the weights of the network that renders if they are on this machine already, else None."""
    try:
        return find_weights(config.renderer.checkpoint, config, reporter, download=False)
    except CheckpointNotFound:
        return None


def find_weights(name: str, config: JobConfig, reporter: Reporter, *, download: bool) -> Path:
    """Return the file of a checkpoint, downloaded if need be. Raises CheckpointError."""
    return find_registered(name, config.execution.checkpoints or download_folder(), reporter, download=download)


def find_registered(name: str, folder: Path, reporter: Reporter, *, download: bool) -> Path:
    """Return the same, looked for in a folder and downloaded into it; see find_checkpoint."""
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


def find_mesh(config: JobConfig, reporter: Reporter) -> Path | None:
    """Return the weights of the network that finds the points of a face; None where no mouth comes from footage.

    Raises CheckpointError if the file is missing.
    """
    if config.renderer.method == "network":
        return None
    return find_weights(config.segmenter.mesh, config, reporter, download=True)


def find_detector(config: JobConfig, reporter: Reporter, *, has_fallback_scan: bool) -> tuple[str, Path | None]:
    """Return the detector to use, and its weights if it needs any; see choose_detector.

    has_fallback_scan: an earlier run has scanned with the detector to which `auto` falls back. Then `auto` tries no
    download again and does not warn again, so that a resumed run never mixes detectors.
    """
    choice, named_weights = config.segmenter.detector, config.segmenter.detector_checkpoint
    owner = detector_with_weights(choice)

    def find(detector: type[FaceDetector]) -> Path:
        name = named_weights if detector is owner else str(detector.weights)
        return find_weights(name, config, reporter, download=not (choice == AUTO and has_fallback_scan))

    def warn(text: str) -> None:
        if not has_fallback_scan:
            reporter.warning(text)

    return choose_detector(choice, find, warn)


def find_embedder(
    config: JobConfig, detector: str, reporter: Reporter, *, has_plain: bool, is_needed: bool
) -> tuple[Path, EmbedderSettings] | None:
    """Return the network that recognises people and its settings; None where people are not recognised.

    has_plain: an earlier run has already scanned without it; no download is tried again then. is_needed: the job is
    impossible without it. Raises CheckpointError if weights that the job names or needs cannot be found, ConfigError if
    people are to be recognised with a detector that gives no landmarks.
    """
    choice = config.segmenter.embedder
    used = detector_class(detector)
    if choice == "none" or not used.has_landmarks:
        if is_needed:
            reason = "segmenter.embedder is set to none" if choice == "none" else f"{used.title} finds no eyes"
            raise ConfigError(
                f"people cannot be told apart: {reason}. Use detector {names_with_landmarks()} and an embedder."
            )
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
