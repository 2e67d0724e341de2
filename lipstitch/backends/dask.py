"""Clips on the workers of a Dask cluster."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any

from lipstitch.backends._cluster_errors import (
    CLOSE_SECONDS,
    CONNECT_SECONDS,
    PATIENCE_SECONDS,
    RETRY_HINT,
    ClusterKind,
    call_with_timeout,
    killed_workers_error,
    silence_loggers,
    version_mismatch_error,
)
from lipstitch.backends.base import Backend, Pool, Request
from media.base.errors import RenderError
from media.base.machine import num_cores

DASK = ClusterKind("Dask scheduler", "dask scheduler")
MIN_AHEAD = 64
"""Clips that the scheduler holds at least, so that workers which join later have something to do."""


@contextmanager
def open_dask(request: Request) -> Iterator[Pool]:
    """Connect to a Dask scheduler and wait for its first worker."""
    from distributed import Client

    silence_loggers("distributed", "tornado", "asyncio")

    def connect() -> Any:
        return Client(request.address, timeout=CONNECT_SECONDS, set_as_default=False, name="lipstitch")

    try:
        client = call_with_timeout(2 * CONNECT_SECONDS, connect)
    except (OSError, ValueError, RuntimeError, ImportError) as exc:
        raise DASK.no_answer_error(request.address) from exc
    try:
        yield _pool(client, request)
    finally:
        with suppress(Exception):  # the scheduler may be gone; if it is there, it drops the clips of this client
            call_with_timeout(CLOSE_SECONDS, lambda: client.close(timeout=CLOSE_SECONDS))


def _pool(client: Any, request: Request) -> Pool:
    """Return what a scheduler offers, once a worker is there."""
    address = request.address
    try:
        client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
    except TimeoutError as exc:
        raise _no_workers_error(address) from exc
    except (OSError, CancelledError) as exc:
        raise DASK.lost_error(address) from exc
    try:
        answers = call_with_timeout(PATIENCE_SECONDS, lambda: client.run(describe_machine, on_error="return"))
        num_threads = call_with_timeout(PATIENCE_SECONDS, lambda: sum(client.ncores().values()))
    except (OSError, CancelledError) as exc:
        raise DASK.lost_error(address) from exc
    machines = {}
    for worker, answer in answers.items():
        if isinstance(answer, OSError):  # a worker that is just leaving
            continue
        if isinstance(answer, Exception):
            raise version_mismatch_error(answer, worker) from answer
        machines[answer[0]] = answer[1]
    wants_all = request.workers == "auto"
    num_workers = max(num_threads, 1) if request.workers == "auto" else request.workers
    return Pool(
        client.get_executor(pure=False),
        num_workers=num_workers,
        num_cores=sum(machines.values()),
        # Workers begin whatever the scheduler has: where the job names a number, it has no more.
        num_ahead=max(2 * num_workers, MIN_AHEAD) if wants_all else num_workers,
        check=_check_of(client, address),
        explain=lambda error: _explain(error, address),
    )


def describe_machine() -> tuple[str, int]:
    """Return name and number of cores of the machine that this runs on."""
    return socket.gethostname(), num_cores()


def _check_of(client: Any, address: str | None) -> Callable[[], None]:
    """Return what raises RenderError if the scheduler is gone, or has had no workers for too long."""
    missing_since: float | None = None

    def check() -> None:
        nonlocal missing_since
        try:
            num_workers = len(call_with_timeout(PATIENCE_SECONDS, client.ncores))
        except Exception as exc:  # whatever the connection dies of
            raise DASK.lost_error(address) from exc
        missing_since = None if num_workers else missing_since or time.monotonic()
        if missing_since is not None and time.monotonic() - missing_since > PATIENCE_SECONDS:
            raise _no_workers_error(address)

    return check


def _explain(error: BaseException, address: str | None) -> RenderError:
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    if isinstance(error, KilledWorker):
        return killed_workers_error()
    # Dask cancels the futures of a scheduler that is gone.
    is_lost = isinstance(error, CancelledError | CommClosedError)
    return DASK.lost_error(address) if is_lost else version_mismatch_error(error)


def _no_workers_error(address: str | None) -> RenderError:
    return RenderError(
        f"The {DASK.name} at {address} has had no workers for {PATIENCE_SECONDS:g} seconds."
        f" Start some with `dask worker {address}`. {RETRY_HINT}"
    )


BACKEND = Backend(
    open_dask,
    shares_process=False,
    is_remote=True,
    package="distributed",
    schemes=("tcp://", "tls://"),
    check_address=DASK.check_reachable,
)
