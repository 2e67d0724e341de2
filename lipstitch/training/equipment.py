"""What fine-tuning and assessing use beside weights and videos."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lipstitch.training.preparation.prepare import DetectorSource


@dataclass(frozen=True, slots=True)
class Equipment:
    """The sync expert, the face detector and the device."""

    expert: Path | None = None
    """Weights of a sync expert; without them there are no figures of sync."""
    detector: DetectorSource = field(default_factory=DetectorSource)
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    threads: int | None = None
    """Of torch on the CPU; None: as many as torch takes."""
