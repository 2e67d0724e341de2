"""A generation's job, in a process of its own: it ends with its worker, and writes down how it ended."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from lipstitch.progress import JsonLines
from lipstitch.stop import follow_parent
from media.base.errors import LipstitchError, WorkspaceError
from media.base.files import read_json, write_json
from media.base.locks import try_lock

ENDED_NAME = "ended.json"
TAKEOVER_SECONDS = 30.0
"""How long to wait for the process of a worker that died, which ends within a second."""


class Ended(BaseModel, frozen=True):
    """How a job ended."""

    exit_code: int
    error: str | None = None


def read_ended(folder: Path) -> Ended | None:
    """Return how a generation's job ended; None if it has not."""
    try:
        return Ended.model_validate(read_json(folder / ENDED_NAME))
    except ValidationError:
        return None


def run_generation(folder: Path, worker: int, cores: Sequence[int]) -> int:
    """Run the job in a generation's folder and return its exit code. Raises LipstitchError.

    worker: the process to end with. cores: that it may use; none: all. Two processes never work on one generation, and
    one that has ended is not begun again.
    """
    follow_parent(worker)
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    with try_lock(folder / "run.lock", wait_seconds=TAKEOVER_SECONDS) as is_mine:
        if not is_mine:
            raise WorkspaceError(f"{folder}: another process has been rendering this for too long. Look for it.")
        ended = read_ended(folder)
        if ended is None:
            ended = _run(folder)
            write_json(folder / ENDED_NAME, ended.model_dump())
        return ended.exit_code


def _run(folder: Path) -> Ended:
    # Imported here: the process is to end with its worker from the first moment on.
    from lipstitch.job import run_job
    from lipstitch.job_file.config import load_job

    try:
        result = run_job(load_job(folder / "job.yaml"), JsonLines(), force=True)
        return Ended(exit_code=result.exit_code)
    except LipstitchError as exc:
        return Ended(exit_code=exc.exit_code, error=str(exc))
