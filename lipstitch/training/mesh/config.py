"""The training file of a face mesh."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from lipstitch.training.labelled_config import LabelledTraining
from media.base.settings import load_settings


class MeshTraining(LabelledTraining):
    """One training of a mesh network, checked and complete."""

    every_frames: int = Field(default=2, ge=1, le=100, description="Of the people trained on, each nth frame is taken.")
    steps: int = Field(default=7500, ge=1, le=10_000_000)
    faces: int = Field(default=32, ge=2, le=4096, description="Faces in a step.")
    learning_rate: float = Field(default=1.5e-3, gt=0, le=1)
    ema: float = Field(default=0.998, ge=0, lt=1, description="Decay of the moving average that is the result.")


def load_mesh_training(path: Path, overrides: Sequence[str] = ()) -> MeshTraining:
    """Read and check a training file of a mesh; raise ConfigError. overrides: as --set takes them."""
    return load_settings(MeshTraining, path, overrides, what="training file")
