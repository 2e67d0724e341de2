"""What a backend offers as BACKEND: workers, behind the `concurrent.futures.Executor` of the standard library.

Nothing heavy is imported with these modules, since a job file is checked against them: libraries of clusters are
imported when the pool is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from media.base.machine import num_cores

AUTO_WORKERS = 8
"""Clips rendered at a time on one machine, where the job does not say."""

Workers = int | Literal["auto"]
"""How many clips the job wants rendered at a time."""


def _nothing_to_check(_address: str | None) -> None:
    pass


def _unknown(_error: BaseException) -> Exception | None:
    return None


def _are_there() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Request:
    """What a job asks of a backend."""

    workers: Workers
    """As the job file says."""
    num_workers: int
    """Clips to render at a time on this machine; 0 for a remote backend."""
    address: str | None
    """host:port of the cluster; None for a backend that is not remote."""
    needs_gpu: bool


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers that are ready."""

    executor: Executor
    num_workers: int
    """Clips that are rendered at a time."""
    num_cores: int
    """Of all machines together."""
    num_ahead: int
    """Clips that are given to the executor at a time, those that wait for a worker included."""
    check: Callable[[], None] = _are_there
    """Raises RenderError if the workers are lost. Called about once a second while no clip is finished."""
    explain: Callable[[BaseException], Exception | None] = _unknown
    """Turns what the executor itself raises into an error for the user; None for what it does not know."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A place where clips are rendered."""

    open: Callable[[Request], AbstractContextManager[Pool]]
    """Opens a pool. Leaving the context takes back every clip that no worker has begun."""
    shares_process: bool
    """Whether workers are threads of this process, which share its networks."""
    is_remote: bool = False
    """Whether workers run on other machines. Then the job names an address, and clips come as soon as they are done;
    otherwise they come in order."""
    max_workers: int | None = None
    """Most clips at a time, where there is a limit."""
    package: str | None = None
    """The package that must be installed. The extra of lipstitch that installs it has the name of the backend."""
    schemes: tuple[str, ...] = ()
    """What may stand before the host of an address."""
    check_address: Callable[[str | None], None] = _nothing_to_check
    """Raises ConfigError if nothing answers there."""

    @property
    def are_processes(self) -> bool:
        """Whether workers are processes of this machine, each with a network of its own."""
        return not (self.shares_process or self.is_remote)

    def choose_workers(self, workers: Workers, num_clips: int) -> int:
        """Return how many clips are rendered at a time on this machine: none where other machines do it.

        auto: one a core, at most AUTO_WORKERS. One worker alone keeps about two cores busy: there two render 37 frames
        a second where one renders 35 with the compact network, and as many as one with the full-size network.
        """
        if self.is_remote:
            return 0
        wanted = min(num_cores(), AUTO_WORKERS) if workers == "auto" else workers
        return max(1, min(wanted, num_clips, self.max_workers or wanted))
