"""What the command line writes and reads in place of a job file: the commands `sync` and `init`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipstitch.job_file.config import JobConfig, RangesFile
from media.base.errors import ConfigError
from media.base.files import atomic_file
from media.base.settings import check_settings, override_settings
from media.base.shipped import shipped_folder
from media.base.text import dump_text
from media.probe import probe

RANGE_TEXT = re.compile(r"(?P<start>[\d:.,]+)-(?P<end>[\d:.,]+)")
TEMPLATE = "full_dub.yaml"
NAMES_OF_TEMPLATE = {"video": "talk.mp4", "audio": "talk.hi.wav", "output": "talk.hi.mp4"}


@dataclass(frozen=True, slots=True)
class FilesOfJob:
    """What the command line names of a job."""

    video: str
    """A file, or an address: a Path would write https:/ with one slash."""
    audio: str | None
    output: Path
    ranges: tuple[str, ...] = ()
    """start-end, each as in a job file."""

    def content(self) -> dict[str, Any]:
        """Return what a job file would hold. Raises ConfigError for what is no range."""
        sound = {"audio": self.audio} if self.audio else {}
        ranges = {"ranges": [_range(text) for text in self.ranges]} if self.ranges else {}
        return {"input": {"video": self.video, **sound}, "output": str(self.output), **ranges}


def _range(text: str) -> dict[str, str]:
    match = RANGE_TEXT.fullmatch(text)
    if match is None:
        raise ConfigError(f"--range {text}: write it as start-end, as in 1:05-1:30 or 65-90.5.")
    return match.groupdict()


def build_job_of(files: FilesOfJob, overrides: Sequence[str], save_to: Path | None, *, force: bool) -> JobConfig:
    """Return the job of what the command line names. Raises ConfigError.

    overrides: as --set takes them. save_to: a job file to write of it; an existing one needs force.
    """
    content = files.content()
    override_settings(content, overrides)
    job = check_settings(JobConfig, content, folder=Path())
    if save_to is not None:
        whole = check_settings(JobConfig, content, folder=Path.cwd())
        _write_job_file(save_to, dump_text(_moved(content, whole, save_to.absolute().parent)), force=force)
    return job


def _moved(content: Any, job: Any, folder: Path) -> Any:
    """Return what a job file would hold, or a part of it, with its files seen from a folder.

    job: the same part of the checked job, where paths are whole.
    """
    if isinstance(content, dict):
        return {key: _moved(value, _part(job, key), folder) for key, value in content.items()}
    if isinstance(content, list) and isinstance(job, tuple):
        return [_moved(value, part, folder) for value, part in zip(content, job, strict=True)]
    if isinstance(job, RangesFile):  # a path is short for it
        job = job.file
    is_weights = isinstance(job, str) and job != content and Path(job).is_absolute()
    return _seen_from(folder, Path(job)) if isinstance(job, Path) or is_weights else content


def _part(job: Any, key: str) -> Any:
    """Return what a checked job holds under a key."""
    if key == "ranges" and job.ranges_from is not None:  # a path in their place is short for that
        return job.ranges_from
    return job.get(key) if isinstance(job, dict) else getattr(job, key, None)


def _seen_from(folder: Path, path: Path) -> str:
    """Return a path as a file in a folder names it: relative where it lies below the folder."""
    whole = Path(os.path.abspath(path.expanduser()))
    return str(whole.relative_to(folder)) if whole.is_relative_to(folder) else str(whole)


def write_commented_job(video: Path, audio: Path | None, path: Path | None, *, force: bool) -> Path:
    """Write a job file with comments, to be edited, and return its path.

    path: its name; None: the video's with the ending .yaml. Raises ConfigError or MediaError.
    """
    for file in (video, *([audio] if audio else [])):
        probe(str(file))
    target = path or video.with_suffix(".yaml")
    folder = target.absolute().parent
    names = {"video": video, "audio": audio, "output": _proposed_output(video, audio)}
    text = (shipped_folder("configs") / TEMPLATE).read_text(encoding="utf-8").partition("\n\n")[2]
    for key, name in names.items():
        line = re.compile(rf"^(?P<start> *{key}: ){re.escape(NAMES_OF_TEMPLATE[key])}", re.MULTILINE)
        shown = dump_text(_seen_from(folder, name)).removesuffix("...\n").strip() if name else ""
        found = line.search(text)
        assert found, f"{TEMPLATE} lost its line {key}"
        start = found["start"] if name else f"{found['start'].replace(key, f'# {key}')}dub.wav"
        text = f"{text[: found.start()]}{start}{shown}{text[found.end() :]}"
    _write_job_file(target, f"{_header(target)}\n{text}", force=force)
    return target


def _proposed_output(video: Path, audio: Path | None) -> Path:
    """Return talk.hi.mp4 for talk.mp4 and talk.hi.wav, talk.synced.mp4 for a dub of another name."""
    is_kin = audio is not None and audio.stem != video.stem and audio.stem.startswith(video.stem)
    return video.with_name(f"{audio.stem if audio and is_kin else f'{video.stem}.synced'}{video.suffix}")


def _header(path: Path) -> str:
    return f"""\
# A job for lipstitch. Run it:
#
#     lipstitch --config {path.name} --plan      shows what would be done, and how long it takes
#     lipstitch --config {path.name}             does it
#
# Paths are relative to this file. Lines that are commented out show the default or an example.
# All keys: docs/job-file.md
"""


def _write_job_file(path: Path, text: str, *, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigError(f"{path} exists already. Choose another name, or add --force to replace it.")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: its folder does not exist. Make it, or choose another name.")
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
