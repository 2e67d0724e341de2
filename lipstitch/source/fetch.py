"""Inputs on the web: fetched into the workspace once, where later runs find them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.fields import Address
from lipstitch.progress import Reporter
from lipstitch.source.web_file import WebFile
from lipstitch.source.web_page import WebPage
from lipstitch.workspace import Workspace
from media.base.content import content_key
from media.base.errors import MediaError, UnreadableMedia
from media.probe import probe
from media.stills.picture_file import is_still

FETCH_VERSION: Final = 1
"""Raised when the same address gives another file than before."""
ENDING: Final = re.compile(r"\.[a-z0-9]{1,5}", re.IGNORECASE)
UNKNOWN_ENDING: Final = ".media"


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    """Of the input: video or audio."""
    address: str
    part: tuple[Fraction, Fraction] | None
    """Seconds of it that are wanted; None: all."""
    path: Path
    """Where it lies once it is fetched."""


def local_inputs(config: JobConfig, folder: Path) -> JobConfig:
    """Return a job with the files in place of addresses; they need not be there yet. folder: of the workspace."""
    files = {wanted.name: wanted.path for wanted in _wanted(config, folder)}
    return config.model_copy(update={"input": config.input.model_copy(update=files)}) if files else config


def fetch_inputs(config: JobConfig, folder: Path, reporter: Reporter) -> JobConfig:
    """Fetch the inputs that are not here yet, and return the job with their files; see local_inputs.

    Raises MediaError for what cannot be downloaded, ConfigError where a library is missing for it, WorkspaceError if
    the disk is full or another run is at work.
    """
    for wanted in _wanted(config, folder):
        if Workspace(folder).sealed(wanted.path) is None:
            with Workspace(folder) as workspace:
                _fetch(wanted, reporter)
                workspace.seal(wanted.path, {})
    return local_inputs(config, folder)


def _wanted(config: JobConfig, folder: Path) -> Iterator[_Wanted]:
    for name, given in (("video", config.input.video), ("audio", config.input.audio)):
        if isinstance(given, Address):
            ending = PurePosixPath(urlsplit(given.url).path).suffix
            part = given.part
            suffix = ending if part is None and ENDING.fullmatch(ending) else UNKNOWN_ENDING
            key = content_key(FETCH_VERSION, given.url, name, *(part or ()))
            yield _Wanted(name, given.url, part, Workspace(folder).path("fetched", key, suffix))


def _fetch(wanted: _Wanted, reporter: Reporter) -> None:
    key, shown = f"input.{wanted.name}", False

    def show(done: int, total: int) -> None:
        nonlocal shown
        if not shown:
            reporter.begin(f"fetch {key}", total, "bytes")
            shown = True
        reporter.advance(done)

    try:
        if wanted.part or not WebFile(key, wanted.address, wanted.path).fetch(show):
            page = WebPage(key, wanted.address, is_sound=wanted.name == "audio", part=wanted.part)
            page.fetch(wanted.path, show)
    finally:
        if shown:
            reporter.end()
    try:
        if not is_still(wanted.path):
            probe(wanted.path)
    except MediaError as exc:
        wanted.path.unlink()
        said = str(exc).replace(str(wanted.path), wanted.address)
        raise UnreadableMedia(f"{key}: {said}") from exc
