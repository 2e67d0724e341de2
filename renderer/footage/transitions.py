"""What is seen at each frame of a way through the footage: at jumps, lips are led over, and pictures dissolve briefly.

frames   . . . a a a a | b b b b . . .
lips           a -> between -> b          over LED_FRAMES on either side
picture            a+b | b+a              over DISSOLVED_FRAMES on either side, both led to the same place
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from media.mesh import LIPS
from renderer.footage.choice import Candidates, Indexes
from renderer.footage.lip_shape import Points

LED_FRAMES: Final = 3
DISSOLVED_FRAMES: Final = 3
MOST_LED: Final = 0.09
"""Of an eye distance: lips that are farther apart are led over no more than that, and cut to for the rest."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one frame shows."""

    mouths: tuple[int, ...]
    """Indexes of candidates, the frame's own first."""
    weights: tuple[float, ...]
    """How far each is seen; they add up to 1."""
    goal: Points | None
    """Where the points of all of them are led, in the upright face; None: where they are."""


def smooth_transitions(way: Indexes, candidates: Candidates, upright: Points) -> list[Shown]:
    """Return what each frame of a way shows. upright: (n, NUM_POINTS, 3), the candidates' points in one pose."""
    jumps = [number for number in range(1, len(way)) if not goes_on(int(way[number - 1]), int(way[number]), candidates)]
    edges = [0, *jumps, len(way)]
    goals: dict[int, Points] = {}
    mixes: list[dict[int, float]] = [{int(mouth): 1.0} for mouth in way]
    for before, at, after in zip(edges, edges[1:], edges[2:], strict=False):
        first, second = int(way[at - 1]), int(way[at])
        onwards, backwards = _neighbour(first, 1, candidates), _neighbour(second, -1, candidates)
        step = 0.5 * ((upright[second] - upright[onwards]) + (upright[backwards] - upright[first]))
        farthest = float(np.abs(step[LIPS, :2]).max())
        step = step * min(1.0, MOST_LED / max(farthest, 1e-6))
        for number, sign, room in _around(before, at, after, LED_FRAMES):
            share = 0.5 * (1 - (number + 0.5) / room)
            frame = at - 1 - number if sign > 0 else at + number
            goals[frame] = goals.get(frame, upright[int(way[frame])]) + sign * share * step
        for number, sign, room in _around(before, at, after, DISSOLVED_FRAMES):
            share = 0.5 - 0.5 * (number + 0.5) / room
            frame = at - 1 - number if sign > 0 else at + number
            other = (
                _neighbour(second, -1 - number, candidates) if sign > 0 else _neighbour(first, 1 + number, candidates)
            )
            mixes[frame][other] = mixes[frame].get(other, 0.0) + share / (1 - share)
    return [_shown(mix, goals.get(number)) for number, mix in enumerate(mixes)]


def goes_on(first: int, second: int, candidates: Candidates) -> bool:
    """Tell whether a mouth follows another as filmed: the next but one at most, the same, or the one before."""
    step = int(candidates.frames[second] - candidates.frames[first])
    return -1 <= step <= 2 and abs(second - first) == abs(step)


def _neighbour(mouth: int, step: int, candidates: Candidates) -> int:
    """Return the mouth some frames on in the footage, or the last one before a gap."""
    while step:
        towards = 1 if step > 0 else -1
        other = mouth + towards
        if not 0 <= other < len(candidates) or candidates.frames[other] - candidates.frames[mouth] != towards:
            return mouth
        mouth, step = other, step - towards
    return mouth


def _around(before: int, at: int, after: int, reach: int) -> list[tuple[int, int, int]]:
    """Return (distance from the jump, 1 before it or -1 behind it, frames there) of the frames around a jump."""
    left, right = min(reach, at - before), min(reach, after - at)
    return [(number, 1, left) for number in range(left)] + [(number, -1, right) for number in range(right)]


def _shown(mix: dict[int, float], goal: Points | None) -> Shown:
    total = sum(mix.values())
    return Shown(tuple(mix), tuple(weight / total for weight in mix.values()), goal)


def count_jumps(way: Indexes, candidates: Candidates) -> int:
    """Return how often a way leaves the footage's own order."""
    return sum(not goes_on(int(first), int(second), candidates) for first, second in pairwise(way))
