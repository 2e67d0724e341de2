"""Sound as arrays: the rounding rule, channel layouts, conversion of rate and layout."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain

import av
import numpy as np
import numpy.typing as npt

from media.base.errors import UnsupportedMedia

Samples = npt.NDArray[np.float32]
"""Shape (channels, samples); full scale is [-1, 1]."""

BLOCK_SAMPLES = 16384
"""About as many samples make a block: enough that Python's cost a block vanishes, few enough for memory."""

_DEFAULT_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""FFmpeg's av_channel_layout_default."""


def sample_at(seconds: Fraction, rate: int) -> int:
    """Return the index of the sample at a time: the nearest one, halves upwards.

    The one rounding rule of all sound. Unlike round() it commutes with shifts by whole samples, so what was
    contiguous stays so.
    """
    return math.floor(seconds * rate + Fraction(1, 2))


def named_layout(layout: str, count: int) -> str:
    """Return a layout's name; one that only counts ("2 channels", as plain WAV files have) becomes FFmpeg's default.

    Raises UnsupportedMedia if there is no default for that many channels.
    """
    if layout and "channel" not in layout:
        return layout
    if count not in _DEFAULT_LAYOUTS:
        raise UnsupportedMedia(
            f"sound with {count} channels of which the file does not say where they belong is not supported"
        )
    return _DEFAULT_LAYOUTS[count]


def num_channels(layout: str) -> int:
    """Return how many channels a layout has."""
    return av.AudioLayout(layout).nb_channels


def audio_frame(samples: Samples, rate: int, layout: str) -> av.AudioFrame:
    """Return samples of shape (channels, samples) as a frame of packed floats, without a time.

    Packed, because PyAV 18 miscounts the planes of eight channels.
    """
    packed = np.ascontiguousarray(samples.T, np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate = rate
    return frame


def zeros(rows: int, count: int) -> Iterator[Samples]:
    """Yield `count` samples of silence in blocks."""
    for at in range(0, count, BLOCK_SAMPLES):
        yield np.zeros((rows, min(count - at, BLOCK_SAMPLES)), np.float32)


def cut(blocks: Iterable[Samples], skipped: int, count: int | None, rows: int) -> Iterator[Samples]:
    """Drop `skipped` samples, then yield exactly `count` (all if None), zeros where there are too few."""
    for block in blocks:
        if count == 0:
            return
        fresh = block[:, skipped:] if count is None else block[:, skipped : skipped + count]
        skipped = max(skipped - block.shape[1], 0)
        if fresh.shape[1]:
            yield fresh
        if count is not None:
            count -= fresh.shape[1]
    yield from zeros(rows, count or 0)


def resample(
    native: Iterable[Samples], native_rate: int, native_layout: str, rate: int, layout: str
) -> Iterator[Samples]:
    """Convert rate and layout; exactly sample_at(duration) samples come out.

    Mono is copied to both channels of a pair, as players do: FFmpeg's matrix would lower it by 3 dB. Other mixes are
    scaled so that they cannot clip.
    """
    copies = 2 if (native_layout, layout) == ("mono", "stereo") else 1
    resampler = av.AudioResampler("flt", "mono" if copies == 2 else layout, rate, options={"rematrix_maxval": "1.0"})

    def convert(block: Samples | None) -> Iterator[Samples]:
        frame = None if block is None else audio_frame(block, native_rate, native_layout)
        for out in resampler.resample(frame):
            samples = out.to_ndarray().reshape(-1, out.layout.nb_channels).T
            yield np.repeat(samples.astype(np.float32, copy=False), copies, axis=0)

    num_in = num_out = 0
    for block in native:
        num_in += block.shape[1]
        for samples in convert(block):
            num_out += samples.shape[1]
            yield samples
    # At its end the filter mirrors the sound. Silence goes in after it instead; what comes out too much is cut off.
    missing = sample_at(Fraction(num_in, native_rate), rate) - num_out
    silence = np.zeros((num_channels(native_layout), max(native_rate // 50, 1)), np.float32)
    yield from cut(chain(convert(silence), convert(None)), 0, missing, num_channels(layout))
