"""Where a sound holds speech: by its energy, against its own loudest tenth.

librosa measures the energy. A trained detector (silero-vad) tells speech from music as well, but its package brings
onnxruntime and torchaudio along, and a dub is mostly a clean voice. librosa is imported when first needed, because its
import takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from media.intervals import Interval, complement, merge
from media.samples import Samples

STEPS_PER_SECOND = 50
"""How often the energy is measured; each time over two steps, 40 ms."""
LOUD_PERCENTILE = 90
"""The level that stands for the voice: that which a tenth of all steps exceed."""
SPEECH_DB = 30.0
"""How far below it speech may lie: soft syllables do, breath and room do not."""
FLOOR_DB = -55.0
"""Nothing below this level, against full scale, is speech."""
FILLED_SECONDS, DROPPED_SECONDS = 0.3, 0.1
"""Pauses shorter than the first belong to speech (stops, breath between words), sounds shorter than the second do
not."""


def find_speech(blocks: Iterable[Samples], rate: int) -> list[Interval]:
    """Return the stretches of samples that hold speech: half-open, sorted, disjoint.

    blocks: consecutive float32 samples (channels, n) in [-1, 1]; the first channel is heard. rate: samples a second.
    Holds 50 numbers a second of the sound, never the sound.
    """
    levels = np.fromiter(_levels(blocks, rate // STEPS_PER_SECOND), np.float32)
    if not len(levels):
        return []
    voice = float(np.percentile(levels, LOUD_PERCENTILE))
    floor = max(voice - SPEECH_DB, FLOOR_DB)
    loud = levels > floor
    steps = _runs(loud)
    pauses = [(a, b) for a, b in complement(steps, 0, len(loud)) if b - a < FILLED_SECONDS * STEPS_PER_SECOND]
    inner = [(a, b) for a, b in pauses if a > 0 and b < len(loud)]
    joined = merge([*steps, *inner])
    step = rate // STEPS_PER_SECOND
    return [(a * step, b * step) for a, b in joined if b - a >= DROPPED_SECONDS * STEPS_PER_SECOND]


def _levels(blocks: Iterable[Samples], step: int) -> Iterator[float]:
    """Yield the level in dB of full scale for each step of so many samples, measured over it and the one behind it."""
    from librosa.feature import rms

    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block[0]])
        count = len(held) // step - 1
        if count > 0:
            energy = rms(y=held[: (count + 1) * step], frame_length=2 * step, hop_length=step, center=False)
            yield from _decibels(energy[0])
            held = held[count * step :]


def _decibels(energy: NDArray[np.float32]) -> Iterator[float]:
    yield from (float(level) for level in 20 * np.log10(np.maximum(energy, 1e-6)))


def _runs(flags: NDArray[np.bool_]) -> list[Interval]:
    """Return the runs of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
