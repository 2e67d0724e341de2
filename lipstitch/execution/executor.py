"""Where clips run: in this process, in threads, in processes, or on a cluster, through joblib."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from base.errors import RenderError
from base.machine import num_cores
from lipstitch.execution.cluster import run_on_cluster
from lipstitch.execution.machine import choose_workers
from lipstitch.execution.stop import follow_parent
from lipstitch.execution.worker import WorkerSetup, run_clip
from lipstitch.job_file.config import ExecutionConfig
from media.clips import RenderedClip
from renderer.render import ClipJob

BACKENDS = {"processes": "loky", "threads": "threading", "serial": "sequential"}


def run_clips(
    setup: WorkerSetup, jobs: Sequence[tuple[ClipJob, Path]], config: ExecutionConfig
) -> Generator[RenderedClip, None, None]:
    """Yield the finished clips, each as soon as it is done; on this machine in order.

    Close the generator, or exhaust it: closing ends the workers. Raises RenderError if a worker process dies, and what
    `run_clip` and `run_on_cluster` raise.
    """
    if config.backend in ("dask", "ray"):
        yield from run_on_cluster(setup, jobs, config)
        return
    num_workers = choose_workers(config, len(jobs))
    num_threads = max(1, num_cores() // num_workers)
    backend = BACKENDS[config.backend]
    share = replace(setup, num_threads=num_threads, drawing_threads=num_threads if backend == "loky" else None)
    options: dict[str, Any] = {}
    if backend == "loky":
        options = {
            "inner_max_num_threads": share.num_threads,
            "initializer": follow_parent,
            "initargs": (os.getpid(),),
        }
    with parallel_config(backend=backend, n_jobs=num_workers, **options):
        parallel = Parallel(return_as="generator", batch_size=1, pre_dispatch="2*n_jobs")
        try:
            with _quiet_children():
                results = parallel(delayed(run_clip)(share, job, str(target)) for job, target in jobs)
            yield from results
        except TerminatedWorkerError as exc:
            raise RenderError(
                "A worker process was killed, most likely because memory ran out."
                " Lower execution.workers or renderer.batch_size and start again; finished clips are reused."
            ) from exc


@contextmanager
def _quiet_children() -> Iterator[None]:
    """Start processes that do not hear Ctrl-C, which a terminal sends to all: this one hears it and ends them.

    Nor does joblib's tracker of semaphores complain when this process was killed and it tidies up behind it.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    warnings = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (warnings, "ignore:resource_tracker")))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if warnings is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = warnings
