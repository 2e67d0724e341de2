"""Sound decoded: blocks of samples with exact times.

Samples are counted from the first frame on. A frame's own time is believed only where it strays from the count by
more than JITTER_SECONDS: as a hole, or as an overlap.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt

from media.audio.buffer import BLOCK_SAMPLES, Samples, named_layout, num_channels, resample, sample_at
from media.base.errors import UnsupportedMedia

JITTER_SECONDS = Fraction(3, 1000)
"""How far times may stray from the count: Matroska's clock ticks in milliseconds, and remuxers round again. The
shortest packet that can be lost (Opus, PCM) is longer."""

UNTIMED = {"ac3", "eac3", "dts", "truehd", "mlp"}
"""Raw streams, whose times the demuxer makes up: rounded frame by frame, they drift by 0.1 ms a second."""

BROKEN_FROM = 2.0**32
"""Times full scale. Integers of 32 bits that were written as floats reach half of it."""

_UNTIMED_BLOCKS = {"wav", "w64", "aiff", "avi"}
"""Files in which the demuxer guesses times from bytes a second: wrong by up to a third, or by thousands of times,
where samples are packed in blocks that begin with a header (ADPCM, GSM)."""

_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63, "flt": 1.0, "dbl": 1.0}

_EXACT_AFTER_SEEK = {"wav", "w64", "flac", "aiff", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}

_SETTLE_FRAMES = 32


@dataclass(frozen=True, slots=True)
class SoundBlock:
    """Decoded samples and the time of the first one, in seconds on the container's clock."""

    seconds: Fraction
    samples: Samples
    rate: int
    layout: str
    frame_samples: int = 0
    """Samples in the last of the frames that the block is made of."""
    num_padding: int = 0
    """Samples that were cut off behind the last one, because the file marks them as padding."""

    @property
    def end(self) -> Fraction:
        """Time after the last sample, in seconds."""
        return self.seconds + Fraction(self.samples.shape[1], self.rate)


def tick_of(stream: av.AudioStream) -> Fraction:
    """Return the time base of a stream, in seconds."""
    assert stream.time_base is not None, "streams of an opened container have a time base"
    return stream.time_base


def has_times(stream: av.AudioStream) -> bool:
    """Tell whether a stream's times are worth anything: where not, its samples are counted from the first one on."""
    container = stream.container.format.name
    return container not in UNTIMED and not (container in _UNTIMED_BLOCKS and _is_packed(stream))


def is_exact_after_seek(stream: av.AudioStream) -> bool:
    """Tell whether samples and times that follow a seek are those that reading from the beginning gives.

    MP3, ADTS, MPEG-TS and Ogg are read from their beginning. So is ADPCM in whatever file: most kinds of it go on from
    the last sample of the block before.
    """
    return stream.container.format.name in _EXACT_AFTER_SEEK and not _is_packed(stream)


def _is_packed(stream: av.AudioStream) -> bool:
    return stream.codec_context.codec.canonical_name.startswith(("adpcm_", "gsm"))


def decode_blocks(
    packets: Iterator[av.Packet[av.AudioStream]], stream: av.AudioStream, *, after: SoundBlock | None = None
) -> Iterator[SoundBlock]:
    """Decode packets to blocks whose times are counted from the first frame on, as long as the frames' times agree.

    after: the first block of the stream, if the packets come from a seek. Two frames are dropped then: the first lacks
    what came before it, and may be cut short.
    """
    frames = islice(_decoded(packets, stream), 2 if after else 0, None)
    opening = list(islice(frames, _SETTLE_FRAMES))
    if not opening:
        return
    start, counted, tick = _settled_start(opening, tick_of(stream)), 0, tick_of(stream)
    if after and (tick * after.rate > 1 or not stream.codec_context.name.startswith("pcm")):
        start = _on_grid(start, after, max(tick, Fraction(1, 1000)))
    timed = has_times(stream)
    held: list[SoundBlock] = []
    num_held = 0
    for frame in chain(opening, frames):
        strays = timed and abs(frame.seconds - start - Fraction(counted, frame.rate)) > JITTER_SECONDS
        if held and (strays or num_held >= BLOCK_SAMPLES):
            yield _joined(held, start + Fraction(counted - num_held, frame.rate))
            held, num_held = [], 0
        if strays:
            start, counted = frame.seconds, 0
        held.append(frame)
        num_held += frame.samples.shape[1]
        counted += frame.samples.shape[1]
    yield _joined(held, start + Fraction(counted - num_held, frame.rate))


def _joined(frames: list[SoundBlock], seconds: Fraction) -> SoundBlock:
    samples = np.concatenate([frame.samples for frame in frames], axis=1)
    last = frames[-1]
    return SoundBlock(seconds, samples, last.rate, last.layout, last.samples.shape[1], last.num_padding)


def _settled_start(opening: list[SoundBlock], tick: Fraction) -> Fraction:
    """Return the time of the first of some frames, sharper than the container's tick.

    Each frame's true time lies within half a tick of what is written. Moved back by the samples counted so far, these
    intervals all hold the true start:

    frame 0  [-------------)
    frame 1      [-------------)         ->     [------)     the middle is taken
    frame 2         [-------------)

    Frames that last whole ticks are all rounded alike, so the first one tells all. The others may be wrong, too: from
    Opus in Matroska FFmpeg takes the priming rounded to a tick (6.5 ms become 7), but gives the first frame its own.
    """
    low, high, counted = opening[0].seconds - tick / 2, opening[0].seconds + tick / 2, Fraction(0)
    lasts_ticks = len(opening) > 1 and (opening[1].end - opening[1].seconds) % tick == 0
    if tick * opening[0].rate <= 1 or lasts_ticks:
        return opening[0].seconds
    for frame in opening:
        start = frame.seconds - counted
        if start - tick / 2 > high or start + tick / 2 < low:
            break
        low, high = max(low, start - tick / 2), min(high, start + tick / 2)
        counted += frame.end - frame.seconds
    return (low + high) / 2


def _on_grid(start: Fraction, head: SoundBlock, tolerance: Fraction) -> Fraction:
    """Return the whole number of frames after the stream's head that a time means, if one is near.

    So a seek lands on the same sample as reading from the beginning would, whatever the container rounds.
    """
    length = Fraction(head.frame_samples, head.rate)
    nearest = head.end + sample_at((start - head.end) / length, 1) * length
    return nearest if abs(nearest - start) <= tolerance else start


def demuxed(packets: Iterator[av.Packet[av.AudioStream]]) -> Iterator[av.Packet[av.AudioStream]]:
    """Yield packets up to the first place where the container itself is broken."""
    try:
        yield from packets
    except av.error.FFmpegError:
        return


def decoded_frames(packets: Iterator[av.Packet[av.AudioStream]]) -> Iterator[av.AudioFrame]:
    """Yield the frames of packets; a packet that is damaged is skipped."""
    for packet in demuxed(packets):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        yield from frames


def _decoded(packets: Iterator[av.Packet[av.AudioStream]], stream: av.AudioStream) -> Iterator[SoundBlock]:
    """Decode packets frame by frame; one that is damaged is skipped.

    The last frame is cut to its duration: that is how mp4 tells the padding of AAC's last packet.
    """
    tick, last, length, num_before = tick_of(stream), None, Fraction(0), 0
    rate, layout, end = 0, "", Fraction(0)
    for frame in decoded_frames(packets):
        if last is not None:
            yield last
            num_before += last.samples.shape[1]
        rate = rate or frame.sample_rate
        layout = layout or _layout_of(frame, stream)
        seconds = frame.pts * (frame.time_base or tick) if frame.pts is not None else end
        last = SoundBlock(seconds, _floats(frame, stream, rate, layout), rate, layout)
        length, end = frame.duration * tick, last.end
    if last is not None:
        num_samples = last.samples.shape[1]
        if _is_packed(stream) and not has_times(stream):
            num_samples = _unpadded(stream, num_before, num_samples, rate)
        elif length > 0 and tick * rate <= 1:
            num_samples = sample_at(length, rate)
        num_padding = max(last.samples.shape[1] - num_samples, 0)
        yield SoundBlock(last.seconds, last.samples[:, :num_samples], rate, layout, num_padding=num_padding)


def _unpadded(stream: av.AudioStream, num_before: int, num_samples: int, rate: int) -> int:
    """Return how many samples of a stream's last block are sound, by the length that the file states (WAV: `fact`).

    It is believed where it ends inside that block; writers that count otherwise are off by a factor, or by seconds.
    """
    stated = sample_at((stream.duration or 0) * tick_of(stream), rate) - num_before
    return stated if 0 < stated < num_samples else num_samples


def _layout_of(frame: av.AudioFrame, stream: av.AudioStream) -> str:
    try:
        return named_layout(frame.layout.name, frame.layout.nb_channels)
    except UnsupportedMedia as exc:
        path = stream.container.name[len("file:") :]
        pair = shlex.quote(str(Path(path).with_suffix(".pair.wav")))
        command = f"ffmpeg -i {shlex.quote(path)} -af 'pan=stereo|c0=c0|c1=c1' {pair}"
        raise UnsupportedMedia(f"{path}: {exc}. Take two of them first: {command}") from exc


def _floats(frame: av.AudioFrame, stream: av.AudioStream, rate: int, layout: str) -> Samples:
    """Return a frame's samples as floats, shape (channels, samples); invalid ones become silence.

    If a stream changes its rate or layout midway, it is converted to those it began with.
    """
    rows, name = frame.layout.nb_channels, frame.format.name
    values, scale = raw_values(frame), _FULL_SCALE[name.rstrip("p")]
    offset = 128.0 if name.startswith("u8") else 0.0
    values = _finite(values) if scale == 1.0 else (values - offset) / scale
    samples = values.astype(np.float32)
    if frame.sample_rate == rate and rows == num_channels(layout):
        return samples
    converted = resample([samples], frame.sample_rate, _layout_of(frame, stream), rate, layout)
    return np.concatenate([*converted], axis=1)


def raw_values(frame: av.AudioFrame) -> npt.NDArray[Any]:
    """Return a frame's samples as they are stored, shape (channels, samples)."""
    rows = frame.layout.nb_channels
    if frame.format.is_planar and rows >= 8:
        # PyAV 18 sees a ninth plane there and crashes in to_ndarray().
        (frame,) = av.AudioResampler(frame.format.packed, frame.layout, frame.sample_rate).resample(frame)
    values: npt.NDArray[Any] = frame.to_ndarray()
    return values.reshape(-1, rows).T if frame.format.is_packed else values


def is_broken(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mark the invalid float samples: NaN, infinite, or beyond the range of every integer format."""
    broken: npt.NDArray[np.bool_] = ~(np.abs(values) < BROKEN_FROM)
    return broken


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return samples with silence in place of invalid ones."""
    if values.max(initial=0) < BROKEN_FROM and values.min(initial=0) > -BROKEN_FROM:  # cheaper than looking at each
        return values
    return np.where(is_broken(values), values.dtype.type(0), values)
