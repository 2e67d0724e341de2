"""Clips in threads of this process, which share one network a device."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from lipstitch.backends.base import Backend, Pool, Request
from media.base.machine import num_cores


@contextmanager
def open_threads(request: Request) -> Iterator[Pool]:
    """Yield a pool of threads. A thread cannot be interrupted: what it has begun it finishes, and leaving waits for it.

    Until then the workspace is in use. A process that is stopped does not wait as long: see StopSignals.
    """
    executor = ThreadPoolExecutor(request.num_workers, "clips")
    try:
        yield Pool(executor, request.num_workers, num_cores(), num_ahead=2 * request.num_workers)
    finally:
        executor.shutdown(cancel_futures=True)


BACKEND = Backend(open_threads, shares_process=True)
