"""Who is in the video, and whose mouth is to move: the target of the job, met with what the scan saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from media.errors import ConfigError
from media.identity import EmbedderSettings
from media.timeline import FrameTable, Interval, Span, intersect, merge
from pipeline.config import JobConfig
from pipeline.config_fields import PointedAt, Reference
from pipeline.edit import Edit
from pipeline.sound import find_spoken, frames_hearing
from pipeline.span_file import check_people
from pipeline.workspace import Workspace
from segmenter.people import Cast, find_people
from segmenter.scanner import Scan
from segmenter.span_rows import SpanRow, spans_of_rows
from segmenter.spans import SpanSettings, cast_spans
from segmenter.targets import Choice, choose_at, choose_like, choose_main

if TYPE_CHECKING:
    from pipeline.prepare import Source


@dataclass(frozen=True, slots=True)
class Casting:
    """Who is in the video, and who of them is rendered where."""

    cast: Cast
    upright_size: tuple[int, int]
    choice: Choice
    target: str
    """The target, in the words of the job file."""
    rows: tuple[SpanRow, ...] | None
    """What the user's span file says; None: the choice decides."""

    def spans(self, table: FrameTable, intervals: Sequence[Interval], settings: SpanSettings) -> tuple[Span, ...]:
        """Return the spans of some frames of the source."""
        if self.rows is not None:
            return spans_of_rows(self.rows, self.cast, self.upright_size, intervals, self.choice)
        return cast_spans(self.cast, self.upright_size, table, intervals, settings, self.choice)

    def describe(self) -> str:
        """Return in one line who is meant."""
        if self.rows is not None:
            return "as the span file says"
        if self.choice.kind != "people":
            by = {
                "centre": "the face that is large and near the centre, in each shot",
                "largest": "the largest face of each shot",
            }
            return (
                f"{self.target}: {by.get(self.choice.kind, 'everybody' if self.choice.kind == 'all' else 'one face')}"
            )
        people = ", ".join(f"person {number}" for number in self.choice.people) or "nobody"
        return f"{self.target}: {people} of {len(self.cast.people)}"


def choose_cast(
    config: JobConfig,
    source: Source,
    edits: Sequence[Edit],
    scan: Scan,
    rows: tuple[SpanRow, ...] | None,
    workspace: Workspace,
) -> Casting:
    """Find the people of a scan and choose among them, as the job says. Raises ConfigError where it cannot."""
    cast = people_of(source, edits, scan)
    if rows is not None:
        assert config.segmenter.spans is not None
        check_people(config.segmenter.spans, rows, cast)
    choice = _choose(config, source, edits, cast, workspace, by_rows=rows is not None)
    return Casting(cast, scan.upright_size, choice, _name(config), rows)


def people_of(source: Source, edits: Sequence[Edit], scan: Scan) -> Cast:
    """Return who is seen in the frames that the edits show."""
    intervals = merge(part for edit in edits for part in edit.scanned)
    return find_people(scan, source.table, intervals, source.embedder_settings or EmbedderSettings())


def _name(config: JobConfig) -> str:
    target = config.segmenter.target
    if isinstance(target, Reference):
        return f"like {target.reference.name}"
    if isinstance(target, PointedAt):
        return f"at {float(target.at):g} s"
    return f"person {target}" if isinstance(target, int) else target


def _choose(
    config: JobConfig, source: Source, edits: Sequence[Edit], cast: Cast, workspace: Workspace, *, by_rows: bool
) -> Choice:
    target = config.segmenter.target
    if target == "all" or target == "largest":
        return Choice(target)
    if target == "main":
        needs_speech = len(cast.people) > 1 and not by_rows
        speech = heard_speech(edits, workspace) if needs_speech else []
        settings = config.segmenter
        return choose_main(cast, source.table, speech, least_px=settings.min_face_px, least_score=settings.offset)
    if isinstance(target, Reference):
        assert source.reference is not None
        return choose_like(cast, source.reference, source.embedder_settings or EmbedderSettings())
    if isinstance(target, PointedAt):
        return _pointed_at(target, source, cast)
    if target > len(cast.people):
        raise ConfigError(
            f"segmenter.target (now {target}): there are {len(cast.people)} people in this video;"
            " python main.py faces shows who they are."
        )
    return Choice("people", (target,))


def _pointed_at(target: PointedAt, source: Source, cast: Cast) -> Choice:
    frame = source.table.frame_at(target.at)
    choice = choose_at(cast, source.table, frame, target.point) if frame < len(source.table) else None
    if choice is None:
        x, y = target.point
        raise ConfigError(
            f"segmenter.target.at: no face was found at [{x:g}, {y:g}] within a second of {float(target.at):g} s."
            " Give a moment and a point that show the face."
        )
    return choice


def heard_speech(edits: Sequence[Edit], workspace: Workspace) -> list[Interval]:
    """Return the source frames during which the sound that drives the lips speaks."""
    return merge(part for edit in edits for part in _shown_with(edit, find_spoken(edit, workspace)))


def _shown_with(edit: Edit, speech: Sequence[Interval]) -> list[Interval]:
    """Return the source frames that an edit shows while samples of its driving sound are heard."""
    timeline = edit.timeline
    output = intersect(frames_hearing(edit, speech), edit.driven)
    shown = []
    for run in timeline.runs:
        for start, stop in intersect(output, [(run.start_frame, run.stop_frame)]):
            frames = run.source_frames(start, stop)
            shown.append((min(frames[0], frames[-1]), max(frames[0], frames[-1]) + 1))
    return merge(shown)
