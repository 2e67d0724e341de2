"""Many jobs: the rows of a table, or the job files of a folder.

    video,audio,output,renderer.method
    talk.mp4,talk.hi.wav,talk.hi.mp4,
    show.mp4,show.hi.wav,show.hi.mp4,network

A column is a key of the job file, or one of these three short names. A cell is a value as --set takes it; an empty one
leaves its key out. Paths are relative to the folder of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lipstitch.job_file.config import JobConfig, load_job
from lipstitch.job_file.table import Row, UserFile, column_names
from lipstitch.plan.outputs.ranges import output_paths
from media.base.errors import ConfigError
from media.base.settings import check_settings, keys_of, override_settings, set_key
from media.base.text import brief, parse_text

PATHS = {"video": "input.video", "audio": "input.audio", "output": "output"}
"""Columns that hold a path, which is not YAML: a name may begin with a brace or hold a colon."""
NEEDED = ("input.video", "output")
JOB_ENDINGS = (".yaml", ".yml", ".json")
REPORT_ENDING = ".report.json"


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job of a list."""

    where: str
    """Its line, or the name of its file."""
    job: JobConfig | ConfigError
    """The job, or why it cannot be done."""


def load_jobs(path: Path, overrides: Sequence[str] = ()) -> tuple[ListedJob, ...]:
    """Return the jobs of a table or a folder, in order; a faulty one holds what is wrong with it.

    overrides: key=value as --set takes them, for all jobs. Raises ConfigError for a list that holds no job.
    """
    path = path.absolute()  # so that a job is the same one from whatever folder the list is named
    jobs = [*(_jobs_of_folder(path, overrides) if path.is_dir() else _jobs_of_table(path, overrides))]
    if not jobs:
        what = "this folder holds no job file" if path.is_dir() else "no row stands below the names"
        raise ConfigError(f"--jobs: {path}: {what}.")
    return tuple(_without_clashes(jobs))


def _jobs_of_folder(folder: Path, overrides: Sequence[str]) -> Iterator[ListedJob]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix.lower() in JOB_ENDINGS and not path.name.endswith(REPORT_ENDING):
            try:
                yield ListedJob(path.name, load_job(path, overrides))
            except ConfigError as exc:
                yield ListedJob(path.name, exc)


def _jobs_of_table(path: Path, overrides: Sequence[str]) -> Iterator[ListedJob]:
    table = UserFile("--jobs", path, "table of jobs (CSV), or a folder of job files")
    keys: list[str] = []
    for line, cells in table.lines([*PATHS, *PATHS.values()]):
        if not keys:
            keys = _keys(table, line, cells)
            continue
        row = table.row(line, cells, keys)
        try:
            yield ListedJob(row.where, _job_of(row, path.parent, overrides))
        except ConfigError as exc:
            yield ListedJob(row.where, exc)


def _keys(table: UserFile, line: int, cells: Sequence[str]) -> list[str]:
    """Return the key of each column; raise ConfigError for one that is unknown, missing or named twice."""
    keys = [PATHS.get(name, name) for name in column_names(cells)]
    known = keys_of(JobConfig)
    for key in keys:
        if key not in known:
            problem = f"{brief(key)!r} is neither {', '.join(PATHS)} nor a key of the job file (docs/job-file.md)"
            raise table.fault(f"line {line}", problem)
        if keys.count(key) > 1:
            raise table.fault(f"line {line}", f"{key} is named twice")
    for name, key in PATHS.items():
        if key in NEEDED and key not in keys:
            raise table.fault(f"line {line}", f"the column {name} is missing")
    return keys


def _job_of(row: Row, folder: Path, overrides: Sequence[str]) -> JobConfig:
    content: dict[str, Any] = {}
    for key, cell in row.cells.items():
        if cell:
            value = cell if key in PATHS.values() else parse_text(cell, key)
            set_key(content, key.split("."), value, key)
    override_settings(content, overrides)
    return check_settings(JobConfig, content, folder=folder)


def _without_clashes(jobs: Sequence[ListedJob]) -> Iterator[ListedJob]:
    """Yield jobs; those that write what one before them writes are faulty."""
    writers: dict[Path, str] = {}
    for listed in jobs:
        outputs = [] if isinstance(listed.job, ConfigError) else [path.resolve() for path in output_paths(listed.job)]
        taken = next((path for path in outputs if path in writers), None)
        writers |= {path: listed.where for path in outputs if path not in writers}
        if taken is None:
            yield listed
        else:
            problem = f"output: {taken} is what {writers[taken]} writes. Choose another name."
            yield replace(listed, job=ConfigError(problem))
