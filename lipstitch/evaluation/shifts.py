"""How far lips are from the sound at each shift: the measure of the public SyncNet tool, in memory that stays flat.

    steps of 1/25 s      |  |  |  |  |  |  |  |  |  |  |  |
    lips of a window     [--------------)                        five faces, from a step on
    sound                   [--------------)                     the same 0.2 s, from 15 steps before to 15 behind

Of each window of a track the distance to the sound of every shift is taken; the mean over the windows is a curve of 31
distances. Its least is LSE-D, its median less its least is LSE-C, and where it is least is the offset. Those are the
formulas of syncnet_python (Chung and Zisserman), and the names that Prajwal et al. (2020) gave them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from media.picture import Pixels

STEPS_PER_SECOND: Final = 25
FARTHEST_STEPS: Final = 15
NUM_SHIFTS: Final = 2 * FARTHEST_STEPS + 1
WINDOW_STEPS: Final = 5
NEAR_STEPS: Final = 2
"""That share most of a window with a step, and so are near wherever it is."""
BATCH_WINDOWS: Final = 64
"""Windows that are embedded at a time."""
_ROUNDING: Final = 1e-6
"""That torch's pairwise distance adds to each difference."""

Vectors = NDArray[np.float32]
"""(n, length)."""


class SyncJudge(Protocol):
    """Embeds lips and sound so that what belongs together is near."""

    prefix: str
    """What the names of its figures begin with."""
    least_windows: int
    """Of a track that is judged; shorter ones say little."""
    is_cut: bool
    """Whether the sound ends where the track does, as in the public tool; beyond it stands the vector 0."""

    def embed_lips(self, windows: NDArray[np.uint8]) -> Vectors:
        """Return the vectors of windows of crops (n, 5, height, width, 3)."""
        ...

    def embed_sound(self, steps: Sequence[int]) -> Vectors:
        """Return the vectors of the sound from each step on; there is silence before its begin and behind its end."""
        ...


@dataclass(slots=True)
class ShiftSums:
    """Sums of the distances of windows at each shift; those of two stretches of a track add up."""

    distances: NDArray[np.float64] = field(default_factory=lambda: np.zeros(NUM_SHIFTS))
    count: int = 0

    def add(self, other: ShiftSums) -> None:
        """Add the sums of further windows."""
        self.distances = self.distances + other.distances
        self.count += other.count

    @property
    def curve(self) -> NDArray[np.float64]:
        """Mean distance at each shift, from the sound 15 steps before to that 15 steps behind."""
        return self.distances / max(self.count, 1)

    @property
    def distance(self) -> float:
        """LSE-D: the least mean distance."""
        return float(self.curve.min())

    @property
    def confidence(self) -> float:
        """LSE-C: how far the least mean distance lies below the median."""
        return float(np.median(self.curve) - self.curve.min())

    @property
    def lead(self) -> float:
        """How far the least mean distance lies below every one that is more than two steps away."""
        curve, places = self.curve, np.arange(NUM_SHIFTS)
        return float(curve[np.abs(places - curve.argmin()) > NEAR_STEPS].min() - curve.min())

    @property
    def offset(self) -> int:
        """Steps by which the lips come after the sound that they fit best; negative: before it."""
        return FARTHEST_STEPS - int(self.curve.argmin())

    @property
    def finer_offset(self) -> float:
        """The offset to a part of a step: where the parabola through the least distance and its neighbours is least."""
        curve, least = self.curve, int(self.curve.argmin())
        if not 0 < least < NUM_SHIFTS - 1:
            return float(self.offset)
        before, here, after = curve[least - 1 : least + 2]
        bend = before - 2 * here + after
        return float(self.offset - (before - after) / (2 * bend) if bend > 0 else self.offset)


def shifted_distances(lips: Vectors, sound: Vectors) -> NDArray[np.float64]:
    """Return the distances (n, 31) of lips (n, length) to the sound of each shift.

    sound: (n + 30, length), from 15 steps before the first window to 15 behind the last.
    """
    shifts = [lips - sound[shift : shift + len(lips)] + _ROUNDING for shift in range(NUM_SHIFTS)]
    return np.stack([np.linalg.norm(each, axis=1) for each in shifts], axis=1).astype(np.float64)


class SyncRun:
    """Consecutive steps of one track, as they come. Holds some seventy crops and vectors, however long it is."""

    def __init__(self, judge: SyncJudge, first_step: int) -> None:
        self._judge, self._first, self.next_step = judge, first_step, first_step
        self._crops: list[Pixels] = []
        self._labels: list[int | None] = []
        """Of the steps from the first window on that waits for its distances."""
        self._lips: list[Vectors] = []
        self._settled = first_step
        self._sums: dict[int, ShiftSums] = {}

    def add(self, crop: Pixels, label: int | None) -> None:
        """Add the crop of the next step. label: what its windows count for (a clip); None: for nothing."""
        self._crops.append(crop)
        self._labels.append(label)
        self.next_step += 1
        if len(self._crops) == BATCH_WINDOWS + WINDOW_STEPS - 1:
            self._embed()
            self._settle(self._stop - FARTHEST_STEPS)

    def finish(self) -> Mapping[int, ShiftSums]:
        """Return the sums by label; none for a run that is too short to be judged."""
        self._embed()
        self._settle(self._stop)
        return self._sums if self._stop - self._first >= self._judge.least_windows else {}

    @property
    def _stop(self) -> int:
        """Step behind the last window: the public tool leaves out the one that ends with the track."""
        return self.next_step - WINDOW_STEPS

    def _embed(self) -> None:
        count = len(self._crops) - WINDOW_STEPS + 1
        if count > 0:
            crops = np.stack(self._crops)
            windows = np.stack([crops[start : start + WINDOW_STEPS] for start in range(count)])
            self._lips.append(self._judge.embed_lips(windows))
            self._crops = self._crops[count:]

    def _settle(self, stop: int) -> None:
        """Add the distances of the windows that wait, up to a step whose sound of every shift is known."""
        count = stop - self._settled
        if count <= 0:
            return
        lips = np.concatenate(self._lips)
        steps = range(self._settled - FARTHEST_STEPS, stop + FARTHEST_STEPS)
        heard = range(max(steps.start, self._first), min(steps.stop, self._stop)) if self._judge.is_cut else steps
        sound = np.zeros((len(steps), lips.shape[1]), np.float32)
        sound[heard.start - steps.start : heard.stop - steps.start] = self._judge.embed_sound(heard)
        distances = shifted_distances(lips[:count], sound)
        middles = self._labels[WINDOW_STEPS // 2 : WINDOW_STEPS // 2 + count]
        for label in {label for label in middles if label is not None}:
            chosen = np.array([each == label for each in middles])
            sums = ShiftSums(distances[chosen].sum(axis=0), int(chosen.sum()))
            self._sums.setdefault(label, ShiftSums()).add(sums)
        self._lips, self._labels, self._settled = [lips[count:]], self._labels[count:], stop
