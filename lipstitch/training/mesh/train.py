"""train_mesh(): labelled videos to the weights of a face mesh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from lipstitch.progress import Reporter
from lipstitch.training.labelled_config import check_held_out
from lipstitch.training.loop import Schedule, run_stage
from lipstitch.training.mesh.config import MeshTraining
from lipstitch.training.mesh.faces import cut_faces, load_faces
from lipstitch.training.mesh.network import export
from lipstitch.training.mesh.stage import MeshStage
from media.base.content import content_key
from media.base.errors import ConfigError
from media.base.files import atomic_file
from media.base.locks import locked

DECAY_SHARE = 0.6
"""Of the steps, over which the learning rate falls."""
MESH_FILE = "face_mesh.onnx"
VIDEO_ENDINGS = {".mp4", ".mpg", ".mkv", ".mov", ".webm", ".avi"}


def train_mesh(config: MeshTraining, reporter: Reporter) -> Path:
    """Cut the faces, train on them from the last checkpoint, and return the file of the weights.

    Raises ConfigError, TrainingError or WorkspaceError.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    with locked(config.out, "choose another `out`"):
        videos = sorted(find_videos(config.videos))
        people = {video.stem: person_of(video.stem, config.people) for video in videos}
        key = content_key(
            [video.name for video in videos], sorted(people.items()), config.held_out, config.every_frames
        )
        folder = config.out / f"faces-{key[:12]}"
        if not (folder / "faces.json").exists():
            sparse = {person: config.every_frames for person in people.values() if person not in config.held_out}
            cut_faces(videos, config.labels, folder, reporter, people=people, sparse=sparse)
        data = load_faces(folder)
        check_held_out(config.held_out, data.people)
        torch.manual_seed(config.seed)
        stage = MeshStage(
            data,
            config.held_out,
            faces=config.faces,
            learning_rate=config.learning_rate,
            ema=config.ema,
            seed=config.seed,
        )
        schedule = Schedule(
            config.steps,
            decay_share=DECAY_SHARE,
            check_every=config.check_every,
            save_every=config.save_every,
        )
        begun_with = content_key(key, config.model_dump(mode="json", include={"faces", "learning_rate", "ema", "seed"}))
        run_stage(stage, schedule, config.out, reporter, seed=config.seed, key=begun_with)
        path = config.out / MESH_FILE
        with atomic_file(path) as partial:
            export(stage.result, partial)
        return path


def person_of(name: str, people: Mapping[str, str]) -> str:
    """Return what a video's name stands for: by its beginning; each other video stands for itself."""
    return next((person for start, person in people.items() if name.startswith(start)), name)


def find_videos(places: Iterable[Path]) -> Iterable[Path]:
    """Yield videos, and those in folders. Raises ConfigError for a place that is not there."""
    for place in places:
        if not place.exists():
            raise ConfigError(f"videos: {place}: no such file or folder.")
        if place.is_dir():
            yield from (path for path in place.iterdir() if path.suffix.lower() in VIDEO_ENDINGS)
        else:
            yield place
