"""What a step sees, decided by seed, stage and step alone: no state, so that a resumed run goes on exactly.

track        |....[ 5 rows ]............[ 5 rows ].......[ 5 rows ]....|
                    target                reference        another sound
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lipstitch.training.dataset.dataset import WINDOW_ROWS, Rows, Track

Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]

NEAREST_ROWS = 3
"""Windows of one track closer than this sound almost alike, so neither serves as shifted sound of the other."""
NEAR_ROWS = 12
"""A reference so near, half a second, shows the head as good as in the same place."""


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
    """What the generator draws, and from what: windows of five frames, then single frames."""

    num_windows: int
    targets: Rows
    """(faces,): the frames to draw, 5 for each window and then 1 for each single one."""
    references: Rows
    """(faces,): full faces of the same track, seen at another time."""
    sounds: Rows
    """(faces,): the rows whose mel windows are heard."""
    redraws: Rows
    """(faces,): the rows of yet another sound, for references that are redrawn."""
    is_dub: Flags
    """(faces,): whether the sound is not the target's own: it is then its own reference, as when a video is rendered,
    and what its mouth should look like, nothing shows."""
    is_redrawn: Flags
    """(faces,): whether the reference is the target itself, its mouth redrawn for `redraws`; never with is_dub."""

    @property
    def lengths(self) -> Rows:
        """Number of faces of each window and single frame."""
        singles = len(self.targets) - WINDOW_ROWS * self.num_windows
        return np.repeat([WINDOW_ROWS, 1], [self.num_windows, singles])


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

    def generator(
        self,
        random: np.random.Generator,
        *,
        windows: int,
        singles: int = 0,
        gap_rows: int,
        near_share: float = 0.0,
        dub_share: float = 0.0,
        redrawn_share: float = 0.0,
    ) -> GeneratorDraw:
        """Draw targets with references of the same track, at least `gap_rows` away, the farthest where it is short.

        singles: frames that are drawn beside the windows, each from another place. near_share: share of the references
        that are at most NEAR_ROWS away: the head as good as still, the mouth another. dub_share: share of what is drawn
        that hears another sound than its own. redrawn_share: share of the rest whose reference is redrawn.
        """
        count = windows + singles
        chosen = random.choice(len(self._tracks), count, p=self._chances)
        targets = np.array([random.choice(self._tracks[track].windows) for track in chosen], np.int64)
        is_near = random.random(count) < near_share
        references = np.array(
            [
                self._reference(random, track, target, gap_rows, NEAR_ROWS if near else None)
                for track, target, near in zip(chosen, targets, is_near, strict=True)
            ]
        )
        others = np.array([random.choice(self._tracks[track].windows) for track in random.permutation(chosen)])
        is_dub = random.random(count) < dub_share
        is_redrawn = ~is_dub & (random.random(count) < redrawn_share)
        lengths = [WINDOW_ROWS] * windows + [1] * singles
        return GeneratorDraw(
            windows,
            targets=_faces(targets, windows),
            references=_faces(references, windows),
            sounds=_faces(np.where(is_dub, others, targets), windows),
            redraws=_faces(np.where(is_dub, references, others), windows),
            is_dub=np.repeat(is_dub, lengths),
            is_redrawn=np.repeat(is_redrawn, lengths),
        )

    def _reference(
        self, random: np.random.Generator, track: int, target: int, least_rows: int, most_rows: int | None
    ) -> int:
        starts = np.arange(self._tracks[track].start, self._tracks[track].stop - WINDOW_ROWS + 1)
        distance = np.abs(starts - target)
        chosen = distance >= min(least_rows, int(distance.max()))
        if most_rows is not None and (near := chosen & (distance <= most_rows)).any():
            chosen = near
        return int(random.choice(starts[chosen]))


def _five(starts: Rows) -> Rows:
    """Return the rows of windows that begin at `starts`."""
    return np.asarray(starts, np.int64)[:, None] + np.arange(WINDOW_ROWS)


def _faces(starts: Rows, windows: int) -> Rows:
    """Return the rows of windows, all five of each, and behind them those of single frames, in their middle."""
    singles = np.asarray(starts[windows:], np.int64) + WINDOW_ROWS // 2
    return np.concatenate([_five(starts[:windows]).reshape(-1), singles])
