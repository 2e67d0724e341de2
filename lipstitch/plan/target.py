"""Who is in the video, and whose mouth moves: the target of the job, matched with what the scan saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.fields import PointedAt, Reference
from lipstitch.job_file.span_file import check_people
from lipstitch.job_file.speakers import SpeakerConfig, cast_by_number, person_name
from lipstitch.plan.outputs.dialogue import Dialogue, split_at_turns
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.plan.speakers import build_dialogue, choose_speaking, hear_speakers
from lipstitch.plan.speech import frames_hearing, listen
from lipstitch.progress import Reporter, Timings
from lipstitch.source.scan import Scanned
from lipstitch.workspace import Workspace
from media.base.errors import ConfigError
from media.clips import Span
from media.identity import EmbedderSettings
from media.intervals import Interval, intersect, merge
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Identities, find_people
from segmenter.people.targets import (
    ByPlace,
    Choice,
    ChosenPeople,
    Everyone,
    SingleTrack,
    choose_at,
    choose_like,
    choose_main,
)
from segmenter.spans.changes import Change, Changes
from segmenter.spans.find import find_target_spans
from segmenter.spans.presence import SpanRule
from segmenter.spans.table import SpanRow, from_rows
from segmenter.spans.turns import Speaker, cut_to_turns

NO_PERSON = ChosenPeople(())


@dataclass(frozen=True, slots=True)
class TargetSelection:
    """Who is in the video, and who of them is rendered where."""

    identities: Identities
    rule: SpanRule
    """Which faces are rendered, and when."""
    target: str
    """The target, in the words of the job file."""
    rows: tuple[SpanRow, ...] | None
    """What the user's span file says; None: the choice decides."""
    people_of_speakers: Mapping[str, tuple[int, ...]]
    """In a dialogue, the numbers of the people that each speaker is, by name; else empty."""
    redone: tuple[Change, ...] = ()
    """What the user wants otherwise of clips of the finished output, beside what the span file says."""
    found: Dialogue | None = None
    """Who was found to speak when, if the job leaves that to the picture and the sound."""

    @property
    def choice(self) -> Choice:
        """Return whose faces are rendered."""
        return self.rule.choice

    @property
    def changes(self) -> Changes:
        """Return what the user wants otherwise of some frames."""
        return Changes((*(change for row in self.rows or () for change in row.changes), *self.redone))

    def seen_spans(self, intervals: Sequence[Interval]) -> tuple[Span, ...]:
        """Return the spans of some frames of the source; in a dialogue, wherever speakers are seen."""
        if self.rows is not None:
            return from_rows(self.rows, self.identities, intervals, self.rule)
        return find_target_spans(self.identities, intervals, self.rule)

    def speakers(self, spec: OutputSpec) -> tuple[Speaker, ...]:
        """Return who speaks when in an output, and who they are in the picture."""
        speaking = self.found.turns_in(spec.timeline, self.rule.table) if self.found else spec.speakers
        return tuple(
            Speaker(each.name, each.drive_index, each.turns, self.people_of_speakers[each.name]) for each in speaking
        )

    def cut_spans(self, seen: Sequence[Span], specs: Sequence[OutputSpec]) -> tuple[Span, ...]:
        """Return spans of the source, those of speakers cut to the turns that they have in the outputs."""
        if not self.people_of_speakers:
            return tuple(seen)
        dialogues = [(spec.timeline, self.speakers(spec)) for spec in specs]
        return cut_to_turns(seen, [(split_at_turns(timeline, speakers), speakers) for timeline, speakers in dialogues])

    def describe(self) -> str:
        """Return in one line who is meant."""
        if self.rows is not None:
            return "as the span file says"
        if self.found:
            return "the speakers, each while they speak in the video's own sound"
        if self.people_of_speakers:
            return "the speakers, each in their own turns"
        return f"{self.target}: {self.choice.describe(len(self.identities.people))}"


def select_targets(
    config: JobConfig,
    scanned: Scanned,
    specs: Sequence[OutputSpec],
    rows: tuple[SpanRow, ...] | None,
    workspace: Workspace,
    reporter: Reporter,
    timings: Timings,
) -> TargetSelection:
    """Find the people of a scan and choose among them, as the job says. Raises ConfigError where it cannot.

    rows: what the job's span file says. Where the job asks who speaks, that is found out.
    """
    people = people_of(scanned, merge(part for spec in specs for part in spec.scanned_frames))
    if rows is not None:
        assert config.segmenter.spans is not None
        check_people(config.segmenter.spans, rows, people)
    choice: Choice
    found = None
    if config.judges_speakers:
        heard = hear_speakers(scanned, people, workspace, reporter, timings)
    if config.input.speakers is not None and config.input.speakers.is_auto:
        found, note = build_dialogue(heard, people, scanned.source.table)
        numbers = heard.of_people(people)
        people_of_speakers: dict[str, tuple[int, ...]] = {person_name(number): (number,) for number in numbers}
        target, choice = "speakers", ChosenPeople(tuple(numbers), note=note)
    elif config.input.speakers is not None:
        cast = config.input.speakers.cast or cast_by_number(each.name for each in specs[0].speakers)
        target, (people_of_speakers, choice) = "speakers", _select_speakers(cast, scanned, people)
    elif config.segmenter.target == "speaker":
        choice, target, people_of_speakers = choose_speaking(heard, people, scanned.source.table), "speaker", {}
    else:
        choice = _choose(config, scanned, specs, people, workspace, by_rows=rows is not None)
        target, people_of_speakers = _name(config), {}
    return TargetSelection(
        identities=people,
        rule=SpanRule(scanned.source.table, config.segmenter.span_settings, choice),
        target=target,
        rows=rows,
        people_of_speakers=people_of_speakers,
        found=found,
    )


def people_of(scanned: Scanned, intervals: Sequence[Interval]) -> Identities:
    """Return who is seen in the frames of the intervals."""
    settings = scanned.finder.embedder_settings or EmbedderSettings()
    return find_people(scanned.scan, scanned.source.table, intervals, settings)


def _name(config: JobConfig) -> str:
    target = config.segmenter.target
    if isinstance(target, Reference):
        return f"like {target.reference.name}"
    if isinstance(target, PointedAt):
        return f"at {float(target.at):g} s"
    return f"person {target}" if isinstance(target, int) else target


def _choose(
    config: JobConfig,
    scanned: Scanned,
    specs: Sequence[OutputSpec],
    people: Identities,
    workspace: Workspace,
    *,
    by_rows: bool,
) -> Choice:
    target = config.segmenter.target
    if target == "all":
        return Everyone()
    if target == "largest":
        return ByPlace("largest")
    if target == "main":
        needs_speech = len(people.people) > 1 and not by_rows
        speech = _frames_with_speech(specs, workspace) if needs_speech else []
        settings = config.segmenter
        return choose_main(
            people, scanned.source.table, speech, least_px=settings.min_face_px, least_score=settings.offset
        )
    assert target != "speaker"
    return _choose_person("segmenter.target", target, scanned, people)


def _choose_person(
    key: str, person: int | Reference | PointedAt, scanned: Scanned, people: Identities
) -> ChosenPeople | SingleTrack:
    """Return the person that a key of the job file means."""
    if isinstance(person, Reference):
        vector = scanned.references[person.reference]
        return choose_like(people, vector, scanned.finder.embedder_settings or EmbedderSettings(), key=key)
    if isinstance(person, PointedAt):
        return _choose_pointed_at(key, person, scanned.source.table, people)
    if person > len(people.people):
        raise ConfigError(
            f"{key} (now {person}): there are {len(people.people)} people in this video;"
            " python main.py people shows who they are."
        )
    return ChosenPeople((person,))


def _choose_pointed_at(
    key: str, person: PointedAt, table: FrameTable, people: Identities
) -> ChosenPeople | SingleTrack:
    frame = table.frame_at(person.at)
    choice = choose_at(people, table, frame, person.point, key=key) if frame < len(table) else None
    if choice is None:
        x, y = person.point
        raise ConfigError(
            f"{key}.at: no face was found at [{x:g}, {y:g}] within a second of {float(person.at):g} s."
            " Give a moment and a point that show the face."
        )
    return choice


def _select_speakers(
    cast: Mapping[str, SpeakerConfig], scanned: Scanned, people: Identities
) -> tuple[dict[str, tuple[int, ...]], ChosenPeople]:
    """Return the numbers of the people that each speaker is, and all of them as one choice. Raises ConfigError.

    A person who looks like two references, but is meant by neither, belongs to no speaker.
    """
    choices: dict[str, ChosenPeople] = {}
    for name, speaker in cast.items():
        key = f"input.speakers.cast.{name}.person"
        choice = _choose_person(key, speaker.person, scanned, people) if speaker.person else NO_PERSON
        if isinstance(choice, SingleTrack):
            raise ConfigError(
                f"{key}.at: whose face that is cannot be told. Give a moment that shows it larger, or from the front."
            )
        choices[name] = choice
    _require_distinct(choices)
    numbers: dict[str, tuple[int, ...]] = {}
    for name, choice in choices.items():
        others = {number for other in choices.values() if other is not choice for number in other.people}
        numbers[name] = (*choice.people[:1], *(number for number in choice.people[1:] if number not in others))
    note = "; ".join(choice.note for choice in choices.values() if choice.note)
    return numbers, ChosenPeople(tuple(number for each in numbers.values() for number in each), note=note)


def _require_distinct(choices: Mapping[str, ChosenPeople]) -> None:
    meant: dict[int, str] = {}
    for name, choice in choices.items():
        for person in choice.people[:1]:
            other = meant.setdefault(person, name)
            if other != name:
                raise ConfigError(
                    f"input.speakers.cast: {other} and {name} are both person {person} of this video."
                    " python main.py people shows who is who."
                )


def _frames_with_speech(specs: Sequence[OutputSpec], workspace: Workspace) -> list[Interval]:
    """Return the source frames that outputs show while the sound that drives the lips speaks."""
    return merge(
        part
        for spec in specs
        for part in spec.timeline.source_intervals(
            intersect(frames_hearing(spec, listen(spec.drive_audio.main, workspace).spoken), spec.driven_frames)
        )
    )
