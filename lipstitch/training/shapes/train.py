"""train_shapes(): labelled videos to the motion of lips, and the weights of the network that hears their shapes."""

from __future__ import annotations

from pathlib import Path

import torch

from lipstitch.progress import Reporter
from lipstitch.training.labelled_config import check_held_out
from lipstitch.training.loop import Schedule, run_stage
from lipstitch.training.mesh.train import find_videos, person_of
from lipstitch.training.shapes.config import ShapesTraining
from lipstitch.training.shapes.motion import fit_motion, write_motion
from lipstitch.training.shapes.people import read_people
from lipstitch.training.shapes.stage import SoundShapeStage
from lipstitch.training.weights import write_weights
from media.base.content import content_key
from media.base.locks import locked

SHAPES_FILE, MOTION_FILE = "sound_shape.safetensors", "lip_motion.safetensors"


def train_shapes(config: ShapesTraining, reporter: Reporter) -> Path:
    """Read the videos, train on them from the last checkpoint, and return the file of the weights.

    Beside it lies MOTION_FILE.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    with locked(config.out, "choose another `out`"):
        videos = [video for video in sorted(find_videos(config.videos)) if not video.stem.startswith(config.left_out)]
        names = [video.stem for video in videos]
        of_person = {name: person_of(name, config.people) for name in names}
        people = read_people(
            videos,
            config.labels,
            reporter,
            people=of_person,
            languages={name: person_of(name, config.languages) for name in names},
            late={name: _late(name, config.late_seconds) for name in names},
        )
        check_held_out(config.held_out, [person.name for person in people])
        motion = fit_motion(videos, config.labels, of_person, config.held_out)
        write_motion(motion, config.out / MOTION_FILE, config.note)
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
            names, config.model_dump(mode="json", exclude={"out", "threads", "save_every", "check_every", "note"})
        )
        run_stage(stage, schedule, config.out, reporter, seed=config.seed, key=key)
        path = config.out / SHAPES_FILE
        write_weights(stage.result, path, kind="sound shape", version=config.note.version, licence=config.note.licence)
        return path


def _late(name: str, late: dict[str, float]) -> float:
    return next((seconds for start, seconds in late.items() if name.startswith(start)), 0.0)
