"""The execution section of a job file: where clips are rendered, and what is kept."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from lipstitch import backends
from media.base.plugins import load_plugin, plugin_names
from media.base.settings import FilePath, shown

ADDRESS_TEXT = re.compile(r"(?P<scheme>tcp://|tls://)?([\w.-]+|\[[\da-fA-F:.]+\]):(?P<port>\d{1,5})", re.ASCII)
MAX_PORTS = 1 << 16


def _check_backend(name: str) -> str:
    known = plugin_names(backends)
    if name not in known:
        raise ValueError(f"give {', '.join(known[:-1])} or {known[-1]}")
    return name


class ExecutionConfig(BaseModel, frozen=True, extra="forbid"):
    """Where the work is done and what is kept of it."""

    backend: Annotated[str, AfterValidator(_check_backend)] = Field(
        default="threads",
        description="Where clips are rendered: processes, threads or serial on this machine; dask or ray on those of a"
        " cluster.",
    )
    address: str | None = Field(
        default=None,
        description="host:port of the Dask scheduler or of the Ray cluster; tls://host:port for Dask over TLS.",
    )
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = Field(
        default="auto", description="Clips rendered at a time. auto: as many as the machines have use for."
    )
    workspace: FilePath | None = Field(
        default=None, description="Folder for finished clips. Omitted: beside the output."
    )
    keep: Literal["none", "scan", "clips", "all"] = Field(
        default="clips",
        description="What stays in the workspace after success. scan: where faces are, and their mouths. clips: also"
        " what this run made or used, about as large as what it re-encoded: then `--redo` and a changed setting render"
        " only what they change. all: what earlier runs made, too.",
    )
    checkpoints: FilePath | None = Field(
        default=None,
        description="Folder of network weights. Omitted: the program's own, or the user's cache where that"
        " cannot be written.",
    )

    @model_validator(mode="after")
    def _check(self) -> ExecutionConfig:
        if not self.place.is_remote:
            if self.address is not None:
                raise ValueError(f"address is for a cluster; backend {self.backend} works on this machine")
            return self
        if self.address is None:
            raise ValueError(f"backend {self.backend} needs address, the host:port of its cluster")
        match = ADDRESS_TEXT.fullmatch(self.address)
        if match is None or not 0 < int(match["port"]) < MAX_PORTS:
            raise ValueError(f"address (now {shown(self.address)}): write it as host:port")
        if match["scheme"] and match["scheme"] not in self.place.schemes:
            raise ValueError(f"address (now {shown(self.address)}): backend {self.backend} takes host:port alone")
        if self.place.package and find_spec(self.place.package) is None:
            raise ValueError(f"backend {self.backend} needs `pip install 'lipstitch[{self.backend}]'`")
        return self

    @property
    def place(self) -> Any:
        """What the backend offers, a Backend of lipstitch/backends/base.py."""
        return load_plugin(backends, self.backend, "BACKEND")
