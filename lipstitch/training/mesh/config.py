"""The training file of a face mesh."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from base.settings import FilePath, load_settings


class MeshTraining(BaseModel):
    """One training of a mesh network, checked and complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    videos: tuple[FilePath, ...] = Field(min_length=1, description="Videos, or folders of them, one face in each.")
    labels: FilePath = Field(description="Folder that tools/label_meshes.py wrote.")
    out: FilePath = Field(description="Folder for the faces, checkpoints, metrics, pictures and the result.")
    held_out: tuple[str, ...] = Field(default=(), description="People who are never trained on.")
    people: dict[str, str] = Field(
        default_factory=dict, description="Person by the beginning of a video's name. Omitted: each video is one."
    )
    every_frames: int = Field(default=2, ge=1, le=100, description="Of the people trained on, each nth frame is taken.")
    seed: int = Field(default=1, ge=0, le=2**31)
    threads: int | None = Field(default=None, ge=1, le=1024, description="Threads on the CPU; bits depend on it.")
    steps: int = Field(default=12_000, ge=1, le=10_000_000)
    faces: int = Field(default=32, ge=2, le=4096, description="Faces in a step.")
    learning_rate: float = Field(default=1.5e-3, gt=0, le=1)
    ema: float = Field(default=0.998, ge=0, lt=1, description="Decay of the moving average that is the result.")
    decay_share: float = Field(default=0.6, gt=0, le=1, description="Share of the steps over which the rate falls.")
    check_every: int = Field(default=1000, ge=1)
    save_every: int = Field(default=200, ge=1)


def load_mesh_training(path: Path, overrides: Sequence[str] = ()) -> MeshTraining:
    """Read and check a training file of a mesh; raise ConfigError. overrides: as --set takes them."""
    return load_settings(MeshTraining, path, overrides, what="training file")
