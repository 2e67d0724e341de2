"""The source's own sound over a bank's footage: what the network that hears lip shapes is adapted to a speaker by."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from media.audio.reader import read_samples
from media.source_video import SourceVideo
from renderer.footage.adapt import Adapted, adapt
from renderer.footage.bank import Bank
from renderer.footage.log_mel import COLUMNS_PER_SECOND, HOP, SAMPLE_RATE, log_mel, normalised
from renderer.footage.sound_shape import SoundShapeNetwork

MARGIN: Final = Fraction(6, 10)
"""Seconds of sound around footage: as far as a shape depends on it."""


def adapt_to(network: SoundShapeNetwork, bank: Bank, source: SourceVideo, offset: Fraction) -> Adapted:
    """Return the network for the speaker of a bank; as it is where the source has no sound, or none that fits.

    offset: seconds by which the source's own sound is heard later than its file says. Raises MediaError if it cannot be
    read.
    """
    if not source.info.audio or not len(bank):
        return Adapted(network, float("nan"), float("nan"), is_kept=False)
    is_own = bank.candidates.frames < len(source.table)  # further videos have sounds of their own
    if not is_own.any():
        return Adapted(network, float("nan"), float("nan"), is_kept=False)
    frames = bank.candidates.frames[is_own]
    seconds = np.array([float(source.table.seconds(int(frame))) for frame in frames])
    samples: list[NDArray[np.float32]] = []
    places: list[NDArray[np.float64]] = []
    column = 0
    for run in _runs(seconds):
        start = Fraction(str(round(float(run[0]), 3))) - MARGIN
        stop = Fraction(str(round(float(run[-1]), 3))) + MARGIN
        num_columns = ceil((stop - start) * COLUMNS_PER_SECOND)
        samples.append(_sound(source, start - offset, num_columns * HOP))
        places.append((run - float(start)) * COLUMNS_PER_SECOND + column)
        column += num_columns
    columns = normalised(log_mel(np.concatenate(samples))[:column])
    return adapt(network, columns, np.concatenate(places), bank.shapes[is_own])


def _runs(seconds: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yield times in runs between which nothing is heard twice."""
    yield from np.split(seconds, np.flatnonzero(np.diff(seconds) > 2 * float(MARGIN)) + 1)


def _sound(source: SourceVideo, start: Fraction, num_samples: int) -> NDArray[np.float32]:
    blocks = read_samples(
        source.info.path,
        stream_index=source.info.audio[0].index,
        zero=source.video.clock.start_seconds,
        start=start,
        stop=start + Fraction(num_samples, SAMPLE_RATE),
        rate=SAMPLE_RATE,
        layout="mono",
    )
    return np.asarray(np.concatenate([block[0] for block in blocks]), np.float32)
