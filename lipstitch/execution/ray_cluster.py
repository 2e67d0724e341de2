"""A Ray cluster: what it offers, and what joblib lacks for one whose machines can be lost."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from base.errors import RenderError
from lipstitch.execution.cluster_errors import (
    CLOSE_SECONDS,
    GO_ON,
    PATIENCE_SECONDS,
    Cluster,
    Losable,
    check_cluster,
    hush,
    killed,
    knock,
    lost,
    no_answer,
    no_code,
    within,
)
from lipstitch.execution.machine import AUTO_WORKERS
from lipstitch.job_file.config import ExecutionConfig

RAY_SECONDS = 2.0
"""How long the head of a Ray cluster may be silent; Ray itself would wait a minute and then end the process."""
RESTARTS = 3
"""How often a Ray worker that died is started again with its clip; Dask's own number is the same."""


@contextmanager
def open_ray(config: ExecutionConfig, resource: str) -> Iterator[Cluster]:
    """Join a Ray cluster; leaving the context ends this job's workers there. resource: CPU or GPU, what clips need."""
    # joblib's tracker of temporary folders complains when this process was killed and it tidies up behind it.
    quiet = (os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, quiet))
    # Otherwise its part in C++ reports each clip that a lost cluster leaves undone.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    hush("ray", "asyncio")
    # Ray prints there what becomes of its workers, on stdout, which belongs to --progress json.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    check_cluster(config)  # Ray itself tries for a minute

    def join() -> None:
        with _native_silence():  # C++ says on stderr that it was told to be silent
            ray.init(address=config.address, log_to_driver=False, logging_level=logging.CRITICAL)

    try:
        within(PATIENCE_SECONDS, join)  # a thread of its own also keeps Ray from handling SIGTERM
    except (OSError, ValueError, RuntimeError) as exc:
        raise no_answer(config) from exc
    try:
        yield _enter_ray(config, resource)
    except KeyboardInterrupt:
        raise  # the process ends at once, and with it the connection; Ray would first report each task that it ends
    except BaseException:
        _leave_ray()
        raise
    _leave_ray()


@contextmanager
def _native_silence() -> Iterator[None]:
    """Drop what code in C writes to stderr while the context lasts; Python's own messages get through."""
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


def _leave_ray() -> None:
    import ray

    with suppress(Exception):  # what cannot be closed is not there any more
        within(CLOSE_SECONDS, ray.shutdown)


def _enter_ray(config: ExecutionConfig, resource: str) -> Cluster:
    """Return what a Ray cluster offers."""
    import ray
    from ray.exceptions import RayError
    from ray.util.joblib.ray_backend import RayBackend

    def offered(kind: str) -> list[int]:
        return [int(node["Resources"].get(kind, 0)) for node in ray.nodes() if node["Alive"]]

    class RayClips(Losable, RayBackend):  # type: ignore[misc]
        """joblib's backend for Ray, with workers that are started again with their clip when they die."""

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, RayError):
                cause = getattr(out, "cause", None)
                raise (no_code(cause) if isinstance(cause, ImportError | AttributeError) else killed()) from out
            return super().retrieve_result_callback(out)

        def terminate(self) -> None:
            """Leave the workers alone: they end with this job's connection, also where nobody can be asked to stop."""

    num_cores, units = sum(offered("CPU")), offered(resource)
    if num_cores < 2 or not any(units):
        raise RenderError(
            f"The Ray cluster at {config.address} has {num_cores} CPUs and {sum(offered('GPU'))} GPUs; the job needs"
            f" at least two CPUs{' and a GPU' if resource == 'GPU' else ''}. {GO_ON}"
        )
    wanted = sum(min(unit, AUTO_WORKERS) for unit in units) if config.workers == "auto" else config.workers
    slots = max(2, min(wanted, num_cores))
    options = {"num_cpus": 0, "scheduling_strategy": "SPREAD", "max_restarts": RESTARTS, "max_task_retries": RESTARTS}
    if resource == "GPU":  # else Ray hides the GPUs from its workers
        options["num_gpus"] = min(1.0, sum(units) / slots)
    last_heard = time.monotonic()

    def probe() -> RenderError | None:
        nonlocal last_heard
        with suppress(OSError):
            knock(str(config.address))
            last_heard = time.monotonic()
        if time.monotonic() - last_heard > RAY_SECONDS:
            return lost(config)
        # A worker that lost its GPU with its machine would wait for another one.
        if resource == "GPU" and sum(offered("GPU")) < sum(units):
            return RenderError(f"The Ray cluster at {config.address} lost a machine with GPUs. {GO_ON}")
        return None

    return Cluster(
        backend=RayClips(slots, ray_remote_args=options),
        slots=slots,
        num_cores=num_cores,
        num_waiting=2 * slots if config.workers == "auto" else slots,
        probe=probe,
    )
