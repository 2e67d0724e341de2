"""PURE: one output file, as a value: which source frames it shows, where lips move, what is heard, what drives lips."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lipstitch.plan.audio.notes import SoundNote
from media.intervals import Interval
from media.timeline import OutputTimeline
from stitcher.audio.mix import SoundPlan


@dataclass(frozen=True, slots=True)
class DriveSegment:
    """Output frames that one stretch of sound drives."""

    start_frame: int
    shift: Fraction
    """Seconds to add to the time of an output frame to get its time in the driving sound."""


@dataclass(frozen=True, slots=True)
class DriveAudio:
    """The sounds that drive the lips: for the driven frames and a little around them, stretch after stretch.

    All of them share one clock, which is not the output's.
    """

    main: SoundPlan
    """What drives all lips but those of speakers with a stem: voice 0."""
    segments: tuple[DriveSegment, ...]
    """Where the driven frames lie in it, in order."""
    stems: tuple[SoundPlan, ...] = ()
    """The same times of other files, for voices 1, 2, ..."""

    @property
    def voices(self) -> tuple[SoundPlan, ...]:
        """Return every sound that drives lips, by the number of the voice."""
        return (self.main, *self.stems)


@dataclass(frozen=True, slots=True)
class SpeakerTurns:
    """When one speaker of a dialogue speaks in an output. Who that is in the picture is known after the scan."""

    name: str
    drive_index: int
    """What drives their lips: 0 the dub, n the n-th stem."""
    turns: tuple[Interval, ...]
    """Output frames: sorted, disjoint."""


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output file. A job makes one, or one for each extracted range."""

    output: Path
    muxer: str
    """FFmpeg's name of its container."""
    timeline: OutputTimeline
    scanned_frames: tuple[Interval, ...]
    """Source frames in which faces are looked for: sorted, disjoint."""
    driven_frames: tuple[Interval, ...]
    """Output frames in which there is sound to move the lips: sorted, disjoint."""
    soundtrack: SoundPlan | None
    """What is heard; None if the source's own sound stays as it is."""
    patched_seconds: tuple[tuple[Fraction, Fraction], ...]
    """Where the soundtrack differs from the source's sound, on the clock of the output, if the rest may be copied."""
    drive_audio: DriveAudio
    speakers: tuple[SpeakerTurns, ...] = ()
    """In a dialogue, everyone who speaks: their faces are rendered in their own turns alone."""
    sound_notes: tuple[SoundNote, ...] = ()
    """Where the sounds begin and why, what is wrong with them, and what else is heard."""

    @property
    def anchor_seconds(self) -> Fraction:
        """Return the time of the first frame on the clock of the file."""
        return self.timeline.pts[0] * self.timeline.time_base

    def drive_seconds(self, frame: int) -> Fraction:
        """Return the time of an output frame in the driving sound; for frames that are not driven, of the nearest."""
        segments = self.drive_audio.segments
        at = bisect_right(segments, frame, key=lambda segment: segment.start_frame)
        return self.timeline.seconds(frame) + segments[max(at - 1, 0)].shift
