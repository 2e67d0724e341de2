"""Which files a page may name: what was uploaded through it.

Gradio copies what a request names into its own folder, and may show it from there: where the page is mounted into
another application, that is any file of this machine; and what any address holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lipstitch.service.api.access import refuse

UPLOAD_TAIL = "/gradio_api/upload"
"""Where files come in, as they are."""
MAX_BYTES = 16 << 20
"""Of a request; the timeline of a long video is sent along."""


class SentFilesOnly:
    """Refuses requests of the page that name a file which was not uploaded through it."""

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        """folder: of what was uploaded."""
        self._app, self._folder = app, folder.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http" or scope["method"] == "GET" or scope["path"].endswith(UPLOAD_TAIL):
            await self._app(scope, receive, send)
            return
        chunks: list[bytes] = []
        is_more = True
        while is_more:
            message = await receive()
            if message["type"] != "http.request":
                return
            chunks.append(message.get("body", b""))
            is_more = message.get("more_body", False)
            if sum(map(len, chunks)) > MAX_BYTES:
                await refuse(413, "The request is too long.")(scope, receive, send)
                return
        body = b"".join(chunks)
        try:
            is_allowed = all(self._is_sent(path) for path in _named(json.loads(body) if body else None))
        except (ValueError, RecursionError):
            await refuse(400, "The request is not JSON.")(scope, receive, send)
            return
        if not is_allowed:
            await refuse(400, "A file that was not uploaded here. Upload it first.")(scope, receive, send)
            return

        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return first.pop() if first else await receive()

        await self._app(scope, again, send)

    def _is_sent(self, path: Any) -> bool:
        try:
            return Path(path).resolve(strict=True).is_relative_to(self._folder)
        except (OSError, ValueError, TypeError, RuntimeError):  # an address, say
            return False


def _named(value: Any) -> Iterator[Any]:
    """Yield what a request names as files, wherever it stands."""
    if isinstance(value, dict):
        if value.get("path"):
            yield value["path"]
        value = [*value.values()]
    if isinstance(value, list):
        for part in value:
            yield from _named(part)
