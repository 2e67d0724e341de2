"""The span file: what is rendered and why not elsewhere, as a table that a user corrects in any editor or spreadsheet.

    start,stop,person,kind,reason
    0,12.48,,no_face,no face
    12.48,31.2,1,face,
    31.2,33,,no_face,another person

Times are seconds since the first frame: the time of the first frame of the span, and of the first one behind it.
Spreadsheets round times of day, or take minutes for hours; numbers they leave alone. [hh:]mm:ss[.mmm] is read as well.
"""

from __future__ import annotations

import csv
import io
import re
import stat
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

from media.errors import ConfigError
from media.files import atomic_file
from media.settings import brief
from media.timeline import FrameTable, Kind
from pipeline.config_fields import parse_time
from segmenter.people import Cast
from segmenter.span_rows import SpanRow

COLUMNS = ("start", "stop", "person", "kind", "reason")
NEEDED = ("start", "stop", "kind")
KINDS = ("face", "no_face")
MAX_BYTES = 64 << 20
"""Of a span file; ten hours of one-second shots take 2 MB."""
DECIMAL_COMMA = re.compile(r"\d+,\d+")


def write_spans(rows: Sequence[SpanRow], table: FrameTable, path: Path) -> None:
    """Write rows to a file, atomically; raise WorkspaceError if it cannot be written."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        times = (format_time(frame, table) for frame in (row.start_frame, row.stop_frame))
        writer.writerow([*times, row.person or "", row.kind, row.reason])
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

    Raises ConfigError that names the line: an unknown kind, a time that is none, that lies beyond the end or runs
    backwards, rows that overlap. Commas, semicolons or tabs part the columns, as spreadsheets like it.
    """
    rows = sorted(_rows(path, table), key=lambda row: (row.start_frame, row.stop_frame, row.line))
    _check_overlaps(path, rows)
    return tuple(rows)


def check_people(path: Path, rows: Sequence[SpanRow], people: Cast) -> None:
    """Raise ConfigError for the first row with a person who is not in the video."""
    for row in rows:
        if row.person is not None and row.person > len(people.people):
            count = len(people.people)
            there = f"there are {count} people, numbered from 1" if count else "nobody was told apart in this video"
            raise _fault(path, row.line, f"person {row.person}: {there}; python main.py faces shows who they are")


def _fault(path: Path, line: int, problem: str) -> ConfigError:
    return ConfigError(f"segmenter.spans: {path}, line {line}: {problem}.")


def _text(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"segmenter.spans: {path} is no regular file. Give a span file.")
        if status.st_size > MAX_BYTES:
            raise ConfigError(f"segmenter.spans: {path} is larger than 64 MiB, so it is no span file. Check the path.")
        return path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"segmenter.spans: {path} cannot be read ({exc.strerror}). Check the path.") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"segmenter.spans: {path} is no UTF-8 text. Save it as CSV in UTF-8.") from exc


def _rows(path: Path, table: FrameTable) -> Iterator[SpanRow]:
    lines = io.StringIO(_text(path), newline="")
    header = lines.readline()
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().strip('"').lower() for name in header.split(delimiter)]
    unknown = [name for name in names if name not in COLUMNS and name]
    missing = [name for name in NEEDED if name not in names]
    if unknown or missing or len(set(names)) < len(names):
        columns = ", ".join(COLUMNS)
        raise _fault(path, 1, f"the first line must name the columns {columns}; it is {brief(header.strip())!r}")
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield _row(path, reader.line_num + 1, dict(zip(names, cells, strict=False)), table, delimiter)
    except csv.Error as exc:
        raise _fault(path, reader.line_num + 1, f"this is no CSV ({exc})") from exc


def _row(path: Path, line: int, cells: dict[str, str], table: FrameTable, delimiter: str) -> SpanRow:
    given = {name: cell.strip() for name, cell in cells.items()}
    start, stop = (_frame(path, line, name, given.get(name, ""), table, delimiter) for name in ("start", "stop"))
    if stop <= start:
        what = "runs backwards" if stop < start else "holds no frame"
        raise _fault(path, line, f"the span {what}: start {brief(given['start'])}, stop {brief(given['stop'])}")
    kind = given.get("kind", "").lower()
    if kind not in KINDS:
        raise _fault(path, line, f"kind (now {brief(kind)!r}) is face or no_face")
    person = _person(path, line, given.get("person", ""))
    if person is not None and kind != "face":
        raise _fault(path, line, "only a face has a person; leave it empty, or make the kind face")
    reason = given.get("reason", "") if kind == "no_face" else ""
    return SpanRow(line, start, stop, person, cast(Kind, kind), reason)


def _frame(path: Path, line: int, name: str, text: str, table: FrameTable, delimiter: str) -> int:
    """Return the first frame at or after a time, as ranges of a job file are read."""
    if delimiter != "," and DECIMAL_COMMA.search(text):
        text = text.replace(",", ".")
    try:
        seconds = parse_time(text)
    except ValueError as exc:
        raise _fault(path, line, f"{name} (now {brief(text)!r}): {exc}") from exc
    if seconds > table.seconds(len(table)):
        end = float(table.seconds(len(table)))
        raise _fault(path, line, f"{name} (now {brief(text)}) lies beyond the end of the video, {end:g} s")
    return table.frame_at(seconds)


def _person(path: Path, line: int, text: str) -> int | None:
    if not text:
        return None
    number = text.removesuffix(".0")
    if not (number.isascii() and number.isdigit() and 1 <= len(number) <= 7 and int(number)):
        raise _fault(path, line, f"person (now {brief(text)!r}) is a number from 1 on, or empty")
    return int(number)


def _check_overlaps(path: Path, rows: Sequence[SpanRow]) -> None:
    """Raise ConfigError where rows overlap that must not: all but the faces of two people."""
    latest: dict[int | None, SpanRow] = {}
    for row in rows:
        for person, earlier in latest.items():
            may_overlap = row.kind == earlier.kind == "face" and person != row.person
            if row.start_frame < earlier.stop_frame and not may_overlap:
                raise _fault(
                    path, max(row.line, earlier.line), f"the span overlaps that of line {min(row.line, earlier.line)}"
                )
        key = row.person if row.kind == "face" else -1
        if key not in latest or latest[key].stop_frame < row.stop_frame:
            latest[key] = row
