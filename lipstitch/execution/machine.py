"""What this machine renders with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lipstitch.backends.base import Backend
from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.renderer import RendererConfig
from lipstitch.plan.estimate import Capacity
from media.base.machine import num_cores


def measure_capacity(config: JobConfig, checkpoint: Path | None) -> Capacity:
    """Return what a job renders with on this machine. checkpoint: weights of its network; None: still missing."""
    execution = config.execution
    backend: Backend = execution.place
    return Capacity(
        num_cores=num_cores(),
        max_workers=backend.choose_workers(execution.workers, sys.maxsize),
        has_processes=backend.are_processes,
        checkpoint_bytes=checkpoint.stat().st_size if checkpoint else 0,
        restores=config.renderer.restore is not None,
    )


def arithmetic(settings: RendererConfig) -> list[Any]:
    """Return what the last bits of a mouth depend on: not the number of the GPU, nor, on a CPU, the batch."""
    from renderer.engine import choose_device, choose_precision  # imports torch, which takes seconds

    device = choose_device(settings.device)
    batch_size = None if device.type == "cpu" else settings.batch_size
    return [device.type, str(choose_precision(settings.precision, device)), batch_size]
