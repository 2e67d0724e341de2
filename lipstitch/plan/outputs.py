"""PURE but for sound lengths: what each output shows and hears, from the job and the files' facts.

An edit is one output file: which source frames it shows, in which of them the lips move, what is heard, and what
drives the lips. A job makes one, or one for each extracted range.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from base.clock import format_clock
from base.errors import ConfigError
from lipstitch.job_file.config import JobConfig, RangeConfig
from lipstitch.plan.audio_inputs import (
    AudioInput,
    AudioInputs,
    check_same_length,
    open_audio_input,
    open_audio_inputs,
    require_sane_length,
)
from lipstitch.plan.audio_notes import SoundNote, note_other_tracks
from lipstitch.plan.output_timeline import concat_ranges, extend_timeline, identity_timeline
from media.audio.reader import loudest_after
from media.info import MediaInfo
from media.intervals import Interval, merge
from media.packets.frame_table import FrameTable
from media.timeline import OutputTimeline
from segmenter.spans.turns import Speaker
from stitcher.assemble import muxer_of
from stitcher.audio.mix import SoundPiece, SoundPlan
from stitcher.container import first_time

SILENCE_DBFS = -50.0
"""Peak below which the end of a longer dub may be cut without a word."""
DRIVING_MARGIN_SECONDS = Fraction(1, 2)
"""Driving sound around a range. A mel window sees 25 ms before its frame and 225 ms behind."""
MEL_COLUMN_SECONDS = Fraction(1, 80)


@dataclass(frozen=True, slots=True)
class DriveSegment:
    """Output frames that are driven by one stretch of sound."""

    start_frame: int
    shift: Fraction
    """Seconds to add to the time of an output frame to get its time in the driving sound."""


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output file."""

    output: Path
    timeline: OutputTimeline
    scanned: tuple[Interval, ...]
    """Source frames in which faces are looked for: sorted, disjoint."""
    driven: tuple[Interval, ...]
    """Output frames in which there is sound to move the lips."""
    heard: SoundPlan | None
    """The soundtrack; None if the source's own sound stays as it is."""
    patched: tuple[tuple[Fraction, Fraction], ...]
    """Seconds of the output in which `heard` differs from the source's sound, if the rest may be copied from it."""
    driving: SoundPlan
    """The sound that drives the lips: what is heard with the driven frames, and a little around it, stretch after
    stretch on a clock of its own."""
    stretches: tuple[DriveSegment, ...]
    """Where the driven frames lie in it, in order."""
    speakers: tuple[Speaker, ...] = ()
    """Who speaks when, in a dialogue: their faces are rendered in their own turns alone."""
    stems: tuple[SoundPlan, ...] = ()
    """What drives speakers in place of `driving`: the same times of other files, for voices 1, 2, ..."""
    sound_notes: tuple[SoundNote, ...] = ()
    """Where the sounds begin and why, what is wrong with them, and what else is heard."""

    @property
    def voices(self) -> tuple[SoundPlan, ...]:
        """Return every sound that drives lips, by the number of the voice."""
        return (self.driving, *self.stems)

    def driving_seconds(self, frame: int) -> Fraction:
        """Return the time of an output frame in the driving sound; for frames that are not driven, of the nearest."""
        at = bisect_right(self.stretches, frame, key=lambda stretch: stretch.start_frame)
        stretch = self.stretches[max(at - 1, 0)]
        return self.timeline.seconds(frame) + stretch.shift


def scanned_frames(config: JobConfig, source: MediaInfo, table: FrameTable) -> list[Interval]:
    """Return the source frames that the edits of a job show, whatever is heard with them.

    Raises ConfigError for a range that reaches beyond the video, UnreadableMedia for times that are damaged.
    """
    require_sane_length(source.path, table.seconds(len(table)))
    if config.ranges is None:
        return [(0, len(table))]
    return merge(_frames_of(f"ranges.{number}", part, table) for number, part in enumerate(config.ranges))


def _frames_of(key: str, part: RangeConfig, table: FrameTable) -> Interval:
    """Return the source frames of a range of the job; raise ConfigError where there are none."""
    end, last = table.seconds(len(table)), table.seconds(len(table) - 1)
    if part.start > last or part.end > 2 * end - last:
        raise ConfigError(
            f"{key}: {float(part.start):g} s to {float(part.end):g} s reaches beyond the video, which lasts"
            f" {float(end):.3f} s. Choose times inside it."
        )
    frames = (table.frame_at(part.start), table.frame_at(part.end))
    if frames[0] == frames[1]:
        raise ConfigError(f"{key}: there is no frame between {float(part.start):g} s and {float(part.end):g} s.")
    return frames


def plan_outputs(config: JobConfig, source: MediaInfo, table: FrameTable) -> tuple[OutputSpec, ...]:
    """Return the edits of a job. Raises ConfigError, MissingStream or UnreadableMedia before any work is done."""
    require_sane_length(source.path, table.seconds(len(table)))
    voices = open_audio_inputs(config, source, table)
    if voices.drive is not None:
        check_same_length("input.drive_audio", voices.drive, voices.heard)
    if config.ranges is None:
        return _noted([_whole_edit(config, table, voices)], source, voices, [])
    ranges = [_Range.of(number, part, table, voices) for number, part in enumerate(config.ranges)]
    for part in ranges:
        part.check_length(config)
    return _noted(_ranges_edits(config, table, voices, ranges), source, voices, ranges)


def _ranges_edits(
    config: JobConfig, table: FrameTable, voices: AudioInputs, ranges: Sequence[_Range]
) -> Sequence[OutputSpec]:
    if config.mode == "patch":
        return [_patch_edit(config, table, voices, sorted(ranges, key=lambda part: part.start))]
    if config.extract.join:
        return [_extract_edit(config, table, config.output, ranges)]
    named = [
        (config.output.with_name(f"{config.output.stem}.{part.name}{config.output.suffix}"), part) for part in ranges
    ]
    if len({output for output, _ in named}) < len(named):
        raise ConfigError("ranges: two of them would be written to the same file. Give them different names.")
    return [_extract_edit(config, table, output, [part]) for output, part in named]


def _noted(
    edits: Sequence[OutputSpec], source: MediaInfo, voices: AudioInputs, ranges: Sequence[_Range]
) -> tuple[OutputSpec, ...]:
    """Return the edits with what is to be said of their sound."""
    notes = [*voices.notes, *(note for part in ranges for note in part.notes)]
    if voices.dub is not None or any(part.has_own_file for part in ranges):
        notes += note_other_tracks(source)
    return tuple(replace(edit, sound_notes=tuple(notes)) for edit in edits)


def _whole_edit(config: JobConfig, table: FrameTable, voices: AudioInputs) -> OutputSpec:
    timeline = identity_timeline(table)
    if voices.dub is not None:
        timeline = _fitted(config, timeline, voices.dub, table)
    end = timeline.seconds(len(timeline))
    driven = ((0, timeline.frame_at(min(voices.driving.length, end))),)
    return OutputSpec(
        output=config.output,
        timeline=timeline,
        scanned=((0, len(table)),),
        driven=driven,
        heard=_sound_plan(config, [voices.dub.piece(Fraction(0), Fraction(0), end)], end) if voices.dub else None,
        patched=(),
        driving=SoundPlan((voices.driving.piece(Fraction(0), Fraction(0), end),), end, Fraction(0)),
        stretches=(DriveSegment(0, Fraction(0)),),
    )


def _fitted(config: JobConfig, timeline: OutputTimeline, dub: AudioInput, table: FrameTable) -> OutputTimeline:
    """Apply the length policy: return the timeline, prolonged if it says so; raise ConfigError where it forbids."""
    video, sound = timeline.seconds(len(timeline)), dub.length
    policy = config.input.length_policy
    if policy in ("freeze", "loop", "bounce"):
        return extend_timeline(timeline, sound, policy) if sound > video else timeline
    _check_length(config, "input.audio", dub, Fraction(0), sound, video, video - table.seconds(len(table) - 1))
    return timeline


def _check_length(
    config: JobConfig,
    key: str,
    voice: AudioInput,
    start: Fraction,
    sound: Fraction,
    room: Fraction,
    tolerance: Fraction,
) -> None:
    """Raise ConfigError if the length policy forbids what `sound` seconds from `start` do in `room` seconds."""
    policy = config.input.length_policy
    begins = f" and begins at {float(voice.lead):.3f} s" if voice.lead and not voice.has_own_picture else ""
    lengths = (
        f"{key} lasts {float(sound - (voice.lead if begins else 0)):.3f} s{begins}, the picture {float(room):.3f} s"
    )
    remedies = "cut" if config.ranges else "cut, freeze, loop or bounce"
    if policy == "error" and abs(sound - room) > tolerance:
        raise ConfigError(f"{lengths}, and input.length_policy is error. Set it to video, {remedies}.")
    if policy == "video" and sound - room > tolerance:
        index = voice.info.require_audio().index
        peak = loudest_after(voice.info.path, index, start + room - voice.lead)
        if peak > SILENCE_DBFS:
            raise ConfigError(
                f"{lengths}, and what would be cut is not silent (peak {peak:.1f} dBFS)."
                f" Set input.length_policy to {remedies}."
            )


@dataclass(frozen=True, slots=True)
class _Range:
    """A range of the job in frames, with its sound."""

    key: str
    name: str
    start: Fraction
    stop: Fraction
    frames: Interval
    """Source frames with start <= time < stop."""
    frame_seconds: Fraction
    """How long the last of them is shown."""
    heard: AudioInput
    driving: AudioInput
    shift: Fraction
    """Second of `heard` and `driving` at time t of the video: t + shift."""
    has_own_file: bool
    notes: tuple[SoundNote, ...]
    """What is wrong with the sound of its own file."""

    @staticmethod
    def of(number: int, part: RangeConfig, table: FrameTable, voices: AudioInputs) -> _Range:
        """Check a range of the job against the video."""
        key = f"ranges.{number}"
        frames = _frames_of(key, part, table)
        own, notes = open_audio_input(f"{key}.audio", part.audio) if part.audio else (None, [])
        return _Range(
            key=key,
            name=part.name or f"{_name_of(part.start)}-{_name_of(part.end)}",
            start=part.start,
            stop=min(part.end, table.seconds(len(table))),
            frames=frames,
            frame_seconds=table.seconds(frames[1]) - table.seconds(frames[1] - 1),
            heard=own or voices.heard,
            driving=own or voices.driving,
            shift=part.audio_start - part.start if own else Fraction(0),
            has_own_file=own is not None,
            notes=tuple(notes),
        )

    def check_length(self, config: JobConfig) -> None:
        """Apply the length policy to a range that has a whole file of its own, not just a place in one."""
        begin = self.start + self.shift
        sound = self.heard.length - begin
        if sound <= 0:
            key = f"{self.key}.audio_start" if self.has_own_file else self.key
            raise ConfigError(
                f"{key}: the sound of {self.heard.info.path} has ended there ({float(self.heard.length):.3f} s)."
                " Choose an earlier time."
            )
        if self.has_own_file and begin == 0:
            _check_length(
                config, f"{self.key}.audio", self.heard, begin, sound, self.stop - self.start, self.frame_seconds
            )

    @property
    def driven_until(self) -> Fraction:
        """Time of the video at which the driving sound ends, inside the range."""
        return min(self.stop, max(self.start, self.driving.length - self.shift))


def _patch_edit(config: JobConfig, table: FrameTable, voices: AudioInputs, ranges: Sequence[_Range]) -> OutputSpec:
    timeline = identity_timeline(table)
    end = table.seconds(len(table))
    heard: list[SoundPiece] = []
    at = Fraction(0)
    for part in ranges:
        if voices.own and at < part.start:
            heard.append(voices.own.piece(at, at, part.start))
        heard.append(part.heard.piece(part.start + part.shift, part.start, part.stop))
        at = part.stop
    if voices.own and at < end:
        heard.append(voices.own.piece(at, at, end))
    driving, stretches = _lay_driving([(part, part.frames[0], part.start, part.start) for part in ranges])
    keeps_own = voices.dub is None and not any(part.has_own_file for part in ranges)
    return OutputSpec(
        output=config.output,
        timeline=timeline,
        scanned=tuple(merge(part.frames for part in ranges)),
        driven=tuple(merge((part.frames[0], table.frame_at(part.driven_until)) for part in ranges)),
        heard=None if keeps_own else _sound_plan(config, heard, end),
        patched=tuple((part.start, part.stop) for part in ranges),
        driving=driving,
        stretches=stretches,
    )


def _extract_edit(config: JobConfig, table: FrameTable, output: Path, ranges: Sequence[_Range]) -> OutputSpec:
    kept = [part.frames for part in ranges]
    timeline = concat_ranges(table, kept, start=first_time(muxer_of(output), table, kept))
    heard: list[SoundPiece] = []
    driven: list[Interval] = []
    placed: list[tuple[_Range, int, Fraction, Fraction]] = []
    for part, run in zip(ranges, timeline.runs, strict=True):
        start, stop = timeline.seconds(run.start_frame), timeline.seconds(run.stop_frame)
        # The first frame is shown at or after the time the range begins; what is heard with it is that much later.
        moved = table.seconds(part.frames[0])
        heard.append(part.heard.piece(moved + part.shift, start, stop))
        num_driven = table.frame_at(part.driven_until) - part.frames[0]
        driven.append((run.start_frame, run.start_frame + max(0, num_driven)))
        placed.append((part, run.start_frame, moved, start))
    end = timeline.seconds(len(timeline))
    driving, stretches = _lay_driving(placed)
    return OutputSpec(
        output=output,
        timeline=timeline,
        scanned=tuple(merge(part.frames for part in ranges)),
        driven=tuple(merge(driven)),
        heard=_sound_plan(config, heard, end),
        patched=(),
        driving=driving,
        stretches=stretches,
    )


def _lay_driving(
    placed: Sequence[tuple[_Range, int, Fraction, Fraction]],
) -> tuple[SoundPlan, tuple[DriveSegment, ...]]:
    """Lay the driving sound of ranges one behind another.

    placed: each range with its first output frame, a second of the video, and the second of the output shown then.
    Every stretch begins on a mel column of its own file and reaches beyond the range on both sides, so that the mel
    windows of its frames are those of the whole file.
    """
    pieces, stretches = [], []
    clock = Fraction(0)
    for part, start_frame, video_second, output_second in placed:
        begin = max(part.start + part.shift - DRIVING_MARGIN_SECONDS, Fraction(0)) // MEL_COLUMN_SECONDS
        start = begin * MEL_COLUMN_SECONDS
        columns = -((start - part.stop - part.shift - DRIVING_MARGIN_SECONDS) // MEL_COLUMN_SECONDS)
        length = columns * MEL_COLUMN_SECONDS
        pieces.append(part.driving.piece(start, clock, clock + length))
        stretches.append(DriveSegment(start_frame, clock - start + video_second + part.shift - output_second))
        clock += length
    return SoundPlan(tuple(pieces), clock, Fraction(0)), tuple(stretches)


def _sound_plan(config: JobConfig, pieces: Sequence[SoundPiece], duration: Fraction) -> SoundPlan:
    return SoundPlan(tuple(pieces), duration, Fraction(str(config.stitcher.crossfade_seconds)))


def _name_of(seconds: Fraction) -> str:
    """Return a time as part of a file name: Windows allows no colons in names."""
    return format_clock(seconds).replace(":", ".")
