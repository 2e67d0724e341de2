"""What the training files of the face mesh and of the network that hears shapes have in common."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel, ConfigDict, Field

from media.base.errors import ConfigError
from media.base.settings import FilePath


class LabelledTraining(BaseModel):
    """A training on videos that tools/label_meshes.py has labelled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    videos: tuple[FilePath, ...] = Field(min_length=1, description="Videos, or folders of them, one face in each.")
    labels: FilePath = Field(description="Folder that tools/label_meshes.py wrote.")
    out: FilePath = Field(description="Folder for checkpoints, metrics and the result.")
    held_out: tuple[str, ...] = Field(default=(), description="People who are never trained on.")
    people: dict[str, str] = Field(
        default_factory=dict, description="Person by the beginning of a video's name. Omitted: each video is one."
    )
    seed: int = Field(default=1, ge=0, le=2**31)
    threads: int | None = Field(default=None, ge=1, le=1024, description="Threads on the CPU; bits depend on it.")
    check_every: int = Field(default=500, ge=1, description="Steps between figures of held-out people.")
    save_every: int = Field(default=250, ge=1, description="Steps between checkpoints of the training.")


def check_held_out(held_out: Collection[str], people: Collection[str]) -> None:
    """Raise ConfigError if a person to hold out is not among the people, or no one is left to train on."""
    if unknown := sorted({*held_out} - {*people}):
        known = ", ".join(sorted(people)) or "none"
        raise ConfigError(f"held_out: no labelled video shows {unknown[0]}. The people are: {known}.")
    if not {*people} - {*held_out}:
        raise ConfigError(f"held_out: all {len(people)} people are held out; leave someone to train on.")
