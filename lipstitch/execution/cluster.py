"""What is special about clips that other machines render: shared files, one version, and files that arrive late.

A worker needs the same files under the same paths (a shared folder) and the same version of this program, nothing
else. A finished clip lies sealed in the workspace, so a clip that is given out twice is rendered once.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lipstitch.execution.seals import load_finished
from lipstitch.execution.worker import WorkerSetup, run_clip
from media.base.errors import RenderError, WorkspaceError
from media.base.machine import num_cores
from media.clips import RenderedClip
from renderer.engine import choose_device, choose_precision
from renderer.render import ClipJob

ARRIVAL_SECONDS = 30.0
"""How long a file that another machine wrote may take to appear here: network file systems remember what was not
there."""


@dataclass(frozen=True, slots=True)
class ClipTask:
    """What travels to a worker with each clip."""

    setup: WorkerSetup
    job: ClipJob
    target: str
    """Absolute path of the coded file."""
    sizes: tuple[tuple[str, int], ...]
    """Absolute path and bytes of each file that the worker must share with the machine that asks."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a clip raised. It travels as a value, so that it is never taken for an error of the cluster."""

    error: Exception
    traceback: str


def portable_setup(setup: WorkerSetup) -> WorkerSetup:
    """Return a setup that means the same on another machine: absolute paths, and the device and precision chosen."""
    device = choose_device(setup.renderer.device)
    # Clips are filed under the arithmetic of this machine, so a worker must not choose another.
    precision: Any = str(choose_precision(setup.renderer.precision, device)).removeprefix("torch.")
    return setup.for_other_machines(str(device), precision)


def remote_calls(setup: WorkerSetup, jobs: Sequence[tuple[ClipJob, Path]]) -> Iterator[tuple[Any, ...]]:
    """Yield what to call on a worker for each clip: a function and its arguments. setup: a portable one."""
    sizes = tuple((path, os.stat(path).st_size) for path in setup.files)
    for job, target in jobs:
        yield answer_with_clip, code_version(), ClipTask(setup, job, str(target.absolute()), sizes)


def receive_clip(answer: RenderedClip | Failure) -> RenderedClip:
    """Return the clip of a worker's answer once its file is seen here; raise what the clip raised."""
    if isinstance(answer, Failure):
        raise answer.error from RuntimeError(f"on a worker:\n{answer.traceback}")
    _await_arrival(answer)
    return answer


def answer_with_clip(asked_version: str, task: ClipTask) -> RenderedClip | Failure:
    """Do a task on a worker, and return what it returns or raises."""
    try:
        return run_clip_on_worker(asked_version, task)
    except Exception as exc:
        return Failure(exc, traceback.format_exc())


def run_clip_on_worker(asked_version: str, task: ClipTask) -> RenderedClip:
    """Render the clip of a task on a worker, unless another worker has finished it.

    Raises RenderError if this is another version of the program, WorkspaceError if a file of the job is missing or
    differs, and what `run_clip` raises.
    """
    here = f"worker {socket.gethostname()}"
    if asked_version != code_version():
        raise RenderError(
            f"{here} has version {code_version()} of lipstitch, this job version {asked_version}."
            " Install the same one on every machine and start the workers again."
        )
    for path, size in (*task.sizes, (os.path.dirname(task.target), None)):
        try:
            found = os.stat(path).st_size
        except OSError as exc:
            raise WorkspaceError(
                f"{path} is not there on {here}: source, weights and workspace must have the same path on every"
                " machine (a shared folder)."
            ) from exc
        if size not in (None, found):
            raise WorkspaceError(
                f"{path} is another file on {here} ({found} bytes, {size} where the job was started): share its folder."
            )
    finished = load_finished(task.job.clip, Path(task.target))
    if finished is not None:
        return finished
    share = min(task.setup.num_threads, num_cores())
    setup = replace(task.setup, num_threads=share, drawing_threads=share)
    return run_clip(setup, task.job, task.target)


def code_version() -> str:
    """Return the version of this program that is installed."""
    try:
        return version("lipstitch")
    except PackageNotFoundError:
        return "not installed"


def _await_arrival(rendered: RenderedClip) -> None:
    """Wait until a clip that another machine wrote appears here; raise WorkspaceError if it never does."""
    path = Path(rendered.path or "")
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise WorkspaceError(
                f"{path} was made by a worker and is not there on this machine: the workspace must be the same folder"
                " on every machine (a shared folder)."
            )
        os.listdir(path.parent)  # makes a network file system look again
        time.sleep(0.2)
