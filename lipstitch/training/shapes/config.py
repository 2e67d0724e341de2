"""The training file of the network that hears lip shapes in sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from base.settings import FilePath, load_settings


class ShapesTraining(BaseModel):
    """One training of the sound-to-shape network, checked and complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    videos: tuple[FilePath, ...] = Field(min_length=1, description="Videos with sound, or folders of them.")
    labels: FilePath = Field(description="Folder that tools/label_meshes.py wrote.")
    out: FilePath = Field(description="Folder for checkpoints, metrics and the result.")
    held_out: tuple[str, ...] = Field(default=(), description="People who are never trained on.")
    people: dict[str, str] = Field(
        default_factory=dict, description="Person by the beginning of a video's name. Omitted: each video is one."
    )
    languages: dict[str, str] = Field(default_factory=dict, description="Language by the beginning of a video's name.")
    left_out: tuple[str, ...] = Field(
        default=(), description="Beginnings of names of videos whose sound does not belong to their picture."
    )
    late_seconds: dict[str, float] = Field(
        default_factory=dict, description="Seconds by which a video's sound is late, by the beginning of its name."
    )
    seed: int = Field(default=1, ge=0, le=2**31)
    threads: int | None = Field(default=None, ge=1, le=1024)
    steps: int = Field(default=3000, ge=1, le=10_000_000)
    windows: int = Field(default=32, ge=2, le=4096)
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    ema: float = Field(default=0.995, ge=0, lt=1)
    check_every: int = Field(default=250, ge=1)
    save_every: int = Field(default=250, ge=1)


def load_shapes_training(path: Path, overrides: Sequence[str] = ()) -> ShapesTraining:
    """Read and check a training file; raise ConfigError. overrides: as --set takes them."""
    return load_settings(ShapesTraining, path, overrides, what="training file")
