"""The addresses of the service, in the shape of sync.so's public API (https://sync.so/docs/api-reference)."""

from __future__ import annotations

import hmac
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ValidationError

from lipstitch.service.addresses import AddressRefused, check_address
from lipstitch.service.answer import DEFAULT_NAME, Generation, describe, sign_output
from lipstitch.service.api.access import Refused
from lipstitch.service.api.events import follow
from lipstitch.service.api.metrics import ServiceCollector, write_metrics
from lipstitch.service.api.uploads import SentFile, keep_file, read_form, read_text
from lipstitch.service.inputs import InputRefused, check_media, find_upload, is_address, resolve_file
from lipstitch.service.queue import Queue
from lipstitch.service.request import GenerationRequest, describe_faults
from lipstitch.service.settings import ServiceSettings
from lipstitch.service.store import Asked, State, Status, Store
from lipstitch.service.upkeep import count_workers
from media.base.errors import LipstitchError, WorkspaceError

MAX_LISTED = 1000
MAX_PLACE = 1 << 62
"""In a file: the greatest that systems know is the double of it."""
FORM, JSON = "multipart/form-data", "application/json"
JSON_FIELDS = ("input", "options", "segments")
"""Of a form: texts in JSON."""


@dataclass(frozen=True, slots=True)
class Service:
    """What answers are made from."""

    settings: ServiceSettings
    store: Store
    queue: Queue
    secret: str

    def describe(self, asked: Asked, state: State) -> Generation:
        """Return what clients are told of a generation."""
        return describe(asked, state, self.store.result(asked.id), self.secret)

    def find(self, generation: str) -> tuple[Asked, State]:
        """Return a generation; raise Refused if it does not exist."""
        asked = self.store.asked(generation)
        state = self.store.state(generation) if asked else None
        if asked is None or state is None:
            raise Refused(404, "There is no such generation, or it was removed since.")
        return asked, state

    def submit(self, request: GenerationRequest, base_url: str, work: Path | None = None) -> Generation:
        """Take a generation on; raise Refused if it cannot be done. work: as of Store.add."""
        waiting = sum(1 for _ in self.store.unfinished())
        if waiting >= self.settings.limits.max_waiting:
            raise Refused(429, f"{waiting} generations are waiting already. Try again later.")
        files = self.check_inputs(request)
        try:
            if request.webhook_url is not None:
                check_address(request.webhook_url, self.settings.addresses)
        except AddressRefused as exc:
            raise Refused(400, str(exc)) from exc
        asked = self.store.add(request, files, self.settings.public_url or base_url, work)
        with suppress(WorkspaceError):  # it is written down: workers put it into a queue that is back
            self.queue.put(asked.id)
        return self.describe(asked, State())

    def check_inputs(self, request: GenerationRequest) -> list[Path | None]:
        """Return the files of the inputs, None for addresses; raise Refused for what this service does not read."""
        try:
            return [self._check_input(request, number) for number in range(len(request.input))]
        except (AddressRefused, InputRefused) as exc:
            raise Refused(400, str(exc)) from exc

    def _check_input(self, request: GenerationRequest, number: int) -> Path | None:
        """Return the file of an input, checked; None: an address, of which only that it may be called."""
        part = request.input[number]
        if part.asset_id is not None:
            name, file = f"assetId {part.asset_id}", find_upload(self.store.uploads, part.asset_id)
        elif part.url is not None and is_address(part.url):
            check_address(part.url, self.settings.addresses)
            return None
        else:
            name = part.url or ""
            file = resolve_file(name, self.settings)
        check_media(file, part.type, self.settings.limits, name)
        return file


def program_version() -> str:
    """Return the version of the program."""
    try:
        return version("lipstitch")
    except PackageNotFoundError:
        return "unknown"


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Used = Annotated[Service, Depends(_service)]


def _found(generation: str, service: Used) -> tuple[Asked, State]:
    return service.find(generation)


Found = Annotated[tuple[Asked, State], Depends(_found)]
"""The generation that an address names; there is one."""


class Fault(BaseModel):
    """Why a request was refused, as sync.so's errors say it."""

    message: str
    """One sentence."""
    error: str
    """The same."""
    statusCode: int  # noqa: N815


router = APIRouter(responses={"4XX": {"model": Fault, "description": "Refused, with one sentence."}})


class Upload(BaseModel):
    """A file that was uploaded."""

    id: str
    """Inputs name it as assetId."""


class Health(BaseModel):
    """How the service is."""

    status: str
    version: str
    workers: int
    waiting: int


SCHEMA = GenerationRequest.model_json_schema(ref_template="#/components/schemas/{model}")
del SCHEMA["$defs"]  # they stand among the components, as parts of answers
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": SCHEMA},
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        **{name: {"type": "string", "format": "binary"} for name in ("video", "audio")},
                        **{
                            name: {"type": "string"} for name in ("model", *JSON_FIELDS, "webhookUrl", "outputFileName")
                        },
                    },
                }
            },
        },
    }
}


@router.post("/v2/generate", status_code=201, response_model=Generation, tags=["generations"], openapi_extra=BODY)
async def generate(request: Request, service: Used) -> Generation:
    """Ask for a generation: JSON whose inputs are addresses, paths or uploads, or a form with the files themselves."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    base_url = str(request.base_url)
    if kind == FORM:
        async with read_form(request, service.store, service.settings.limits) as form:
            content = _read_texts(form.texts)
            if not {*form.files} <= {"video", "audio"}:
                raise Refused(400, "A form's files are called video and audio.")
            return await run_in_threadpool(_submit_form, service, content, form.files, base_url)
    if kind != JSON:
        raise Refused(415, f"Send {JSON} or {FORM}.")
    return await run_in_threadpool(service.submit, _parse(await read_text(request)), base_url)


def _submit_form(service: Service, content: dict[str, Any], files: Mapping[str, SentFile], base_url: str) -> Generation:
    """Take a generation on with the files that were sent; of one that is refused they are not kept."""
    assets: list[str] = []
    try:
        for name, file in files.items():
            assets.append(keep_file(file, service.store))
            _add_upload(content, name, assets[-1])
        return service.submit(_parse(json.dumps(content).encode()), base_url)
    except (Refused, LipstitchError, OSError):
        for asset in assets:
            shutil.rmtree(service.store.uploads / asset, ignore_errors=True)
        raise


def _parse(body: bytes) -> GenerationRequest:
    try:
        return GenerationRequest.model_validate_json(body)
    except ValidationError as exc:
        raise Refused(400, describe_faults(exc.errors(include_url=False))) from exc


def _read_texts(texts: dict[str, str]) -> dict[str, Any]:
    content: dict[str, Any] = {**texts}
    for name in JSON_FIELDS:
        if name in texts:
            try:
                content[name] = json.loads(texts[name])
            except (ValueError, RecursionError) as exc:
                raise Refused(400, f"{name}: not a text in JSON.") from exc
    content.setdefault("input", [])
    if not isinstance(content["input"], list):
        raise Refused(400, "input: give a list.")
    return content


def _add_upload(content: dict[str, Any], kind: str, asset: str) -> None:
    """Let an input be what was uploaded: the one of that kind that names nothing yet, else a further one."""
    for part in content["input"]:
        if isinstance(part, dict) and part.get("type") == kind and not {"url", "assetId"} & {*part}:
            part["assetId"] = asset
            return
    content["input"].append({"type": kind, "assetId": asset})


@router.post("/v2/assets", status_code=201, tags=["uploads"], openapi_extra={"requestBody": {"content": {FORM: {}}}})
async def upload(request: Request, service: Used) -> Upload:
    """Upload a file, in a form's field `file`, for inputs to name as assetId."""
    async with read_form(request, service.store, service.settings.limits) as form:
        if [*form.files] != ["file"]:
            raise Refused(400, "Send one file, called file.")
        return Upload(id=await run_in_threadpool(keep_file, form.files["file"], service.store))


@router.get("/v2/generations", response_model=list[Generation], tags=["generations"])
@router.get("/v2/generate", response_model=list[Generation], include_in_schema=False)
def list_generations(
    service: Used,
    status: Annotated[Status | None, Query(description="Only those of this status.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 100,
) -> list[Generation]:
    """List generations, newest first."""
    found: list[Generation] = []
    for generation in service.store.ids():
        asked, state = service.store.asked(generation), service.store.state(generation)
        if asked is not None and state is not None and status in (None, state.status):
            found.append(service.describe(asked, state))
        if len(found) == limit:
            break
    return found


@router.get("/v2/generate/{generation}", response_model=Generation, tags=["generations"])
def get_generation(found: Found, service: Used) -> Generation:
    """Tell how far a generation is."""
    return service.describe(*found)


@router.post("/v2/generate/{generation}/cancel", response_model=Generation, tags=["generations"])
def cancel_generation(found: Found, service: Used) -> Generation:
    """End a generation: its status is CANCELED within seconds."""
    asked, state = found
    if state.is_finished:
        raise Refused(409, f"This generation has ended: {state.status}.")
    return service.describe(asked, service.store.cancel(asked.id) or state)


@router.get("/v2/generate/{generation}/events", response_class=EventSourceResponse, tags=["generations"])
async def follow_generation(
    found: Found, service: Used, last_event_id: Annotated[int, Header(ge=0, le=MAX_PLACE)] = 0
) -> AsyncIterator[ServerSentEvent]:
    """Follow a generation: events `progress` as --progress json writes them, and `status`, until it has ended."""
    async for event in follow(service.store, found[0].id, last_event_id):
        yield event


@router.get("/v2/generate/{generation}/output/{name}", response_class=FileResponse, tags=["generations"])
def get_output(generation: str, service: Used, signature: str = "") -> FileResponse:
    """Fetch the result, or a range of it, by the address in outputUrl."""
    if not hmac.compare_digest(signature.encode(), sign_output(service.secret, generation).encode()):
        raise Refused(403, "Take the address from outputUrl: it is signed.")
    asked, state = service.find(generation)
    result = service.store.result(generation)
    if state.status != "COMPLETED" or result is None:
        raise Refused(404, f"There is no result: the generation is {state.status}.")
    return FileResponse(result, filename=f"{asked.request.output_file_name or DEFAULT_NAME}{result.suffix}")


@router.get("/v2/generate/{generation}/report", response_class=Response, tags=["generations"])
def get_report(found: Found, service: Used) -> Response:
    """Fetch the report of a completed generation."""
    result = service.store.result(found[0].id)
    report = result and result.with_name(f"{result.name}.report.json")
    if report is None or not report.is_file():
        raise Refused(404, "There is no report of this generation.")
    return _without_paths(report, JSON, service)


@router.get("/v2/generate/{generation}/page", response_class=Response, tags=["generations"])
def get_page(found: Found, service: Used) -> Response:
    """Look at the report of a completed generation, as a page."""
    result = service.store.result(found[0].id)
    page = result and result.with_name(f"{result.name}.report.html")
    if page is None or not page.is_file():
        raise Refused(404, "There is no page of this generation.")
    return _without_paths(page, "text/html", service)


def _without_paths(file: Path, kind: str, service: Service) -> Response:
    return Response(service.store.without_paths(file.read_text(encoding="utf-8")), media_type=kind)


@router.get("/health", tags=["service"])
def get_health(service: Used) -> Health:
    """Tell whether the service and its workers are alive."""
    workers, waiting = count_workers(service.settings.folder), len(service.queue.waiting())
    return Health(status="ok" if workers else "no worker", version=program_version(), workers=workers, waiting=waiting)


@router.get("/metrics", tags=["service"])
def get_metrics(service: Used) -> Response:
    """Figures for Prometheus."""
    collector = ServiceCollector(service.settings, service.store, service.queue)
    return Response(write_metrics(collector), media_type="text/plain; version=0.0.4; charset=utf-8")
