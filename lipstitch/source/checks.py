"""What is checked before any work: the files that a job reads, and the names and places of those that it writes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile

from lipstitch.job_file.config import JobConfig
from lipstitch.workspace import Workspace, job_key, workspace_folder
from media.base.errors import ConfigError, UnreadableMedia
from media.packets.truncation import check_complete
from media.probe import probe
from stitcher.assemble import MUXERS, muxer_of
from stitcher.audio.soundtrack import takes
from stitcher.disclosure.manifest import SIGNED_FORMATS, Signing, check_signing

COMPARISON_ENDINGS = (".mkv", ".mov", ".mp4")
USE_DAMAGED = "set input.accept_damaged: true to use what is there"
"""Advice for a file that is cut off."""
LONGEST_SECONDS = 100 * 3600
"""What is longer has a damaged time in it: days of nothing would be scanned, and filled with silence."""
MAX_NAME_BYTES = 255
"""Of a file, on all common file systems."""
LONGEST_ENDING = ".report.json.01234567.part"
"""What is appended to an output's name while its report is written."""


def input_files(config: JobConfig) -> Iterable[tuple[str, Path]]:
    """Yield (key path, path) of every media file that the job reads."""
    yield "input.video", config.input.video_file
    for number, path in enumerate(config.input.footage):
        yield f"input.footage.{number}", path
    yield from sound_files(config)


def sound_files(config: JobConfig) -> Iterable[tuple[str, Path]]:
    """Yield (key path, path) of every file beside the video that the job takes sound from."""
    if config.input.audio_file:
        yield "input.audio", config.input.audio_file
    if config.input.drive_audio:
        yield "input.drive_audio", config.input.drive_audio
    for name, speaker in config.input.speakers.cast.items() if config.input.speakers else ():
        if speaker.stem:
            yield f"input.speakers.cast.{name}.stem", speaker.stem
    for number, part in enumerate(config.ranges or ()):
        if part.audio:
            yield f"ranges.{number}.audio", part.audio


def check_sounds_complete(config: JobConfig) -> None:
    """Raise MediaError for a sound file that cannot be read, or is cut off (unless input.accept_damaged)."""
    if not config.input.accept_damaged:
        for _, path in sound_files(config):
            check_complete(probe(path), advice=USE_DAMAGED)


def require_sane_length(path: str, seconds: Fraction) -> None:
    """Raise UnreadableMedia for a length that only damaged times explain."""
    if seconds > LONGEST_SECONDS:
        raise UnreadableMedia(
            f"{path}: by its times it would last {float(seconds) / 3600:.0f} hours, so they are damaged."
            " Remux or convert the file first."
        )


def check_output_name(config: JobConfig, *, force: bool) -> None:
    """Raise ConfigError, before anything is read, if the outputs cannot be named as the job says. force: as below."""
    if config.mode == "extract" and not config.extract.join:
        check_name(config, config.output)  # the files of ranges are named after it; it is not written itself
    else:
        check_output(config, config.output, force=force)


def check_output(config: JobConfig, output: Path, *, force: bool) -> None:
    """Raise ConfigError if an output cannot be written, or exists. force: an existing one may be replaced.

    An output that this job wrote itself before it was stopped may always be replaced.
    """
    check_name(config, output)
    own = Workspace(workspace_folder(config)).wrote_output(output, job_key(config))
    _check_place("output", output, input_files(config), force=force or own)


def check_name(config: JobConfig, output: Path) -> None:
    """Raise ConfigError if files cannot be named like an output, or cannot hold the sound that the job asks for."""
    _check_length("output", output)
    _check_ending("output", output, MUXERS)
    codec = config.stitcher.audio.codec
    if codec != "auto" and not takes(muxer_of(output), codec):
        raise ConfigError(f"stitcher.audio.codec: {output.suffix} files cannot hold {codec}. Choose auto.")


def signing_of(config: JobConfig) -> Signing | None:
    """Return what the outputs of a job are signed with; None if they are not."""
    signing = config.stitcher.signing
    if config.stitcher.provenance != "c2pa" or signing is None:
        return None
    return Signing(signing.certificate, signing.key, signing.algorithm, signing.timestamp_url)


def check_provenance(config: JobConfig) -> None:
    """Raise ConfigError if the outputs are to be signed and cannot be: it is tried on something small."""
    signing, suffix = signing_of(config), config.output.suffix
    if signing is None:
        return
    if suffix.lower() not in SIGNED_FORMATS:
        raise ConfigError(
            f"stitcher.provenance: {suffix} files cannot hold a signed manifest. Use {', '.join(SIGNED_FORMATS)}, or"
            " provenance: metadata."
        )
    check_signing(signing)


def check_comparison_video(config: JobConfig, path: Path, outputs: Iterable[Path], *, force: bool) -> None:
    """Raise ConfigError if the comparison video cannot be written, or exists. force: it may be replaced.

    outputs: the other files that the job writes.
    """
    _check_length("--compare", path)
    _check_ending("--compare", path, COMPARISON_ENDINGS)
    if path.resolve() in [output.resolve() for output in outputs]:
        raise ConfigError(f"--compare: {path} is what the job itself writes. Choose another name.")
    _check_place("--compare", path, input_files(config), force=force)


def check_side_file(config: JobConfig, key: str, path: Path, endings: Iterable[str], *, force: bool) -> None:
    """Raise ConfigError if a file beside the output cannot be written, or exists. force: it may be replaced."""
    _check_length(key, path)
    _check_ending(key, path, endings)
    spans, speakers = config.segmenter.spans, config.input.speakers
    others = [*input_files(config), *config.references.items()]
    others += [("segmenter.spans", spans)] if spans else []
    others += [("ranges_from.file", config.ranges_from.file)] if config.ranges_from else []
    others += [("input.speakers.turns", speakers.turns)] if speakers and isinstance(speakers.turns, Path) else []
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
        raise ConfigError(f"{key}: no such folder: {path.parent}. Create it, or choose another.")
    if os.path.isdir(path):
        raise ConfigError(f"{key}: {path} is a folder. Give the name of a file.")
    if os.path.exists(path):
        for name, read in inputs:
            if os.path.exists(read) and os.path.samefile(read, path):
                raise ConfigError(f"{key}: {path} is the same file as {name}. Choose another name.")
        if not force:
            raise ConfigError(f"{key}: {path} exists. Use --force to replace it, or choose another name.")
    try:
        # Tried, because permissions alone do not tell: the disk may be read-only, or the folder virtual.
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as exc:
        raise ConfigError(
            f"{key}: nothing can be written to the folder {path.parent} ({exc.strerror}). Choose another one."
        ) from exc
