"""The contract on the decoded soundtrack: second by second it is what the plan wants, at its time."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from media.audio.buffer import sample_at
from media.audio.reader import read_samples
from media.base.errors import ContractBroken, UnreadableMedia
from media.info import AudioInfo
from stitcher.audio.mix import SampleReader, SoundPlan, mix

RATE = 16_000
"""Samples per second at which both are compared; a peak between two samples is found to a hundredth of one."""
SEARCH_SAMPLES = RATE // 4
"""How far the sound may be off to be found at all."""
MAX_OFFSET_SECONDS = 0.001
LEAST_CORRELATION, LEAST_LOUD_CORRELATION = 0.9, 0.5
"""Of the median second, and of each one that is loud. Coding at low bit rates replaces what is noise."""
SILENT, LOUD = 10 ** (-50 / 20), 10 ** (-35 / 20)
"""Root mean squares below which a second has nothing to compare, and above which it must be what it should."""
ENOUGH = 0.995
"""Share of the best correlation that the place where the sound belongs needs to be taken for the best."""
LEAK = 10 ** (-40 / 20)
"""Root mean square above which a second is heard that should be silent."""

Mono = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SoundFound:
    """How near the soundtrack is to the plan."""

    num_seconds: int
    """Seconds that were compared; the others are silent in the plan and in the file."""
    offset_seconds: float
    """Offset of the second that is furthest off; positive is late. 0 if no second was compared."""
    drift_seconds: float
    """By how much the last second is later than the first."""
    correlation: float
    """Median, in [-1, 1]; 1 if nothing was compared."""


def verify_sound(written: Path, audio: AudioInfo, heard: SoundPlan, zero: Fraction) -> SoundFound:
    """Mix the plan anew, decode the output, and compare; raise ContractBroken at the first second that is wrong.

    zero: time of the first displayed frame on the output's clock. One second of each is held at a time.
    """
    total = sample_at(heard.duration, RATE)
    wanted = SampleReader(mix(heard, rate=RATE, layout="mono"))
    found = _Heard(written, audio, zero, total)
    lags: list[float] = []
    correlations: list[float] = []
    for start in range(0, total - RATE // 4, RATE):
        length = min(RATE, total - start)
        part, around = wanted.take(length)[0], found.around(length)
        lag, correlation = _compare(part, around, start / RATE)
        if correlation is None:
            continue
        correlations.append(correlation)
        if correlation >= LEAST_LOUD_CORRELATION:
            _require_on_time(lag / RATE, start / RATE)
            lags.append(lag / RATE)
    median = float(np.median(correlations)) if correlations else 1.0
    if median < LEAST_CORRELATION:
        raise ContractBroken(
            f"The dub is whole: the soundtrack is not what was to be heard (correlation {median:.2f})."
            " Raise stitcher.audio.bit_rate."
        )
    worst = max(lags, key=abs, default=0.0)
    return SoundFound(len(correlations), worst, lags[-1] - lags[0] if lags else 0.0, median)


class _Heard:
    """The decoded sound of the output, in pieces that reach some way beyond what is compared, on both sides."""

    def __init__(self, path: Path, audio: AudioInfo, zero: Fraction, total: int) -> None:
        margin = Fraction(SEARCH_SAMPLES, RATE)
        self._reader = SampleReader(
            read_samples(
                path,
                stream_index=audio.index,
                rate=RATE,
                layout="mono",
                start=-margin,
                stop=Fraction(total, RATE) + margin,
                zero=zero,
            )
        )
        self._held: Mono = np.zeros(0, np.float32)

    def around(self, length: int) -> Mono:
        """Return the next `length` samples with SEARCH_SAMPLES on either side."""
        missing = length + 2 * SEARCH_SAMPLES - len(self._held)
        try:
            self._held = np.concatenate([self._held, self._reader.take(missing)[0]])
        except UnreadableMedia as exc:
            raise ContractBroken(f"The dub is whole: {exc}") from exc
        around = self._held
        self._held = self._held[length:]
        return around


def _compare(wanted: Mono, around: Mono, seconds: float) -> tuple[float, float | None]:
    """Return by how many samples the sound is late and how well it fits then; None if both are silent."""
    here = around[SEARCH_SAMPLES : SEARCH_SAMPLES + len(wanted)]
    loudness = _rms(wanted)
    if loudness < SILENT:
        if _rms(here) > LEAK:
            raise ContractBroken(f"The dub is whole: at {seconds:.0f} s something is heard instead of silence.")
        return 0.0, None
    near = slice(SEARCH_SAMPLES - 2, SEARCH_SAMPLES + 3)
    fits = _correlations(wanted, around, slice(near.start - 1, near.stop + 1))
    # A steady tone fits a period later as well as in its place: the place wins. No fit is better than 1.
    if fits[SEARCH_SAMPLES] < ENOUGH:
        fits = _correlations(wanted, around, slice(0, len(fits)))
    best = int(fits.argmax())
    if fits[SEARCH_SAMPLES] >= ENOUGH * fits[best]:
        best = near.start + int(fits[near].argmax())
    if loudness > LOUD and fits[best] < LEAST_LOUD_CORRELATION:
        raise ContractBroken(
            f"The dub is whole: at {seconds:.0f} s something else is heard than what was to be"
            f" (correlation {fits[best]:.2f}). Please report this."
        )
    return best + _between(fits, best) - SEARCH_SAMPLES, float(fits[best])


def _correlations(wanted: Mono, around: Mono, lags: slice) -> NDArray[np.float64]:
    """Return the normalised correlation at each lag, -SEARCH_SAMPLES to SEARCH_SAMPLES; 0 at those not asked for."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(around, dtype=np.float64))])
    heard = energy[len(wanted) :] - energy[: len(energy) - len(wanted)]
    products = np.zeros(len(heard))
    if lags.stop - lags.start < len(products):
        for lag in range(lags.start, lags.stop):
            products[lag] = np.dot(around[lag : lag + len(wanted)], wanted)
    else:
        # A circle as long as the longer one: no lag that is asked for reaches beyond its end.
        spectrum = np.fft.rfft(around) * np.conj(np.fft.rfft(wanted, len(around)))
        products = np.fft.irfft(spectrum, len(around))[: len(heard)]
    scale = np.sqrt(np.maximum(heard, 1e-12) * np.sum(np.square(wanted, dtype=np.float64)))
    fits: NDArray[np.float64] = products / scale
    return fits


def _between(fits: NDArray[np.float64], best: int) -> float:
    """Return where between two lags a peak lies, from a parabola through it and its neighbours."""
    if not 0 < best < len(fits) - 1:
        return 0.0
    before, top, after = (float(fits[best + step]) for step in (-1, 0, 1))
    bend = before - 2 * top + after
    return 0.5 * (before - after) / bend if bend else 0.0


def _require_on_time(late_seconds: float, seconds: float) -> None:
    if abs(late_seconds) > MAX_OFFSET_SECONDS:
        word = "late" if late_seconds > 0 else "early"
        raise ContractBroken(
            f"The dub is whole: at {seconds:.0f} s the sound is {1000 * abs(late_seconds):.1f} ms {word}."
            " Please report this."
        )


def _rms(samples: Mono) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
