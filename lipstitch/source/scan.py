"""The scan: which faces are where in the frames that a job shows. Made once, and kept in the workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lipstitch.job_file.config import JobConfig
from lipstitch.progress import Reporter, Timings
from lipstitch.source.offset import IN_PLACE, SoundOffset
from lipstitch.source.parallel_scan import scan_in_parts
from lipstitch.source.source import Source
from lipstitch.source.weights import FaceFinder, find_detector, find_embedder, find_mesh
from lipstitch.tools import Tools
from lipstitch.workspace import Workspace
from media.base.content import content_key
from media.base.errors import ConfigError
from media.identity import Vector
from media.intervals import Interval
from renderer.checkpoints import hash_file
from segmenter.find_detector import detectors_by_preference
from segmenter.people.reference import embed_reference, load_photo
from segmenter.scan import Scan

SCAN_VERSION = 8
"""Raised when scanning the same frames gives other samples than before."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """The video of a job with the faces that were found in it."""

    source: Source
    finder: FaceFinder
    """How they were found."""
    scan: Scan
    references: Mapping[Path, Vector]
    """The embedding of each photo by which the job names a person; empty where people are not told apart."""
    judge: Path | None = None
    """Weights of the network that tells who speaks; None where no one asks."""
    offset: SoundOffset = IN_PLACE
    """By how much the video's own sound is moved wherever its picture is learned from or judged."""


def choose_finder(
    config: JobConfig,
    source: Source,
    intervals: Sequence[Interval],
    workspace: Workspace,
    reporter: Reporter,
    *,
    needs_people: bool,
    tools: Tools,
) -> FaceFinder:
    """Return how faces are found in the frames of the intervals; what an earlier run used is preferred.

    needs_people: raise CheckpointError or ConfigError where people cannot be told apart.
    """

    def has_scan(finder: FaceFinder) -> bool:
        return workspace.load(_scan_path(config, source, intervals, finder, workspace)) is not None

    _check_box(config, source)
    fallback = next((detector.name for detector in detectors_by_preference() if not detector.weights), None)
    mesh = find_mesh(config, reporter)
    has_fallback_scan = fallback is not None and has_scan(FaceFinder(fallback, None, mesh=mesh))
    detector, weights = find_detector(config, reporter, has_fallback_scan=has_fallback_scan)
    plain = FaceFinder(detector, weights, mesh=mesh, tools=tools)
    has_plain = _scan_path(config, source, intervals, plain, workspace).exists()
    found = find_embedder(config, detector, reporter, has_plain=has_plain, is_needed=needs_people)
    return FaceFinder(detector, weights, *found, mesh=mesh, tools=tools) if found else plain


def _check_box(config: JobConfig, source: Source) -> None:
    """Raise ConfigError if the job gives a box that is not in the picture."""
    box, (width, height) = config.segmenter.box, source.video.upright_size
    if box is not None and (box[1] > height or box[3] > width):
        raise ConfigError(
            f"segmenter.box: bottom {box[1]} and right {box[3]} lie outside of the picture, which has {width}x{height}"
            f" pixels. Give top, bottom, left and right."
        )


def check_photos(config: JobConfig) -> None:
    """Raise ConfigError for a photo of the job that cannot be read."""
    for key, path in config.references.items():
        load_photo(path, key)


def embed_references(config: JobConfig, finder: FaceFinder) -> dict[Path, Vector]:
    """Return the embedding of each photo of the job; none where people are not told apart.

    Raises ConfigError for a photo that does not show one face, CheckpointError if the network cannot be loaded.
    """
    embedder = finder.load_embedder() if config.references else None
    if embedder is None:
        return {}
    detector = finder.build_detector()
    return {
        path: embed_reference(path, key, load_photo(path, key), detector, embedder)
        for key, path in config.references.items()
    }


def scan_source(
    config: JobConfig,
    source: Source,
    finder: FaceFinder,
    intervals: Sequence[Interval],
    workspace: Workspace,
    reporter: Reporter,
    timings: Timings,
) -> Scan:
    """Return the scan of all frames of the intervals, from the workspace if an earlier run made it."""
    path = _scan_path(config, source, intervals, finder, workspace)
    if (stored := workspace.load(path)) is not None:
        return Scan.from_json(stored["scan"])
    scan = scan_in_parts(source, intervals, finder, config.segmenter.scan_settings, reporter, timings)
    workspace.store(path, {"scan": scan.to_json()})
    return scan


def _scan_path(
    config: JobConfig, source: Source, intervals: Sequence[Interval], finder: FaceFinder, workspace: Workspace
) -> Path:
    return workspace.path("scan", scan_key(config, source.fingerprint, intervals, finder), ".json")


def scan_key(config: JobConfig, fingerprint: str, intervals: Sequence[Interval], finder: FaceFinder) -> str:
    """Return the content key of a scan: all that its samples depend on. Thresholds come after it."""
    settings = config.segmenter
    return content_key(
        SCAN_VERSION,
        fingerprint,
        intervals,
        finder.detector,
        hash_file(finder.detector_weights) if finder.detector_weights else None,
        settings.samples_per_second,
        settings.min_face_px,
        *([hash_file(finder.embedder), finder.embedder_settings] if finder.embedder else []),
        *(["mesh", hash_file(finder.mesh)] if finder.mesh else []),
        *(["box", settings.box] if settings.box else []),
    )
