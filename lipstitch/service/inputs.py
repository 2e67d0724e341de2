"""The files that a generation may read, and whether they are media of a bearable size."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Literal

from lipstitch.service.settings import Limits, ServiceSettings
from lipstitch.service.store import ID, UNFINISHED_PREFIX
from media.base.errors import LipstitchError, MediaError
from media.base.text import brief
from media.probe import Stated, probe_stated

FORMATS = (
    *("aac", "ac3", "aiff", "amr", "asf", "avi", "caf", "eac3", "flac", "flv", "matroska", "mov", "mp3", "mpeg"),
    *("mpegts", "mxf", "ogg", "w64", "wav"),
)
"""FFmpeg's demuxers of files that hold their media themselves. Playlists (HLS, DASH, concat and others) name further
files and addresses, which FFmpeg would read: a client could see any file of this machine through them."""

Kind = Literal["video", "audio"]


class InputRefused(LipstitchError):
    """A file that this service does not read, or that is not what it is said to be."""


def is_address(text: str) -> bool:
    """Tell whether an input's url is an address rather than a path."""
    return not text.startswith("/")


def resolve_file(text: str, settings: ServiceSettings) -> Path:
    """Return the file that a path names, links followed; raise InputRefused unless it lies in a folder of inputs."""
    refused = InputRefused(f"{brief(text)}: not a file in a folder that this service reads. Upload it instead.")
    try:
        path = Path(text).resolve(strict=True)
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError, RuntimeError) as exc:  # missing, forbidden, too long, a zero byte, a circle of links
        raise refused from exc
    if not is_file or not any(path.is_relative_to(folder) for folder in settings.inputs):
        raise refused
    return path


def find_upload(uploads: Path, asset_id: str) -> Path:
    """Return the file that was uploaded under an id; raise InputRefused if nothing was."""
    folder = uploads / asset_id
    files = [*folder.iterdir()] if ID.fullmatch(asset_id) and folder.is_dir() else []
    if len(files) != 1 or files[0].name.startswith(UNFINISHED_PREFIX):
        raise InputRefused(f"assetId {brief(asset_id)}: nothing was uploaded under it, or it was removed since.")
    return files[0]


def check_media(path: Path, kind: Kind, limits: Limits, name: str) -> Stated:
    """Return what a file's headers state; raise InputRefused if it is too large, too long, or not of that kind.

    name: what the client calls it, for messages.
    """
    try:
        num_bytes = path.stat().st_size
        if num_bytes > limits.max_bytes:
            raise InputRefused(
                f"{brief(name)}: larger than {limits.max_bytes} bytes, the most that this service takes."
            )
        stated = probe_stated(path, FORMATS)
    except (OSError, MediaError) as exc:
        raise InputRefused(f"{brief(name)}: not a media file that this service reads. Check that it is whole.") from exc
    if kind == "video" and stated.rate is None:
        raise InputRefused(f"{brief(name)}: this file has no video.")
    if stated.num_pixels > limits.max_pixels:
        raise InputRefused(
            f"{brief(name)}: pictures of {stated.num_pixels} pixels; this service takes {limits.max_pixels} at most."
        )
    if kind == "audio" and not stated.has_audio:
        raise InputRefused(f"{brief(name)}: this file has no sound.")
    if stated.seconds is None:
        raise InputRefused(f"{brief(name)}: does not say how long it is. Remux it first.")
    if stated.seconds > limits.max_seconds:
        raise InputRefused(
            f"{brief(name)}: {float(stated.seconds):.1f} s long; this service takes {limits.max_seconds:g} s at most."
        )
    return stated
