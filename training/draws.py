"""What a step sees, decided by seed, stage and step alone: no state, so that a resumed run goes on exactly.

track        |....[ 5 rows ]............[ 5 rows ].......[ 5 rows ]....|
                    target                reference        another sound
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.dataset import WINDOW_ROWS, Rows, Track

NEAREST_ROWS = 3
"""Windows of one track closer than this sound almost alike, so they are never told apart."""


def random_at(seed: int, stage: str, step: int) -> np.random.Generator:
    """Return the source of all that is random in one step of a stage."""
    return np.random.Generator(np.random.PCG64([seed, *stage.encode(), step]))


@dataclass(frozen=True, slots=True)
class ExpertDraw:
    """Windows in groups of one track each."""

    rows: Rows
    """(windows, 5)"""
    tracks: Rows
    """(windows,): which track each is from."""


@dataclass(frozen=True, slots=True)
class GeneratorDraw:
    """What the generator draws, and from what."""

    targets: Rows
    """(windows, 5): the frames to draw."""
    references: Rows
    """(windows, 5): the full faces given to the network."""
    sounds: Rows
    """(windows, 5): the rows whose mel windows are heard."""
    has_truth: np.ndarray[tuple[int], np.dtype[np.bool_]]
    """(windows,): whether the targets show what is to be drawn. Otherwise the target is its own reference, as when a
    video is rendered, and the sound is another one: what the mouth should look like, only sync can tell."""


class WindowSampler:
    """Draws windows from tracks; a track's chance grows with the square root of its length."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._tracks = [track for track in tracks if len(track.windows)]
        weights = np.sqrt([len(track.windows) for track in self._tracks])
        self._chances = weights / weights.sum()

    def expert(self, random: np.random.Generator, *, windows: int, group: int) -> ExpertDraw:
        """Draw windows, `group` from each track drawn, so that shifted sound of the same voice is among them."""
        num_groups = -(-windows // group)
        chosen = random.choice(len(self._tracks), num_groups, p=self._chances)
        starts = np.stack([random.choice(self._tracks[track].windows, group) for track in chosen]).reshape(-1)[:windows]
        return ExpertDraw(_five(starts), np.repeat(chosen, group)[:windows])

    def generator(self, random: np.random.Generator, *, windows: int, gap_rows: int, dub_share: float) -> GeneratorDraw:
        """Draw targets with references at least `gap_rows` away in the same track, the farthest where it is short.

        dub_share: share of the windows that hear another sound than their own.
        """
        chosen = random.choice(len(self._tracks), windows, p=self._chances)
        targets = np.array([random.choice(self._tracks[track].windows) for track in chosen], np.int64)
        references = np.array([self._reference(random, *pair, gap_rows) for pair in zip(chosen, targets, strict=True)])
        others = np.array([random.choice(self._tracks[track].windows) for track in random.permutation(chosen)])
        has_truth = random.random(windows) >= dub_share
        return GeneratorDraw(
            targets=_five(targets),
            references=_five(np.where(has_truth, references, targets)),
            sounds=_five(np.where(has_truth, targets, others)),
            has_truth=has_truth,
        )

    def _reference(self, random: np.random.Generator, track: int, target: int, gap_rows: int) -> int:
        starts = np.arange(self._tracks[track].start, self._tracks[track].stop - WINDOW_ROWS + 1)
        distance = np.abs(starts - target)
        far = starts[distance >= min(gap_rows, int(distance.max()))]
        return int(random.choice(far))


def _five(starts: Rows) -> Rows:
    """Return the rows of windows that begin at `starts`."""
    return np.asarray(starts, np.int64)[:, None] + np.arange(WINDOW_ROWS)
