"""Where clips run on other machines: on a Dask or a Ray cluster, through joblib's backends for them.

A worker needs the same files under the same paths (a shared folder) and the same version of this program, nothing
else. What a worker finishes lies sealed in the workspace, so that a clip which is given out twice is made once.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config

from base.errors import RenderError, WorkspaceError
from base.machine import num_cores
from lipstitch.execution.cluster_errors import Cluster
from lipstitch.execution.dask_cluster import open_dask
from lipstitch.execution.ray_cluster import open_ray
from lipstitch.execution.worker import WorkerSetup, load_finished, run_clip
from lipstitch.job_file.config import ExecutionConfig
from media.clips import RenderedClip
from renderer.engine import choose_device, choose_precision
from renderer.render import ClipJob

WATCH_SECONDS = 1.0
"""How often a run looks whether its cluster is still there."""
ARRIVAL_SECONDS = 30.0
"""How long a file that another machine wrote may take to be seen here: network file systems remember what was not
there."""


@dataclass(frozen=True, slots=True)
class ClipTask:
    """What travels to a worker with each clip."""

    setup: WorkerSetup
    job: ClipJob
    target: str
    """Absolute path of the coded file."""
    sizes: tuple[tuple[str, int], ...]
    """Absolute path and bytes of each file that the worker must have in common with the machine that asks."""


def run_on_cluster(
    setup: WorkerSetup, jobs: Sequence[tuple[ClipJob, Path]], config: ExecutionConfig
) -> Generator[RenderedClip, None, None]:
    """Yield the finished clips, each as soon as it is done.

    Close the generator, or exhaust it: closing takes back what is not begun. Raises ConfigError if the cluster does not
    answer, RenderError if it is lost or a clip killed its workers, and what `run_clip` raises.
    """
    device = choose_device(setup.renderer.device)
    # Clips are filed under the arithmetic of this machine, so a worker must not choose another.
    precision: Any = str(choose_precision(setup.renderer.precision, device)).removeprefix("torch.")
    setup = setup.for_other_machines(str(device), precision)
    sizes = tuple((path, os.stat(path).st_size) for path in setup.files)
    opened = (
        open_dask(config) if config.backend == "dask" else open_ray(config, "CPU" if device.type == "cpu" else "GPU")
    )
    with opened as cluster:
        share = max(1, cluster.num_cores // cluster.slots)
        setup = replace(setup, num_threads=share, drawing_threads=share)
        errands = (ClipTask(setup, job, str(target.absolute()), sizes) for job, target in jobs)
        with parallel_config(backend=cluster.backend, n_jobs=cluster.slots), _watched(cluster):
            parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=cluster.num_waiting)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # joblib's, about a generator that was not exhausted
                with closing(
                    parallel(delayed(run_clip_on_worker)(code_version(), errand) for errand in errands)
                ) as results:
                    for rendered in results:
                        _await_arrival(rendered)
                        yield rendered


def run_clip_on_worker(asked_version: str, errand: ClipTask) -> RenderedClip:
    """Do on a worker what an errand asks for, unless another worker finished it.

    Raises RenderError if this is another version of the program, WorkspaceError if a file of the job is not there or
    another one, and what `run_clip` raises.
    """
    here = f"worker {socket.gethostname()}"
    if asked_version != code_version():
        raise RenderError(
            f"{here} has version {code_version()} of lipstitch, this job version {asked_version}."
            " Install the same one on every machine and start the workers again."
        )
    for path, size in (*errand.sizes, (os.path.dirname(errand.target), None)):
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
    finished = load_finished(errand.job.clip, Path(errand.target))
    if finished is not None:
        return finished
    share = min(errand.setup.num_threads, num_cores())
    setup = replace(errand.setup, num_threads=share, drawing_threads=share)
    return run_clip(setup, errand.job, errand.target)


def code_version() -> str:
    """Return the version of this program that is installed."""
    try:
        return version("lipstitch")
    except PackageNotFoundError:
        return "not installed"


@contextmanager
def _watched(cluster: Cluster) -> Iterator[None]:
    """Look after the cluster while the context lasts; one that is lost ends the run."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(WATCH_SECONDS):
            error = cluster.probe()
            if error is not None and not done.is_set():
                cluster.backend.fail(error)
                return

    threading.Thread(target=watch, name="watch-cluster", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _await_arrival(rendered: RenderedClip) -> None:
    """Wait until a clip that another machine wrote is seen here; raise WorkspaceError if it never is."""
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
