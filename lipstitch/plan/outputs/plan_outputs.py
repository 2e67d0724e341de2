"""PURE but for sound lengths: what each output shows and hears, from the job and the files' facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lipstitch.job_file.config import JobConfig
from lipstitch.plan.audio.inputs import AudioInputs, check_same_length
from lipstitch.plan.audio.notes import SoundNote, note_other_tracks
from lipstitch.plan.output_timeline import concat_ranges, identity_timeline
from lipstitch.plan.outputs.dialogue import Dialogue
from lipstitch.plan.outputs.length_policy import fit_timeline
from lipstitch.plan.outputs.ranges import JobRange, output_paths
from lipstitch.plan.outputs.spec import DriveAudio, DriveSegment, OutputSpec, SpeakerTurns
from lipstitch.source.checks import require_sane_length
from lipstitch.source.offset import IN_PLACE, SoundOffset
from media.audio.driving import DRIVING_RATE, DRIVING_STEP_SAMPLES
from media.base.errors import ConfigError
from media.intervals import Interval, merge
from media.packets.frame_table import FrameTable
from media.source_video import SourceVideo
from media.timeline import OutputTimeline
from stitcher.assemble import muxer_of
from stitcher.audio.mix import SoundPiece, SoundPlan
from stitcher.container import first_time

DRIVE_MARGIN_SECONDS = Fraction(1, 2)
"""Driving sound around a range. A mel window sees 25 ms before its frame and 225 ms behind."""
MEL_COLUMN_SECONDS = Fraction(DRIVING_STEP_SAMPLES, DRIVING_RATE)


def plan_outputs(
    config: JobConfig,
    video: SourceVideo,
    inputs: AudioInputs,
    dialogue: Dialogue | None = None,
    offset: SoundOffset = IN_PLACE,
) -> tuple[OutputSpec, ...]:
    """Return the outputs of a job, in the order of its ranges.

    dialogue: None also where only pictures and soundtracks matter. offset: by how much the dub is moved, with what
    drives in its place, stems and turns; a range's own file lies where the range says. Raises ConfigError for ranges
    and sounds that do not fit the video, MissingStream where no sound drives the lips, MediaError for a sound that
    cannot be used.
    """
    table = video.table
    require_sane_length(video.info.path, table.seconds(len(table)))
    if inputs.drive is not None:
        check_same_length("input.drive_audio", inputs.drive, inputs.heard)
    if inputs.dub is not None:
        inputs, dialogue = inputs.later(offset.seconds), dialogue.later(offset.seconds) if dialogue else None
    ranges = [JobRange.of(number, part, table, inputs) for number, part in enumerate(config.ranges or ())]
    for part in ranges:
        part.check_length(config, table)
    notes = [*_notes(video, inputs, dialogue, ranges), *([SoundNote(offset.text)] if offset.text else [])]
    planner = _Planner(config, table, inputs, dialogue, tuple(notes))
    if not ranges:
        return (planner.whole(),)
    if config.mode == "patch":
        return (planner.patched(sorted(ranges, key=lambda part: part.start)),)
    if config.extract.join:
        return (planner.extracted(config.output, ranges),)
    outputs = output_paths(config)
    if len({*outputs}) < len(outputs):
        raise ConfigError("ranges: two of them would be written to the same file. Give them different names.")
    return tuple(planner.extracted(output, [part]) for output, part in zip(outputs, ranges, strict=True))


def _notes(
    video: SourceVideo, inputs: AudioInputs, dialogue: Dialogue | None, ranges: Sequence[JobRange]
) -> list[SoundNote]:
    notes = [*inputs.notes, *(note for part in ranges for note in part.notes)]
    if inputs.dub is not None or any(part.has_own_file for part in ranges):
        notes += note_other_tracks(video.info)
    return [*notes, *(dialogue.notes if dialogue else ())]


@dataclass(frozen=True, slots=True)
class _Placed:
    """A range in an output."""

    part: JobRange
    start_frame: int
    """First output frame."""
    video_second: Fraction
    output_second: Fraction
    """What the output shows at this second is the video at `video_second`."""


@dataclass(frozen=True, slots=True)
class _Planner:
    """What all outputs of a job have in common."""

    config: JobConfig
    table: FrameTable
    inputs: AudioInputs
    dialogue: Dialogue | None
    notes: tuple[SoundNote, ...]

    def whole(self) -> OutputSpec:
        """Return the output that shows the whole video, extended if the length policy says so."""
        inputs, table = self.inputs, self.table
        timeline = identity_timeline(table) if inputs.dub is None else fit_timeline(self.config, table, inputs.dub)
        start, end = Fraction(0), timeline.seconds(len(timeline))
        drive = SoundPlan((inputs.driving.piece(start, start, end),), end, Fraction(0))
        speakers, stems = self._dialogue(timeline, drive)
        return OutputSpec(
            output=self.config.output,
            muxer=muxer_of(self.config.output),
            timeline=timeline,
            scanned_frames=((0, len(table)),),
            driven_frames=((0, timeline.frame_at(min(inputs.driving.length, end))),),
            soundtrack=self._soundtrack([inputs.dub.piece(start, start, end)], end) if inputs.dub else None,
            patched_seconds=(),
            drive_audio=DriveAudio(drive, (DriveSegment(0, Fraction(0)),), stems),
            speakers=speakers,
            sound_notes=self.notes,
        )

    def patched(self, ranges: Sequence[JobRange]) -> OutputSpec:
        """Return the output that shows the whole video, with new lips and sound in ranges alone, given in order."""
        inputs, table = self.inputs, self.table
        timeline, end = identity_timeline(table), table.seconds(len(table))
        heard: list[SoundPiece] = []
        at = Fraction(0)
        for part in ranges:
            if inputs.own and at < part.start:
                heard.append(inputs.own.piece(at, at, part.start))
            heard.append(part.heard.piece(part.start + part.shift, part.start, part.stop))
            at = part.stop
        if inputs.own and at < end:
            heard.append(inputs.own.piece(at, at, end))
        drive, segments = _lay_drive([_Placed(part, part.frames[0], part.start, part.start) for part in ranges])
        speakers, stems = self._dialogue(timeline, drive)
        keeps_own = inputs.dub is None and not any(part.has_own_file for part in ranges)
        return OutputSpec(
            output=self.config.output,
            muxer=muxer_of(self.config.output),
            timeline=timeline,
            scanned_frames=tuple(merge(part.frames for part in ranges)),
            driven_frames=tuple(merge((part.frames[0], table.frame_at(part.driven_until)) for part in ranges)),
            soundtrack=None if keeps_own else self._soundtrack(heard, end),
            patched_seconds=tuple((part.start, part.stop) for part in ranges),
            drive_audio=DriveAudio(drive, segments, stems),
            speakers=speakers,
            sound_notes=self.notes,
        )

    def extracted(self, output: Path, ranges: Sequence[JobRange]) -> OutputSpec:
        """Return an output that shows ranges alone, one behind the other as they are given."""
        table, muxer = self.table, muxer_of(output)
        kept = [part.frames for part in ranges]
        timeline = concat_ranges(table, kept, start=first_time(muxer, table, kept))
        heard: list[SoundPiece] = []
        driven: list[Interval] = []
        placed: list[_Placed] = []
        for part, run in zip(ranges, timeline.runs, strict=True):
            start, stop = timeline.seconds(run.start_frame), timeline.seconds(run.stop_frame)
            # The first frame is shown at or after the time the range begins; what is heard with it is that much later.
            moved = table.seconds(part.frames[0])
            heard.append(part.heard.piece(moved + part.shift, start, stop))
            num_driven = table.frame_at(part.driven_until) - part.frames[0]
            driven.append((run.start_frame, run.start_frame + max(0, num_driven)))
            placed.append(_Placed(part, run.start_frame, moved, start))
        drive, segments = _lay_drive(placed)
        speakers, stems = self._dialogue(timeline, drive)
        return OutputSpec(
            output=output,
            muxer=muxer,
            timeline=timeline,
            scanned_frames=tuple(merge(kept)),
            driven_frames=tuple(merge(driven)),
            soundtrack=self._soundtrack(heard, timeline.seconds(len(timeline))),
            patched_seconds=(),
            drive_audio=DriveAudio(drive, segments, stems),
            speakers=speakers,
            sound_notes=self.notes,
        )

    def _dialogue(
        self, timeline: OutputTimeline, drive: SoundPlan
    ) -> tuple[tuple[SpeakerTurns, ...], tuple[SoundPlan, ...]]:
        """Return who speaks when in an output, and the sound of each stem at the times at which the dub drives."""
        if self.dialogue is None:
            return (), ()
        return self.dialogue.turns_in(timeline, self.table), self.dialogue.lay_stems(drive)

    def _soundtrack(self, pieces: Sequence[SoundPiece], duration: Fraction) -> SoundPlan:
        return SoundPlan(tuple(pieces), duration, Fraction(str(self.config.stitcher.crossfade_seconds)))


def _lay_drive(placed: Sequence[_Placed]) -> tuple[SoundPlan, tuple[DriveSegment, ...]]:
    """Lay the driving sound of ranges one behind another.

    Every stretch begins on a mel column of its own file and reaches beyond the range on both sides, so that the mel
    windows of its frames are those of the whole file.
    """
    pieces, segments = [], []
    clock = Fraction(0)
    for at in placed:
        part = at.part
        first_column = max(part.start + part.shift - DRIVE_MARGIN_SECONDS, Fraction(0)) // MEL_COLUMN_SECONDS
        start = first_column * MEL_COLUMN_SECONDS
        num_columns = -((start - part.stop - part.shift - DRIVE_MARGIN_SECONDS) // MEL_COLUMN_SECONDS)
        length = num_columns * MEL_COLUMN_SECONDS
        pieces.append(part.driving.piece(start, clock, clock + length))
        segments.append(DriveSegment(at.start_frame, clock - start + at.video_second + part.shift - at.output_second))
        clock += length
    return SoundPlan(tuple(pieces), clock, Fraction(0)), tuple(segments)
