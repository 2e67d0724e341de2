"""Where clips run on other machines: on a Dask or a Ray cluster, through joblib's backends for them.

A worker needs the same files under the same paths (a shared folder) and the same version of this program, nothing
else. What a worker finishes lies sealed in the workspace, so that a clip which is given out twice is made once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config

from media.errors import ConfigError, RenderError, WorkspaceError
from media.timeline import RenderedClip
from pipeline.config import ExecutionConfig
from pipeline.machine import AUTO_WORKERS, num_cores
from pipeline.worker import WorkerSetup, load_finished, work
from renderer.engine import choose_device, choose_precision
from renderer.render import ClipJob

CONNECT_SECONDS = 5
"""How long a scheduler may take to answer."""
CLOSE_SECONDS = 1.0
"""How long saying goodbye may take."""
WATCH_SECONDS = 1.0
"""How often a run looks whether its cluster is still there."""
PATIENCE_SECONDS = 30.0
"""How long a run waits for a first worker, or for a new one where all are gone."""
ARRIVAL_SECONDS = 30.0
"""How long a file that another machine wrote may take to be seen here: network file systems remember what was not
there."""
WAITING_CLIPS = 64
"""Clips that a Dask scheduler holds at least, so that workers which join later have something to do."""
RAY_SECONDS = 2.0
"""How long the head of a Ray cluster may be silent; Ray itself would wait a minute and then end the process."""
RESTARTS = 3
"""How often a Ray worker that died is started again with its clip; Dask's own number is the same."""
TIMEOUTS = (TimeoutError, asyncio.TimeoutError)  # two classes before Python 3.11
GO_ON = "Finished clips are kept: start the job again when that is mended."

Probe = Callable[[], RenderError | None]
"""Tells whether a cluster is still there: returns what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What travels to a worker with each clip."""

    setup: WorkerSetup
    job: ClipJob
    target: str
    """Absolute path of the coded file."""
    sizes: tuple[tuple[str, int], ...]
    """Absolute path and bytes of each file that the worker must have in common with the machine that asks."""


@dataclass(frozen=True, slots=True)
class _Cluster:
    backend: Any
    """The joblib backend."""
    slots: int
    """Clips that are made at a time."""
    num_cores: int
    """Cores of all machines."""
    num_waiting: int
    """Clips that are given out at a time."""
    probe: Probe


def check_cluster(config: ExecutionConfig) -> None:
    """Raise ConfigError if nothing answers at the address of the cluster; for other backends do nothing."""
    if config.address is not None:
        try:
            _knock(config.address)
        except OSError as exc:
            raise _no_answer(config) from exc


def run_on_cluster(
    setup: WorkerSetup, jobs: Sequence[tuple[ClipJob, Path]], config: ExecutionConfig
) -> Generator[RenderedClip, None, None]:
    """Yield the finished clips, each as soon as it is done.

    Close the generator, or exhaust it: closing takes back what is not begun. Raises ConfigError if the cluster does not
    answer, RenderError if it is lost or a clip killed its workers, and what `work` raises.
    """
    device = choose_device(setup.device)
    # Clips are filed under the arithmetic of this machine, so a worker must not choose another.
    precision: Any = str(choose_precision(setup.precision, device)).removeprefix("torch.")
    setup = replace(
        setup,
        device=str(device),
        precision=precision,
        video=os.path.abspath(setup.video),
        checkpoint=os.path.abspath(setup.checkpoint),
        driving=os.path.abspath(setup.driving),
        detector_weights=os.path.abspath(setup.detector_weights) if setup.detector_weights else None,
    )
    needed = (setup.video, setup.checkpoint, setup.driving, setup.detector_weights)
    sizes = tuple((path, os.stat(path).st_size) for path in needed if path)
    opened = (
        _open_dask(config) if config.backend == "dask" else _open_ray(config, "CPU" if device.type == "cpu" else "GPU")
    )
    with opened as cluster:
        setup = replace(setup, num_threads=max(1, cluster.num_cores // cluster.slots))
        errands = (Errand(setup, job, str(target.absolute()), sizes) for job, target in jobs)
        with parallel_config(backend=cluster.backend, n_jobs=cluster.slots), _watched(cluster):
            parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=cluster.num_waiting)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # joblib's, about a generator that was not exhausted
                with closing(parallel(delayed(work_there)(code_version(), errand) for errand in errands)) as results:
                    for rendered in results:
                        _await_arrival(rendered)
                        yield rendered


def work_there(asked_version: str, errand: Errand) -> RenderedClip:
    """Do on a worker what an errand asks for, unless another worker finished it.

    Raises RenderError if this is another version of the program, WorkspaceError if a file of the job is not there or
    another one, and what `work` raises.
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
    setup = replace(errand.setup, num_threads=min(errand.setup.num_threads, num_cores()))
    return work(setup, errand.job, errand.target)


def code_version() -> str:
    """Return the version of this program that is installed."""
    try:
        return version("lipstitch")
    except PackageNotFoundError:
        return "not installed"


def describe_machine() -> tuple[str, int]:
    """Return name and number of cores of the machine that this runs on."""
    return socket.gethostname(), num_cores()


class _Losable:
    """Adds to a joblib backend what one needs whose machines can be lost: an end from outside.

    joblib would also make the clips here, on the machine that asks, if the cluster had room for one at a time.
    """

    supports_return_generator = True

    def __init__(self, slots: int, **options: Any) -> None:
        super().__init__(**options)
        self._slots = slots
        self._asking: weakref.WeakSet[Any] = weakref.WeakSet()

    def effective_n_jobs(self, n_jobs: int) -> int:
        return max(2, self._slots)

    def submit(self, func: Any, callback: Any = None) -> Any:
        self._asking.add(callback)
        return super().submit(func, callback)  # type: ignore[misc]

    def fail(self, error: Exception) -> None:
        """End the run that waits for this backend with an error."""
        for callback in [*self._asking]:
            callback(error)


@contextmanager
def _watched(cluster: _Cluster) -> Iterator[None]:
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


# Dask


@contextmanager
def _open_dask(config: ExecutionConfig) -> Iterator[_Cluster]:
    """Connect to a Dask scheduler; leaving the context takes back every clip that no worker has begun."""
    from distributed import Client

    _hush("distributed", "tornado", "asyncio")

    def connect() -> Any:
        return Client(config.address, timeout=CONNECT_SECONDS, set_as_default=False, name="lipstitch")

    try:
        client = _within(2 * CONNECT_SECONDS, connect)
    except (OSError, ValueError, RuntimeError, ImportError, *TIMEOUTS) as exc:
        raise _no_answer(config) from exc
    try:
        yield _enter_dask(client, config)
    finally:
        with suppress(Exception):  # what cannot be closed is not there any more
            _within(CLOSE_SECONDS, lambda: client.close(timeout=CLOSE_SECONDS))


def _enter_dask(client: Any, config: ExecutionConfig) -> _Cluster:
    """Return what a Dask scheduler offers, once a worker is there."""
    from distributed import KilledWorker
    from joblib._dask import DaskDistributedBackend

    try:
        client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
    except TIMEOUTS as exc:
        raise _no_workers(config) from exc
    except (OSError, CancelledError) as exc:
        raise _lost(config) from exc
    try:
        found = _within(PATIENCE_SECONDS, lambda: client.run(describe_machine, on_error="return"))
        threads = _within(PATIENCE_SECONDS, lambda: sum(client.ncores().values()))
    except (OSError, CancelledError, *TIMEOUTS) as exc:
        raise _lost(config) from exc
    machines = {}
    for worker, answer in found.items():
        if isinstance(answer, OSError):  # a worker that is just leaving
            continue
        if isinstance(answer, Exception):
            raise _no_code(answer, worker) from answer
        machines[answer[0]] = answer[1]

    class DaskClips(_Losable, DaskDistributedBackend):  # type: ignore[misc]
        """joblib's backend for Dask, which otherwise waits for ever for a clip that Dask gave up."""

        def submit(self, func: Any, callback: Any = None) -> Any:
            def give_up(done: Any) -> None:
                """Report what Dask itself raises; what a clip raises comes as a result."""
                if error := done.exception():
                    callback(_killed() if isinstance(error, KilledWorker) else _no_code(error))

            future = super().submit(func, callback)
            future.add_done_callback(give_up)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, CancelledError):  # Dask's way to say that the scheduler is gone
                raise _lost(config) from out
            return super().retrieve_result_callback(out)

    last_seen = time.monotonic()

    def probe() -> RenderError | None:
        nonlocal last_seen
        try:
            num_workers = len(_within(PATIENCE_SECONDS, client.ncores))
        except Exception:  # whatever the connection dies of
            return _lost(config)
        if num_workers:
            last_seen = time.monotonic()
        return _no_workers(config) if time.monotonic() - last_seen > PATIENCE_SECONDS else None

    slots = max(threads, 1) if config.workers == "auto" else config.workers
    return _Cluster(
        backend=DaskClips(slots, client=client),
        slots=slots,
        num_cores=sum(machines.values()),
        # Dask gives out all that it has: where the job names a number, it has no more.
        num_waiting=max(2 * slots, WAITING_CLIPS) if config.workers == "auto" else slots,
        probe=probe,
    )


# Ray


@contextmanager
def _open_ray(config: ExecutionConfig, resource: str) -> Iterator[_Cluster]:
    """Join a Ray cluster; leaving the context ends this job's workers there. resource: CPU or GPU, what clips need."""
    # joblib's tracker of temporary folders complains when this process was killed and it tidies up behind it.
    quiet = (os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, quiet))
    # Otherwise its part in C++ reports each clip that a lost cluster leaves undone.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    _hush("ray", "asyncio")
    # Ray prints there what becomes of its workers, on stdout, which belongs to --progress json.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    check_cluster(config)  # Ray itself tries for a minute

    def join() -> None:
        with _native_silence():  # C++ says on stderr that it was told to be silent
            ray.init(address=config.address, log_to_driver=False, logging_level=logging.CRITICAL)

    try:
        _within(PATIENCE_SECONDS, join)  # a thread of its own also keeps Ray from handling SIGTERM
    except (OSError, ValueError, RuntimeError) as exc:
        raise _no_answer(config) from exc
    try:
        yield _enter_ray(config, resource)
    except KeyboardInterrupt:
        raise  # the process ends at once, and with it the connection; Ray would first report each task that it ends
    except BaseException:
        _leave_ray()
        raise
    _leave_ray()


def _leave_ray() -> None:
    import ray

    with suppress(Exception):  # what cannot be closed is not there any more
        _within(CLOSE_SECONDS, ray.shutdown)


def _enter_ray(config: ExecutionConfig, resource: str) -> _Cluster:
    """Return what a Ray cluster offers."""
    import ray
    from ray.exceptions import RayError
    from ray.util.joblib.ray_backend import RayBackend

    def offered(kind: str) -> list[int]:
        return [int(node["Resources"].get(kind, 0)) for node in ray.nodes() if node["Alive"]]

    class RayClips(_Losable, RayBackend):  # type: ignore[misc]
        """joblib's backend for Ray, with workers that are started again with their clip when they die."""

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, RayError):
                cause = getattr(out, "cause", None)
                raise (_no_code(cause) if isinstance(cause, ImportError | AttributeError) else _killed()) from out
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
            _knock(str(config.address))
            last_heard = time.monotonic()
        if time.monotonic() - last_heard > RAY_SECONDS:
            return _lost(config)
        # A worker that lost its GPU with its machine would wait for another one.
        if resource == "GPU" and sum(offered("GPU")) < sum(units):
            return RenderError(f"The Ray cluster at {config.address} lost a machine with GPUs. {GO_ON}")
        return None

    return _Cluster(
        backend=RayClips(slots, ray_remote_args=options),
        slots=slots,
        num_cores=num_cores,
        num_waiting=2 * slots if config.workers == "auto" else slots,
        probe=probe,
    )


# Both


def _within(seconds: float, function: Callable[[], Any]) -> Any:
    """Return what a function returns, or raise what it raises; TimeoutError if it takes too long.

    The libraries' own limits do not hold where the other side takes a connection and then says nothing.
    """
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except Exception as exc:
            outcome.set_exception(exc)

    threading.Thread(target=run, name="ask-cluster", daemon=True).start()
    try:
        return outcome.result(seconds)
    except FutureTimeout as exc:
        raise TimeoutError(f"no answer in {seconds:g} s") from exc


def _knock(address: str) -> None:
    """Raise OSError if nothing listens at an address."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _hush(*libraries: str) -> None:
    """Keep what libraries log off the terminal: a run says in one sentence what went wrong."""
    warnings.filterwarnings("ignore", module=f"({'|'.join(libraries)})")
    for name in (*libraries, *logging.root.manager.loggerDict):
        if re.match(rf"({'|'.join(libraries)})(\.|$)", name):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


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


def _name(config: ExecutionConfig) -> str:
    return "Dask scheduler" if config.backend == "dask" else "Ray cluster"


def _no_answer(config: ExecutionConfig) -> ConfigError:
    start = "dask scheduler" if config.backend == "dask" else "ray start --head"
    return ConfigError(
        f"execution.address (now {config.address!r}): no {_name(config)} answers there."
        f" Start one with `{start}`, or correct the address."
    )


def _no_workers(config: ExecutionConfig) -> RenderError:
    return RenderError(
        f"The {_name(config)} at {config.address} has had no workers for {PATIENCE_SECONDS:g} seconds."
        f" Start some with `dask worker {config.address}`. {GO_ON}"
    )


def _lost(config: ExecutionConfig) -> RenderError:
    return RenderError(f"The {_name(config)} at {config.address} is gone. {GO_ON}")


def _killed() -> RenderError:
    return RenderError(
        "A clip killed every worker that tried it, most likely because memory ran out."
        " Lower renderer.batch_size or the number of workers a machine and start again; finished clips are reused."
    )


def _no_code(cause: BaseException, where: str = "A worker or the scheduler") -> RenderError:
    return RenderError(
        f"{where} cannot load this version of lipstitch ({str(cause.__cause__ or cause).splitlines()[0]})."
        " Install the same one on every machine and start scheduler and workers again."
    )
