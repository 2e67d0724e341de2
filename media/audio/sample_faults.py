"""Samples that no valid sound contains: NaN, infinities, and values far beyond full scale.

Only files with float samples can contain them: voice cloners, separators and effect chains write such files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import av.error
import numpy as np

from media.audio.decoder import BROKEN_FROM, decoded_frames, is_broken, raw_values
from media.probe import open_input


@dataclass(frozen=True, slots=True)
class SampleFaults:
    """What was found in a sound; times are seconds since its first sample."""

    num_samples: int
    """Of all channels."""
    num_broken: int
    """NaN, infinite, or absurdly large."""
    first_broken_seconds: float
    peak: float
    """Largest absolute value of the others; 1 is full scale."""
    peak_seconds: float


def survey_samples(path: str | Path, stream_index: int) -> SampleFaults | None:
    """Check every sample of a stream; None if it does not store floats and so cannot contain such samples.

    An hour of stereo at 48 kHz takes two to four seconds. A file that has not changed is looked at once.
    """
    status = os.stat(path)
    return _survey_version(str(path), stream_index, (status.st_mtime_ns, status.st_size, status.st_ino))


@lru_cache
def _survey_version(path: str, stream_index: int, _version: tuple[int, int, int]) -> SampleFaults | None:
    with open_input(path) as container:
        stream = container.streams[stream_index]
        assert isinstance(stream, av.AudioStream)
        codec = stream.codec_context.codec.canonical_name
        if not codec.startswith("pcm_f") and codec != "wavpack":  # lossy decoders give floats, too: sane ones
            return None
        return _survey(container.demux(stream))


def _survey(packets: Iterator[av.Packet[av.AudioStream]]) -> SampleFaults:
    num_samples = num_broken = at = 0
    first_broken = peak_seconds = peak = 0.0
    for frame in decoded_frames(packets):
        values = raw_values(frame)
        high, low = float(values.max(initial=0)), float(values.min(initial=0))  # NaN if one of them is
        if not (high < BROKEN_FROM and low > -BROKEN_FROM):
            broken = is_broken(values)
            if not num_broken:
                first_broken = (at + int(broken.any(axis=0).argmax())) / frame.sample_rate
            num_broken += int(broken.sum())
            values = np.where(broken, 0, values)
            high, low = float(values.max()), float(values.min())
        if max(high, -low) > peak:
            peak = max(high, -low)
            peak_seconds = (at + int(np.abs(values).max(axis=0).argmax())) / frame.sample_rate
        num_samples += values.size
        at += values.shape[1]
    return SampleFaults(num_samples, num_broken, first_broken, peak, peak_seconds)
