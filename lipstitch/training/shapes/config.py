"""The training file of the network that hears lip shapes in sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from lipstitch.training.config import WeightsNote
from lipstitch.training.labelled_config import LabelledTraining
from media.base.settings import load_settings


class ShapesTraining(LabelledTraining):
    """One training of the sound-to-shape network, checked and complete."""

    languages: dict[str, str] = Field(default_factory=dict, description="Language by the beginning of a video's name.")
    left_out: tuple[str, ...] = Field(
        default=(), description="Beginnings of names of videos whose sound does not belong to their picture."
    )
    late_seconds: dict[str, float] = Field(
        default_factory=dict, description="Seconds by which a video's sound is late, by the beginning of its name."
    )
    steps: int = Field(default=2500, ge=1, le=10_000_000)
    windows: int = Field(default=32, ge=2, le=4096, description="Windows of three seconds in a step.")
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    ema: float = Field(default=0.995, ge=0, lt=1, description="Decay of the moving average that is the result.")
    note: WeightsNote = WeightsNote()


def load_shapes_training(path: Path, overrides: Sequence[str] = ()) -> ShapesTraining:
    """Read and check a training file; raise ConfigError. overrides: as --set takes them."""
    return load_settings(ShapesTraining, path, overrides, what="training file")
