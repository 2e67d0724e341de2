"""What the operator of a service decides: folders, addresses, limits. The server writes it down for its workers."""

from __future__ import annotations

import ipaddress
import json
import secrets
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError

from media.base.errors import ConfigError
from media.base.files import atomic_file, disk_errors, read_json
from media.base.locks import try_lock
from media.base.text import decode_text, parse_text

SETTINGS_NAME = "settings.json"
SECRET_NAME = "secret"
SECRET_BYTES = 32
SECRET_WAIT_SECONDS = 10.0
BASE_SECTIONS = ("segmenter", "renderer", "stitcher", "execution")
"""What generations may share; input, output and ranges are their own."""
MIN_TOKEN = 16
"""Characters of a token: fewer can be guessed."""


class Limits(BaseModel, frozen=True, extra="forbid"):
    """What one request may cost."""

    max_bytes: int = Field(default=8 << 30, ge=1)
    """Of one input file."""
    max_seconds: float = Field(default=4 * 3600.0, gt=0)
    """Of one input file."""
    max_pixels: int = Field(default=8192 * 4320, ge=1)
    """Of each picture of a video: memory grows with it, and a small file may state any size."""
    max_waiting: int = Field(default=100, ge=1)
    """Generations that are not finished; more are refused until some are."""
    keep_hours: float = Field(default=72.0, gt=0)
    """How long results, and uploads that no unfinished generation reads, are kept."""


class Addresses(BaseModel, frozen=True, extra="forbid"):
    """Where inputs may be fetched from, and webhooks sent to."""

    allowed: bool = False
    """Whether public addresses (http, https) are."""
    trusted: tuple[str, ...] = ()
    """host:port of servers that may be reached wherever they are, also in private networks."""


class ServiceSettings(BaseModel, frozen=True, extra="forbid"):
    """A service's settings, checked."""

    folder: Path
    """Where uploads, generations and the queue are kept; all machines of a service share it."""
    inputs: tuple[Path, ...] = ()
    """Folders, beside the uploads, that inputs may be read from."""
    addresses: Addresses = Addresses()
    limits: Limits = Limits()
    base_job: Path | None = None
    """A job file with the settings that all generations share."""
    redis: str | None = None
    """Address of the Redis that holds the queue; None: it lies in the folder, for one machine."""
    public_url: str | None = None
    """What the service's own addresses begin with; None: as the client called it."""
    token: str | None = Field(default=None, exclude=True, repr=False)
    """What clients have to show; never written down."""


def check_settings(settings: ServiceSettings) -> ServiceSettings:
    """Return the settings with absolute paths; raise ConfigError for what cannot work."""
    inputs = []
    for folder in settings.inputs:
        if not folder.is_dir():
            raise ConfigError(f"--inputs {folder}: no such folder. Check the path.")
        inputs.append(folder.resolve())
    for trusted in settings.addresses.trusted:
        _check_place(trusted)
    if settings.token is not None and len(settings.token) < MIN_TOKEN:
        raise ConfigError(f"The token has fewer than {MIN_TOKEN} characters. Choose a longer one.")
    if settings.redis is not None and urlsplit(settings.redis).scheme not in ("redis", "rediss", "unix"):
        raise ConfigError(f"--redis {settings.redis}: write it as redis://host:port.")
    if settings.public_url is not None and urlsplit(settings.public_url).scheme not in ("http", "https"):
        raise ConfigError(f"--public-url {settings.public_url}: write it as https://host.")
    base = settings.base_job
    if base is not None:
        _check_base_job(base)
    with disk_errors(settings.folder):
        settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    changes = {"folder": settings.folder.resolve(), "inputs": tuple(inputs), "base_job": base and base.resolve()}
    return settings.model_copy(update=changes)


def _check_place(text: str) -> None:
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or port is None:
        raise ConfigError(f"--trust {text}: write it as host:port.")


def _check_base_job(path: Path) -> None:
    """Raise ConfigError unless the file holds sections of a job file that mean the same in any folder."""
    from lipstitch.job_file.config import load_job  # which imports all that a job file can name

    given = load_base_job(path)
    added = ["input.video=/video.mp4", "input.audio=/audio.wav", "output=/output.mp4"]
    job = load_job(path, added)
    with tempfile.TemporaryDirectory() as elsewhere:
        copy = Path(elsewhere, path.name)
        copy.write_text(json.dumps(given), encoding="utf-8")
        if load_job(copy, added) != job:
            raise ConfigError(f"{path}: the paths in the job file of a service must be absolute.")


def load_base_job(path: Path | None) -> dict[str, Any]:
    """Return the sections of a job file that all generations share; raise ConfigError if it holds anything else."""
    if path is None:
        return {}
    with disk_errors(path):
        content = parse_text(decode_text(path.read_bytes()), str(path))
    if not isinstance(content, dict) or not {*content} <= {*BASE_SECTIONS}:
        raise ConfigError(f"{path}: the job file of a service holds {', '.join(BASE_SECTIONS)}, and no other keys.")
    return {name: section for name, section in content.items() if section is not None}


def save_settings(settings: ServiceSettings) -> None:
    """Write the settings into the service's folder, for its workers; the token is not among them."""
    with atomic_file(settings.folder / SETTINGS_NAME) as partial:
        partial.chmod(0o600)  # the address of a Redis may hold its password
        partial.write_text(settings.model_dump_json(indent=1), encoding="utf-8")


def load_saved_settings(folder: Path) -> ServiceSettings:
    """Return the settings of the service that keeps a folder; raise ConfigError if it is not one."""
    try:
        return ServiceSettings.model_validate(read_json(folder / SETTINGS_NAME))
    except ValidationError as exc:
        raise ConfigError(f"{folder}: not the folder of a service. Start `lipstitch serve` with it first.") from exc


def load_secret(folder: Path) -> str:
    """Return the service's secret, with which webhooks and addresses of results are signed; make it if missing."""
    path = folder / SECRET_NAME
    with try_lock(folder / f"{SECRET_NAME}.lock", wait_seconds=SECRET_WAIT_SECONDS):
        if not path.exists():
            with atomic_file(path) as partial:
                partial.chmod(0o600)
                partial.write_text(secrets.token_hex(SECRET_BYTES), encoding="ascii")
        return path.read_text(encoding="ascii")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a host that a server is bound to."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
