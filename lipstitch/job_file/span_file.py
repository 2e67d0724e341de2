"""The span file: what is rendered and why not elsewhere, as a table that a user corrects in any editor or spreadsheet.

    start,stop,person,kind,method,strength,quality,reason
    0,12.48,,no_face,,,,no face
    12.48,31.2,1,face,footage,1.2,,
    18,20.5,1,face,network,,enhanced,
    31.2,33,,no_face,,,,another person

The method of a face says where its new mouths come from: footage, network, or keep, which leaves its frames as they
are; its strength how far the sound moves them; its quality with what care they are made. Empty: as the job says.

A row of a face inside another row of the same person is a change of these frames alone. What it leaves empty stays as
the row around it says. Where changes overlap, the later one in the file wins, cell by cell.

Times are seconds since the first frame: the time of the first frame of the span, and of the first one after it.
Spreadsheets round times of day, or take minutes for hours; numbers they leave alone. [hh:]mm:ss[.mmm] is read as well.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

from lipstitch.job_file.table import Row, UserFile
from media.base.files import atomic_file
from media.base.text import brief
from media.clips import QUALITY_ORDER, Kind, Method, Quality
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Identities
from segmenter.spans.changes import KEPT, Change, Keep
from segmenter.spans.table import SpanRow

COLUMNS = ("start", "stop", "person", "kind", "method", "strength", "quality", "reason")
MAKING = ("method", "strength", "quality")
NEEDED = ("start", "stop", "kind")
KINDS = ("face", "no_face")
MOST_STRENGTH = 2.0
METHODS = ("auto", "footage", "network", "keep")


def write_spans(rows: Sequence[SpanRow], table: FrameTable, path: Path) -> None:
    """Write rows to a file, atomically; raise WorkspaceError if it cannot be written."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        parts: list[SpanRow | Change] = [row, *row.changes]
        for part in parts:
            times = (format_time(frame, table) for frame in (part.start_frame, part.stop_frame))
            strength = "" if part.strength is None else f"{part.strength:g}"
            made = (part.method or "", strength, part.quality or "", row.reason if part is row else "")
            writer.writerow([*times, part.person or "", row.kind, *made])
    with atomic_file(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def format_time(frame: int, table: FrameTable) -> str:
    """Return the time of a frame in seconds, rounded down, with as many decimals as it takes to find it again."""
    seconds = table.seconds(frame)
    for num_decimals in (3, 6, 9, 12):
        units = seconds * 10**num_decimals // 1
        text = f"{units // 10**num_decimals}.{units % 10**num_decimals:0{num_decimals}d}".rstrip("0").rstrip(".")
        if table.frame_at(Fraction(text)) == frame:
            break
    return text


def read_spans(path: Path, table: FrameTable) -> tuple[SpanRow, ...]:
    """Return the rows of a span file, in order of time.

    Raises ConfigError that names the line: for an unknown kind, a time that cannot be read, lies beyond the end or runs
    backwards, and for rows that overlap and do not lie inside each other.
    """
    rows: list[SpanRow] = []
    changes: dict[int, list[_Line]] = {}
    around: dict[int | None, SpanRow] = {}
    lines = (_line(row, table) for row in _file(path).rows(COLUMNS, NEEDED))
    for line in sorted(lines, key=lambda each: (each.row.start_frame, -each.row.stop_frame, each.row.line)):
        row, outer = line.row, around.get(line.change.person)
        if line.is_face and outer is not None and outer.kind == "face" and row.stop_frame <= outer.stop_frame:
            if line.change.is_empty:
                problem = f"this row lies inside that of line {outer.line}; say what it changes: {', '.join(MAKING)}"
                raise _file(path).fault(f"line {row.line}", problem)
            changes.setdefault(outer.line, []).append(line)
            continue
        rows.append(row)
        if line.is_face:
            around[line.change.person] = row
    _check_overlaps(path, rows)
    return tuple(replace(row, changes=_changes(changes.get(row.line, ()))) for row in rows)


@dataclass(frozen=True, slots=True)
class _Line:
    """What a line of a span file says."""

    row: SpanRow
    """By itself."""
    change: Change
    """Inside another one."""
    is_face: bool
    """Whether its kind is face, also of frames that are kept."""


def _changes(lines: Sequence[_Line]) -> tuple[Change, ...]:
    return tuple(line.change for line in sorted(lines, key=lambda each: each.row.line))


def check_people(path: Path, rows: Sequence[SpanRow], people: Identities) -> None:
    """Raise ConfigError for the first row with a person who is not in the video."""
    for row in rows:
        if row.person is not None and row.person > len(people.people):
            count = len(people.people)
            there = f"there are {count} people, numbered from 1" if count else "people were not told apart here"
            problem = f"person {row.person}: {there}; python main.py people shows who they are"
            raise _file(path).fault(f"line {row.line}", problem)


def _file(path: Path) -> UserFile:
    return UserFile("segmenter.spans", path, "span file")


def _line(row: Row, table: FrameTable) -> _Line:
    start, stop = (_frame(row, name, table) for name in ("start", "stop"))
    if stop <= start:
        what = "runs backwards" if stop < start else "holds no frame"
        given = (brief(row.cells[name]) for name in ("start", "stop"))
        raise row.fault(f"the span {what}: start {next(given)}, stop {next(given)}")
    kind = row.cells.get("kind", "").lower()
    if kind not in KINDS:
        raise row.fault(f"kind (now {brief(kind)!r}) is face or no_face")
    person = _person(row, row.cells.get("person", ""))
    if person is not None and kind != "face":
        raise row.fault("only a face has a person; leave it empty, or make the kind face")
    try:
        asked, strength, quality = parse_making(row.cells)
    except ValueError as exc:
        raise row.fault(str(exc)) from exc
    for name, said in (("method", asked), ("strength", strength), ("quality", quality)):
        if said is not None and kind != "face":
            raise row.fault(f"only a face has a {name}; leave it empty, or make the kind face")
    reason = row.cells.get("reason", "") if kind == "no_face" or asked else ""
    if asked == "keep":
        whole = SpanRow(row.line, start, stop, None, "no_face", KEPT)
    else:
        whole = SpanRow(row.line, start, stop, person, cast(Kind, kind), reason, asked, strength, quality)
    return _Line(whole, Change(start, stop, person, asked, strength, quality), kind == "face")


def parse_making(cells: Mapping[str, str]) -> tuple[Method | Keep | None, float | None, Quality | None]:
    """Return method, strength and quality from text by these names; None where it is missing or empty, or method: auto.

    Raises ValueError, with what is allowed. Spreadsheets of some languages write decimal commas.
    """
    method, quality = (cells.get(name, "").lower() for name in ("method", "quality"))
    if (method or "auto") not in METHODS:
        raise ValueError(f"method (now {brief(method)!r}) is {', '.join(METHODS[:-1])} or {METHODS[-1]}")
    if quality and quality not in QUALITY_ORDER:
        allowed = f"{', '.join(QUALITY_ORDER[:-1])} or {QUALITY_ORDER[-1]}"
        raise ValueError(f"quality (now {brief(quality)!r}) is {allowed}, or empty")
    text, strength = cells.get("strength", ""), None
    if text:
        try:
            strength = float(text.replace(",", ".", 1)) if text.isascii() else -1.0
        except ValueError:
            strength = -1.0
        if not 0 <= strength <= MOST_STRENGTH:  # nor is nan
            raise ValueError(f"strength (now {brief(text)!r}) is a number from 0 to {MOST_STRENGTH:g}, or empty")
    if method == "keep" and (text or quality):
        raise ValueError("frames that are kept have neither strength nor quality; leave both empty")
    asked = None if method in ("", "auto") else cast(Method | Keep, method)
    return asked, strength, next((word for word in QUALITY_ORDER if word == quality), None)


def _frame(row: Row, name: str, table: FrameTable) -> int:
    """Return the first frame at or after a time, as ranges of a job file are read."""
    seconds = row.seconds(name)
    if seconds > table.seconds(len(table)):
        end = float(table.seconds(len(table)))
        raise row.fault(f"{name} (now {brief(row.cells[name])}) lies beyond the end of the video, {end:g} s")
    return table.frame_at(seconds)


def _person(row: Row, text: str) -> int | None:
    if not text:
        return None
    number = text.removesuffix(".0")
    if not (number.isascii() and number.isdigit() and 1 <= len(number) <= 7 and int(number)):
        raise row.fault(f"person (now {brief(text)!r}) is a number from 1 on, or empty")
    return int(number)


def _check_overlaps(path: Path, rows: Sequence[SpanRow]) -> None:
    """Raise ConfigError where rows overlap that must not: all but the faces of two people."""
    latest: dict[int | None, SpanRow] = {}
    for row in rows:
        for person, earlier in latest.items():
            may_overlap = row.kind == earlier.kind == "face" and person != row.person
            if row.start_frame < earlier.stop_frame and not may_overlap:
                first, second = sorted((row.line, earlier.line))
                raise _file(path).fault(f"line {second}", f"the span overlaps that of line {first}")
        key = row.person if row.kind == "face" else -1
        if key not in latest or latest[key].stop_frame < row.stop_frame:
            latest[key] = row
