"""What is checked before any work: files, folders and weights that the job names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from media.errors import CheckpointNotFound, ConfigError
from pipeline.config import JobConfig
from pipeline.progress import Reporter
from renderer.checkpoint import find_checkpoint
from stitcher.assemble import muxer_of
from stitcher.soundtrack import takes

CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"


def input_files(config: JobConfig) -> Iterable[tuple[str, Path]]:
    """Yield (key path, path) of every media file that the job reads."""
    yield "input.video", config.input.video
    if config.input.audio:
        yield "input.audio", config.input.audio
    if config.input.drive_audio:
        yield "input.drive_audio", config.input.drive_audio
    for number, part in enumerate(config.ranges or ()):
        if part.audio:
            yield f"ranges.{number}.audio", part.audio


def check_output(config: JobConfig, output: Path, *, force: bool) -> None:
    """Raise ConfigError if an output cannot or must not be written. force: an existing one may be replaced."""
    muxer_of(output)
    folder = output.parent
    if not folder.is_dir():
        raise ConfigError(f"output: the folder {folder} does not exist. Make it, or choose another.")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"output: the folder {folder} is not writable. Choose another, or change its permissions.")
    if output.is_dir():
        raise ConfigError(f"output: {output} is a folder. Give the name of a file.")
    if output.exists():
        for key, path in input_files(config):
            if path.exists() and path.samefile(output):
                raise ConfigError(f"output: {output} is the same file as {key}. Choose another name.")
        if not force:
            raise ConfigError(f"output: {output} exists. Use --force to replace it, or choose another name.")
    codec = config.stitcher.audio.codec
    if codec != "auto" and not takes(muxer_of(output), codec):
        raise ConfigError(f"stitcher.audio.codec: {output.suffix} files cannot hold {codec}. Choose auto.")


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


def find_detector(config: JobConfig, reporter: Reporter, stored: str | None) -> tuple[str, Path | None]:
    """Return the detector to use and its weights; stored: what an earlier run's scan was made with, if there is one.

    auto: RetinaFace where its weights are there or can be had (asked for once), else the cascade with a warning.
    Raises CheckpointNotFound if RetinaFace is asked for by name and not to be had.
    """
    choice = config.segmenter.detector
    if choice == "cascade" or (choice == "auto" and stored == "cascade"):
        return "cascade", None
    try:
        return "retinaface", find_weights(config.segmenter.detector_checkpoint, config, reporter, download=True)
    except CheckpointNotFound as exc:
        if choice == "retinaface" or stored == "retinaface":
            raise
        reporter.warn(f"using OpenCV's frontal-face cascade, which misses turned faces. For RetinaFace: {exc}")
        return "cascade", None
