"""How the points of a face move when its mouth takes another shape: what lets a few frames speak any words.

    points(wanted) = points(filmed) + (wanted - filmed) @ motion       all in the upright face, in eye distances

The motion is a ridge regression over many people's speech (`main.py train shapes`): six measures of a mouth explain
four fifths of what its lips do. Beside it stand the usual measures of them all, for speakers whose footage shows
little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from media.base.errors import UnsupportedCheckpoint
from media.base.shipped import shipped_folder
from media.mesh import NUM_POINTS
from renderer.footage.choice import Candidates, Indexes, Wanted, choose
from renderer.footage.lip_shape import SHAPES, Normal, Points, Shapes
from renderer.footage.transitions import Shown, smooth_transitions
from renderer.weight_files import open_weights

SHIPPED: Final = shipped_folder("checkpoints") / "lip_motion.safetensors"
RIDGE: Final = 1e-4
"""Of the mean square of a measure."""
WANTED_SPREAD: Final = 0.9
LEAST_SPREAD: Final = 0.35
"""Predictions are timid: they are enlarged to the first, but only as if their spread were the second or more."""
LEAST_SHARE: Final = 0.8
"""Of the population's spread: who moves their lips less in the footage is taken for someone who hardly speaks in it."""
MOST_AWAY: Final = 2.4
"""Spreads that a measure may lie from the usual."""
MOST_STRENGTHENED: Final = 1.6
"""The same where the user wants more than the sound asks for: beyond it lips are stretched around what was never
filmed."""
SMOOTHING: Final = (0.25, 0.5, 0.25)
"""Over three frames: what is heard is uneven, and here nothing else smooths it."""


@dataclass(frozen=True, slots=True, eq=False)
class LipMotion:
    """How points follow measures, and what measures are usual."""

    motion: Points
    """(len(SHAPES), NUM_POINTS, 3): how far points move for each unit of a measure."""
    usual: NDArray[np.float32]
    """(len(SHAPES),): mean of all people's means."""
    spread: NDArray[np.float32]
    """(len(SHAPES),): median of their standard deviations."""
    with_gap: NDArray[np.float32]
    """(len(SHAPES),): how far each measure moves with the gap between the lips, whose own is 1."""

    def wanted(self, heard: Shapes, silent: NDArray[np.bool_], own: Normal, strength: float = 1.0) -> Shapes:
        """Return the measures that a speaker's mouth takes, (frames, len(SHAPES)), in eye distances.

        heard: the shapes of a stretch as the sound tells them, normalised. silent: where the mouth is closed. own: the
        speaker's footage. A mouth that hardly moves in it is taken to rest; how open it is when it speaks, and how far
        it moves then, comes from other people. strength: see Wanted.
        """
        spread = np.maximum(own.spread, LEAST_SHARE * self.spread)
        speaks = float(np.clip(own.spread[0] / (LEAST_SHARE * self.spread[0]), 0, 1))
        opener = (1 - speaks) * float(self.usual[0] - own.mean[0])
        middle = own.mean + opener * self.with_gap
        enlarged = WANTED_SPREAD / np.maximum(heard.std(axis=0), LEAST_SPREAD)
        told = np.clip((heard - heard.mean(axis=0)) * enlarged, -MOST_AWAY, MOST_AWAY)
        closed = middle - middle[0] * self.with_gap
        measures = middle + told * spread
        if strength != 1:
            farthest = np.maximum(np.abs(told), MOST_STRENGTHENED) * spread
            stronger = closed + strength * (measures - closed)
            measures = np.clip(stronger, middle - farthest, middle + farthest) if strength > 1 else stronger
        measures[silent] = closed
        padded = np.pad(measures, ((1, 1), (0, 0)), mode="edge")
        smooth = sum(share * padded[at : at + len(measures)] for at, share in enumerate(SMOOTHING))
        shut = np.minimum(np.asarray(smooth)[:, :1], 0)
        # A gap cannot be negative; what belongs to it stops there, too.
        return np.asarray(smooth - shut * self.with_gap, np.float32)


def choose_and_lead(
    wanted: Wanted, candidates: Candidates, filmed: Shapes, motion: LipMotion
) -> tuple[Indexes, Shapes]:
    """Return for each frame the mouth that has to be led least, and the measures that it is led to.

    filmed: (n, len(SHAPES)), the candidates' measures in eye distances.
    """
    own = Normal.of(filmed)
    measures = motion.wanted(wanted.shapes, wanted.silent, own, wanted.strength)
    usual = replace(own, spread=np.maximum(own.spread, motion.spread))
    near = replace(wanted, shapes=usual.normalise(measures))
    return choose(near, replace(candidates, shapes=usual.normalise(filmed))), measures


def lead(
    way: Indexes, candidates: Candidates, upright: Points, filmed: Shapes, measures: Shapes, motion: LipMotion
) -> list[Shown]:
    """Return what each frame of a way shows if its lips are led to measures.

    upright: (n, NUM_POINTS, 3), the candidates' points in one pose; filmed: their measures. At jumps, only what
    measures do not tell is smoothed.
    """
    plain = upright - np.tensordot(filmed, motion.motion, axes=1)
    told = np.tensordot(measures, motion.motion, axes=1)
    return [
        replace(shown, goal=(plain[shown.mouths[0]] if shown.goal is None else shown.goal) + moved)
        for shown, moved in zip(smooth_transitions(way, candidates, plain), told, strict=True)
    ]


def fit(people: list[tuple[Points, Shapes]]) -> LipMotion:
    """Return the motion of some people's faces: for each the upright points and the measures of their frames.

    Everyone counts alike, however long they are seen.
    """
    measures, points = [], []
    for upright, shapes in people:
        weight = 1 / np.sqrt(len(shapes))
        measures.append((shapes - shapes.mean(axis=0)) * weight)
        points.append((upright - upright.mean(axis=0)).reshape(len(shapes), -1) * weight)
    known, moved = np.concatenate(measures).astype(np.float64), np.concatenate(points)
    square = known.T @ known
    ridge = RIDGE * np.trace(square) / len(square) * np.eye(len(square))
    motion = np.linalg.solve(square + ridge, known.T @ moved).reshape(len(SHAPES), NUM_POINTS, 3)
    means = np.array([shapes.mean(axis=0) for _, shapes in people])
    spreads = np.array([shapes.std(axis=0) for _, shapes in people])
    return LipMotion(
        motion,
        means.mean(axis=0).astype(np.float32),
        np.median(spreads, axis=0).astype(np.float32),
        (square[0] / square[0, 0]).astype(np.float32),
    )


def load_lip_motion(path: Path = SHIPPED) -> LipMotion:
    """Load a motion; nothing in the file is executed. Raises CheckpointError."""
    tensors = {name: tensor.float().numpy() for name, tensor in open_weights(path).read_tensors().items()}
    shapes = {"motion": (len(SHAPES), NUM_POINTS, 3)} | dict.fromkeys(("usual", "spread", "with_gap"), (len(SHAPES),))
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise UnsupportedCheckpoint(f"{path}: not the motion of lips that lipstitch uses.")
    return LipMotion(tensors["motion"].astype(np.float64), *(tensors[name] for name in ("usual", "spread", "with_gap")))
