"""What the network that hears shapes is given of a sound: log-mel columns, a hundred a second."""

from __future__ import annotations

from typing import Final

import librosa
import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE: Final = 16_000
BANDS: Final = 40
HOP: Final = 160
"""Samples between columns: 100 a second."""
WINDOW: Final = 400
FFT: Final = 512
LOWEST_HZ, HIGHEST_HZ = 60, 7600
PREEMPHASIS: Final = 0.97
LEAST_POWER: Final = 1e-10
RANGE: Final = 11.5
"""Natural logarithm of how far below the loud columns of a track (their 95th percentile) nothing is told apart: 50 dB.
What lies there differs between recordings of one voice."""
QUIETEST_SHARE: Final = 30
"""Percentile of loudness below which columns do not count for the normalisation: pauses say nothing of a voice."""
QUIET: Final = 4.8
"""Natural logarithm of how far below the loud columns of a track nothing is said: 21 dB."""
SILENT_COLUMNS: Final = 10
"""On either side of a silent column that are quiet, too."""
COLUMNS_PER_SECOND: Final = SAMPLE_RATE // HOP
BLOCK_COLUMNS: Final = 6000
"""Columns that are computed at a time."""

Columns = NDArray[np.float32]
"""(columns, BANDS)."""


def log_mel(samples: NDArray[np.float32]) -> Columns:
    """Return the log-mel columns of mono sound at 16 kHz; column i is centred on sample 160 i.

    Hours of sound take a minute's memory beside the samples, which may be mapped.
    """
    num_columns = len(samples) // HOP + 1
    columns = np.empty((num_columns, BANDS), np.float32)
    for start in range(0, num_columns, BLOCK_COLUMNS):
        stop = min(start + BLOCK_COLUMNS, num_columns)
        columns[start:stop] = _columns(samples, start, stop)
    return columns


def _columns(samples: NDArray[np.float32], start: int, stop: int) -> Columns:
    first, last = start * HOP - FFT // 2, (stop - 1) * HOP + FFT // 2
    heard = np.asarray(samples[max(first - 1, 0) : max(last, 0)], np.float32)
    before = np.zeros(max(1 - first, 0), np.float32)  # silence stands in before the sound and after it
    after = np.zeros(last - first + 1 - len(before) - len(heard), np.float32)
    whole = np.concatenate([before, heard, after])
    power = librosa.feature.melspectrogram(
        y=whole[1:] - PREEMPHASIS * whole[:-1],
        sr=SAMPLE_RATE,
        n_fft=FFT,
        win_length=WINDOW,
        hop_length=HOP,
        n_mels=BANDS,
        fmin=LOWEST_HZ,
        fmax=HIGHEST_HZ,
        center=False,
    )
    return np.asarray(np.log(np.maximum(power, LEAST_POWER)).T, np.float32)


def normalised(columns: Columns) -> Columns:
    """Return columns with mean 0 in each band and spread 1 over all, measured where the track is not quiet.

    How loud the recording is plays no part.
    """
    columns = np.maximum(columns, np.percentile(columns.mean(axis=1), 95) - RANGE)
    loudness = columns.mean(axis=1)
    heard = columns[loudness > np.percentile(loudness, QUIETEST_SHARE)]
    if not len(heard):
        return np.zeros_like(columns)
    return np.asarray((columns - heard.mean(axis=0)) / (heard.std() + 1e-3), np.float32)


def is_silent(columns: Columns, places: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return whether nothing is said at each of some places in columns, nor just before and after.

    A pause between two sounds of a word is no silence: mouths do not close in it.
    """
    loudness = columns.mean(axis=1)
    quiet = np.concatenate([[0], np.cumsum(loudness < np.percentile(loudness, 95) - QUIET)])
    at = np.rint(places).astype(np.int64)
    first, stop = (np.clip(at + side, 0, len(columns)) for side in (-SILENT_COLUMNS, SILENT_COLUMNS + 1))
    return np.asarray(quiet[stop] - quiet[first] == stop - first)


def between_columns(values: NDArray[np.float32], places: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return values (columns, n) at places between columns, in proportion; beyond the ends the last ones repeat."""
    at = np.clip(places, 0, len(values) - 1)
    before = np.minimum(at.astype(np.int64), max(len(values) - 2, 0))
    after = np.minimum(before + 1, len(values) - 1)
    share = (at - before)[:, None]
    return np.asarray(values[before] * (1 - share) + values[after] * share, np.float32)
