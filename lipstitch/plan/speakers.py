"""Who speaks in the picture: as the turns of a dialogue, and as the choice of whose mouth is rendered."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from lipstitch.job_file.speakers import person_name
from lipstitch.plan.audio.inputs import AudioInput
from lipstitch.plan.outputs.dialogue import Dialogue, DialogueSpeaker
from lipstitch.plan.speech import listen
from lipstitch.progress import Reporter, Timings
from lipstitch.source.judge import judge_speakers
from lipstitch.source.scan import Scanned
from lipstitch.workspace import Workspace
from media.audio.driving import DRIVING_RATE
from media.faces import FaceBox
from media.intervals import Interval
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Identities, seconds_of
from segmenter.people.targets import WhoSpeaks
from segmenter.spans.turns import TimeRange, join_turns
from segmenter.speaking.passages import Place
from segmenter.speaking.speakers import FoundSpeakers
from stitcher.audio.mix import SoundPlan

LEAST_TURN_SECONDS = Fraction(3, 10)
"""A shorter turn is taken for a mistake: a word lasts longer."""


HEARD_AROUND_SECONDS = Fraction(2)
"""What is heard before and behind the frames that are judged."""


def hear_speakers(
    scanned: Scanned, identities: Identities, workspace: Workspace, reporter: Reporter, timings: Timings
) -> FoundSpeakers:
    """Return which faces of a scan speak when, in the video's own sound. What an earlier run found is reused."""
    speech = _own_speech(scanned, identities, workspace)
    return judge_speakers(scanned, identities, speech, workspace, reporter, timings)


def _own_speech(scanned: Scanned, identities: Identities, workspace: Workspace) -> list[TimeRange]:
    """Return when the video's own sound, as far as it is moved, speaks, from the first frame scanned to the last.

    Times are seconds since the first frame of the video.
    """
    source, shots = scanned.source, identities.shots
    table = source.table
    if not shots:
        return []
    start = max(table.seconds(shots[0].start) - HEARD_AROUND_SECONDS, Fraction(0))
    length = table.seconds(shots[-1].stop) - start + HEARD_AROUND_SECONDS
    own = AudioInput(source.info, table.pts[0] * table.time_base).later(scanned.offset.seconds)
    heard = SoundPlan((own.piece(start, Fraction(0), length),), length, Fraction(0))
    spoken = listen(heard, workspace).spoken
    return [(start + Fraction(first, DRIVING_RATE), start + Fraction(last, DRIVING_RATE)) for first, last in spoken]


def build_dialogue(found: FoundSpeakers, identities: Identities, table: FrameTable) -> tuple[Dialogue, str]:
    """Return the turns of everyone who speaks, named by number, and as a sentence what has no turn; empty if all has.

    Short pauses of a speaker belong to their turns, as in a file of turns.
    """
    people = {number: _ranges(frames, table) for number, frames in found.of_people(identities).items()}
    speakers = []
    for number, own in people.items():
        others = sorted(part for other, parts in people.items() if other != number for part in parts)
        turns = [part for part in join_turns(own, others) if part[1] - part[0] >= LEAST_TURN_SECONDS]
        speakers.append(DialogueSpeaker(person_name(number), 0, tuple(turns)))
    unknown = seconds_of(found.of_unidentified(identities), table)
    notes = [] if people else ["no one who is identified speaks in the video's own sound, so no one is rendered"]
    if unknown:
        notes.append(
            f"for {unknown:.1f} s a face speaks that is not identified, and is not rendered; segmenter.target: speaker,"
            " without input.speakers, renders such faces as well"
        )
    return Dialogue(tuple(speakers), (), ()), "; ".join(notes)


def _ranges(frames: Sequence[Interval], table: FrameTable) -> list[TimeRange]:
    return [(table.seconds(start), table.seconds(stop)) for start, stop in frames]


def choose_speaking(found: FoundSpeakers, identities: Identities, table: FrameTable) -> WhoSpeaks:
    """Return the choice of who speaks at the time; short pauses in which no one else does belong to it."""
    ranges = {place: _ranges(frames, table) for place, frames in found.spoken.items()}
    in_shot: dict[int, list[Place]] = {}
    for place in ranges:
        in_shot.setdefault(place[0], []).append(place)
    spoken: dict[tuple[int, FaceBox], tuple[Interval, ...]] = {}
    for (shot, track), own in ranges.items():
        others = sorted(part for place in in_shot[shot] if place != (shot, track) for part in ranges[place])
        frames = tuple((table.frame_at(start), table.frame_at(stop)) for start, stop in join_turns(own, others))
        for frame, face in identities.shots[shot].tracks[track].items():
            spoken[frame, face.box] = frames
    return WhoSpeaks(spoken, found.describe(identities, table))
