"""Processes of a service: the server, which starts a worker beside it and anew if it dies, and workers anywhere."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from lipstitch.service.api.app import build_app
from lipstitch.service.queue import Queue
from lipstitch.service.settings import ServiceSettings, is_loopback, load_saved_settings, load_secret, save_settings
from lipstitch.service.store import Store
from lipstitch.service.upkeep import Upkeep, announced
from lipstitch.stop import follow_parent
from media.base.errors import ConfigError

RESTART_SECONDS = 1.0
"""Before a worker that died is started anew."""
TOKEN_VARIABLE = "LIPSTITCH_TOKEN"
"""Workers, and programs that draw for them, are not told it."""
END_SECONDS = 1
"""How long the server lets answers under way end."""


def run_server(
    settings: ServiceSettings,
    host: str,
    port: int,
    num_jobs: int,
    *,
    build: Callable[[ServiceSettings], FastAPI] = build_app,
    path: str = "",
) -> None:
    """Serve until the process is stopped. num_jobs: rendered at a time, by a worker beside it; 0: by others alone.

    build: what makes the application. path: of what it tells people to look at.

    Raises ConfigError if it cannot listen there, or must not.
    """
    if settings.token is None and not is_loopback(host):
        raise ConfigError(f"--host {host}: others could call it. Set a token (--token-file) first.")
    server = uvicorn.Server(
        uvicorn.Config(build(settings), log_level="warning", access_log=False, timeout_graceful_shutdown=END_SECONDS)
    )
    listening = _listen(host, port)
    save_settings(settings)
    if num_jobs:
        threading.Thread(target=_keep_worker, args=(settings, num_jobs), name="worker", daemon=True).start()
    name = f"[{host}]" if ":" in host else host
    print(f"Serving on http://{name}:{listening.getsockname()[1]}{path}", flush=True)  # noqa: T201
    server.run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, UnicodeError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise ConfigError(f"--host {host} --port {port}: cannot listen there ({reason}). Choose another.") from exc
    return listening


def _keep_worker(settings: ServiceSettings, num_jobs: int) -> NoReturn:
    """Have a worker beside the server, with which it ends."""
    command = [sys.executable, "-m", "lipstitch", "work", "--folder", str(settings.folder), "--jobs", str(num_jobs)]
    command += ["--parent", str(os.getpid())]
    environment = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    while True:
        subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, check=False)  # noqa: S603
        time.sleep(RESTART_SECONDS)


def run_worker(folder: Path, num_jobs: int, parent: int | None) -> None:
    """Work on the generations of a service, until the process is stopped. parent: the process to end with."""
    if parent is not None:
        follow_parent(parent)
    from lipstitch.service.worker import Worker  # which the server does without

    settings = load_saved_settings(folder)
    store = Store(settings.folder)
    queue = Queue(settings, Worker(settings, store, num_jobs).work_on)
    with announced(settings.folder):
        Upkeep(settings, store, queue, load_secret(settings.folder)).start()
        queue.consume(num_jobs)
