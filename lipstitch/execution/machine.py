"""How many workers this machine has use for, and what it renders with."""

from __future__ import annotations

import sys
from pathlib import Path

from base.machine import num_cores
from lipstitch.job_file.config import ExecutionConfig
from lipstitch.plan.estimate import Capacity

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


def measure_capacity(config: ExecutionConfig, checkpoint: Path | None) -> Capacity:
    """Return what a job renders with on this machine. checkpoint: weights of its network; None: still missing."""
    return Capacity(
        num_cores=num_cores(),
        max_workers=choose_workers(config, sys.maxsize),
        has_processes=config.backend == "processes",
        checkpoint_bytes=checkpoint.stat().st_size if checkpoint else 0,
    )
