"""The sound of a video as measures hear it: how loud it is, where no one speaks, and what judges of sync are given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from media.audio.driving import DRIVING_RATE
from media.audio.mfcc import Coefficients, mfcc_blocks
from media.base.errors import MissingStream
from media.info import MediaInfo
from media.source_video import SourceVideo
from renderer.footage.log_mel import COLUMNS_PER_SECOND, RANGE, between_columns, is_silent, loud_level, loudness_of
from renderer.mel import MelTrack
from stitcher.audio.mix import SoundPiece, SoundPlan
from stitcher.audio.soundtrack import write_driving

BLOCK_SAMPLES: Final = 1 << 20
"""Samples that are read at a time: a minute."""
POWER: Final = 0.3
"""Loudness as it is heard grows with this power of a sound's own (Stevens, "The Measurement of Loudness", 1955)."""
SYLLABLE_COLUMNS: Final = 4
"""On either side, over which loudness is averaged: 0.09 s in all."""
AROUND_SECONDS: Final = 0.5
"""On either side, whose mean is taken away from loudness and openings: what is left is syllables, not sentences."""


@dataclass(frozen=True, slots=True, eq=False)
class HeardSound:
    """The sound from a video's first frame to its last one; it takes 6 kB a second."""

    mfcc: Coefficients
    mel: MelTrack
    loudness: NDArray[np.float32]
    """Of each column, a hundred a second: see `stress`."""
    silent: NDArray[np.bool_]
    """Of each column, whether nothing is said around it."""

    def loudness_at(self, seconds: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the loudness at times since the first frame."""
        return between_columns(self.loudness[:, None], seconds * COLUMNS_PER_SECOND)[:, 0].astype(np.float64)

    def is_silent_at(self, seconds: float) -> bool:
        """Tell whether nothing is said at a time, nor just before and after."""
        return bool(self.silent[min(round(seconds * COLUMNS_PER_SECOND), len(self.silent) - 1)])


@contextmanager
def hear(video: SourceVideo, sound: MediaInfo | None) -> Iterator[HeardSound]:
    """Yield the sound of a video, or that of another file, which begins with the video's first frame.

    The first sound of either file is heard. Raises MissingStream if there is no sound.
    """
    if not (sound or video.info).audio:
        advice = "Give --audio with one that has." if sound else "Give the sound with --audio."
        raise MissingStream(f"{(sound or video.info).path}: no sound in this file to measure lips against. {advice}")
    stream = (sound or video.info).require_audio().index
    zero = None if sound else video.table.pts[0] * video.table.time_base
    stop = video.table.seconds(len(video.table))
    start = stop * 0
    piece = SoundPiece((sound or video.info).path, stream, zero, start, start, stop)
    with TemporaryDirectory(prefix="lipstitch-") as folder:
        path = Path(folder) / "sound.wav"
        write_driving(SoundPlan((piece,), stop), path)
        loudness = loudness_of(path)
        with MelTrack(path) as mel:
            yield HeardSound(
                np.concatenate([*mfcc_blocks(_blocks(path))]),
                mel,
                stress(loudness),
                is_silent(loudness[:, None], np.arange(len(loudness), dtype=np.float64)),
            )


def stress(loudness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far the loudness of each column lies above that of the second around it.

    loudness: natural logarithms of power, as log_mel gives them. On eight heads this goes with how mouths open nearly
    twice as closely as the logarithm itself does, and hardly with mouths of other people.
    """
    heard = np.exp(POWER * (np.maximum(loudness, loud_level(loudness) - RANGE) - loud_level(loudness)))
    around = round(AROUND_SECONDS * COLUMNS_PER_SECOND)
    return np.asarray(_moving_mean(heard, SYLLABLE_COLUMNS) - _moving_mean(heard, around), np.float32)


def _moving_mean(values: NDArray[np.floating], reach: int) -> NDArray[np.float64]:
    """Return the mean of values over so many neighbours on either side, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    places = np.arange(len(values))
    first, stop = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    return np.asarray((sums[stop] - sums[first]) / (stop - first))


def _blocks(path: Path) -> Iterator[NDArray[np.float32]]:
    with soundfile.SoundFile(path) as file:
        assert file.samplerate == DRIVING_RATE
        for block in file.blocks(BLOCK_SAMPLES, dtype="float32"):
            yield block[None]
