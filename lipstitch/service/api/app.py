"""build_app(): the service as an ASGI application, into which others can be mounted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from lipstitch.service.api.access import DOCS_FILES, Access, Refused, answer_refused, refuse
from lipstitch.service.api.routes import Service, program_version, router
from lipstitch.service.queue import Queue
from lipstitch.service.request import describe_faults
from lipstitch.service.settings import ServiceSettings, load_secret
from lipstitch.service.store import Store
from media.base.errors import LipstitchError

SENTENCES = {404: "There is nothing at this address.", 405: "This address does not take that method."}


def build_app(settings: ServiceSettings) -> FastAPI:
    """Return the application of a service whose settings were checked (check_settings). Raises WorkspaceError.

    It renders nothing itself: workers do (worker.py). Its Service is `app.state.service`. Whatever is mounted in it is
    guarded by the same token and rules (access.py).
    """
    app = FastAPIOffline(  # the page of /docs loads nothing from elsewhere
        title="lipstitch",
        version=program_version(),
        description="Re-syncs the lips of dubbed videos. Requests have the shape of sync.so's API.",
        redoc_url=None,
        static_url=DOCS_FILES,
    )
    app.state.service = Service(settings, Store(settings.folder), Queue(settings), load_secret(settings.folder))
    app.include_router(router)
    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[JSONResponse]]] = {
        Refused: answer_refused,
        RequestValidationError: _answer_faults,
        HTTPException: _answer_http,
        LipstitchError: _answer_failure,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(Access, token=settings.token)
    return app


async def _answer_faults(_: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, RequestValidationError)
    return refuse(400, describe_faults(exc.errors()))


async def _answer_http(_: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, HTTPException)
    return refuse(exc.status_code, SENTENCES.get(exc.status_code, str(exc.detail)))


async def _answer_failure(request: Request, exc: Exception) -> JSONResponse:
    return refuse(500, request.app.state.service.store.without_paths(str(exc)))
