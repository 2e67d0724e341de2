"""Notes on the sounds of a job: broken samples, clipping, tracks that keep the source's voice."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path

from media.audio.sample_faults import SampleFaults, survey_samples
from media.base.errors import UnreadableMedia, UnsupportedMedia
from media.info import MediaInfo

PLAYS_TOGETHER = "mov,mp4,m4a,3gp,3g2,mj2"
"""Container in which all enabled tracks are heard at once; elsewhere such tracks are a choice."""
MOST_BROKEN = 0.01
"""Share of a sound's samples that may be broken; more than that is not an accident."""
CLIPPED_PEAK, ABSURD_PEAK = 10 ** (1 / 20), 10 ** (40 / 20)
"""Times full scale: a peak that is worth a word, and one that no gain explains (integers written as floats)."""


@dataclass(frozen=True, slots=True)
class SoundNote:
    """One sentence for plan, console and report on what is done with a sound."""

    text: str
    is_warning: bool = False


def note_other_tracks(source: MediaInfo) -> list[SoundNote]:
    """Return notes where the dub replaces one of several sound tracks."""
    others = range(2, len(source.audio) + 1)
    if not others:
        return []
    listed = f"track {others[0]} stays" if len(others) == 1 else f"tracks {_enumerated(others)} stay"
    text = f"the dub replaces sound track 1 of {len(source.audio)} alone; {listed} as in the source"
    together = [number for number in others if source.audio[number - 1].is_enabled]
    if source.container != PLAYS_TOGETHER or not together:
        return [SoundNote(f"{text}, and may hold its voice")]
    path = Path(source.path)
    command = ["ffmpeg", "-i", source.path, "-map", "0:v", "-map", "0:a:0", "-map", "0:s?", "-c", "copy"]
    together_with = f"players turn on {_enumerated(together)} together with it"
    advice = f"Leave such tracks out first: {shlex.join([*command, f'{path.stem}.one{path.suffix}'])}"
    heard = "if the source's voice is there, it is heard beside the dub"
    return [SoundNote(f"{text}, and {together_with}: {heard}. {advice}", is_warning=True)]


def _enumerated(numbers: Sequence[int]) -> str:
    *rest, last = map(str, numbers)
    return f"{', '.join(rest)} and {last}" if rest else last


def check_samples(key: str, info: MediaInfo, *, stays: bool = False) -> list[SoundNote]:
    """Return notes on a sound's samples; raise MediaError where they cannot be intended.

    stays: whether the output has the sound as it is, so that only what drives the lips is repaired.
    """
    faults = survey_samples(info.path, info.require_audio().index)
    if faults is None:
        return []
    if faults.num_broken > MOST_BROKEN * faults.num_samples:
        raise UnreadableMedia(
            f"{info.path}: {_broken(faults)}, {faults.num_broken / faults.num_samples:.0%} of all."
            f" Make {key} again: what wrote it has failed."
        )
    if faults.peak > ABSURD_PEAK:
        full_scale = next((1 << bits for bits in (15, 23, 31) if faults.peak <= 1 << bits), round(faults.peak))
        raise UnsupportedMedia(
            f"{info.path}: samples reach {faults.peak:.6g} times full scale, at {faults.peak_seconds:.3f} s; integers"
            f" may have been written as floats. Scale them first: {_scaled(info.path, f'1/{full_scale}')}"
        )
    notes = []
    if faults.num_broken:
        done = "they stay in the output, and drive the lips as silence" if stays else "there silence is heard"
        notes.append(f"{key}: {_broken(faults)}; {done} ({info.path})")
    if faults.peak > CLIPPED_PEAK and not stays:
        decibels = 20 * log10(faults.peak)
        notes.append(
            f"{key} goes {decibels:.1f} dB beyond full scale at {faults.peak_seconds:.3f} s and will be clipped."
            f" Turn it down first: {_scaled(info.path, f'-{decibels:.1f}dB')}"
        )
    return [SoundNote(note, is_warning=True) for note in notes]


def _broken(faults: SampleFaults) -> str:
    samples = "1 sample is not a number" if faults.num_broken == 1 else f"{faults.num_broken} samples are not numbers"
    return f"{samples} (NaN or infinite), the first at {faults.first_broken_seconds:.3f} s"


def _scaled(path: str, volume: str) -> str:
    """Return the command that brings a sound to another volume."""
    return shlex.join(["ffmpeg", "-i", path, "-vn", "-af", f"volume={volume}", f"{Path(path).stem}.scaled.wav"])
