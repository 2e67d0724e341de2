"""Tables that users write and correct in any editor or spreadsheet: text, rows, times; what is wrong by its line."""

from __future__ import annotations

import csv
import io
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from media.errors import ConfigError
from media.settings import brief
from pipeline.config_fields import parse_time

MAX_BYTES = 64 << 20
"""Of such a file; ten hours of one-second rows take 2 MB."""
DECIMAL_COMMA = re.compile(r"\d+,\d+")


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
        """Return what is in the file. Raises ConfigError where it cannot be read, or is no text."""
        try:
            status = self.path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{self.key}: {self.path} is no regular file. Give a {self.kind}.")
            if status.st_size > MAX_BYTES:
                raise ConfigError(
                    f"{self.key}: {self.path} is larger than 64 MiB, so it is no {self.kind}. Check the path."
                )
            return self.path.read_text(encoding="utf-8-sig")
        except OSError as exc:
            raise ConfigError(f"{self.key}: {self.path} cannot be read ({exc.strerror}). Check the path.") from exc
        except UnicodeDecodeError as exc:
            raise ConfigError(f"{self.key}: {self.path} is no UTF-8 text. Save it in UTF-8.") from exc

    def rows(self, columns: Sequence[str], needed: Sequence[str]) -> Iterator[Row]:
        """Yield the rows of a table with a line of column names. Commas, semicolons or tabs part the columns.

        needed: columns that must be there; others of `columns` may be, and no more. Raises ConfigError.
        """
        lines = io.StringIO(self.text(), newline="")
        header = lines.readline()
        delimiter = max(",;\t", key=header.count)
        names = [name.strip().strip('"').lower() for name in header.split(delimiter)]
        unknown = [name for name in names if name not in columns and name]
        missing = [name for name in needed if name not in names]
        if unknown or missing or len(set(names)) < len(names):
            listed = ", ".join(columns)
            raise self.fault(
                "line 1", f"the first line must name the columns {listed}; it is {brief(header.strip())!r}"
            )
        reader = csv.reader(lines, delimiter=delimiter)
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    given = {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
                    yield Row(self, reader.line_num + 1, given, has_decimal_commas=delimiter != ",")
        except csv.Error as exc:
            raise self.fault(f"line {reader.line_num + 1}", f"this is no CSV ({exc})") from exc


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    file: UserFile
    line: int
    cells: dict[str, str]
    """By column; columns that the row does not reach are missing."""
    has_decimal_commas: bool

    @property
    def where(self) -> str:
        """Return how messages name the row."""
        return f"line {self.line}"

    def fault(self, problem: str) -> ConfigError:
        """Return what is wrong with the row as one sentence."""
        return self.file.fault(self.where, problem)

    def seconds(self, name: str) -> Fraction:
        """Return the time in a column; raise ConfigError if it holds none."""
        text = self.cells.get(name, "")
        plain = text.replace(",", ".") if self.has_decimal_commas and DECIMAL_COMMA.search(text) else text
        try:
            return parse_time(plain)
        except ValueError as exc:
            raise self.fault(f"{name} (now {brief(text)!r}): {exc}") from exc
