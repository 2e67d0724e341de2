"""Who is in the video, and whose mouth is to move: the target of the job, met with what the scan saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from base.errors import ConfigError
from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.fields import PointedAt, Reference
from lipstitch.job_file.span_file import check_people
from lipstitch.job_file.speakers import SpeakersConfig
from lipstitch.plan.outputs import OutputSpec
from lipstitch.plan.soundtrack import find_spoken, frames_hearing
from lipstitch.workspace import Workspace
from media.clips import Span
from media.identity import EmbedderSettings
from media.intervals import Interval, intersect, merge
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Identities, find_people
from segmenter.people.targets import Choice, choose_at, choose_like, choose_main
from segmenter.scan import Scan
from segmenter.spans.find import find_target_spans
from segmenter.spans.presence import SpanSettings
from segmenter.spans.table import SpanRow, from_rows
from segmenter.spans.turns import Speaker, cut_to_turns

if TYPE_CHECKING:
    from lipstitch.source.source import Footage, Source

NOBODY = Choice("people")


@dataclass(frozen=True, slots=True)
class TargetSelection:
    """Who is in the video, and who of them is rendered where."""

    cast: Identities
    upright_size: tuple[int, int]
    choice: Choice
    target: str
    """The target, in the words of the job file."""
    rows: tuple[SpanRow, ...] | None
    """What the user's span file says; None: the choice decides."""
    parts: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """In a dialogue, each speaker's name and the numbers of the people that they are."""

    def spans(self, table: FrameTable, intervals: Sequence[Interval], settings: SpanSettings) -> tuple[Span, ...]:
        """Return the spans of some frames of the source; in a dialogue, wherever speakers are seen."""
        if self.rows is not None:
            return from_rows(self.rows, self.cast, self.upright_size, table, intervals, settings, self.choice)
        return find_target_spans(self.cast, self.upright_size, table, intervals, settings, self.choice)

    def speakers(self, edit: OutputSpec) -> tuple[Speaker, ...]:
        """Return who speaks when in an edit, and who they are in the picture."""
        people = dict(self.parts)
        return tuple(replace(speaker, people=people[speaker.name]) for speaker in edit.speakers)

    def spoken(self, spans: Sequence[Span], edits: Sequence[OutputSpec]) -> tuple[Span, ...]:
        """Return spans of the source, those of speakers cut to the turns that they have in the edits."""
        if not self.parts:
            return tuple(spans)
        return cut_to_turns(spans, [(edit.timeline, self.speakers(edit)) for edit in edits])

    def describe(self) -> str:
        """Return in one line who is meant."""
        if self.rows is not None:
            return "as the span file says"
        if self.choice.kind != "people":
            by = {
                "centre": "the face that is large and near the centre, in each shot",
                "largest": "the largest face of each shot",
                "all": "everybody",
                "track": "one face",
            }[self.choice.kind]
            return f"{self.target}: {'person 1, else ' if self.choice.people else ''}{by}"
        if self.parts:
            return "the speakers, each in their own turns"
        people = ", ".join(f"person {number}" for number in self.choice.people) or "nobody"
        return f"{self.target}: {people} of {len(self.cast.people)}"


def select_targets(
    config: JobConfig,
    source: Source,
    edits: Sequence[OutputSpec],
    scan: Scan,
    rows: tuple[SpanRow, ...] | None,
    workspace: Workspace,
) -> TargetSelection:
    """Find the people of a scan and choose among them, as the job says. Raises ConfigError where it cannot."""
    cast = people_of(source, merge(part for edit in edits for part in edit.scanned), scan)
    if rows is not None:
        assert config.segmenter.spans is not None
        check_people(config.segmenter.spans, rows, cast)
    if config.input.speakers is not None:
        parts, choice = select_speakers(config.input.speakers, source, cast)
        return TargetSelection(cast, scan.upright_size, choice, "speakers", rows, parts)
    choice = _choose(config, source, edits, cast, workspace, by_rows=rows is not None)
    return TargetSelection(cast, scan.upright_size, choice, _name(config), rows)


def people_of(source: Footage, intervals: Sequence[Interval], scan: Scan) -> Identities:
    """Return who is seen in the frames of the intervals."""
    return find_people(scan, source.table, intervals, source.embedder_settings or EmbedderSettings())


def _name(config: JobConfig) -> str:
    target = config.segmenter.target
    if isinstance(target, Reference):
        return f"like {target.reference.name}"
    if isinstance(target, PointedAt):
        return f"at {float(target.at):g} s"
    return f"person {target}" if isinstance(target, int) else target


def _choose(
    config: JobConfig,
    source: Source,
    edits: Sequence[OutputSpec],
    cast: Identities,
    workspace: Workspace,
    *,
    by_rows: bool,
) -> Choice:
    target = config.segmenter.target
    if target == "all" or target == "largest":
        return Choice(target)
    if target == "main":
        needs_speech = len(cast.people) > 1 and not by_rows
        speech = heard_speech(edits, workspace) if needs_speech else []
        settings = config.segmenter
        return choose_main(cast, source.table, speech, least_px=settings.min_face_px, least_score=settings.offset)
    return _choose_person("segmenter.target", target, source, cast)


def _choose_person(key: str, person: int | Reference | PointedAt, source: Source, cast: Identities) -> Choice:
    """Return whom a key of the job file means."""
    if isinstance(person, Reference):
        vector = source.references[person.reference]
        return choose_like(cast, vector, source.embedder_settings or EmbedderSettings(), key=key)
    if isinstance(person, PointedAt):
        return _pointed_at(key, person, source, cast)
    if person > len(cast.people):
        raise ConfigError(
            f"{key} (now {person}): there are {len(cast.people)} people in this video;"
            " python main.py faces shows who they are."
        )
    return Choice("people", (person,))


def _pointed_at(key: str, person: PointedAt, source: Source, cast: Identities) -> Choice:
    frame = source.table.frame_at(person.at)
    choice = choose_at(cast, source.table, frame, person.point, key=key) if frame < len(source.table) else None
    if choice is None:
        x, y = person.point
        raise ConfigError(
            f"{key}.at: no face was found at [{x:g}, {y:g}] within a second of {float(person.at):g} s."
            " Give a moment and a point that show the face."
        )
    return choice


def select_speakers(
    dialogue: SpeakersConfig, source: Source, cast: Identities
) -> tuple[tuple[tuple[str, tuple[int, ...]], ...], Choice]:
    """Return the numbers of the people that each speaker is, and all of them as one choice. Raises ConfigError.

    Somebody whom two references are like, beside those whom they mean, is neither.
    """
    choices: dict[str, Choice] = {}
    for name, speaker in dialogue.cast.items():
        key = f"input.speakers.cast.{name}.person"
        choices[name] = _choose_person(key, speaker.person, source, cast) if speaker.person else NOBODY
        if choices[name].kind == "track":
            raise ConfigError(
                f"{key}.at: whose face that is cannot be told. Give a moment that shows it larger, or from the front."
            )
    _require_distinct(choices)
    parts = []
    for name, choice in choices.items():
        others = {number for other in choices.values() if other is not choice for number in other.people}
        parts.append((name, (*choice.people[:1], *(number for number in choice.people[1:] if number not in others))))
    note = "; ".join(choice.note for choice in choices.values() if choice.note)
    return tuple(parts), Choice("people", tuple(number for _, people in parts for number in people), note=note)


def _require_distinct(choices: Mapping[str, Choice]) -> None:
    meant: dict[int, str] = {}
    for name, choice in choices.items():
        for person in choice.people[:1]:
            other = meant.setdefault(person, name)
            if other != name:
                raise ConfigError(
                    f"input.speakers.cast: {other} and {name} are both person {person} of this video."
                    " python main.py faces shows who is who."
                )


def heard_speech(edits: Sequence[OutputSpec], workspace: Workspace) -> list[Interval]:
    """Return the source frames during which the sound that drives the lips speaks."""
    return merge(part for edit in edits for part in _shown_with(edit, find_spoken(edit.driving, workspace)))


def _shown_with(edit: OutputSpec, speech: Sequence[Interval]) -> list[Interval]:
    """Return the source frames that an edit shows while samples of its driving sound are heard."""
    timeline = edit.timeline
    return timeline.source_intervals(intersect(frames_hearing(edit, speech), edit.driven))
