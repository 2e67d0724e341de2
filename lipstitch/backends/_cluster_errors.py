"""What the backends of clusters have in common: limits of time, and the sentences for what goes wrong."""

from __future__ import annotations

import logging
import re
import socket
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from media.base.errors import ConfigError, RenderError

CONNECT_SECONDS = 5
"""How long a scheduler may take to answer."""
CLOSE_SECONDS = 1.0
"""How long closing a connection may take."""
PATIENCE_SECONDS = 30.0
"""How long a run waits for a first worker, or for a new one where all are gone."""
ASKING_THREAD = "ask-cluster"
"""Name of the threads that call into libraries of clusters."""
RETRY_HINT = "Finished clips are kept: start the job again when that is mended."

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ClusterKind:
    """What messages say about a kind of cluster."""

    name: str
    start_command: str

    def check_reachable(self, address: str | None) -> None:
        """Raise ConfigError if nothing listens at an address."""
        try:
            check_reachable(str(address))
        except OSError as exc:
            raise self.no_answer_error(address) from exc

    def no_answer_error(self, address: str | None) -> ConfigError:
        """Return the error for an address where no cluster answers."""
        return ConfigError(
            f"execution.address (now {address!r}): no {self.name} answers there."
            f" Start one with `{self.start_command}`, or correct the address."
        )

    def lost_error(self, address: str | None) -> RenderError:
        """Return the error for a cluster that has gone away during a run."""
        return RenderError(f"The {self.name} at {address} is gone. {RETRY_HINT}")


def killed_workers_error() -> RenderError:
    """Return the error for a clip that no worker survives."""
    return RenderError(
        "A clip killed every worker that tried it, most likely because memory ran out."
        " Lower renderer.batch_size or the number of workers a machine and start again; finished clips are reused."
    )


def version_mismatch_error(cause: BaseException, where: str = "A worker or the scheduler") -> RenderError:
    """Return the error for a machine that cannot load this version of the program."""
    return RenderError(
        f"{where} cannot load this version of lipstitch ({str(cause.__cause__ or cause).splitlines()[0]})."
        " Install the same one on every machine and start scheduler and workers again."
    )


def check_reachable(address: str) -> None:
    """Raise OSError if nothing listens at host:port."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def call_with_timeout(seconds: float, function: Callable[[], Result]) -> Result:
    """Return what a function returns, or raise what it raises; TimeoutError if it takes too long.

    The libraries' own limits do not hold where the other side accepts a connection and then says nothing.
    """
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except Exception as exc:
            outcome.set_exception(exc)

    threading.Thread(target=run, name=ASKING_THREAD, daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError as exc:
        raise TimeoutError(f"no answer in {seconds:g} s") from exc


def silence_loggers(*libraries: str) -> None:
    """Keep what libraries log off the terminal: a run says in one sentence what went wrong."""
    warnings.filterwarnings("ignore", module=f"({'|'.join(libraries)})")
    for name in (*libraries, *logging.root.manager.loggerDict):
        if re.match(rf"({'|'.join(libraries)})(\.|$)", name):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
