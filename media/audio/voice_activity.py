"""Where a sound holds speech: a network tells what is speech, its energy tells to 20 ms where that begins and ends."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from media.audio.buffer import Samples
from media.audio.driving import DRIVING_RATE
from media.audio.spectrum import levels
from media.audio.speech_network import NETWORK_STEP_SAMPLES, SpeechNetwork
from media.intervals import Interval, complement, intersect, merge

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
ONSET, OFFSET = 0.5, 0.35
"""Speech begins where it is at least as likely as the first, and ends where it is less likely than the second:
silero-vad's own defaults. With 0.3 and 0.15 it takes two to four times as much music and noise for speech, and finds
2 % more, which REACH_SECONDS gives back anyway."""
REACH_SECONDS = 0.25
"""How far from the network's border one of the energy may lie and still be that of the same speech: the network hears
19 of 20 beginnings less than 0.2 s late, those with plosives and soft consonants latest, and ends behind the energy."""
LATE_SECONDS = 0.05
"""How late the network is where the energy has no border, in music and noise: 0.04 s at beginnings and 0.06 to 0.1 s at
ends, by the median."""
FOREIGN_SHARE = 0.02
"""A sound is not speech-like if what the network knows is less than this share of what is loud: of voices that it knows
it finds nine tenths, of animals, and of speech at less than half or more than twice its pitch, at worst nothing."""
DIP_DB, DIPS_PER_SECOND = 12.0, 0.7
"""A sound that is not speech-like is a voice nonetheless if its level falls by the first, and rises again, as often as
the second while it is loud. Voices do 1 to 5 times, with an echo of 1 s as well; music and noise at most 0.3 times, but
drums and single instruments."""
PAUSE_MARGIN_SECONDS = 0.1
"""What a pause leaves to the speech on either side: soft consonants begin and end below the level of speech."""
RAMP_SECONDS = 0.02
"""How long a sound takes to go silent and to come back."""

_NOTHING = np.zeros(0, np.float32)

FoundBy = Literal["network", "energy"]


@dataclass(frozen=True, slots=True)
class Speech:
    """Where a sound holds speech, and what told so."""

    spoken: tuple[Interval, ...]
    """Samples: half-open, sorted, disjoint."""
    found_by: FoundBy
    """energy: the network knows nothing of it as speech, but it rises and falls like a voice."""


def find_speech(blocks: Iterable[Samples], network: SpeechNetwork) -> Speech:
    """Return where a sound at DRIVING_RATE holds speech.

    blocks: consecutive float32 samples (channels, n) in [-1, 1]; the first channel is heard. Holds 82 numbers a second
    of the sound, never the sound. How it is cut into blocks plays no part.

        network    [-------------)          the energy's borders, where they are near
        energy   [--------------)    [--)
        speech   [--------------)           breath is loud and no speech
    """
    gauge, listener = _LevelGauge(DRIVING_RATE), network.listen()
    measured, chances = [], []
    for block in blocks:
        measured.append(gauge.measure(block[0]))
        chances.append(listener.hear(block[0]))
    decibels = np.concatenate([_NOTHING, *measured])
    known = _known_speech(np.concatenate([*chances, listener.finish()]))
    loud = find_loud(decibels, DRIVING_RATE)
    if _total(known) < FOREIGN_SHARE * _total(loud):
        is_voice = count_dips(decibels) >= DIPS_PER_SECOND * _total(loud) / DRIVING_RATE
        return Speech(tuple(loud), "energy") if is_voice else Speech((), "network")
    step = DRIVING_RATE // STEPS_PER_SECOND
    voice = np.concatenate([_NOTHING, *(decibels[start // step : stop // step] for start, stop in known)])
    return Speech(tuple(_refined(known, find_loud(decibels, DRIVING_RATE, voice=voice))), "network")


def measure_levels(blocks: Iterable[Samples], rate: int) -> NDArray[np.float32]:
    """Return the level of a sound in dB of full scale, STEPS_PER_SECOND times a second. blocks: as find_speech's."""
    gauge = _LevelGauge(rate)
    return np.concatenate([_NOTHING, *(gauge.measure(block[0]) for block in blocks)])


def find_loud(decibels: NDArray[np.float32], rate: int, *, voice: NDArray[np.float32] | None = None) -> list[Interval]:
    """Return the samples at which a sound is as loud as speech: all of a clean voice's speech, and its breath.

    decibels: as measure_levels gives them. voice: those at which the voice is heard, if that is known.
    """
    heard = decibels if voice is None else voice
    if not len(heard):
        return []
    floor, step = _floor(heard), rate // STEPS_PER_SECOND
    return _speechlike([(a * step, b * step) for a, b in _runs(decibels > floor)], len(decibels) * step, rate)


def count_dips(decibels: NDArray[np.float32]) -> int:
    """Return how often a level falls by DIP_DB from where it was highest, and rises as much again."""
    if not len(decibels):
        return 0
    floor = _floor(decibels)
    num_dips, falls, turn = 0, False, floor
    for level in np.maximum(decibels, floor).tolist():
        turn = min(turn, level) if falls else max(turn, level)
        if abs(level - turn) >= DIP_DB:
            num_dips, falls, turn = num_dips + falls, not falls, level
    return num_dips


def _floor(heard: NDArray[np.float32]) -> float:
    """Return the level above which a sound is loud. heard: levels of its voice."""
    return max(float(np.percentile(heard, LOUD_PERCENTILE)) - SPEECH_DB, FLOOR_DB)


def find_pauses(speech: Sequence[Interval], num_samples: int, rate: int) -> list[Interval]:
    """Return the samples of a sound that hold no speech, without a margin for the speech on either side.

    speech: sorted and disjoint.

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


class _LevelGauge:
    """Measures the level of one sound, however that is cut into blocks."""

    def __init__(self, rate: int) -> None:
        self._step = rate // STEPS_PER_SECOND
        self._held = np.zeros(0, np.float32)

    def measure(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the level of each further step in dB of full scale, over it and the one behind it."""
        step = self._step
        self._held = np.concatenate([self._held, samples])
        count = len(self._held) // step - 1
        if count <= 0:
            return _NOTHING
        energy = levels(self._held[: (count + 1) * step], 2 * step, step)
        self._held = self._held[count * step :]
        return np.asarray(20 * np.log10(np.maximum(energy, 1e-6)), np.float32)


def _known_speech(chances: NDArray[np.float32]) -> list[Interval]:
    """Return the samples that the network takes for speech. chances: of each of its steps."""
    says = np.where(chances >= ONSET, 1, np.where(chances < OFFSET, 0, -1))
    last = np.maximum.accumulate(np.where(says >= 0, np.arange(len(says)), 0))  # where it last was sure
    runs = _runs(says[last] == 1)
    samples = [(a * NETWORK_STEP_SAMPLES, b * NETWORK_STEP_SAMPLES) for a, b in runs]
    return _speechlike(samples, len(chances) * NETWORK_STEP_SAMPLES, DRIVING_RATE)


def _refined(known: Sequence[Interval], loud: Sequence[Interval]) -> list[Interval]:
    """Return the loud samples that are speech by the network, from their own beginnings to their own ends."""
    reach, late = round(REACH_SECONDS * DRIVING_RATE), round(LATE_SECONDS * DRIVING_RATE)
    starts, stops = [start for start, _ in loud], [stop for _, stop in loud]
    wide = []
    for start, stop in known:
        first, last = bisect_right(stops, start), bisect_left(starts, stop) - 1
        if first < len(loud) and starts[first] < start:  # loud before it as well
            start = starts[first] if start - starts[first] <= reach else start - late
        if last >= 0 and stop < stops[last]:  # loud behind it as well
            stop = stops[last] if stops[last] - stop <= reach else stop - late
        wide.append((start, stop))
    speech = intersect(merge(wide), loud)
    return _speechlike(speech, max(stops, default=0) + reach, DRIVING_RATE)


def _speechlike(runs: Sequence[Interval], stop: int, rate: int) -> list[Interval]:
    """Return runs of samples, sorted, without pauses and sounds that are too short to be any. stop: where all ends."""
    short = [(a, b) for a, b in complement(runs, 0, stop) if b - a < FILLED_SECONDS * rate and a > 0 and b < stop]
    return [(a, b) for a, b in merge([*runs, *short]) if b - a >= DROPPED_SECONDS * rate]


def _total(parts: Sequence[Interval]) -> int:
    return sum(stop - start for start, stop in parts)


def _runs(flags: NDArray[np.bool_]) -> list[Interval]:
    """Return the runs of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
