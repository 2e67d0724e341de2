"""Short-time spectra and mel filters, as librosa gives them: what networks that hear were trained with.

librosa itself takes seconds to import, and brings a compiler along.
"""

from __future__ import annotations

from math import log

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

LINEAR_HZ = 1000.0
"""Up to here the mel scale is linear, above it logarithmic: that of Slaney's Auditory Toolbox (1998)."""
HZ_PER_MEL = 200 / 3
"""Of the linear part."""
MELS_PER_RATIO = 27 / log(6.4)
"""Of the logarithmic part: mels for a frequency that is e times as high."""


def frames_of(samples: NDArray[np.floating], length: int, hop: int) -> NDArray[np.floating]:
    """Return a view (frames, length) of samples: each frame that lies inside, one every `hop` samples."""
    return sliding_window_view(samples, length)[::hop]


def spectrum(samples: NDArray[np.floating], fft: int, hop: int, window: int | None = None) -> NDArray[np.complex128]:
    """Return the short-time spectrum (1 + fft / 2, frames) of samples, from the first to the last, without padding.

    Each frame of `fft` samples is seen through a periodic Hann window, of the frame's length or shorter in its middle.
    """
    window = window or fft
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    before = (fft - window) // 2
    padded = np.pad(hann, (before, fft - window - before))
    return np.asarray(np.fft.rfft(frames_of(samples, fft, hop) * padded, axis=1).T, np.complex128)


def mel_filters(rate: int, fft: int, bands: int, lowest_hz: float, highest_hz: float) -> NDArray[np.float32]:
    """Return triangular filters (bands, 1 + fft / 2), evenly spaced in mels between two frequencies.

    Each begins at the middle of the one before it, ends at that of the next one, and has the area 1 over Hz.
    """
    corners = _to_hz(np.linspace(_to_mels(lowest_hz), _to_mels(highest_hz), bands + 2))
    bins = np.arange(1 + fft // 2) * rate / fft
    triangles = [
        np.interp(bins, corners[band : band + 3], (0, 1, 0)) * 2 / (corners[band + 2] - corners[band])
        for band in range(bands)
    ]
    return np.asarray(triangles, np.float32)


def levels(samples: NDArray[np.float32], length: int, hop: int) -> NDArray[np.float32]:
    """Return the root of the mean square of each frame."""
    return np.asarray(np.sqrt(np.mean(np.square(frames_of(samples, length, hop)), axis=1)), np.float32)


def _to_mels(hz: float) -> float:
    if hz <= LINEAR_HZ:
        return hz / HZ_PER_MEL
    return LINEAR_HZ / HZ_PER_MEL + log(hz / LINEAR_HZ) * MELS_PER_RATIO


def _to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = LINEAR_HZ / HZ_PER_MEL
    above = LINEAR_HZ * np.exp((np.maximum(mels, linear) - linear) / MELS_PER_RATIO)
    return np.asarray(np.where(mels <= linear, mels * HZ_PER_MEL, above), np.float64)
