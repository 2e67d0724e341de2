"""A file on the web: fetched into a partial file, which a later run goes on with if the server allows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import requests

from lipstitch.workspace import require_space
from media.base.errors import MediaError, UnreadableMedia
from media.base.files import disk_errors, flush, read_json, write_json

CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
"""How long a server may take to answer, and to go on."""
CHUNK_BYTES: Final = 1 << 16
"""What is lost at most when a connection is cut."""
PAGES: Final = (
    "text/",
    "application/xhtml",
    "application/json",
    "application/vnd.apple.mpegurl",
    "application/x-mpegurl",
    "application/dash+xml",
)
"""Beginnings of the types of what is no media file itself: pages, and lists of the pieces of a stream."""
ENCODED_WHOLE: Final = {"Accept-Encoding": "identity"}
"""A compressed answer would not continue the file's own bytes."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are there, and how many there will be (0 if the server does not say)."""


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file on the web, and where it goes."""

    key: str
    """Of the job file, for messages."""
    address: str
    path: Path

    @property
    def partial(self) -> Path:
        """Where its bytes are collected."""
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def _note(self) -> Path:
        """Where it is noted which version of the file the partial one is of."""
        return self.path.with_name(f"{self.path.name}.version.part")

    def fetch(self, on_progress: Progress) -> bool:
        """Fetch the file; return False, and fetch nothing, if a page is there and no file.

        Raises UnreadableMedia where the server cannot be reached, refuses, or does not send all; then the next call
        goes on where this one ended.
        """
        while True:
            had = self._num_there
            try:
                is_file = self._fetch_rest(on_progress)
            except requests.RequestException as exc:
                if self._num_there > had:  # the connection was cut, and comes back perhaps
                    continue
                raise UnreadableMedia(f"{self.key}: {self.address} {_reason(exc)}.") from exc
            if not is_file:
                return False
            break
        with disk_errors(self.path):
            flush(self.partial)
            self.partial.replace(self.path)
            self._note.unlink(missing_ok=True)
        return True

    @property
    def _num_there(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _fetch_rest(self, on_progress: Progress) -> bool:
        version = str((read_json(self._note) or {}).get("version", ""))
        had = self._num_there if version else 0
        headers = {**ENCODED_WHOLE, **({"Range": f"bytes={had}-", "If-Range": version} if had else {})}
        with requests.get(
            self.address, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)
        ) as answer:
            if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # there is no more than is here
                self.partial.unlink()
                return self._fetch_rest(on_progress)
            if not answer.ok:
                name = f" ({answer.reason})" if answer.reason else ""
                raise self._error(
                    f"cannot be downloaded: the server answers {answer.status_code}{name}. Check the address."
                )
            if answer.headers.get("Content-Type", "").lower().startswith(PAGES):
                return False
            resumes = answer.status_code == HTTPStatus.PARTIAL_CONTENT
            start = had if resumes else 0
            missing = int(answer.headers.get("Content-Length", 0))
            total = start + missing if missing else 0
            require_space(self.path.parent, missing)
            write_json(self._note, {"version": _version(answer)})
            with disk_errors(self.partial):
                file = self.partial.open("ab" if resumes else "wb", buffering=0)
            with file:
                for chunk in answer.iter_content(CHUNK_BYTES):
                    with disk_errors(self.partial):  # not around the loop: errors of the network are OSErrors, too
                        file.write(chunk)
                    on_progress(file.tell(), total)
        if total and self._num_there != total:
            raise self._error(f"was cut off after {self._num_there} of {total} bytes. Run the job again to go on.")
        return True

    def _error(self, text: str) -> MediaError:
        return UnreadableMedia(f"{self.key}: {self.address} {text}")


def _version(answer: requests.Response) -> str:
    """Return what tells a version of a file from another (RFC 9110, 13.1.5); empty where the server does not tell."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _reason(error: requests.RequestException) -> str:
    """Say in few words, and what to do, what requests says in many."""
    if isinstance(error, requests.exceptions.SSLError):
        return "is not trusted: its certificate cannot be verified. Check the address"
    if isinstance(error, requests.Timeout):
        return "does not answer. Check the address and the network, and run the job again"
    if isinstance(error, requests.TooManyRedirects):
        return "only leads from one address to the next. Check the address"
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return "is no address that can be read. Check it"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "was cut off. Run the job again to go on"
    return "cannot be reached. Check the address and the network, and run the job again"
