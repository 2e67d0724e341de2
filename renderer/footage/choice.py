"""Which of the speaker's own mouths is shown in which frame: the cheapest way through all frames of a stretch.

    cost of showing mouth s at frame t   how far its shape, pose and light are from what t wants
    cost of going on from s to s'        nothing if s' follows s in the footage; else how unlike their mouths are

A stretch is chosen as a whole, before clips are cut, so the choice depends on neither clips nor workers. The idea is
that of Video Rewrite (Bregler et al. 1997); the weights come from a trial on four people, and were not searched
further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from renderer.footage.lip_shape import Shapes

Floats = NDArray[np.float32]
Indexes = NDArray[np.int64]

SHAPE_WEIGHTS: Final = np.array([1.0, 0.7, 0.6, 0.3, 0.3, 0.6], np.float32)
"""Of lip_shape.SHAPES in the misfit."""
POSE_WEIGHT: Final = 0.5
POSE_FREE: Final = 1.0
"""Pose misfit that costs nothing, in degrees of yaw."""
POSE_SCALE: Final = 4.0
POSE_UNITS: Final = np.array([1.0, 1.0, 0.4, 15.0], np.float32)
"""Of yaw, pitch and roll in degrees, and the logarithm of the size: what one of each weighs."""
LIGHT_SCALE: Final = 50.0
"""Difference of 8-bit brightness around the mouth that weighs as much as POSE_SCALE degrees."""
SHARPNESS_WEIGHT: Final = 1.0
"""Of mouths that are less sharp than usual, and of unlike sharpness at a jump."""
UNLIKE_WEIGHT: Final = 1.2
"""Of unlike mouths at a jump."""
JUMP: Final = 2.0
"""Cost of any jump: two frames that look alike still move differently."""
SKIP: Final = 0.05
"""Cost of holding a mouth, or of leaving one out."""
HOLD_IN_SILENCE, MOVE_IN_SILENCE = 0.02, 2.0
"""A closed mouth rests; it moves on, or back, where that is hardly seen: what an unlike mouth costs then."""
JUMP_IN_SILENCE: Final = 4.0
"""On top of JUMP: where nothing else moves, a jump is seen even between mouths that look alike. A head that has turned
is worth one: 8 degrees cost as much in five frames."""
DECIDED_SECONDS, AHEAD_SECONDS = 1.0, 2.0
"""How much is decided at a time, and how far beyond it is looked."""
KEPT: Final = 192
"""Mouths that are considered for a frame."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Mouths to choose from, in order of the footage."""

    shapes: Shapes
    """(n, shapes), normalised over the footage."""
    looks: Floats
    """(n, k): what the inside of the mouth looks like; distances of 1 are typical of frames that are far apart."""
    pose: Floats
    """(n, 4): yaw, pitch, roll in degrees, logarithm of the eye distance."""
    light: Floats
    """(n, m): brightness around the mouth, in 8-bit levels."""
    sharpness: Floats
    """(n,): logarithm of how sharp a mouth is, over the median of the footage."""
    frames: Indexes
    """(n,): source frames, ascending; frames of another video are numbered beyond those of the source."""

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def follows(self) -> NDArray[np.bool_]:
        """(n,): whether a mouth is that of the next frame after the one before it."""
        return np.concatenate([[False], np.diff(self.frames) == 1])


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the frames of one stretch want."""

    shapes: Shapes
    """(frames, shapes), as predicted from the sound, normalised."""
    silent: NDArray[np.bool_]
    """(frames,): where the mouth should be closed."""
    pose: Floats
    light: Floats
    """As those of Candidates."""
    frame_rate: float
    strength: float = 1.0
    """How far the mouth goes from a closed one to what the sound asks for: 1 all the way; in [0, 2]."""

    def __len__(self) -> int:
        return len(self.shapes)


def choose(wanted: Wanted, candidates: Candidates) -> Indexes:
    """Return for each frame the mouth to show: an index of candidates. There must be one candidate or more.

    Some seconds are looked at together, and the first of them decided, so that memory does not grow with the stretch,
    and mouths that were shown a moment ago can be avoided:

        decided | looked at, decided up to here -> | looked at only | not yet looked at
    """
    unlike, features = transition_costs(candidates), _features(candidates)
    scales = _scales(wanted, candidates)
    follows = np.concatenate([candidates.follows, [False]])
    decided: list[int] = []
    step, ahead = (max(round(seconds * wanted.frame_rate), 2) for seconds in (DECIDED_SECONDS, AHEAD_SECONDS))
    while len(decided) < len(wanted):
        start = len(decided)
        rows = slice(start, min(start + step + ahead, len(wanted)))
        misfit = misfits(wanted, candidates, rows, scales)
        way = _cheapest_way(misfit, wanted.silent[rows], unlike, follows, features, decided[-1] if decided else None)
        chosen = way if rows.stop == len(wanted) else way[:step]
        decided += map(int, chosen)
    return np.array(decided, np.int64)


def transition_costs(candidates: Candidates) -> Floats:
    """Return (n, n): what it costs to show a mouth after another, in speech.

    Two mouths go together if each looks as the other's own neighbour does.
    """
    features, follows = _features(candidates), candidates.follows
    after, before = features.copy(), features.copy()
    after[:-1][follows[1:]] = features[1:][follows[1:]]
    before[1:][follows[1:]] = features[:-1][follows[1:]]
    cost = UNLIKE_WEIGHT * 0.5 * (distances(after, features) + distances(features, before)) + JUMP
    places = np.arange(len(candidates))
    cost[places, places] = SKIP
    runs = np.flatnonzero(follows)
    cost[runs - 1, runs] = 0.0
    skips = runs[np.isin(runs - 1, runs)]
    cost[skips - 2, skips] -= JUMP - SKIP
    return np.asarray(cost, np.float32)


def _features(candidates: Candidates) -> Floats:
    """Return what mouths are compared by where one is to follow another."""
    sharpness = candidates.sharpness[:, None] * SHARPNESS_WEIGHT
    return np.hstack([candidates.looks * 0.7, candidates.shapes * 0.5, sharpness]).astype(np.float32)


def distances(first: Floats, second: Floats) -> Floats:
    """Return the distance of each row of one array from each of another."""
    squared = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None] - 2 * first @ second.T
    return np.asarray(np.sqrt(np.maximum(squared, 0)), np.float32)


def _scales(wanted: Wanted, candidates: Candidates) -> tuple[float, float]:
    """Return the mean of the misfit of shapes over some frames, and its standard deviation."""
    some = slice(None, None, max(len(wanted) // 500, 1))
    misfit = _shape_misfit(wanted.shapes[some], candidates)
    return float(misfit.mean()), float(misfit.std()) + 1e-6


def _shape_misfit(shapes: Shapes, candidates: Candidates) -> Floats:
    weights = np.sqrt(SHAPE_WEIGHTS)
    return distances(shapes * weights, candidates.shapes * weights)


def misfits(wanted: Wanted, candidates: Candidates, rows: slice, scales: tuple[float, float]) -> Floats:
    """Return (frames, n): what it costs to show each mouth in each of some frames. scales: see _scales."""
    mean, spread = scales
    cost = (_shape_misfit(wanted.shapes[rows], candidates) - mean) / spread
    pose = np.abs(wanted.pose[rows, None] - candidates.pose[None]) * POSE_UNITS
    off = np.sqrt((np.maximum(pose - POSE_FREE, 0) ** 2).sum(axis=2)) / POSE_SCALE
    light = np.sqrt(((wanted.light[rows, None] - candidates.light[None]) ** 2).mean(axis=2)) / LIGHT_SCALE
    cost += POSE_WEIGHT * (off + light) - SHARPNESS_WEIGHT * np.minimum(candidates.sharpness, 0)
    return np.asarray(cost, np.float32)


def _cheapest_way(
    costs: Floats,
    silent: NDArray[np.bool_],
    unlike: Floats,
    follows: NDArray[np.bool_],
    features: Floats,
    first: int | None,
) -> Indexes:
    """Return the cheapest way through costs (frames, n), beginning behind a mouth or anywhere (Viterbi 1967).

    Of each frame only the KEPT cheapest mouths are considered, and those that follow the best before it.
    """
    considered = [np.array([first], np.int32)] if first is not None else [_considered(costs[0], None, None, follows)]
    best = np.zeros(1, np.float32) if first is not None else costs[0][considered[0]]
    begin = 1 if first is None else 0
    origins: list[NDArray[np.int64]] = []
    for cost, is_silent in zip(costs[begin:], silent[begin:], strict=True):
        before = considered[-1]
        after = _considered(cost, before, best, follows)
        going_on = unlike[np.ix_(before, after)]
        if is_silent:
            going_on = _in_silence(going_on, before, after, follows, features)
        total = best[:, None] + going_on
        origins.append(total.argmin(axis=0))
        best = total.min(axis=0) + cost[after]
        considered.append(after)
    at = int(best.argmin())
    way = [int(considered[-1][at])]
    for origin, mouths in zip(reversed(origins), reversed(considered[:-1]), strict=True):
        at = int(origin[at])
        way.append(int(mouths[at]))
    ordered = way[::-1] if first is None else way[-2::-1]
    return np.array(ordered, np.int64)


def _considered(
    cost: Floats, before: NDArray[np.int32] | None, best: Floats | None, follows: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Return the mouths considered for a frame, ascending: the cheapest, and what goes on from the best before."""
    count = min(KEPT, len(cost))
    cheapest = np.argpartition(cost, count - 1)[:count]
    if before is not None and best is not None:
        leading = before[np.argsort(best, kind="stable")[: KEPT // 3]]
        neighbours = [leading, leading[follows[leading + 1]] + 1, leading[follows[leading]] - 1]
        cheapest = np.concatenate([cheapest, *neighbours])
    return np.unique(cheapest).astype(np.int32)


def _in_silence(
    going_on: Floats,
    before: NDArray[np.int32],
    after: NDArray[np.int32],
    follows: NDArray[np.bool_],
    features: Floats,
) -> Floats:
    """Return the costs of going on while the mouth is closed: it may rest, or run backwards where little moves."""
    step = after[None].astype(np.int64) - before[:, None]
    moved = MOVE_IN_SILENCE * distances(features[before], features[after])
    reversed_ = (step == -1) & follows[before][:, None]
    onwards = ((step == 1) | (step == 2) & follows[after - 1]) & follows[after]
    cheaper = np.where(reversed_, 0.0, going_on) + moved + JUMP_IN_SILENCE * ~(reversed_ | onwards)
    return np.where(step == 0, HOLD_IN_SILENCE, cheaper).astype(np.float32)
