"""The ranges of a job, in frames of the source and with the sound that each of them takes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lipstitch.job_file.config import JobConfig, RangeConfig
from lipstitch.plan.audio.inputs import AudioInput, AudioInputs, open_audio_input
from lipstitch.plan.audio.notes import SoundNote
from lipstitch.plan.outputs.length_policy import check_length
from lipstitch.source.checks import require_sane_length
from media.base.errors import ConfigError
from media.intervals import Interval, merge
from media.packets.frame_table import FrameTable
from media.source_video import SourceVideo


def frames_to_scan(config: JobConfig, video: SourceVideo) -> list[Interval]:
    """Return the source frames that the outputs of a job show, whatever is heard with them.

    Raises ConfigError for a range that reaches beyond the video, UnreadableMedia for times that are damaged.
    """
    table = video.table
    require_sane_length(video.info.path, table.seconds(len(table)))
    if config.ranges is None:
        return [(0, len(table))]
    return merge(_frames_of(f"ranges.{number}", part, table) for number, part in enumerate(config.ranges))


def _frames_of(key: str, part: RangeConfig, table: FrameTable) -> Interval:
    """Return the source frames of a range of the job; raise ConfigError if it has no frames."""
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


def output_paths(config: JobConfig) -> tuple[Path, ...]:
    """Return the files that a job writes, reports and comparison left out, in the order of its ranges."""
    if config.mode == "patch" or config.extract.join:
        return (config.output,)
    names = (part.name or f"{_clock(part.start)}-{_clock(part.end)}" for part in config.ranges or ())
    return tuple(config.output.with_name(f"{config.output.stem}.{name}{config.output.suffix}") for name in names)


@dataclass(frozen=True, slots=True)
class JobRange:
    """A range of the job in frames, with its sound."""

    key: str
    start: Fraction
    stop: Fraction
    frames: Interval
    """Source frames with start <= time < stop."""
    heard: AudioInput
    driving: AudioInput
    shift: Fraction
    """Second of `heard` and `driving` at time t of the video: t + shift."""
    has_own_file: bool
    notes: tuple[SoundNote, ...]
    """What is wrong with the sound of its own file."""

    @staticmethod
    def of(number: int, part: RangeConfig, table: FrameTable, inputs: AudioInputs) -> JobRange:
        """Check a range of the job against the video."""
        key = f"ranges.{number}"
        frames = _frames_of(key, part, table)
        own, notes = open_audio_input(f"{key}.audio", part.audio) if part.audio else (None, [])
        return JobRange(
            key=key,
            start=part.start,
            stop=min(part.end, table.seconds(len(table))),
            frames=frames,
            heard=own or inputs.heard,
            driving=own or inputs.driving,
            shift=part.audio_start - part.start if own else Fraction(0),
            has_own_file=own is not None,
            notes=tuple(notes),
        )

    def check_length(self, config: JobConfig, table: FrameTable) -> None:
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
            room = self.stop - self.start
            last_frame = table.seconds(self.frames[1]) - table.seconds(self.frames[1] - 1)
            check_length(config, f"{self.key}.audio", self.heard, start=begin, room=room, tolerance=last_frame)

    @property
    def driven_until(self) -> Fraction:
        """Time of the video at which the driving sound ends, inside the range."""
        return min(self.stop, max(self.start, self.driving.length - self.shift))


def _clock(seconds: Fraction) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}.{minutes % 60:02d}.{rest // 1000:02d}.{rest % 1000:03d}"
