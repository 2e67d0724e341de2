"""A Dask cluster: what it offers, and what joblib lacks for one whose machines can be lost."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any

from base.errors import RenderError
from base.machine import num_cores
from lipstitch.execution.cluster_errors import (
    CLOSE_SECONDS,
    CONNECT_SECONDS,
    PATIENCE_SECONDS,
    TIMEOUTS,
    Cluster,
    Losable,
    hush,
    killed,
    lost,
    no_answer,
    no_code,
    no_workers,
    within,
)
from lipstitch.job_file.config import ExecutionConfig

WAITING_CLIPS = 64
"""Clips that a Dask scheduler holds at least, so that workers which join later have something to do."""


def describe_machine() -> tuple[str, int]:
    """Return name and number of cores of the machine that this runs on."""
    return socket.gethostname(), num_cores()


@contextmanager
def open_dask(config: ExecutionConfig) -> Iterator[Cluster]:
    """Connect to a Dask scheduler; leaving the context takes back every clip that no worker has begun."""
    from distributed import Client

    hush("distributed", "tornado", "asyncio")

    def connect() -> Any:
        return Client(config.address, timeout=CONNECT_SECONDS, set_as_default=False, name="lipstitch")

    try:
        client = within(2 * CONNECT_SECONDS, connect)
    except (OSError, ValueError, RuntimeError, ImportError, *TIMEOUTS) as exc:
        raise no_answer(config) from exc
    try:
        yield _enter_dask(client, config)
    finally:
        with suppress(Exception):  # what cannot be closed is not there any more
            within(CLOSE_SECONDS, lambda: client.close(timeout=CLOSE_SECONDS))


def _enter_dask(client: Any, config: ExecutionConfig) -> Cluster:
    """Return what a Dask scheduler offers, once a worker is there."""
    from distributed import KilledWorker
    from joblib._dask import DaskDistributedBackend

    try:
        client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
    except TIMEOUTS as exc:
        raise no_workers(config) from exc
    except (OSError, CancelledError) as exc:
        raise lost(config) from exc
    try:
        found = within(PATIENCE_SECONDS, lambda: client.run(describe_machine, on_error="return"))
        threads = within(PATIENCE_SECONDS, lambda: sum(client.ncores().values()))
    except (OSError, CancelledError, *TIMEOUTS) as exc:
        raise lost(config) from exc
    machines = {}
    for worker, answer in found.items():
        if isinstance(answer, OSError):  # a worker that is just leaving
            continue
        if isinstance(answer, Exception):
            raise no_code(answer, worker) from answer
        machines[answer[0]] = answer[1]

    class DaskClips(Losable, DaskDistributedBackend):  # type: ignore[misc]
        """joblib's backend for Dask, which otherwise waits for ever for a clip that Dask gave up."""

        def submit(self, func: Any, callback: Any = None) -> Any:
            def give_up(done: Any) -> None:
                """Report what Dask itself raises; what a clip raises comes as a result."""
                if error := done.exception():
                    callback(killed() if isinstance(error, KilledWorker) else no_code(error))

            future = super().submit(func, callback)
            future.add_done_callback(give_up)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, CancelledError):  # Dask's way to say that the scheduler is gone
                raise lost(config) from out
            return super().retrieve_result_callback(out)

    last_seen = time.monotonic()

    def probe() -> RenderError | None:
        nonlocal last_seen
        try:
            num_workers = len(within(PATIENCE_SECONDS, client.ncores))
        except Exception:  # whatever the connection dies of
            return lost(config)
        if num_workers:
            last_seen = time.monotonic()
        return no_workers(config) if time.monotonic() - last_seen > PATIENCE_SECONDS else None

    slots = max(threads, 1) if config.workers == "auto" else config.workers
    return Cluster(
        backend=DaskClips(slots, client=client),
        slots=slots,
        num_cores=sum(machines.values()),
        # Dask gives out all that it has: where the job names a number, it has no more.
        num_waiting=max(2 * slots, WAITING_CLIPS) if config.workers == "auto" else slots,
        probe=probe,
    )
