"""What the network that hears shapes is given of a sound: log-mel columns, a hundred a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from media.audio.spectrum import mel_filters, spectrum

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

Samples = NDArray[np.float32]
Columns = NDArray[np.float32]
"""(columns, BANDS)."""


def log_mel(samples: Samples) -> Columns:
    """Return the log-mel columns of mono sound at 16 kHz; column i is centred on sample 160 i."""
    return _columns_of(lambda start, stop: samples[start:stop], len(samples))


def log_mel_of(path: Path) -> Columns:
    """Return those of a mono WAV file at 16 kHz, whose samples are read block by block."""
    with soundfile.SoundFile(path) as file:
        return _columns_of(_reading(file), file.frames)


def loudness_of(path: Path) -> NDArray[np.float32]:
    """Return how loud such a file is in each column: the mean of its bands. Holds one block of the bands."""
    with soundfile.SoundFile(path) as file:
        return np.concatenate([block.mean(axis=1) for block in _blocks(_reading(file), file.frames)])


def _reading(file: soundfile.SoundFile) -> Callable[[int, int], Samples]:
    def read(start: int, stop: int) -> Samples:
        file.seek(min(start, file.frames))
        samples: Samples = file.read(max(stop - start, 0), dtype="float32")
        return samples

    return read


def _columns_of(read: Callable[[int, int], Samples], num_samples: int) -> Columns:
    columns = np.empty((num_samples // HOP + 1, BANDS), np.float32)
    for number, block in enumerate(_blocks(read, num_samples)):
        columns[number * BLOCK_COLUMNS :][: len(block)] = block
    return columns


def _blocks(read: Callable[[int, int], Samples], num_samples: int) -> Iterator[Columns]:
    num_columns = num_samples // HOP + 1
    for start in range(0, num_columns, BLOCK_COLUMNS):
        yield _block(read, start, min(start + BLOCK_COLUMNS, num_columns))


def _block(read: Callable[[int, int], Samples], start: int, stop: int) -> Columns:
    first, last = start * HOP - FFT // 2, (stop - 1) * HOP + FFT // 2
    heard = np.asarray(read(max(first - 1, 0), max(last, 0)), np.float32)
    before = np.zeros(max(1 - first, 0), np.float32)  # silence stands in before the sound and after it
    after = np.zeros(last - first + 1 - len(before) - len(heard), np.float32)
    whole = np.concatenate([before, heard, after])
    magnitude = np.abs(spectrum(whole[1:] - PREEMPHASIS * whole[:-1], FFT, HOP, WINDOW)).astype(np.float32)
    power = mel_filters(SAMPLE_RATE, FFT, BANDS, LOWEST_HZ, HIGHEST_HZ) @ np.square(magnitude)
    return np.asarray(np.log(np.maximum(power, LEAST_POWER)).T, np.float32)


def normalised(columns: Columns) -> Columns:
    """Return columns with mean 0 in each band and spread 1 over all, measured where the track is not quiet.

    How loud the recording is plays no part.
    """
    columns = np.maximum(columns, loud_level(columns.mean(axis=1)) - RANGE)
    loudness = columns.mean(axis=1)
    heard = columns[loudness > np.percentile(loudness, QUIETEST_SHARE)]
    if not len(heard):
        return np.zeros_like(columns)
    return np.asarray((columns - heard.mean(axis=0)) / (heard.std() + 1e-3), np.float32)


def loud_level(loudness: NDArray[np.float32]) -> float:
    """Return how loud the loud columns of a track are; digital silence, which may be most of it, does not count."""
    heard = loudness[loudness > np.log(LEAST_POWER) + 1]
    return float(np.percentile(heard, 95)) if len(heard) else 0.0


def is_silent(columns: Columns, places: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return whether nothing is said at each of some places in columns, nor just before and after.

    A pause between two sounds of a word is no silence: mouths do not close in it.
    """
    loudness = columns.mean(axis=1)
    quiet = np.concatenate([[0], np.cumsum(loudness < loud_level(loudness) - QUIET)])
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
