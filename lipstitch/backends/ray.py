"""Clips on the machines of a Ray cluster."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from typing import Any

from lipstitch.backends._cluster_errors import (
    ASKING_THREAD,
    CLOSE_SECONDS,
    PATIENCE_SECONDS,
    RETRY_HINT,
    ClusterKind,
    call_with_timeout,
    check_reachable,
    killed_workers_error,
    silence_loggers,
    version_mismatch_error,
)
from lipstitch.backends.base import AUTO_WORKERS, Backend, Pool, Request
from media.base.errors import RenderError

RAY = ClusterKind("Ray cluster", "ray start --head")
SILENT_SECONDS = 2.0
"""How long the head of a cluster may be silent; Ray itself would wait a minute and then end the process."""
MAX_RESTARTS = 3
"""How often a worker that died is started again with its clip; Dask's own number is the same."""


class ClipWorker:
    """What runs in a worker process of the cluster."""

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the function returns."""
        return function(*args, **kwargs)


class RayExecutor(Executor):
    """Hands each call to the worker that has the fewest."""

    def __init__(self, workers: list[Any]) -> None:
        """workers: handles of ClipWorker."""
        self._workers = workers
        self._num_pending: Counter[int] = Counter()
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Give a call to a worker, which drops it if the job disconnects; the future itself cannot be cancelled."""
        with self._lock:
            number = min(range(len(self._workers)), key=self._num_pending.__getitem__)
            self._num_pending[number] += 1
        future: Future[Any] = self._workers[number].call.remote(fn, args, kwargs).future()
        future.add_done_callback(lambda _: self._forget(number))
        return future

    def _forget(self, number: int) -> None:
        with self._lock:
            self._num_pending[number] -= 1


class _WithoutRay:
    """sys.stdout without what Ray's threads say there of its workers: stdout belongs to --progress json."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        is_ray = threading.current_thread().name.startswith(("ray_", ASKING_THREAD))
        return len(text) if is_ray else int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _without_native_stderr() -> Iterator[None]:
    """Drop what native code writes to stderr while the context lasts; Python's own messages get through."""
    python, native = sys.stderr, os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere, open(native, "w", closefd=False) as heard:
            sys.stderr = heard
            os.dup2(nowhere.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(native, 2)
                sys.stderr = python
    finally:
        os.close(native)


@contextmanager
def open_ray(request: Request) -> Iterator[Pool]:
    """Join a Ray cluster; leaving the context ends this job's workers there."""
    # Otherwise its part in C++ reports on stderr each clip that a lost cluster leaves undone.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    silence_loggers("ray", "asyncio")
    sys.stdout = _WithoutRay(sys.stdout)  # for good: the thread may outlive a cluster that is lost
    RAY.check_reachable(request.address)  # Ray itself tries for a minute

    def join() -> None:
        with _without_native_stderr():  # it says there that it was told to be silent
            ray.init(address=request.address, log_to_driver=False, logging_level=logging.CRITICAL)

    try:
        call_with_timeout(PATIENCE_SECONDS, join)  # in a thread of its own Ray does not handle SIGTERM
    except (OSError, ValueError, RuntimeError) as exc:
        raise RAY.no_answer_error(request.address) from exc
    try:
        yield _pool(request)
    except KeyboardInterrupt:
        raise  # the process ends at once, and with it the connection; Ray would first report each task that it ends
    except BaseException:
        _leave()
        raise
    _leave()


def _leave() -> None:
    import ray

    with suppress(Exception):  # the cluster may be gone
        call_with_timeout(CLOSE_SECONDS, ray.shutdown)


def _pool(request: Request) -> Pool:
    """Start this job's workers on a cluster that is joined."""
    import ray

    resource = "GPU" if request.needs_gpu else "CPU"
    num_cores, units = sum(_offered("CPU")), _offered(resource)
    if num_cores < 1 or not any(units):
        raise RenderError(
            f"The Ray cluster at {request.address} has {num_cores} CPUs and {sum(_offered('GPU'))} GPUs; the job needs"
            f" at least one CPU{' and a GPU' if request.needs_gpu else ''}. {RETRY_HINT}"
        )
    wanted = sum(min(unit, AUTO_WORKERS) for unit in units) if request.workers == "auto" else request.workers
    num_workers = max(1, min(wanted, num_cores))
    options: dict[str, Any] = {
        "num_cpus": 0,
        "scheduling_strategy": "SPREAD",
        "max_restarts": MAX_RESTARTS,
        "max_task_retries": MAX_RESTARTS,
    }
    if request.needs_gpu:  # otherwise Ray hides the GPUs from its workers
        options["num_gpus"] = min(1.0, sum(units) / num_workers)
    worker = ray.remote(**options)(ClipWorker)
    return Pool(
        RayExecutor([worker.remote() for _ in range(num_workers)]),
        num_workers=num_workers,
        num_cores=num_cores,
        num_ahead=2 * num_workers if request.workers == "auto" else num_workers,
        check=_check_of(request, sum(units)),
        explain=_explain,
    )


def _offered(resource: str) -> list[int]:
    """Return how much of a resource each machine of the cluster has."""
    import ray

    return [int(node["Resources"].get(resource, 0)) for node in ray.nodes() if node["Alive"]]


def _check_of(request: Request, num_units: int) -> Callable[[], None]:
    """Return what raises RenderError if the cluster is gone, or has lost GPUs that it had when the job began."""
    silent_since: float | None = None

    def check() -> None:
        nonlocal silent_since
        try:
            check_reachable(str(request.address))
            silent_since = None
        except OSError as exc:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > SILENT_SECONDS:
                raise RAY.lost_error(request.address) from exc
        # A worker that lost its GPU with its machine would wait for another one.
        if request.needs_gpu and sum(_offered("GPU")) < num_units:
            raise RenderError(f"The Ray cluster at {request.address} lost a machine with GPUs. {RETRY_HINT}")

    return check


def _explain(error: BaseException) -> Exception | None:
    from ray.exceptions import RayError

    cause = getattr(error, "cause", error)
    if isinstance(cause, ImportError | AttributeError):
        return version_mismatch_error(cause)
    return killed_workers_error() if isinstance(error, RayError) else None


BACKEND = Backend(open_ray, shares_process=False, is_remote=True, package="ray", check_address=RAY.check_reachable)
