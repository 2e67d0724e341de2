"""What is checked before any work: files, folders and weights that the job names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from base.errors import CheckpointError, CheckpointNotFound, ConfigError
from base.files import content_key
from lipstitch.job_file.config import JobConfig
from lipstitch.progress import Reporter
from lipstitch.workspace import Workspace
from media.identity import EmbedderSettings
from renderer.checkpoints import SHIPPED_REGISTRY, find_checkpoint, load_registry
from stitcher.assemble import MUXERS, muxer_of
from stitcher.audio.soundtrack import takes

CHECKPOINTS = SHIPPED_REGISTRY.parent
COMPARISON_ENDINGS = (".mkv", ".mov", ".mp4")
MAX_NAME_BYTES = 255
"""Of a file, on all common file systems."""
DEFAULT_EMBEDDER = "sface"
LONGEST_ENDING = ".report.json.01234567.part"
"""What is appended to an output's name while its report is written."""


def input_files(config: JobConfig) -> Iterable[tuple[str, Path]]:
    """Yield (key path, path) of every media file that the job reads."""
    yield "input.video", config.input.video
    if config.input.audio:
        yield "input.audio", config.input.audio
    if config.input.drive_audio:
        yield "input.drive_audio", config.input.drive_audio
    for name, speaker in config.input.speakers.cast.items() if config.input.speakers else ():
        if speaker.stem:
            yield f"input.speakers.cast.{name}.stem", speaker.stem
    for number, part in enumerate(config.ranges or ()):
        if part.audio:
            yield f"ranges.{number}.audio", part.audio


def check_output(config: JobConfig, output: Path, *, force: bool) -> None:
    """Raise ConfigError if an output cannot or must not be written. force: an existing one may be replaced.

    One that this job wrote itself before it was stopped may always be.
    """
    check_name(config, output)
    own = Workspace(workspace_folder(config)).wrote_output(output, job_key(config))
    _check_place("output", output, input_files(config), force=force or own)


def check_name(config: JobConfig, output: Path) -> None:
    """Raise ConfigError if files cannot be named like an output, or such a file cannot hold what the job wants."""
    _check_length("output", output)
    _check_ending("output", output, MUXERS)
    codec = config.stitcher.audio.codec
    if codec != "auto" and not takes(muxer_of(output), codec):
        raise ConfigError(f"stitcher.audio.codec: {output.suffix} files cannot hold {codec}. Choose auto.")


def check_comparison_video(config: JobConfig, path: Path, outputs: Iterable[Path], *, force: bool) -> None:
    """Raise ConfigError if the comparison video cannot or must not be written. force: an existing one may be replaced.

    outputs: what else the job writes.
    """
    _check_length("--compare", path)
    _check_ending("--compare", path, COMPARISON_ENDINGS)
    if path.resolve() in [output.resolve() for output in outputs]:
        raise ConfigError(f"--compare: {path} is what the job itself writes. Choose another name.")
    _check_place("--compare", path, input_files(config), force=force)


def check_side_file(config: JobConfig, key: str, path: Path, endings: Iterable[str], *, force: bool) -> None:
    """Raise ConfigError if a file beside the output cannot or must not be written. force: it may be replaced."""
    _check_length(key, path)
    _check_ending(key, path, endings)
    spans, speakers = config.segmenter.spans, config.input.speakers
    others = [*input_files(config), *config.references.items()]
    others += [("segmenter.spans", spans)] if spans else []
    others += [("input.speakers.turns", speakers.turns)] if speakers else []
    _check_place(key, path, others, force=force)


def _check_ending(key: str, path: Path, known: Iterable[str]) -> None:
    if path.suffix.lower() not in known:
        shown = f"the ending {path.suffix!r} of {path.name} is unknown" if path.suffix else f"{path.name} has no ending"
        raise ConfigError(f"{key}: {shown}. Use one of {' '.join(sorted(known))}.")


def _check_length(key: str, path: Path) -> None:
    """Raise ConfigError where the names of what lies beside an output would be too long for a file system."""
    longest = MAX_NAME_BYTES - len(LONGEST_ENDING)
    if len(os.fsencode(path.name)) > longest:
        raise ConfigError(f"{key}: the name is longer than {longest} bytes. Choose a shorter one.")


def _check_place(key: str, path: Path, inputs: Iterable[tuple[str, Path]], *, force: bool) -> None:
    """Raise ConfigError if a file cannot be written at a path, would overwrite an input, or exists without force."""
    # os.path, because pathlib raises where a folder may not be searched.
    if not os.path.isdir(path.parent):
        raise ConfigError(f"{key}: there is no folder {path.parent}. Make it, or choose another.")
    if os.path.isdir(path):
        raise ConfigError(f"{key}: {path} is a folder. Give the name of a file.")
    if os.path.exists(path):
        for name, read in inputs:
            if os.path.exists(read) and os.path.samefile(read, path):
                raise ConfigError(f"{key}: {path} is the same file as {name}. Choose another name.")
        if not force:
            raise ConfigError(f"{key}: {path} exists. Use --force to replace it, or choose another name.")
    try:
        # Tried, because permissions alone do not tell: the disk may be read-only, or the folder no real one.
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as exc:
        raise ConfigError(
            f"{key}: nothing can be written to the folder {path.parent} ({exc.strerror}). Choose another one."
        ) from exc


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

    auto: RetinaFace where its weights are there or can be had, else the cascade with a warning. After a scan with the
    cascade weights are not asked for again over the network, so that a resumed run mixes no detectors by chance.
    Raises CheckpointNotFound if RetinaFace is asked for by name and not to be had.
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
    """Return the network that tells people apart and how it is used; None where nobody is told apart.

    has_plain: an earlier run has already scanned without; weights are then not asked for again over the network.
    is_needed: nothing can be done without. Raises CheckpointError if weights that the job names, or needs, are not to
    be had, ConfigError if people are to be told apart by a detector that gives no landmarks.
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


def workspace_folder(config: JobConfig) -> Path:
    """Return the folder of the job's workspace: beside the output unless the job says otherwise."""
    return config.execution.workspace or config.output.with_name(f"{config.output.name}.lipstitch")


def job_key(config: JobConfig) -> str:
    """Return the content key of a job file: the same job, wherever and however it is worked on."""
    return content_key(config.model_dump(mode="json", exclude={"execution"}))
