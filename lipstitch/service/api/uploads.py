"""Files that clients send: written to the disk as they come, never held in memory."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from lipstitch.service.api.access import Refused
from lipstitch.service.settings import Limits
from lipstitch.service.store import UNFINISHED_PREFIX, Store, new_id
from media.base.files import flush
from media.base.text import brief

MAX_TEXT_BYTES = 1 << 20
"""Of a JSON body, and of a form's text."""
MAX_FIELDS, MAX_FILES = 20, 2
UNREADABLE = "The form cannot be read. Send multipart/form-data with a boundary."
RESERVE_BYTES = 1 << 28
"""Of the disk that uploads leave free: a generation's state has to be written, too."""
CHECK_BYTES = 1 << 26
"""After how many bytes an upload looks at the disk again, which others fill meanwhile."""
FULL = "The disk of this service is full. Try again later."
UNSAFE = re.compile(r"[^\w. -]", re.ASCII)
MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file as it was sent."""

    path: Path
    name: str
    """What the client calls it."""


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of a form, by their names."""

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, SentFile] = field(default_factory=dict)


class _Parts:
    """Takes the parts of a form as they come: files to the disk, texts to memory, both bounded."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.form = Form()
        self._folder, self._limits = folder, limits
        self._header = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name, self._file_name = "", ""
        self._text, self._num_bytes, self._unchecked = bytearray(), 0, 0
        self._file: BufferedWriter | None = None

    def parser(self, boundary: bytes) -> MultipartParser:
        """Return the parser that calls this."""
        return MultipartParser(
            boundary,
            {
                "on_header_field": self._take_header,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin,
                "on_part_data": self._take,
                "on_part_end": self._end,
            },
        )

    def close(self) -> None:
        """Close the file of a part that was cut off."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take_header(self, chunk: bytes, start: int, stop: int) -> None:
        self._header += chunk[start:stop]

    def _take_value(self, chunk: bytes, start: int, stop: int) -> None:
        self._value += chunk[start:stop]

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _begin(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._headers = {}
        self._name = options.get(b"name", b"").decode(errors="replace")
        self._text, self._num_bytes = bytearray(), 0
        if self._name in {*self.form.texts, *self.form.files}:
            raise Refused(400, f"{brief(self._name)}: given twice.")
        file_name = options.get(b"filename")
        if file_name is None:
            if len(self.form.texts) >= MAX_FIELDS:
                raise Refused(400, f"More than {MAX_FIELDS} texts in a form.")
            return
        if len(self.form.files) >= MAX_FILES:
            raise Refused(400, f"More than {MAX_FILES} files in a form.")
        self._file_name = file_name.decode(errors="replace")
        self._file = (self._folder / str(len(self.form.files))).open("wb")

    def _take(self, chunk: bytes, start: int, stop: int) -> None:
        self._num_bytes += stop - start
        if self._num_bytes > (self._limits.max_bytes if self._file else MAX_TEXT_BYTES):
            raise _too_large(self._limits) if self._file else Refused(413, "A text in a form is longer than 1 MiB.")
        if self._file is not None:
            self._unchecked += stop - start
            if self._unchecked > CHECK_BYTES:
                self._unchecked = 0
                _require_space(self._folder, 0)
            self._file.write(chunk[start:stop])
        else:
            self._text += chunk[start:stop]

    def _end(self) -> None:
        if self._file is not None:
            path = Path(self._file.name)
            self.close()
            if not self._num_bytes:
                raise Refused(400, f"{brief(self._name)}: the file is empty.")
            self.form.files[self._name] = SentFile(path, self._file_name)
            return
        try:
            self.form.texts[self._name] = self._text.decode()
        except UnicodeDecodeError as exc:
            raise Refused(400, f"{brief(self._name)}: not a text in UTF-8.") from exc


async def read_text(request: Request) -> bytes:
    """Return the body of a request that is a text; raise Refused if it is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_TEXT_BYTES:
            raise Refused(413, "The request is longer than 1 MiB. Upload files as a form.")
    return body


@asynccontextmanager
async def read_form(request: Request, store: Store, limits: Limits) -> AsyncIterator[Form]:
    """Read a form (multipart/form-data), and remove what of its files was not kept. Raises Refused."""
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    max_bytes = MAX_FILES * limits.max_bytes + MAX_TEXT_BYTES
    stated = request.headers.get("content-length", "0")
    if boundary is None:
        raise Refused(400, UNREADABLE)
    if not stated.isdigit() or int(stated) > max_bytes:
        raise _too_large(limits)
    _require_space(store.uploads, int(stated))
    folder = store.uploads / f"{UNFINISHED_PREFIX}{secrets.token_hex(8)}"
    folder.mkdir()
    parts = _Parts(folder, limits)
    try:
        try:
            parser = parts.parser(boundary)
            async for chunk in request.stream():
                await run_in_threadpool(parser.write, chunk)
            parser.finalize()
        except FormParserError as exc:
            raise Refused(400, UNREADABLE) from exc
        except OSError as exc:
            raise Refused(507, FULL) from exc
        yield parts.form
    finally:
        parts.close()
        shutil.rmtree(folder, ignore_errors=True)


def keep_file(sent: SentFile, store: Store) -> str:
    """Keep a file that was sent, flushed to the disk, and return the id by which inputs name it (assetId)."""
    asset = new_id()
    folder = store.uploads / f"{UNFINISHED_PREFIX}{asset}"
    folder.mkdir()
    flush(sent.path)
    shutil.move(sent.path, folder / _safe_name(sent.name))
    folder.rename(store.uploads / asset)
    flush(store.uploads)
    return asset


def _safe_name(name: str) -> str:
    """Return a name that any file may have, with the ending of the one that was given."""
    base = name.replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = UNSAFE.sub("_", base).strip(" .").rpartition(".")
    return f"{(stem or ending)[:MAX_NAME]}{dot}{ending[:10]}" if stem else (ending[:MAX_NAME] or "upload")


def _require_space(folder: Path, num_bytes: int) -> None:
    if num_bytes + RESERVE_BYTES > shutil.disk_usage(folder).free:
        raise Refused(507, FULL)


def _too_large(limits: Limits) -> Refused:
    return Refused(413, f"Larger than this service takes: {limits.max_bytes} bytes a file.")
