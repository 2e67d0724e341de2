"""The span file: what is rendered and why not elsewhere, as a table that a user corrects in any editor or spreadsheet.

    start,stop,person,kind,method,strength,reason
    0,12.48,,no_face,,,no face
    12.48,31.2,1,face,footage,1.2,
    31.2,33,,no_face,,,another person

The method of a face says where its new mouths come from: footage, network, or keep, which leaves its frames as they
are; its strength how far the sound moves them. Empty: as the job says.

Times are seconds since the first frame: the time of the first frame of the span, and of the first one after it.
Spreadsheets round times of day, or take minutes for hours; numbers they leave alone. [hh:]mm:ss[.mmm] is read as well.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

from lipstitch.job_file.table import Row, UserFile
from media.base.files import atomic_file
from media.base.text import brief
from media.clips import Kind, Method
from media.packets.frame_table import FrameTable
from segmenter.people.identities import Identities
from segmenter.spans.table import SpanRow

COLUMNS = ("start", "stop", "person", "kind", "method", "strength", "reason")
NEEDED = ("start", "stop", "kind")
KINDS = ("face", "no_face")
KEPT = "the span file keeps its frames"
MOST_STRENGTH = 2.0
METHODS = ("auto", "footage", "network", "keep")


def write_spans(rows: Sequence[SpanRow], table: FrameTable, path: Path) -> None:
    """Write rows to a file, atomically; raise WorkspaceError if it cannot be written."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        times = (format_time(frame, table) for frame in (row.start_frame, row.stop_frame))
        strength = "" if row.strength is None else f"{row.strength:g}"
        writer.writerow([*times, row.person or "", row.kind, row.method or "", strength, row.reason])
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
    backwards, and for rows that overlap.
    """
    found = (_row(row, table) for row in _file(path).rows(COLUMNS, NEEDED))
    rows = sorted(found, key=lambda row: (row.start_frame, row.stop_frame, row.line))
    _check_overlaps(path, rows)
    return tuple(rows)


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


def _row(row: Row, table: FrameTable) -> SpanRow:
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
    method = row.cells.get("method", "").lower() or "auto"
    if method not in METHODS:
        raise row.fault(f"method (now {brief(method)!r}) is {', '.join(METHODS[:-1])} or {METHODS[-1]}")
    if method != "auto" and kind != "face":
        raise row.fault("only a face has a method; leave it empty, or make the kind face")
    strength = _strength(row)
    if strength is not None and kind != "face":
        raise row.fault("only a face has a strength; leave it empty, or make the kind face")
    if method == "keep":
        return SpanRow(row.line, start, stop, None, "no_face", KEPT)
    reason = row.cells.get("reason", "") if kind == "no_face" or method != "auto" else ""
    asked = cast(Method, method) if method != "auto" else None
    return SpanRow(row.line, start, stop, person, cast(Kind, kind), reason, asked, strength)


def _strength(row: Row) -> float | None:
    """Return how far the sound moves mouths; spreadsheets of some languages write decimal commas."""
    text = row.cells.get("strength", "")
    if not text:
        return None
    try:
        strength = float(text.replace(",", ".", 1)) if text.isascii() else -1.0
    except ValueError:
        strength = -1.0
    if not 0 <= strength <= MOST_STRENGTH:  # nor is nan
        raise row.fault(f"strength (now {brief(text)!r}) is a number from 0 to {MOST_STRENGTH:g}, or empty")
    return strength


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
