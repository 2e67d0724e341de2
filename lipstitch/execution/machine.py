"""How many workers this machine has use for."""

from __future__ import annotations

from base.machine import num_cores
from lipstitch.job_file.config import ExecutionConfig

AUTO_WORKERS = 8
"""Clips rendered at a time on one machine, where the job does not say."""


def choose_workers(config: ExecutionConfig, num_clips: int) -> int:
    """Return how many clips are rendered at a time on this machine: none where a cluster does it.

    auto: one a core, at most AUTO_WORKERS. One worker alone keeps about two cores busy: there two render 37 frames a
    second where one renders 35 with the compact network, and as many as one with the full-size network.
    """
    if config.backend in ("dask", "ray"):
        return 0
    if config.backend == "serial":
        return 1
    wanted = min(num_cores(), AUTO_WORKERS) if config.workers == "auto" else config.workers
    return max(1, min(wanted, num_clips))
