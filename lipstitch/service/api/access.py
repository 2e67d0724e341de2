"""Who may call the service: by token, and never through the browser of someone who looks at another page."""

from __future__ import annotations

import base64
import hmac
import re
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

DOCS_FILES = "/docs-files"
"""Where the scripts of the page /docs lie."""
OPEN_PATHS = re.compile(rf"/health|/docs(/oauth2-redirect)?|/openapi\.json|{DOCS_FILES}/[\w.-]+")
"""Paths that hold nothing of anyone's."""
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
SIGNED_PATH = re.compile(r"/v2/generate/[0-9a-f-]{36}/output/[^/]+")
"""Paths of results, whose addresses are signed: anyone who was told one may fetch it."""


class Access:
    """Refuses what may not be asked; everything behind it, mounted apps included, is guarded."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        """token: what clients have to show; None: there is no token, and only this machine calls."""
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refuse(scope["path"], headers)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _refuse(self, path: str, headers: Headers) -> JSONResponse | None:
        own = headers.get("host", "")
        try:
            host, origin = urlsplit(f"//{own}").hostname, urlsplit(headers.get("origin", f"//{own}")).netloc
        except ValueError:  # half of an IPv6 address, say
            return refuse(400, "The header Host or Origin is not an address.")
        if self._token is None and host not in LOCAL_NAMES:
            # The name of another site that stands for 127.0.0.1: its pages would be taken for ours (DNS rebinding).
            return refuse(403, "Without a token this service answers to 127.0.0.1 and localhost alone.")
        is_signed = SIGNED_PATH.fullmatch(path) is not None
        if origin != own or (_is_embedded(headers) and not is_signed):
            return refuse(403, "A page of another site may not call this service.")
        if self._token is None or OPEN_PATHS.fullmatch(path) or is_signed:
            return None
        shown = _shown_token(headers)
        if shown is None:
            return refuse(401, "Show the token in the header x-api-key, or as a bearer.")
        if not hmac.compare_digest(shown, self._token.encode()):
            return refuse(401, "The token is wrong.")
        return None


def _is_embedded(headers: Headers) -> bool:
    """Tell whether a page of another site shows or loads it, as a frame or a picture: browsers give no origin then.

    They say where it comes from in headers of their own (Fetch Metadata). A link that is followed is neither.
    """
    is_elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    return is_elsewhere and headers.get("sec-fetch-dest") != "document"


def _shown_token(headers: Headers) -> bytes | None:
    """Return the token of a request: x-api-key, a bearer, or the password that a browser asks its user for.

    Its bytes: headers are read as Latin-1, and tokens are written in UTF-8.
    """
    if (key := headers.get("x-api-key")) is not None:
        return key.encode("latin-1")
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except ValueError:  # not base 64, or not ASCII
            return b""
    return None


def refuse(status: int, sentence: str) -> JSONResponse:
    """Return the answer to a request that is refused, in the shape of sync.so's errors."""
    headers = {"WWW-Authenticate": 'Basic realm="lipstitch"'} if status == 401 else None
    content = {"message": sentence, "error": sentence, "statusCode": status}
    return JSONResponse(content, status_code=status, headers=headers)


class Refused(Exception):
    """A request that is refused with a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


async def answer_refused(_: Request, exc: Exception) -> JSONResponse:
    """Answer a request that was refused."""
    assert isinstance(exc, Refused)
    return refuse(exc.status, exc.sentence)
