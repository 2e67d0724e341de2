"""How lips move, from labels alone: no picture is decoded, and it takes seconds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from lipstitch.training.config import WeightsNote
from lipstitch.training.weights import write_tensors
from media.base.errors import TrainingError
from media.mesh import POINT_NUMBERS, Mesh
from renderer.footage.lip_motion import LipMotion, fit
from renderer.footage.lip_shape import measure, upright

LEAST_FRAMES = 20
"""Labelled frames that someone must have; fewer tell no usual mouth."""


def fit_motion(videos: Sequence[Path], labels: Path, people: Mapping[str, str], held_out: Collection[str]) -> LipMotion:
    """Return the motion of everyone who is not held out.

    people: person of a video, by its name. Raises TrainingError if no one is labelled.
    """
    meshes: dict[str, list[Mesh]] = {}
    for video in videos:
        person = people.get(video.stem, video.stem)
        label = labels / f"{video.stem}.npz"
        if person in held_out or not label.is_file():
            continue
        with np.load(label) as stored:
            points = stored["points"][:, POINT_NUMBERS]
        meshes.setdefault(person, []).append(points[np.isfinite(points).all(axis=(1, 2))])
    found = []
    for _, each in sorted(meshes.items()):
        frames = np.concatenate(each)
        if len(frames) >= LEAST_FRAMES:
            points, reference = upright(frames)
            found.append((points, measure(frames, reference)))
    if not found:
        raise TrainingError(f"{labels}: no labelled face. Label the videos with tools/label_meshes.py first.")
    return fit(found)


def write_motion(motion: LipMotion, path: Path, note: WeightsNote) -> None:
    """Write a motion as `load_lip_motion` reads it. Raises TrainingError if it is not finite."""
    values = {"motion": motion.motion, "usual": motion.usual, "spread": motion.spread, "with_gap": motion.with_gap}
    tensors = {name: torch.from_numpy(np.asarray(each, np.float32)) for name, each in values.items()}
    write_tensors(tensors, path, kind="lip motion", version=note.version, licence=note.licence)
