"""train_shapes(): labelled videos to the weights of the sound-to-shape network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file

from base.content import content_key
from base.files import atomic_file
from base.locks import locked
from base.settings import FilePath, load_settings
from lipstitch.progress import Reporter
from lipstitch.training.loop import Schedule, run_stage
from lipstitch.training.mesh.train import find_videos, person_of
from lipstitch.training.shapes.people import read_people
from lipstitch.training.shapes.stage import SoundShapeStage

SHAPES_FILE = "sound_shape.safetensors"


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


def train_shapes(config: ShapesTraining, reporter: Reporter) -> Path:
    """Read the videos, train on them from the last checkpoint, and return the file of the weights."""
    if config.threads:
        torch.set_num_threads(config.threads)
    with locked(config.out, "choose another `out`"):
        videos = [video for video in sorted(find_videos(config.videos)) if not video.stem.startswith(config.left_out)]
        names = [video.stem for video in videos]
        people = read_people(
            videos,
            config.labels,
            reporter,
            people={name: person_of(name, config.people) for name in names},
            languages={name: person_of(name, config.languages) for name in names},
            late={name: _late(name, config.late_seconds) for name in names},
        )
        torch.manual_seed(config.seed)
        stage = SoundShapeStage(
            people,
            config.held_out,
            windows=config.windows,
            learning_rate=config.learning_rate,
            ema=config.ema,
            seed=config.seed,
        )
        schedule = Schedule(config.steps, decay_share=0.8, check_every=config.check_every, save_every=config.save_every)
        key = content_key(
            names, config.model_dump(mode="json", exclude={"out", "threads", "save_every", "check_every"})
        )
        run_stage(stage, schedule, config.out, reporter, seed=config.seed, key=key)
        path = config.out / SHAPES_FILE
        with atomic_file(path) as partial:
            save_file({name: value.contiguous() for name, value in stage.result.state_dict().items()}, partial)
        return path


def _late(name: str, late: dict[str, float]) -> float:
    return next((seconds for start, seconds in late.items() if name.startswith(start)), 0.0)
