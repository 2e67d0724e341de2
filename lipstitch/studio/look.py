"""What the studio knows of a video before anything is rendered: who is in it, and what would be rendered, and why.

It is found in a process of its own (`lipstitch look`), which the server can end, and which brings no network into it.
"""

from __future__ import annotations

import csv
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from lipstitch.job import run_job
from lipstitch.job_file.config import JobConfig
from lipstitch.progress import Reporter
from lipstitch.report.contact_sheet import see_people
from lipstitch.report.records import Record
from lipstitch.side_files import SideFiles
from lipstitch.workspace import workspace_folder
from media.base.errors import CheckpointError, ConfigError
from media.base.files import write_json

LOOK_NAME = "look.json"
SPANS_NAME = "spans.csv"


class ShownPerson(Record):
    """A person in the video."""

    number: int
    seconds: float
    """On screen."""
    spoken: float | None
    """Seconds in which they are seen to speak; None where that cannot be told."""
    picture: str
    """A JPEG file in base64; empty for people who are hardly seen."""


class ShownSpan(Record):
    """Frames of one kind, in seconds of the video."""

    start: float
    stop: float
    kind: str
    """face or no_face."""
    person: int | None
    method: str
    """Where new mouths come from; empty where nothing is rendered."""
    reason: str
    """Why nothing is rendered, or why mouths are not from footage."""


class Look(Record):
    """What was seen in a video."""

    seconds: float
    people: tuple[ShownPerson, ...]
    people_note: str
    """What cannot be told of the people; empty if all can."""
    spans: tuple[ShownSpan, ...]
    plan: tuple[str, ...]
    """As --plan prints it."""


class _Words:
    """Keeps what a plan says, and passes progress on."""

    def __init__(self, reporter: Reporter) -> None:
        self.said: list[str] = []
        self.begin, self.advance, self.end = reporter.begin, reporter.advance, reporter.end

    def info(self, text: str) -> None:
        self.said.append(text)

    def warning(self, text: str) -> None:
        self.said.append(f"Warning: {text}")


def look_at(config: JobConfig, folder: Path, reporter: Reporter) -> Path:
    """Look at a job's video, write what was seen into a folder (LOOK_NAME), and return that file.

    The scan stays in the job's workspace. Raises LipstitchError.
    """
    people, note = _people(config, reporter)
    words, spans = _Words(reporter), folder / SPANS_NAME
    run_job(config, words, plan_only=True, force=True, beside=SideFiles(spans=spans))
    rows = _read_spans(spans)
    look = Look(
        seconds=max((row.stop for row in rows), default=0.0),
        people=people,
        people_note=note,
        spans=rows,
        plan=tuple(words.said[:-1]),  # the last says where the span file is
    )
    path = folder / LOOK_NAME
    write_json(path, look.model_dump(mode="json"))
    return path


def _people(config: JobConfig, reporter: Reporter) -> tuple[tuple[ShownPerson, ...], str]:
    try:
        seen = see_people(config, workspace_folder(config), reporter)
    except (CheckpointError, ConfigError) as exc:  # without weights that tell them apart
        return (), str(exc)[:1].upper() + str(exc)[1:]
    people = (
        ShownPerson(
            number=person.person,
            seconds=person.seconds,
            spoken=person.spoken,
            picture=b64encode(seen.thumbnails.get(person.person, b"")).decode(),
        )
        for person in seen.people
    )
    return tuple(people), seen.note


def _read_spans(path: Path) -> tuple[ShownSpan, ...]:
    with path.open(encoding="utf-8", newline="") as file:
        rows: Sequence[dict[str, str]] = [*csv.DictReader(file)]
    return tuple(
        ShownSpan(
            start=float(row["start"]),
            stop=float(row["stop"]),
            kind=row["kind"],
            person=int(row["person"]) if row["person"] else None,
            method=row["method"],
            reason=row["reason"],
        )
        for row in rows
    )
