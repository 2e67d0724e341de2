"""One continuous sound out of pieces of files: which file is heard when, and the samples of the result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from media.audio.buffer import BLOCK_SAMPLES, Samples, num_channels, sample_at
from media.audio.reader import read_samples

CROSSFADE_SECONDS = Fraction(20, 1000)
"""Long enough to hide a step in any voice (a period of 50 Hz), shorter than a syllable."""


@dataclass(frozen=True, slots=True)
class SoundPiece:
    """What is heard from `output_start` to `output_stop`: a file from `start` on.

    file            |=======[-----------------)==============|
                    zero    start
    output          ........[-----------------)..............
                            output_start      output_stop

    A piece may reach beyond the sound of its file: there it is silent, without a fade. So a dub that is shorter than
    the video is one piece that lasts to the end of the video.
    """

    path: str
    stream_index: int
    zero: Fraction | None
    """Seconds on the file's clock that count as its second 0; None: its first sample."""
    start: Fraction
    """Seconds since `zero`, may be negative."""
    output_start: Fraction
    """Seconds since the first frame of the output."""
    output_stop: Fraction


@dataclass(frozen=True, slots=True)
class SoundPlan:
    """The whole soundtrack: pieces in order, silence between them where they do not touch."""

    pieces: tuple[SoundPiece, ...]
    """Disjoint, none empty, inside [0, duration)."""
    duration: Fraction
    """Seconds from the first frame to the end of the last one."""
    crossfade_seconds: Fraction = CROSSFADE_SECONDS

    def __post_init__(self) -> None:
        at = Fraction(0)
        for piece in self.pieces:
            if not at <= piece.output_start < piece.output_stop <= self.duration:
                raise ValueError(f"sound pieces must be in order, disjoint and inside the output: {piece}")
            at = piece.output_stop

    def delayed(self, seconds: Fraction) -> SoundPlan:
        """Return this plan with silence before it."""
        pieces = tuple(
            replace(piece, output_start=piece.output_start + seconds, output_stop=piece.output_stop + seconds)
            for piece in self.pieces
        )
        return replace(self, pieces=pieces, duration=self.duration + seconds)


@dataclass(frozen=True, slots=True)
class _MixInput:
    """A piece in samples of the output, with its fades.

              start                    stop
    fade_in [...|...)             [.....|.....) fade_out        each counts the samples of half its fade
    """

    piece: SoundPiece
    start: int
    stop: int
    fade_in: int
    fade_out: int

    @property
    def first(self) -> int:
        return self.start - self.fade_in

    @property
    def last(self) -> int:
        return self.stop + self.fade_out

    def samples(self, rate: int, layout: str, start: int, stop: int) -> Iterator[Samples]:
        """Yield what this voice reads for samples [start, stop) of the output."""
        shift = sample_at(self.piece.start - self.piece.output_start, rate)
        return read_samples(
            self.piece.path,
            stream_index=self.piece.stream_index,
            zero=self.piece.zero,
            start=Fraction(start + shift, rate),
            stop=Fraction(stop + shift, rate),
            rate=rate,
            layout=layout,
        )

    def faded(self, samples: Samples, start: int) -> Samples:
        """Return samples, the first being number `start` of the output, with the fades laid on."""
        stop = start + samples.shape[1]
        if start >= self.start + self.fade_in and stop <= self.stop - self.fade_out:
            return samples
        at = np.arange(start, stop)
        gain = _rise(at - self.start, self.fade_in) * (1.0 - _rise(at - self.stop, self.fade_out))
        return samples * gain.astype(np.float32)


def _rise(at: npt.NDArray[np.int64], half: int) -> npt.NDArray[np.float64]:
    """Return a raised cosine that climbs from 0 at -half to 1 at +half; a step where half is 0."""
    if half == 0:
        return (at >= 0).astype(np.float64)
    phase = np.clip((at + half + 0.5) / (2 * half), 0.0, 1.0)
    rise: npt.NDArray[np.float64] = 0.5 - 0.5 * np.cos(np.pi * phase)
    return rise


def _voices(plan: SoundPlan, rate: int) -> list[_MixInput]:
    """Return the pieces in samples. A fade is cut short where what stands beside it is shorter than the fade.

    No fade at the outer ends of the output: there is nothing to join.
    """
    total = sample_at(plan.duration, rate)
    whole = sample_at(plan.crossfade_seconds / 2, rate)
    borders = [(sample_at(piece.output_start, rate), sample_at(piece.output_stop, rate)) for piece in plan.pieces]
    edges = sorted({0, total, *(edge for border in borders for edge in border)})
    half = {0: 0, total: 0}
    for left, (edge, right) in zip(edges, pairwise(edges[1:]), strict=False):
        half[edge] = min(whole, (edge - left) // 2, (right - edge) // 2)
    return [
        _MixInput(piece, start, stop, half[start], half[stop])
        for piece, (start, stop) in zip(plan.pieces, borders, strict=True)
        if start < stop
    ]


class SampleReader:
    """The samples of one voice, taken in arbitrary amounts."""

    def __init__(self, samples: Iterator[Samples]) -> None:
        self._samples = samples
        self._held: list[Samples] = []

    def take(self, count: int) -> Samples:
        """Return the next `count` samples, shape (channels, count)."""
        num_held = sum(block.shape[1] for block in self._held)
        while num_held < count:
            self._held.append(next(self._samples))
            num_held += self._held[-1].shape[1]
        joined = self._held[0] if len(self._held) == 1 else np.concatenate(self._held, axis=1)
        self._held = [joined[:, count:]]
        return joined[:, :count]


def mix(plan: SoundPlan, *, rate: int, layout: str, start: int = 0, stop: int | None = None) -> Iterator[Samples]:
    """Yield the soundtrack as blocks of shape (channels, samples); exactly sample_at(plan.duration) samples in all.

    rate, layout: of the result. start, stop: output samples, to mix a part of it; the values do not depend on them.

    Adjacent pieces are cross-faded, centred on their border, both read on beyond it. The gains are raised cosines that
    add up to one: a dub mostly carries the same music and room as the source, and what is equal on both sides must
    come out unchanged (equal power would swell it by 3 dB). Different voices dip by 3 dB for 10 ms: not heard.
    Where a piece stands beside silence, silence is the other side.
    """
    stop = sample_at(plan.duration, rate) if stop is None else stop
    waiting = [voice for voice in _voices(plan, rate) if voice.last > start and voice.first < stop]
    active: list[tuple[_MixInput, SampleReader]] = []
    for at in range(start, stop, BLOCK_SAMPLES):
        end = min(at + BLOCK_SAMPLES, stop)
        while waiting and waiting[0].first < end:
            voice = waiting.pop(0)
            first, last = max(voice.first, start), min(voice.last, stop)
            active.append((voice, SampleReader(voice.samples(rate, layout, first, last))))
        block = np.zeros((num_channels(layout), end - at), np.float32)
        for voice, reader in active:
            first, last = max(voice.first, at), min(voice.last, end)
            block[:, first - at : last - at] += voice.faded(reader.take(last - first), first)
        active = [(voice, reader) for voice, reader in active if voice.last > end]
        yield block
