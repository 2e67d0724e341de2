"""What Dask and Ray have in common here: a joblib backend that can be lost, limits of time, and the words for both."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

from base.errors import ConfigError, RenderError
from lipstitch.job_file.config import ExecutionConfig

CONNECT_SECONDS = 5
"""How long a scheduler may take to answer."""
CLOSE_SECONDS = 1.0
"""How long saying goodbye may take."""
PATIENCE_SECONDS = 30.0
"""How long a run waits for a first worker, or for a new one where all are gone."""
TIMEOUTS = (TimeoutError, asyncio.TimeoutError)  # two classes before Python 3.11
GO_ON = "Finished clips are kept: start the job again when that is mended."

Probe = Callable[[], RenderError | None]
"""Tells whether a cluster is still there: returns what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that is connected."""

    backend: Any
    """The joblib backend."""
    slots: int
    """Clips that are made at a time."""
    num_cores: int
    """Cores of all machines."""
    num_waiting: int
    """Clips that are given out at a time."""
    probe: Probe


class Losable:
    """Adds to a joblib backend what one needs whose machines can be lost: an end from outside.

    joblib would also make the clips here, on the machine that asks, if the cluster had room for one at a time.
    """

    supports_return_generator = True

    def __init__(self, slots: int, **options: Any) -> None:
        super().__init__(**options)
        self._slots = slots
        self._asking: weakref.WeakSet[Any] = weakref.WeakSet()

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return how many clips are made at a time."""
        return max(2, self._slots)

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Give out a clip."""
        self._asking.add(callback)
        return super().submit(func, callback)  # type: ignore[misc]

    def fail(self, error: Exception) -> None:
        """End the run that waits for this backend with an error."""
        for callback in [*self._asking]:
            callback(error)


def check_cluster(config: ExecutionConfig) -> None:
    """Raise ConfigError if nothing answers at the address of the cluster; for other backends do nothing."""
    if config.address is not None:
        try:
            knock(config.address)
        except OSError as exc:
            raise no_answer(config) from exc


def within(seconds: float, function: Callable[[], Any]) -> Any:
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


def knock(address: str) -> None:
    """Raise OSError if nothing listens at an address."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def hush(*libraries: str) -> None:
    """Keep what libraries log off the terminal: a run says in one sentence what went wrong."""
    warnings.filterwarnings("ignore", module=f"({'|'.join(libraries)})")
    for name in (*libraries, *logging.root.manager.loggerDict):
        if re.match(rf"({'|'.join(libraries)})(\.|$)", name):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _name(config: ExecutionConfig) -> str:
    return "Dask scheduler" if config.backend == "dask" else "Ray cluster"


def no_answer(config: ExecutionConfig) -> ConfigError:
    """Return the error for an address where nothing answers."""
    start = "dask scheduler" if config.backend == "dask" else "ray start --head"
    return ConfigError(
        f"execution.address (now {config.address!r}): no {_name(config)} answers there."
        f" Start one with `{start}`, or correct the address."
    )


def no_workers(config: ExecutionConfig) -> RenderError:
    """Return the error for a cluster that nobody works on."""
    return RenderError(
        f"The {_name(config)} at {config.address} has had no workers for {PATIENCE_SECONDS:g} seconds."
        f" Start some with `dask worker {config.address}`. {GO_ON}"
    )


def lost(config: ExecutionConfig) -> RenderError:
    """Return the error for a cluster that is gone."""
    return RenderError(f"The {_name(config)} at {config.address} is gone. {GO_ON}")


def killed() -> RenderError:
    """Return the error for a clip that nothing survives."""
    return RenderError(
        "A clip killed every worker that tried it, most likely because memory ran out."
        " Lower renderer.batch_size or the number of workers a machine and start again; finished clips are reused."
    )


def no_code(cause: BaseException, where: str = "A worker or the scheduler") -> RenderError:
    """Return the error for a machine without this version of the program."""
    return RenderError(
        f"{where} cannot load this version of lipstitch ({str(cause.__cause__ or cause).splitlines()[0]})."
        " Install the same one on every machine and start scheduler and workers again."
    )
