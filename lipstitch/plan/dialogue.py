"""A dialogue in the edits of a job: who speaks when in each output, and the sound of each stem laid like the dub's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.turn_file import Turn, check_end, read_turns
from lipstitch.plan.audio_inputs import AudioInput, check_same_length, open_audio_inputs, open_beside, turns_start
from lipstitch.plan.output_timeline import split_held
from lipstitch.plan.outputs import OutputSpec
from lipstitch.progress import Reporter
from media.clips import Span
from media.info import MediaInfo
from media.intervals import Interval, intersect, merge
from media.packets.frame_table import FrameTable
from media.timeline import OutputTimeline
from segmenter.spans.turns import Speaker, Stretch, in_turns, join_turns
from stitcher.audio.mix import SoundPlan


def assign_speakers(
    config: JobConfig, source: MediaInfo, table: FrameTable, edits: Sequence[OutputSpec], reporter: Reporter
) -> tuple[OutputSpec, ...]:
    """Return the edits with who speaks when in them, if the job has a dialogue; warn of speakers who have no turn.

    Raises ConfigError for what is wrong with the turns or the length of a stem, MediaError for a stem without sound.
    """
    dialogue = config.input.speakers
    if dialogue is None:
        return tuple(edits)
    turns = read_turns(dialogue.turns, dialogue.cast)
    heard = open_audio_inputs(config, source, table).heard
    start, notes = turns_start(config, heard)
    check_end(dialogue.turns, turns, heard.length - start)
    stems: list[AudioInput] = []
    speakers: list[tuple[str, int, list[Stretch]]] = []
    for name, speaker in dialogue.cast.items():
        voice = 0
        if speaker.stem is not None:
            key = f"input.speakers.cast.{name}.stem"
            stem, found = open_beside(config, key, speaker.stem, heard, table.seconds(len(table)))
            check_same_length(key, stem, heard)
            stems.append(stem)
            notes += found
            voice = len(stems)
        speakers.append((name, voice, _stretches(name, turns, start)))
        if not speakers[-1][2]:
            reporter.warning(f"input.speakers.cast.{name}: {dialogue.turns} holds no turn of this speaker.")
    assigned = (_assign(edit, table, speakers, stems) for edit in edits)
    return tuple(replace(edit, sound_notes=(*edit.sound_notes, *notes)) for edit in assigned)


def _stretches(name: str, turns: Sequence[Turn], start: Fraction) -> list[Stretch]:
    """Return a speaker's turns on the clock of the video. start: second of it at which second 0 of the turns lies."""
    own = [(turn.start, turn.stop) for turn in turns if turn.speaker == name]
    joined = join_turns(own, [(turn.start, turn.stop) for turn in turns if turn.speaker != name])
    moved = ((max(begin + start, Fraction(0)), end + start) for begin, end in joined)
    return [(begin, end) for begin, end in moved if begin < end]


def _assign(
    edit: OutputSpec,
    table: FrameTable,
    speakers: Sequence[tuple[str, int, Sequence[Stretch]]],
    stems: Sequence[AudioInput],
) -> OutputSpec:
    found = tuple(Speaker(name, voice, _frames(edit.timeline, table, own)) for name, voice, own in speakers)
    return replace(
        edit,
        timeline=split_held(edit.timeline, borders_of(found)),
        speakers=found,
        stems=tuple(_laid_like(edit.driving, stem) for stem in stems),
    )


def borders_of(speakers: Sequence[Speaker]) -> list[int]:
    """Return where turns begin or end, sorted: in output frames."""
    return sorted({border for speaker in speakers for turn in speaker.turns for border in turn})


def _frames(timeline: OutputTimeline, table: FrameTable, own: Sequence[Stretch]) -> tuple[Interval, ...]:
    """Return the output frames of turns: those shown at or after its start and before its stop, as for ranges.

    own: on the clock of the video, which goes on where the output is prolonged; an extraction keeps it.
    """
    if timeline.is_source:
        return tuple(merge((timeline.frame_at(start), timeline.frame_at(stop)) for start, stop in own))
    frames = [(table.frame_at(start), table.frame_at(stop)) for start, stop in own]
    return tuple(merge(run.output_interval(*part) for run in timeline.runs for part in frames))


def _laid_like(driving: SoundPlan, stem: AudioInput) -> SoundPlan:
    """Return the sound of a stem at the very times at which the dub drives."""
    index = stem.info.require_audio().index
    return replace(
        driving,
        pieces=tuple(
            replace(piece, path=stem.info.path, stream_index=index, zero=stem.zero) for piece in driving.pieces
        ),
    )


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
        sound = "own stem" if speaker.voice else "the dub"
        count = f"{len(speaker.turns)} turn{'' if len(speaker.turns) == 1 else 's'}"
        return (
            f"{speaker.name}: {who}, {sound}; {count}, {self.spoken_seconds:.1f} s,"
            f" of which {self.rendered_seconds:.1f} s on screen"
        )


def build_shares(
    edit: OutputSpec, speakers: Sequence[Speaker], speaking: Sequence[Speaker], seen: Sequence[Span]
) -> tuple[Share, ...]:
    """Return what each speaker has of an output.

    speakers: cast; speaking: the same, without those pauses of their turns in which mouths stay as they are. seen: the
    face spans, not yet cut to turns.
    """
    timeline = edit.timeline
    shares = []
    for speaker, moving in zip(speakers, speaking, strict=True):
        own = [span for span in seen if span.person in speaker.people]
        parts = merge(part for run in timeline.runs for span in own for part, _ in in_turns(span, run, [moving]))
        spoken, rendered = (
            float(sum((timeline.seconds(stop) - timeline.seconds(start) for start, stop in frames), Fraction(0)))
            for frames in (speaker.turns, intersect(parts, edit.driven))
        )
        shares.append(Share(speaker, spoken, rendered))
    return tuple(shares)
