"""Job files for the dubs that other programs have left in a folder, one for each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipstitch.intake import dubbers
from lipstitch.intake.dubbers.base import FoundDub, Layout
from lipstitch.job_file.config import JobConfig
from lipstitch.plan.audio.inputs import LENGTH_TOLERANCE_SECONDS, open_sound
from lipstitch.progress import Reporter
from media.base.errors import ConfigError, MediaError
from media.base.files import atomic_file
from media.base.plugins import load_plugin, plugin_names
from media.base.settings import check_settings
from media.base.text import dump_text
from stitcher.assemble import MUXERS

MOST_DEPTH = 4
"""Folders below the one that is given in which dubs are looked for: a root, an author, a video, and what it left."""
OWN_FOLDER = "lipstitch"
"""Where job files and outputs go, and how the names of workspaces end: no dub of others is looked for there."""
OTHER_ENDING = ".mkv"
"""Of outputs whose video's own ending is that of a container which is not written."""


@dataclass(frozen=True, slots=True)
class FoundFolder:
    """A folder of a program with dubs in it."""

    folder: Path
    layout: Layout
    dubs: tuple[FoundDub, ...]


def layouts() -> tuple[Layout, ...]:
    """Return the layouts of all programs that are known, by the names of their modules."""
    return tuple(load_plugin(dubbers, name, "LAYOUT") for name in plugin_names(dubbers))


def write_jobs(folder: Path, out: Path | None, reporter: Reporter, *, force: bool) -> Path:
    """Write a job file for each dub in a folder or below it, and return the folder of job files.

    out: that folder, in which the outputs will lie as well; None: OWN_FOLDER in the folder of the dubs.
    force: existing job files may be replaced. Raises ConfigError where nothing is found, or a job file is there.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: this is not a folder. Give the one in which a dubbing program left its files.")
    found = [*find_folders(folder, reporter)]
    if not found:
        known = ", ".join(layout.title for layout in layouts())
        raise ConfigError(f"{folder}: no finished dub was found of {known}. Give a video and its dub by themselves.")
    out = out or folder / OWN_FOLDER
    names = _names(found, folder)
    paths = [out / f"{name}.yaml" for name in names]
    if existing := [path for path in paths if path.exists() and not force]:
        raise ConfigError(f"{existing[0]} exists. Use --force to replace it, or choose another --out.")
    dubs = [(place.layout, dub) for place in found for dub in place.dubs]
    for path, name, (layout, dub) in zip(paths, names, dubs, strict=True):
        ending = dub.video.suffix.lower()
        content = _content(dub, out, f"{name}{ending if ending in MUXERS else OTHER_ENDING}", reporter)
        check_settings(JobConfig, content, folder=out)
        with atomic_file(path, makes_folders=True) as partial:
            partial.write_text(f"# From a folder of {layout.title}.\n{dump_text(content)}", encoding="utf-8")
        reporter.info(f"{path}: {layout.title}, {dub.video}")
    return out


def find_folders(folder: Path, reporter: Reporter) -> Iterator[FoundFolder]:
    """Yield the folders with dubs, the given one first; below one with dubs none is looked for.

    What cannot be told is warned about.
    """
    known = layouts()
    for root, folders, names in os.walk(folder):
        place = Path(root)
        depth = len(place.relative_to(folder).parts)
        inner = sorted(name for name in folders if not (name.startswith(".") or name.endswith(OWN_FOLDER)))
        folders[:] = inner if depth < MOST_DEPTH else []
        for layout in known:
            try:
                dubs = layout.find(place, frozenset(names))
            except (ConfigError, MediaError) as exc:
                reporter.warning(f"{place} ({layout.title}): {exc}")
                dubs = []
            if dubs:
                folders.clear()
                yield FoundFolder(place, layout, tuple(dubs))
                break


def _names(found: Sequence[FoundFolder], folder: Path) -> list[str]:
    """Return a name for each dub: its video's, with the folders before it where that alone is not unique."""
    videos = [dub.video for place in found for dub in place.dubs]
    short = [video.stem for video in videos]
    long = [".".join(video.relative_to(folder).with_suffix("").parts) for video in videos]
    return [one if short.count(one) == 1 else other for one, other in zip(short, long, strict=True)]


def _content(dub: FoundDub, out: Path, output: str, reporter: Reporter) -> dict[str, Any]:
    """Return what a dub's job file holds; paths are relative to its folder."""
    paths = {"video": dub.video, "audio": dub.audio}
    if dub.voice is not None and dub.audio is not None and dub.voice != dub.audio:
        if _lasts_as_long(dub.voice, dub.audio):
            paths["drive_audio"] = dub.voice
        else:
            reporter.info(f"{dub.voice} is not as long as the dub, which drives the lips as a whole.")
    given = {key: os.path.relpath(path.absolute(), out.absolute()) for key, path in paths.items() if path is not None}
    return {"input": given, "output": output}


def _lasts_as_long(voice: Path, audio: Path) -> bool:
    """Tell whether the voice can drive lips while the dub is heard."""
    try:
        return abs(open_sound(voice).length - open_sound(audio).length) <= LENGTH_TOLERANCE_SECONDS
    except MediaError:  # the job says what is wrong with the dub
        return False
