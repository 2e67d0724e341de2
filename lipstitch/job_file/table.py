"""Tables that users write and correct in any editor or spreadsheet. Messages name the line that is wrong."""

from __future__ import annotations

import csv
import io
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path

from lipstitch.job_file.fields import parse_time
from media.base.errors import ConfigError
from media.base.text import brief, decode_text

MAX_BYTES = 64 << 20
"""Of such a file; ten hours of one-second rows take 2 MB."""
DELIMITERS = ",;\t"
DELIMITER_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?[,;\t ]*(?:\n|\Z)', re.IGNORECASE)
"""What Excel reads, and some programs write, above a table: the character between its columns."""
LIKENESS = 0.75
"""Above this (difflib's ratio) a column name counts as a misspelled known one: `persn`, `speakers`."""

WORDS = ("length",)
"""Names of columns that are like a known one's, and mean something else."""


class _Strict(csv.excel):
    """Refuses what would otherwise hide rows: an unclosed quote swallows every line after it."""

    skipinitialspace = True
    strict = True


@dataclass(frozen=True, slots=True)
class UserFile:
    """A text file that a job names."""

    key: str
    """Key path of the job file."""
    path: Path
    kind: str
    """What it should be, in words."""

    def fault(self, where: str, problem: str) -> ConfigError:
        """Return what is wrong as one sentence; where: the line, or what stands for it."""
        return ConfigError(f"{self.key}: {self.path}, {where}: {problem}.")

    def text(self) -> str:
        """Return the text of the file. Raises ConfigError where it cannot be read, or is not text."""
        try:
            status = self.path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{self.key}: {self.path} is not a regular file. Give a {self.kind}.")
            if status.st_size > MAX_BYTES:
                raise ConfigError(
                    f"{self.key}: {self.path} is larger than 64 MiB, so it cannot be a {self.kind}. Check the path."
                )
            return decode_text(self.path.read_bytes())
        except OSError as exc:
            raise ConfigError(f"{self.key}: {self.path} cannot be read ({exc.strerror}). Check the path.") from exc
        except UnicodeDecodeError as exc:
            line = exc.object.count(b"\n", 0, exc.start) + 1
            raise self.fault(f"line {line}", "this is not UTF-8 text; save the file in UTF-8") from exc

    def rows(self, columns: Sequence[str], needed: Sequence[str]) -> Iterator[Row]:
        """Yield the rows of a table that begins with a line of column names. Commas, semicolons or tabs separate them.

        needed: columns that must be there; others of `columns` may be. Other columns are ignored, unless they look
        like a missing one, misspelled. Raises ConfigError.
        """
        names: list[str] = []
        for line, cells in self.lines(columns):
            if names:
                yield self.row(line, cells, names)
            else:
                names = column_names(cells)
                self._check_names(line, names, columns, needed)
        if not names:
            self._check_names(1, names, columns, needed)

    def lines(self, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        """Yield (number of the line, cells) of each line that holds anything. Raises ConfigError.

        columns: what the first of them may name, by which commas, semicolons and tabs are told apart.
        """
        text = self.text()
        told = DELIMITER_LINE.match(text)
        begin = told.end() if told else 0
        line = 2 if told else 1
        table = text[begin:]
        known = set(columns)
        delimiter = max(told[1] if told else DELIMITERS, key=lambda each: len(known.intersection(_names(table, each))))
        reader = csv.reader(io.StringIO(table, newline=""), _Strict, delimiter=delimiter)
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield line, cells
                line = reader.line_num + (2 if told else 1)
        except csv.Error as exc:
            raise self.fault(f"line {line}", f"this is not CSV ({exc}); check its quotes") from exc

    def row(self, line: int, cells: Sequence[str], names: Sequence[str]) -> Row:
        """Return a line's cells by their columns; raise ConfigError if it has more cells than there are columns."""
        if any(cell.strip() for cell in cells[len(names) :]):
            problem = f"there are {len(cells)} cells here, and {len(names)} columns"
            raise self.fault(f"line {line}", f'{problem}; put what holds the delimiter into quotes, as "1,5"')
        return Row(self, line, {name: cell.strip() for name, cell in zip(names, cells, strict=False)})

    def _check_names(self, line: int, names: Sequence[str], columns: Sequence[str], needed: Sequence[str]) -> None:
        absent = [name for name in columns if name not in names]
        allowed = f"this line must name the columns {', '.join(columns)}"
        if missing := [name for name in needed if name in absent]:
            given = brief(", ".join(names))
            raise self.fault(f"line {line}", f"{allowed}; it lacks {', '.join(missing)} (now {given!r})")
        for name in names:
            if name in columns:
                if names.count(name) > 1:
                    raise self.fault(f"line {line}", f"{allowed}; {name} is named twice")
                continue
            if name in WORDS:
                continue
            close = get_close_matches(name, absent, 1, LIKENESS) or [each for each in absent if name.startswith(each)]
            if close:
                raise self.fault(f"line {line}", f"{allowed}; {brief(name)!r} looks like {close[0]}: rename the column")


def column_names(cells: Sequence[str]) -> list[str]:
    """Return the cells of a table's first line as names of columns."""
    return [cell.strip().lower() for cell in cells]


def _names(table: str, delimiter: str) -> list[str]:
    """Return the cells of the first row that has any, as names of columns."""
    reader = csv.reader(io.StringIO(table, newline=""), _Strict, delimiter=delimiter)
    try:
        cells = next((row for row in reader if any(cell.strip() for cell in row)), [])
    except csv.Error:  # with the wrong delimiter, quotes stand inside cells
        return []
    return column_names(cells)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    file: UserFile
    line: int
    cells: dict[str, str]
    """By column; columns that the row does not reach are missing."""

    @property
    def where(self) -> str:
        """Return how messages name the row."""
        return f"line {self.line}"

    def fault(self, problem: str) -> ConfigError:
        """Return what is wrong with the row as one sentence."""
        return self.file.fault(self.where, problem)

    def seconds(self, name: str) -> Fraction:
        """Return the time in a column; raise ConfigError if it does not hold one."""
        text = self.cells.get(name, "")
        try:
            return parse_time(text)
        except ValueError as exc:
            raise self.fault(f"{name} (now {brief(text)!r}): {exc}") from exc
