"""Where a sound holds speech: by its energy, against its own loudest tenth.

A trained detector (silero-vad) tells speech from music as well, but its package brings torchaudio along, and a dub is
mostly a clean voice.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from media.audio.buffer import Samples
from media.audio.spectrum import levels
from media.intervals import Interval, complement, merge

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
PAUSE_MARGIN_SECONDS = 0.1
"""What a pause leaves to the speech on either side: soft consonants begin and end below the level of speech."""
RAMP_SECONDS = 0.02
"""How long a sound takes to go silent and to come back."""


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


def find_pauses(speech: Sequence[Interval], num_samples: int, rate: int) -> list[Interval]:
    """Return the samples of a sound that hold no speech, without a margin for the speech on either side.

    speech: as find_speech gives it.

        speech     [------)              [-------)
        pauses              [---------)            [----
    """
    margin = round(PAUSE_MARGIN_SECONDS * rate)
    gaps = complement(speech, 0, num_samples)
    inner = ((a + margin * (a > 0), b - margin * (b < num_samples)) for a, b in gaps)
    return [(start, stop) for start, stop in inner if start < stop]


def mute(blocks: Iterable[Samples], pauses: Sequence[Interval], rate: int) -> Iterator[Samples]:
    """Yield consecutive samples (channels, n) with digital silence in the pauses: breath and noise move no lips.

    Holds one block at a time.
    """
    ramp = RAMP_SECONDS * rate
    starts, stops = [start for start, _ in pauses], [stop for _, stop in pauses]
    start = 0
    for block in blocks:
        stop = start + block.shape[1]
        at = np.arange(start, stop)
        gain = np.ones(len(at), np.float32)
        for begin, end in pauses[bisect_right(stops, start) : bisect_left(starts, stop)]:
            inside = np.minimum(at - begin, end - 1 - at)  # samples from the nearer border of the pause
            gain = np.minimum(gain, np.clip(1 - inside / ramp, 0, 1).astype(np.float32))
        yield block * gain
        start = stop


def _levels(blocks: Iterable[Samples], step: int) -> Iterator[float]:
    """Yield the level in dB of full scale for each step of so many samples, measured over it and the one behind it."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block[0]])
        count = len(held) // step - 1
        if count > 0:
            yield from _decibels(levels(held[: (count + 1) * step], 2 * step, step))
            held = held[count * step :]


def _decibels(energy: NDArray[np.float32]) -> Iterator[float]:
    yield from (float(level) for level in 20 * np.log10(np.maximum(energy, 1e-6)))


def _runs(flags: NDArray[np.bool_]) -> list[Interval]:
    """Return the runs of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
