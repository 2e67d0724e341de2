"""What this machine renders with."""

from __future__ import annotations

import sys
from pathlib import Path

from base.machine import num_cores
from lipstitch.backends.base import Backend
from lipstitch.job_file.execution import ExecutionConfig
from lipstitch.plan.estimate import Capacity


def measure_capacity(config: ExecutionConfig, checkpoint: Path | None) -> Capacity:
    """Return what a job renders with on this machine. checkpoint: weights of its network; None: still missing."""
    backend: Backend = config.place
    return Capacity(
        num_cores=num_cores(),
        max_workers=backend.choose_workers(config.workers, sys.maxsize),
        has_processes=backend.are_processes,
        checkpoint_bytes=checkpoint.stat().st_size if checkpoint else 0,
    )
