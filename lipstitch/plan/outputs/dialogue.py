"""A dialogue: who speaks when in each output, the sound of each stem, and how much of it is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.speakers import cast_by_number
from lipstitch.job_file.turn_file import Turn, check_end, read_turns
from lipstitch.plan.audio.inputs import AudioInput, AudioInputs, check_same_length, open_beside, turns_start
from lipstitch.plan.audio.notes import SoundNote
from lipstitch.plan.output_timeline import split_held
from lipstitch.plan.outputs.spec import SpeakerTurns
from media.clips import Span
from media.intervals import Interval, intersect, merge
from media.packets.frame_table import FrameTable
from media.source_video import SourceVideo
from media.timeline import OutputTimeline
from segmenter.spans.turns import Speaker, TimeRange, in_turns, join_turns
from stitcher.audio.mix import SoundPlan


@dataclass(frozen=True, slots=True)
class DialogueSpeaker:
    """One speaker of a dialogue."""

    name: str
    drive_index: int
    """What drives their lips: 0 the dub, n the n-th stem."""
    stretches: tuple[TimeRange, ...]
    """When they speak, in seconds on the clock of the video: sorted, disjoint."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Who speaks when, and the sound of each stem."""

    speakers: tuple[DialogueSpeaker, ...]
    stems: tuple[AudioInput, ...]
    notes: tuple[SoundNote, ...]
    """Where turns and stems begin and why, and what is wrong with the stems."""

    def turns_in(self, timeline: OutputTimeline, table: FrameTable) -> tuple[SpeakerTurns, ...]:
        """Return when each speaker speaks in an output."""
        return tuple(
            SpeakerTurns(speaker.name, speaker.drive_index, _frames(timeline, table, speaker.stretches))
            for speaker in self.speakers
        )

    def listed(self, start: Fraction) -> list[tuple[Fraction, Fraction, str]]:
        """Return every turn (start, stop, speaker) as a file of turns has it. start: where its second 0 lies."""
        return [
            (begin - start, end - start, speaker.name) for speaker in self.speakers for begin, end in speaker.stretches
        ]

    def later(self, seconds: Fraction) -> Dialogue:
        """Return the same with turns and stems that much later; earlier if negative."""
        speakers = (replace(each, stretches=tuple(_moved(each.stretches, seconds))) for each in self.speakers)
        return replace(self, speakers=tuple(speakers), stems=tuple(stem.later(seconds) for stem in self.stems))

    def lay_stems(self, drive: SoundPlan) -> tuple[SoundPlan, ...]:
        """Return the sound of each stem at the very times at which the dub drives."""
        return tuple(_laid_like(drive, stem) for stem in self.stems)


def open_dialogue(config: JobConfig, video: SourceVideo, inputs: AudioInputs) -> Dialogue | None:
    """Read the turns of a job and open its stems; None if the job has no dialogue.

    Raises ConfigError for what is wrong with the turns or the length of a stem, MediaError for a stem without sound.
    """
    settings = config.input.speakers
    if settings is None or not isinstance(settings.turns, Path):  # who speaks when is told after the scan
        return None
    turns = read_turns(settings.turns, settings.cast)
    cast = settings.cast or cast_by_number(turn.speaker for turn in turns)
    heard = inputs.heard
    start, notes = turns_start(config, heard)
    check_end(settings.turns, turns, heard.length - start)
    stems: list[AudioInput] = []
    speakers: list[DialogueSpeaker] = []
    for name, speaker in cast.items():
        voice = 0
        if speaker.stem is not None:
            key = f"input.speakers.cast.{name}.stem"
            stem, found = open_beside(config, key, speaker.stem, heard, video.table.seconds(len(video.table)))
            check_same_length(key, stem, heard)
            stems.append(stem)
            notes += found
            voice = len(stems)
        speakers.append(DialogueSpeaker(name, voice, tuple(_stretches(name, turns, start))))
    return Dialogue(tuple(speakers), tuple(stems), tuple(notes))


def _stretches(name: str, turns: Sequence[Turn], start: Fraction) -> list[TimeRange]:
    """Return a speaker's turns on the clock of the video. start: second of it at which second 0 of the turns lies."""
    own = [(turn.start, turn.stop) for turn in turns if turn.speaker == name]
    joined = join_turns(own, [(turn.start, turn.stop) for turn in turns if turn.speaker != name])
    return _moved(joined, start)


def _moved(stretches: Sequence[TimeRange], seconds: Fraction) -> list[TimeRange]:
    """Return times that much later, as far as they lie in the video."""
    moved = ((max(begin + seconds, Fraction(0)), end + seconds) for begin, end in stretches)
    return [(begin, end) for begin, end in moved if begin < end]


def split_at_turns(timeline: OutputTimeline, speakers: Sequence[SpeakerTurns | Speaker]) -> OutputTimeline:
    """Return a timeline whose held frames are split wherever a turn begins or ends."""
    return split_held(timeline, sorted({border for each in speakers for turn in each.turns for border in turn}))


def _frames(timeline: OutputTimeline, table: FrameTable, own: Sequence[TimeRange]) -> tuple[Interval, ...]:
    """Return the output frames of turns: those shown at or after its start and before its stop, as for ranges.

    own: on the clock of the video, which goes on where the output is prolonged; an extraction keeps it.
    """
    if timeline.is_source:
        return tuple(merge((timeline.frame_at(start), timeline.frame_at(stop)) for start, stop in own))
    frames = [(table.frame_at(start), table.frame_at(stop)) for start, stop in own]
    return tuple(merge(run.output_interval(*part) for run in timeline.runs for part in frames))


def _laid_like(drive: SoundPlan, stem: AudioInput) -> SoundPlan:
    index = stem.info.require_audio().index
    pieces = (replace(piece, path=stem.info.path, stream_index=index, zero=stem.zero) for piece in drive.pieces)
    return replace(drive, pieces=tuple(pieces))


@dataclass(frozen=True, slots=True)
class Share:
    """What a speaker has of an output."""

    speaker: Speaker
    spoken_seconds: float
    rendered_seconds: float
    """How much of that their lips are seen to move."""

    def describe(self) -> str:
        """Return the share in one line."""
        speaker = self.speaker
        who = " and ".join(f"person {number}" for number in speaker.people) or "not seen"
        sound = "own stem" if speaker.drive_index else "the dub"
        count = f"{len(speaker.turns)} turn{'' if len(speaker.turns) == 1 else 's'}"
        return (
            f"{speaker.name}: {who}, {sound}; {count}, {self.spoken_seconds:.1f} s,"
            f" of which {self.rendered_seconds:.1f} s on screen"
        )


def build_shares(
    timeline: OutputTimeline,
    driven: Sequence[Interval],
    speakers: Sequence[Speaker],
    moving: Sequence[Speaker],
    seen: Sequence[Span],
) -> tuple[Share, ...]:
    """Return what each speaker has of an output.

    driven: output frames with sound to move lips. moving: the speakers without those pauses of their turns in which
    mouths stay as they are. seen: the face spans, not yet cut to turns.
    """
    shares = []
    for speaker, mover in zip(speakers, moving, strict=True):
        own = [span for span in seen if span.person in speaker.people]
        parts = merge(part for run in timeline.runs for span in own for part, _ in in_turns(span, run, [mover]))
        spoken, rendered = (
            float(sum((timeline.seconds(stop) - timeline.seconds(start) for start, stop in frames), Fraction(0)))
            for frames in (speaker.turns, intersect(parts, driven))
        )
        shares.append(Share(speaker, spoken, rendered))
    return tuple(shares)
