"""What clients are told of a generation, in answers and in webhooks alike."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from pathlib import Path

from pydantic import Field

from lipstitch.service.request import GenerationRequest
from lipstitch.service.store import Asked, State, Status

DEFAULT_NAME = "result"


class Generation(GenerationRequest):
    """What was asked, and how far it is."""

    id: str
    created_at: datetime = Field(alias="createdAt")
    status: Status
    output_url: str | None = Field(default=None, alias="outputUrl", description="Where the result is, when it is.")
    output_duration: float | None = Field(default=None, alias="outputDuration", description="Seconds.")
    error: str | None = Field(default=None, description="Why there is no result: one sentence.")
    error_code: str | None = Field(default=None, description="The same for programs.")


def describe(asked: Asked, state: State, result: Path | None, secret: str) -> Generation:
    """Return what clients are told. result: the video that was written; None: it wrote nothing."""
    ending = result.suffix if result else ""
    name = f"{asked.request.output_file_name or DEFAULT_NAME}{ending}"
    path = f"v2/generate/{asked.id}/output/{name}"
    url = f"{asked.base_url.rstrip('/')}/{path}?signature={sign_output(secret, asked.id)}"
    return Generation(
        **{name: getattr(asked.request, name) for name in GenerationRequest.model_fields},
        id=asked.id,
        createdAt=asked.created_at,
        status=state.status,
        outputUrl=url if state.status == "COMPLETED" and ending else None,
        outputDuration=state.output_seconds,
        error=state.error,
        error_code=state.error_code,
    )


def sign_output(secret: str, generation: str) -> str:
    """Return what shows that an address of a result was given out by this service: clients fetch it without a token."""
    return hmac.new(secret.encode(), f"output {generation}".encode(), hashlib.sha256).hexdigest()
