"""Clips to workers and back, the same way for every backend."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from lipstitch.backends.base import Backend, Pool, Request
from lipstitch.execution.cluster import portable_setup, receive_clip, remote_calls
from lipstitch.execution.worker import WorkerSetup, run_clip
from lipstitch.job_file.execution import ExecutionConfig
from media.clips import RenderedClip
from renderer.render import ClipJob

CHECK_SECONDS = 1.0
"""How long no clip is finished before a run looks whether its workers are still there."""


def _go_on() -> None:
    pass


def run_clips(
    setup: WorkerSetup,
    jobs: Sequence[tuple[ClipJob, Path]],
    config: ExecutionConfig,
    *,
    on_wait: Callable[[], None] = _go_on,
) -> Generator[RenderedClip, None, None]:
    """Yield the finished clips, each as soon as it is done; on this machine in order.

    on_wait: called about once a second while no clip is finished; what it raises ends the run.
    Close the generator, or exhaust it: closing takes back the clips that no worker has begun, and ends worker
    processes. Raises ConfigError if a cluster does not answer, RenderError if workers or a cluster are lost, and what
    `run_clip` and `run_clip_on_worker` raise.
    """
    backend: Backend = config.place
    if backend.is_remote:
        setup = portable_setup(setup)
    request = Request(
        workers=config.workers,
        num_workers=backend.choose_workers(config.workers, len(jobs)),
        address=config.address,
        needs_gpu=backend.is_remote and not setup.renderer.device.startswith("cpu"),
    )
    with backend.open(request) as pool:
        num_threads = max(1, pool.num_cores // pool.num_workers)
        drawing_threads = None if backend.shares_process else num_threads
        setup = replace(setup, num_threads=num_threads, drawing_threads=drawing_threads)
        if backend.is_remote:
            for answer in collect(pool, remote_calls(setup, jobs), in_order=False, on_wait=on_wait):
                yield receive_clip(answer)
        else:
            calls = ((run_clip, setup, job, str(target)) for job, target in jobs)
            yield from collect(pool, calls, in_order=True, on_wait=on_wait)


def collect(
    pool: Pool, calls: Iterator[tuple[Any, ...]], *, in_order: bool, on_wait: Callable[[], None] = _go_on
) -> Iterator[Any]:
    """Yield what calls (function, argument ...) return; raise the first error at once, before earlier results."""
    given: list[Future[Any]] = []  # those whose result is still to be yielded, in the order of their calls
    pending: set[Future[Any]] = set()
    while True:
        with _explained(pool):
            new = [pool.executor.submit(*call) for call in islice(calls, pool.num_ahead - len(pending))]
        given += new
        if not given:
            return
        done, pending = wait({*pending, *new}, CHECK_SECONDS, FIRST_COMPLETED)
        with _explained(pool):
            for future in done:
                future.result()
        if not done:
            pool.check()
            on_wait()
        num_ready = min((given.index(future) for future in pending), default=len(given))
        ready = given[:num_ready] if in_order else [*done]
        given = [future for future in given if future not in ready]
        for future in ready:
            yield future.result()


@contextmanager
def _explained(pool: Pool) -> Iterator[None]:
    """Turn what an executor raises into an error for the user, where the backend knows what it means."""
    try:
        yield
    except Exception as exc:
        explained = pool.explain(exc)
        if explained is None:
            raise
        raise explained from exc
