"""Whether something is held before a mouth: a hand, a cup, a microphone.

The mesh network's doubt about the lips tells. Within a person's footage it hardly changes: of 16 people, its 95th
percentile is 1.05 to 1.65 times the usual doubt, the largest where a head is turned. Hands drawn before their mouths,
whole or half, make it 1.55 to 4.3 times as large, 2.5 mostly; a dark ball below the lower lip, 1.3 to 2.1 times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

COVERED_FROM, COVERED_WHOLLY = 1.5, 1.75
"""Doubts, as multiples of the person's usual one: below the first the new mouth is seen, above the second it is not."""
USUAL: Final = 0.25
"""The quantile of doubts that is the usual one: it holds where a hand is seen in most of the footage."""
YAWS: Final = tuple(range(-60, 61, 10))
"""Degrees at which the usual doubt is known, each from heads turned by up to NEAR_YAW more or less."""
NEAR_YAW, LEAST_NEAR = 7.5, 5
MOST_TURNED: Final = 1.6
"""How much larger the usual doubt of a turned head may be: beyond it, footage shows something before the mouth."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class UsualDoubt:
    """How far the lips of a person are likely off in the footage, as the mesh network itself thinks."""

    doubts: tuple[float, ...]
    """At each of YAWS, in eye distances."""

    @classmethod
    def of(cls, doubts: Floats, yaws: Floats) -> UsualDoubt:
        """Return the usual doubt of some frames. doubts: about the lips, in eye distances; yaws: in degrees."""
        if not len(doubts):
            return cls((0.0,) * len(YAWS))
        whole = float(np.quantile(doubts, USUAL))
        near = [doubts[np.abs(yaws - yaw) <= NEAR_YAW] for yaw in YAWS]
        usual = [np.quantile(some, USUAL) if len(some) >= LEAST_NEAR else whole for some in near]
        return cls(tuple(map(float, np.clip(usual, whole, MOST_TURNED * whole))))

    def uncovered(self, doubts: float | Floats, yaws: float | Floats) -> Floats:
        """Return how far mouths may be replaced, in [0, 1]: 0 where they are covered. doubts, yaws: as of `of`."""
        ratio = np.asarray(doubts, np.float64) / np.maximum(
            np.interp(np.asarray(yaws, np.float64), YAWS, self.doubts), 1e-6
        )
        return np.clip((COVERED_WHOLLY - ratio) / (COVERED_WHOLLY - COVERED_FROM), 0, 1)
