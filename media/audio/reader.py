"""The sound of a file: its exact length, and its samples placed by their presentation times.

A sample index is always `sample_at(seconds since zero, rate)`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import InputContainer

from media.audio.buffer import (
    Samples,
    cut,
    named_layout,
    num_channels,
    resample,
    sample_at,
    zeros,
)
from media.audio.decoder import SoundBlock, decode_blocks, demuxed, has_times, is_exact_after_seek, tick_of
from media.base.errors import MissingStream, UnreadableMedia
from media.probe import open_input

PREROLL_SECONDS = Fraction(1, 2)
"""Decoded and dropped after a seek: Opus wants 80 ms (RFC 7845), MP3's bit reservoir reaches back 10 frames."""

_TAIL_PACKETS = 64


def first_sample_time(path: str | Path, stream_index: int) -> Fraction:
    """Return the time of the first sample that decodes, in seconds on the container's clock."""
    with _opened(path, stream_index) as (container, stream):
        return _head(path, decode_blocks(container.demux(stream), stream)).seconds


def sound_format(path: str | Path, stream_index: int) -> tuple[int, str]:
    """Return the rate (samples per second) and the named channel layout of what decodes."""
    with _opened(path, stream_index) as (container, stream):
        head = _head(path, decode_blocks(container.demux(stream), stream))
    return head.rate, head.layout


@dataclass(frozen=True, slots=True)
class SoundLength:
    """How long a sound is, in seconds, from the first sample that decodes."""

    seconds: Fraction
    """Holes included, priming and padding excluded."""
    padding: Fraction
    """What decodes after that, and is no sound by what the file says: most programs hear it all the same."""


def sound_length(path: str | Path, stream_index: int) -> Fraction:
    """Return the exact length in seconds of what decodes: holes included, priming and padding excluded.

    Raises UnreadableMedia if nothing decodes.
    """
    return measure_sound(path, stream_index).seconds


def measure_sound(path: str | Path, stream_index: int) -> SoundLength:
    """Return the exact length of what decodes. Raises UnreadableMedia if nothing does.

    Only the first and the last packets are decoded where the container's clock is finer than a sample; where it is
    not (Matroska) or there are no times (raw AC-3, ADPCM in WAV), everything is.
    """
    with _opened(path, stream_index) as (container, stream):
        blocks = decode_blocks(container.demux(stream), stream)
        head = _head(path, blocks)
        last = None
        if tick_of(stream) * head.rate > 1 or not has_times(stream):
            last = max(chain([head], blocks), key=_end)
        elif is_exact_after_seek(stream) and _seek_near_end(container, stream):
            last = _last_block(container.demux(stream), stream)
    if last is None:
        with _opened(path, stream_index) as (container, stream):
            last = _last_block(container.demux(stream), stream)
    last = last or head
    return SoundLength(last.end - head.seconds, Fraction(last.num_padding, last.rate))


def loudest_after(path: str | Path, stream_index: int, start: Fraction) -> float:
    """Return the peak in dBFS of what lies after `start` (seconds since the first sample); -inf for digital silence."""
    # Decoded blocks alone are looked at: a hole of hours, which reading would fill with zeros, costs nothing.
    with _opened(path, stream_index) as (container, stream):
        blocks = decode_blocks(container.demux(stream), stream)
        head = _head(path, blocks)
        begin = head.seconds + start
        is_behind = begin >= head.end
        blocks = _blocks_from(path, container, stream, begin, head) if is_behind else chain([head], blocks)
        peak = 0.0
        for block in blocks:
            skipped = max(sample_at(begin - block.seconds, block.rate), 0)
            peak = max(peak, float(np.abs(block.samples[:, skipped:]).max(initial=0.0)))
    return 20.0 * math.log10(peak) if peak > 0.0 else -math.inf


def read_samples(
    path: str | Path,
    *,
    stream_index: int,
    rate: int,
    layout: str,
    start: Fraction = Fraction(0),
    stop: Fraction | None = None,
    zero: Fraction | None = None,
) -> Iterator[Samples]:
    """Yield the sound from `start` to `stop` as blocks of shape (channels, samples), holes filled with zeros.

    start, stop: seconds since `zero`; `start` may be negative. Exactly sample_at(stop - start) samples come out, the
    first being number sample_at(start) of the grid that begins at `zero`; zeros stand in before the sound begins and
    after it ends. Without `stop`, it is read to its end.
    zero: seconds on the container's clock that count as 0; the time of the first sample if None.
    rate, layout: of the output. The values do not depend on `start`, save for codecs that fill in noise (AAC).

    Damaged packets are skipped and leave a hole. Raises UnreadableMedia if nothing decodes.
    """
    count = None if stop is None else sample_at(stop - start, rate)
    first = sample_at(start, rate)
    layout = named_layout(layout, num_channels(layout))
    with _opened(path, stream_index) as (container, stream):
        blocks = decode_blocks(container.demux(stream), stream)
        head = _head(path, blocks)
        zero = head.seconds if zero is None else zero
        same = (head.rate, head.layout) == (rate, layout)
        begin, skipped = (first, 0) if same else _shared_point(first, rate, head.rate)
        if (wanted := zero + Fraction(begin, head.rate)) < head.end:
            blocks = chain([head], blocks)
        else:
            blocks = _blocks_from(path, container, stream, wanted, head)
        samples = _contiguous(blocks, begin, zero)
        if not same:
            samples = resample(samples, head.rate, head.layout, rate, layout)
        yield from cut(samples, skipped, count, num_channels(layout))


@contextmanager
def _opened(path: str | Path, stream_index: int) -> Iterator[tuple[InputContainer, av.AudioStream]]:
    with open_input(path) as container:
        if stream_index >= len(container.streams) or container.streams[stream_index].type != "audio":
            raise MissingStream(f"{path}: stream {stream_index} is no audio stream. Give a file that has sound.")
        stream = container.streams[stream_index]
        assert isinstance(stream, av.AudioStream)
        yield container, stream


def _head(path: str | Path, blocks: Iterator[SoundBlock]) -> SoundBlock:
    block = next(blocks, None)
    if block is None:
        raise UnreadableMedia(f"{path}: not one sample of the sound can be decoded. Check that the file is complete.")
    return block


def _seek(container: InputContainer, stream: av.AudioStream, ticks: int) -> bool:
    try:
        container.seek(ticks, stream=stream)
    except av.error.FFmpegError:
        return False
    return True


def _seek_near_end(container: InputContainer, stream: av.AudioStream) -> bool:
    """Seek to a second before the end that the header promises; False if it promises none."""
    if not stream.duration:
        return False
    end = (stream.start_time or 0) + stream.duration
    return _seek(container, stream, max(end - math.ceil(1 / tick_of(stream)), 0))


def _last_block(packets: Iterator[av.Packet[av.AudioStream]], stream: av.AudioStream) -> SoundBlock | None:
    """Return the block that ends last, decoding only the last packets; None if they hold no block."""
    tail = deque(demuxed(packets), maxlen=_TAIL_PACKETS)
    return max(decode_blocks(iter(tail), stream), key=_end, default=None)


def _end(block: SoundBlock) -> Fraction:
    return block.end


def _shared_point(first: int, rate: int, native_rate: int) -> tuple[int, int]:
    """Return the native sample to begin at, and how many resampled ones then lie before sample `first`.

    The grids of both rates share a point every 1/gcd seconds. Beginning at one, with 10 ms before the first wanted
    sample for the filter, makes resampled values independent of where reading begins.
    """
    shared = math.gcd(rate, native_rate)
    point = math.floor((Fraction(first, rate) - Fraction(1, 100)) * shared)
    return point * (native_rate // shared), first - point * (rate // shared)


def _contiguous(blocks: Iterable[SoundBlock], begin: int, zero: Fraction) -> Iterator[Samples]:
    """Yield native samples from index `begin` on without a gap: holes are zeros, overlaps are dropped."""
    at = begin
    for block in blocks:
        index = sample_at(block.seconds - zero, block.rate)
        for hole in zeros(block.samples.shape[0], index - at):
            yield hole
            at += hole.shape[1]
        fresh = block.samples[:, at - index :]
        if fresh.shape[1]:
            yield fresh
            at += fresh.shape[1]


def _blocks_from(
    path: str | Path, container: InputContainer, stream: av.AudioStream, seconds: Fraction, head: SoundBlock
) -> Iterator[SoundBlock]:
    """Yield the blocks that a reader from `seconds` on the container's clock needs, and perhaps some before.

    head: the first block of the stream.
    A seek that lands too late (no index, or a wrong one) is undone by reading from the beginning.
    """
    if is_exact_after_seek(stream):
        target = math.floor((seconds - PREROLL_SECONDS) / tick_of(stream))
        if _seek(container, stream, target):
            blocks = decode_blocks(container.demux(stream), stream, after=head)
            landed = next(blocks, None)
            if landed is not None and landed.seconds <= seconds:
                yield landed
                yield from blocks
                return
    with _opened(path, stream.index) as (again, same_stream):
        yield from decode_blocks(again.demux(same_stream), same_stream)
