"""The sound as the network hears it: a mel spectrogram, and the window of it that belongs to a frame.

    samples, 16 kHz  |-------------------------------------------------------------|
    columns, 80/s     | | | | | | | | | | | | | | | | | | | | | | | | | | | | | | |     each sees 800 samples
    window of a frame shown at t                [ 16 columns from floor(80 t) )

Constants and formulas are those that the published Wav2Lip checkpoints were trained with; to the network any change is
another voice. A network with a spectrogram of its own says so in a MelSpec.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import floor
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from media.audio.driving import DRIVING_RATE, DRIVING_STEP_SAMPLES
from media.audio.spectrum import mel_filters, spectrum
from media.base.errors import UnreadableMedia, UnsupportedMedia

SAMPLE_RATE = DRIVING_RATE
"""Samples a second."""
FFT_SAMPLES = 800
"""Samples a column sees: 50 ms."""
HOP_SAMPLES = DRIVING_STEP_SAMPLES
"""Samples from one column to the next: 12.5 ms."""
COLUMNS_PER_SECOND = SAMPLE_RATE // HOP_SAMPLES
MEL_BANDS = 80
LOWEST_HZ = 55
HIGHEST_HZ = 7600
PRE_EMPHASIS = 0.97
"""Share of the sample before that is taken away from each sample: lifts the high frequencies of speech."""
FLOOR_DB = -100.0
"""Level that the lowest value, -4, stands for."""
REFERENCE_DB = 20.0
"""Level that is taken away before values are scaled."""
LARGEST_VALUE = 4.0
"""Values lie in [-4, 4]."""
WINDOW_COLUMNS = 16
"""Columns of the window of one frame: 0.2 s."""
BLOCK_COLUMNS = 256
"""Columns that are computed at once, 3.2 s, counted from the start of the track."""

_CACHED_BLOCKS = 4

_Samples = npt.NDArray[np.float32]
_ReadSamples = Callable[[int, int], _Samples]
"""Read samples [start, stop) of a track; both lie inside it."""


@dataclass(frozen=True, slots=True)
class MelSpec:
    """The spectrogram that a network takes. The defaults are Wav2Lip's."""

    sample_rate: int = SAMPLE_RATE
    """Samples a second of the driving sound; a job makes it with 16 kHz."""
    fft_samples: int = FFT_SAMPLES
    """Samples a column sees."""
    hop_samples: int = HOP_SAMPLES
    """Samples from one column to the next."""
    bands: int = MEL_BANDS
    lowest_hz: float = LOWEST_HZ
    highest_hz: float = HIGHEST_HZ
    window_columns: int = WINDOW_COLUMNS
    """Columns of the window of one frame."""

    @property
    def shortest_samples(self) -> int:
        """Samples of one window; a shorter track is continued with silence."""
        return (self.window_columns - 1) * self.hop_samples


WAV2LIP_MEL = MelSpec()


class Mel(Protocol):
    """A driving sound, as a network takes it."""

    def window(self, seconds: Fraction) -> npt.NDArray[np.float32]:
        """Return the mel window (bands, columns) of a frame shown `seconds` after the sound's first sample."""
        ...


def window_start(seconds: Fraction, *, num_columns: int | None = None, spec: MelSpec = WAV2LIP_MEL) -> int:
    """Return the first column of the window of a frame shown `seconds` after the track's first sample.

    floor(80 * seconds) in exact arithmetic, 0 at the least. With the number of columns of the track, a window that
    would reach past the end is moved back to end there, as in Wav2Lip.
    """
    start = max(floor(Fraction(spec.sample_rate, spec.hop_samples) * Fraction(seconds)), 0)
    return start if num_columns is None else min(start, num_columns - spec.window_columns)


class MelTrack:
    """The mel spectrogram of a track in a file, computed where it is looked at; use as a context manager.

    Columns are computed in blocks at fixed places of the track, each from its own samples with all the context it
    needs. A window is therefore the same to the last bit whatever was read before it, and wherever a clip begins.
    Holds a few blocks, never the track. Not for use by several threads at once.
    """

    def __init__(self, path: Path, spec: MelSpec = WAV2LIP_MEL) -> None:
        """Open a mono WAV file. Raises UnreadableMedia, or UnsupportedMedia for another layout or rate."""
        self._spec = spec
        try:
            self._file = soundfile.SoundFile(path)
        except (soundfile.LibsndfileError, OSError) as error:
            raise UnreadableMedia(f"{path}: the sound cannot be opened ({error}).") from error
        if (self._file.samplerate, self._file.channels) != (spec.sample_rate, 1):
            self.close()
            raise UnsupportedMedia(
                f"{path}: the sound that drives the lips must be mono, {spec.sample_rate} samples/s."
            )
        self._num_samples = max(self._file.frames, spec.shortest_samples)
        self._block = lru_cache(maxsize=_CACHED_BLOCKS)(self._load_block)

    @property
    def num_columns(self) -> int:
        """Columns of the whole track: those of one window or more."""
        return _count_columns(self._num_samples, self._spec)

    def window(self, seconds: Fraction) -> npt.NDArray[np.float32]:
        """Return the window (bands, columns) of a frame shown `seconds` after the track's first sample.

        Before the track it is the first window, after it the last. The caller may write into it.
        """
        start = window_start(seconds, num_columns=self.num_columns, spec=self._spec)
        stop = start + self._spec.window_columns
        first_block, last_block = start // BLOCK_COLUMNS, (stop - 1) // BLOCK_COLUMNS
        columns = np.hstack([self._block(block) for block in range(first_block, last_block + 1)])
        offset = first_block * BLOCK_COLUMNS
        return columns[:, start - offset : stop - offset].copy()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> MelTrack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _load_block(self, block: int) -> npt.NDArray[np.float32]:
        return _compute_block(self._read, self._num_samples, block * BLOCK_COLUMNS, self._spec)

    def _read(self, start: int, stop: int) -> _Samples:
        """Read samples [start, stop), silence after the file's end."""
        self._file.seek(min(start, self._file.frames))
        samples: _Samples = self._file.read(stop - start, dtype="float32", fill_value=0.0)
        return samples


def _count_columns(num_samples: int, spec: MelSpec) -> int:
    return 1 + num_samples // spec.hop_samples


def _compute_block(read: _ReadSamples, num_samples: int, first_column: int, spec: MelSpec) -> npt.NDArray[np.float32]:
    """Compute the columns of the block that begins at `first_column`: (bands, 256), fewer at the end of the track."""
    stop_column = min(first_column + BLOCK_COLUMNS, _count_columns(num_samples, spec))
    half = spec.fft_samples // 2
    samples = _read_emphasised(
        read, num_samples, first_column * spec.hop_samples - half, (stop_column - 1) * spec.hop_samples + half
    )
    magnitude = np.abs(spectrum(samples, spec.fft_samples, spec.hop_samples))
    # A plain einsum, not a matrix product: BLAS may add in another order when it has another number of threads.
    mel: npt.NDArray[np.float64] = np.einsum("bf,ft->bt", _filter_bank(spec), magnitude, optimize=False)
    level = 20 * np.log10(np.maximum(10 ** (FLOOR_DB / 20), mel)) - REFERENCE_DB
    scaled = 2 * LARGEST_VALUE * (level - FLOOR_DB) / -FLOOR_DB - LARGEST_VALUE
    return np.clip(scaled, -LARGEST_VALUE, LARGEST_VALUE).astype(np.float32)


def _read_emphasised(read: _ReadSamples, num_samples: int, start: int, stop: int) -> npt.NDArray[np.float64]:
    """Return pre-emphasised samples [start, stop), zeros where that reaches beyond the ends of the track."""
    first, last = max(start, 0), min(stop, num_samples)
    before = 1 if first > 0 else 0  # the sample that the first one is emphasised against
    samples = read(first - before, last).astype(np.float64)
    emphasised = np.zeros(stop - start)
    emphasised[first - start : last - start] = (samples - PRE_EMPHASIS * np.append(0.0, samples[:-1]))[before:]
    return emphasised


@lru_cache(maxsize=4)
def _filter_bank(spec: MelSpec) -> npt.NDArray[np.float32]:
    """Return the mel filters (bands, 1 + fft_samples / 2)."""
    return mel_filters(spec.sample_rate, spec.fft_samples, spec.bands, spec.lowest_hz, spec.highest_hz)


def hash_driving(path: Path, first: Fraction, last: Fraction, *, spec: MelSpec = WAV2LIP_MEL) -> str:
    """Return a hash of all samples that the windows of frames shown from `first` to `last` (seconds) depend on.

    Near the end of the track windows are moved back to it, so there the hash also covers the track's length.
    """
    hop, columns, fft = spec.hop_samples, spec.window_columns, spec.fft_samples
    with soundfile.SoundFile(path) as file:
        start = window_start(first, spec=spec) * hop - fft
        stop = (window_start(last, spec=spec) + columns) * hop + fft
        digest = hashlib.blake2b(digest_size=12)
        if stop >= file.frames:
            digest.update(f"{start - file.frames}".encode())
            start = min(start, file.frames - columns * hop - 2 * fft)
        file.seek(max(start, 0))
        digest.update(file.read(max(stop - max(start, 0), 0), dtype="float32").tobytes())
    return digest.hexdigest()
