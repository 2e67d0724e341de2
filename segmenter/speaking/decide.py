"""PURE: who speaks at each step of a passage: at most one of its faces, and no one where the sound holds no speech.

scores    anna   2  1  2  0 -2 -3 -2        The sequence of speakers with the greatest sum of scores is taken; a change
          ben   -3 -2 -2 -1  1  2  1        costs CHANGE_COST (Viterbi 1967). No one has the score 0.
speaks           a  a  a  a  b  b  b
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from media.intervals import Interval
from segmenter.speaking.passages import Passage

BIAS: Final = 2.0
"""What scores are raised by. Those of faces that speak are about 1, and -2 for a second here and there; those of faces
that listen with closed lips about -2.5, and more than -1 in one frame of twenty."""
CHANGE_COST: Final = 10.0
"""In sums of raised scores over steps of 1/25 s: a fifth of a second of a sure one pays for a change."""
NEVER: Final = -1e6


def decide(
    passage: Passage, scores: Sequence[NDArray[np.float32]], speech: Sequence[Interval]
) -> list[tuple[Interval, ...]]:
    """Return the steps at which each face of a passage speaks.

    scores: of each face, for its steps. speech: steps with speech, sorted and disjoint.
    """
    start, stop = passage.steps
    evidence = np.full((stop - start, len(scores) + 1), NEVER)
    evidence[:, 0] = 0.0
    for number, (face, own) in enumerate(zip(passage.faces, scores, strict=True), start=1):
        evidence[face.steps[0] - start : face.steps[1] - start, number] = own + BIAS
    spoken = np.zeros(stop - start, bool)
    for first, last in speech:
        spoken[max(first - start, 0) : max(last - start, 0)] = True
    evidence[~spoken, 1:] = NEVER
    said = _best_sequence(evidence)
    return [_runs(said == number, start) for number in range(1, len(scores) + 1)]


def _best_sequence(evidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the column of each row whose sum is greatest, less CHANGE_COST for each change of the column."""
    length, width = evidence.shape
    came_from = np.zeros((length, width), np.int64)
    total = evidence[0].copy()
    stays = np.arange(width)
    for row in range(1, length):
        best = int(total.argmax())
        changed = total[best] - CHANGE_COST
        came_from[row] = np.where(total >= changed, stays, best)
        total = np.maximum(total, changed) + evidence[row]
    sequence = np.zeros(length, np.int64)
    sequence[-1] = int(total.argmax())
    for row in range(length - 1, 0, -1):
        sequence[row - 1] = came_from[row, sequence[row]]
    return sequence


def _runs(flags: NDArray[np.bool_], start: int) -> tuple[Interval, ...]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))) + start
    return tuple((int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True))
