"""Where clips run: in this process, in threads, or in processes, through joblib."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from media.errors import RenderError
from media.timeline import RenderedClip
from pipeline.config import ExecutionConfig
from pipeline.machine import choose_workers, num_cores
from pipeline.worker import WorkerSetup, work
from renderer.render import ClipJob

BACKENDS = {"processes": "loky", "threads": "threading", "serial": "sequential"}


def run_clips(
    setup: WorkerSetup, jobs: Sequence[tuple[ClipJob, Path]], config: ExecutionConfig
) -> Iterator[RenderedClip]:
    """Yield the finished clips in order, each as soon as it and all before it are done.

    Raises RenderError if a worker process dies, and what `work` raises.
    """
    num_workers = choose_workers(config, len(jobs))
    share = replace(setup, num_threads=max(1, num_cores() // num_workers))
    backend = BACKENDS[config.backend]
    limits = {"inner_max_num_threads": share.num_threads} if backend == "loky" else {}
    with parallel_config(backend=backend, n_jobs=num_workers, **limits):
        parallel = Parallel(return_as="generator", batch_size=1, pre_dispatch="2*n_jobs")
        try:
            yield from parallel(delayed(work)(share, job, str(target)) for job, target in jobs)
        except TerminatedWorkerError as exc:
            raise RenderError(
                "A worker process was killed, most likely because memory ran out."
                " Lower execution.workers or renderer.batch_size and start again; finished clips are reused."
            ) from exc
