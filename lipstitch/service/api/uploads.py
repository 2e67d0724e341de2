"""Files that clients send: written to the disk as they come, never held in memory."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from lipstitch.service.api.access import Refused
from lipstitch.service.settings import Limits
from lipstitch.service.store import UNFINISHED_PREFIX, Store, new_id
from media.base.files import flush
from media.base.text import brief

MAX_TEXT_BYTES = 1 << 20
"""Of a JSON body, and of a form's text."""
MAX_FIELDS, MAX_FILES = 20, 2
UNSAFE = re.compile(r"[^\w. -]", re.ASCII)
MAX_NAME = 100


@dataclass(slots=True)
class Form:
    """A form as it is read."""

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)

    def take_text(self, part: Field) -> None:
        """Take a text."""
        name = (part.field_name or b"").decode(errors="replace")
        if name in self.texts or len(self.texts) >= MAX_FIELDS:
            raise Refused(400, f"{brief(name)}: given twice, or one of more than {MAX_FIELDS} fields.")
        try:
            self.texts[name] = (part.value or b"").decode()
        except UnicodeDecodeError as exc:
            raise Refused(400, f"{brief(name)}: not a text in UTF-8.") from exc

    def take_file(self, part: File) -> None:
        """Take a file."""
        name = (part.field_name or b"").decode(errors="replace")
        if name in self.files or len(self.files) >= MAX_FILES:
            raise Refused(400, f"{brief(name)}: a file of this name was sent before, or more than {MAX_FILES} files.")
        self.files[name] = part


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
    kind, options = parse_options_header(request.headers.get("content-type"))
    max_bytes = MAX_FILES * limits.max_bytes + MAX_TEXT_BYTES
    stated = request.headers.get("content-length", "0")
    if not stated.isdigit() or int(stated) > max_bytes:
        raise _too_large(limits)
    if int(stated) > shutil.disk_usage(store.uploads).free:
        raise Refused(507, "The disk of this service is full. Try again later.")
    folder = store.uploads / f"{UNFINISHED_PREFIX}{secrets.token_hex(8)}"
    folder.mkdir()
    form, done = Form(), 0
    config = {"UPLOAD_DIR": str(folder), "MAX_MEMORY_FILE_SIZE": 0, "UPLOAD_DELETE_TMP": False}
    config |= {"MAX_FIELD_SIZE": MAX_TEXT_BYTES, "MAX_FIELDS": MAX_FIELDS}
    try:
        try:
            parser = FormParser(
                kind.decode(), form.take_text, form.take_file, boundary=options.get(b"boundary"), config=config
            )
            async for chunk in request.stream():
                done += len(chunk)
                if done > max_bytes:
                    raise _too_large(limits)
                await run_in_threadpool(parser.write, chunk)
            await run_in_threadpool(parser.finalize)
        except FormParserError as exc:
            raise Refused(400, "The form cannot be read. Send multipart/form-data with a boundary.") from exc
        yield form
    finally:
        for part in form.files.values():
            part.close()
        shutil.rmtree(folder, ignore_errors=True)


def keep_file(part: File, store: Store) -> str:
    """Keep a file that was sent, flushed to the disk, and return the id by which inputs name it (assetId)."""
    if part.actual_file_name is None:
        raise Refused(400, "A file that was sent is empty.")
    part.close()
    sent = Path(os.fsdecode(part.actual_file_name))
    asset = new_id()
    folder = store.uploads / f"{UNFINISHED_PREFIX}{asset}"
    folder.mkdir()
    flush(sent)
    sent.rename(folder / _safe_name(part.file_name or b""))
    folder.rename(store.uploads / asset)
    flush(store.uploads)
    return asset


def _safe_name(name: bytes) -> str:
    """Return a name that any file may have, with the ending of the one that was given."""
    base = name.decode(errors="replace").replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = UNSAFE.sub("_", base).strip(" .").rpartition(".")
    return f"{(stem or ending)[:MAX_NAME]}{dot}{ending[:10]}" if stem else (ending[:MAX_NAME] or "upload")


def _too_large(limits: Limits) -> Refused:
    return Refused(413, f"Larger than this service takes: {limits.max_bytes} bytes a file.")
