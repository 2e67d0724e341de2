"""Mel-frequency cepstral coefficients: what SyncNet and Light-ASD are given of a sound, a hundred rows a second.

They are those of python_speech_features 0.6 with its defaults, which both networks were trained with: pre-emphasis,
frames of 25 ms every 10 ms seen through no window, triangles spaced in O'Shaughnessy's mels, a lifter, and the energy
of the frame in the place of the first coefficient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from media.audio.buffer import Samples
from media.audio.spectrum import frames_of

MFCC_RATE: Final = 16_000
"""Samples a second, mono."""
MFCC_HOP: Final = 160
"""Samples between rows."""
MFCC_PER_SECOND: Final = MFCC_RATE // MFCC_HOP
MFCC_COEFFICIENTS: Final = 13

_WINDOW: Final = 400
_FFT: Final = 512
_BANDS: Final = 26
_LIFTER: Final = 22
_PREEMPHASIS: Final = 0.97
_FULL_SCALE: Final = 32768.0
"""The networks were trained on 16-bit samples, and the energy keeps their scale."""
_LEAST: Final = float(np.finfo(float).eps)
"""What stands for a power of nothing, before the logarithm."""
_BLOCK: Final = 60 * MFCC_RATE
"""Samples whose spectra are computed at a time."""

Coefficients = NDArray[np.float32]
"""(rows, 13): row i is of the samples from 160 i on."""


def mfcc(samples: NDArray[np.float32]) -> Coefficients:
    """Return the coefficients of mono sound (n,) at 16 kHz in [-1, 1]; silence fills the last frame up."""
    blocks = (samples[None, start : start + _BLOCK] for start in range(0, len(samples), _BLOCK))
    return np.concatenate([*mfcc_blocks(blocks)] or [np.zeros((0, MFCC_COEFFICIENTS), np.float32)])


def mfcc_blocks(blocks: Iterable[Samples]) -> Iterator[Coefficients]:
    """Yield the coefficients of consecutive samples (1, n), as mfcc gives them of the whole; holds one block."""
    held, before = np.zeros(0), np.zeros(1)
    seen_any = False
    for block in blocks:
        fresh = block[0].astype(np.float64) * _FULL_SCALE
        if not len(fresh):
            continue
        held = np.concatenate([held, fresh - _PREEMPHASIS * np.concatenate([before, fresh[:-1]])])
        before = fresh[-1:]
        count = max((len(held) - _WINDOW) // MFCC_HOP + 1, 0)
        if count:
            yield _rows(frames_of(held, _WINDOW, MFCC_HOP))
            held, seen_any = held[count * MFCC_HOP :], True
    overlap = _WINDOW - MFCC_HOP  # what the last frame shares with the next one is no reason for another
    if len(held) > (overlap if seen_any else 0):
        yield _rows(np.pad(held, (0, _WINDOW - len(held)))[None])


def _rows(frames: NDArray[np.floating]) -> Coefficients:
    """Return the coefficients (n, 13) of pre-emphasised frames (n, 400)."""
    power = np.square(np.abs(np.fft.rfft(frames, _FFT))) / _FFT
    bands = np.log(_never_nothing(power @ _filters().T))
    rows = bands @ _cosines()
    rows[:, 0] = np.log(_never_nothing(power.sum(axis=1)))
    return rows.astype(np.float32)


def _never_nothing(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(power == 0, _LEAST, power)


@cache
def _filters() -> NDArray[np.float64]:
    """Return triangles (26, 257) of height 1 whose corners lie on whole bins, up to half the rate."""
    highest = 2595 * np.log10(1 + MFCC_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, _BANDS + 2) / 2595) - 1)
    corners = np.floor((_FFT + 1) * hertz / MFCC_RATE)
    bins = np.arange(_FFT // 2 + 1)
    return np.array([np.interp(bins, corners[band : band + 3], (0, 1, 0)) for band in range(_BANDS)])


@cache
def _cosines() -> NDArray[np.float64]:
    """Return the orthonormal DCT-II (26, 13) and the lifter in one."""
    order = np.arange(MFCC_COEFFICIENTS)
    cosines = np.cos(np.pi / _BANDS * (np.arange(_BANDS)[:, None] + 0.5) * order) * np.sqrt(2 / _BANDS)
    cosines[:, 0] *= np.sqrt(0.5)
    return np.asarray(cosines * (1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER)))
