"""The commands `serve` and `work`, and the one by which a worker starts a job."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lipstitch.commands.exits import exit_with
from lipstitch.commands.options import Debug
from media.base.errors import ConfigError

STOPPED = "stopped. Generations under way continue when it is started again."
PACKAGES = ("fastapi", "uvicorn", "huey", "httpcore", "prometheus_client", "python_multipart", "redis")

Folder = Annotated[Path, typer.Option("--folder", help="Where uploads, generations and the queue are kept.")]
Jobs = Annotated[int, typer.Option("--jobs", min=0, max=64, help="Generations rendered at a time, in equal shares.")]
Parent = Annotated[int | None, typer.Option("--parent", hidden=True)]

app = typer.Typer()


@app.command()
def serve(
    folder: Folder = Path("lipstitch-service"),
    host: Annotated[str, typer.Option("--host", help="Where to listen. Other than 127.0.0.1 needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8765,
    jobs: Jobs = 1,
    config: Annotated[
        Path | None, typer.Option("--config", help="A job file with settings that all generations share.")
    ] = None,
    inputs: Annotated[
        list[Path] | None, typer.Option("--inputs", metavar="FOLDER", help="Read inputs from there, too. Repeatable.")
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option("--trust", metavar="HOST:PORT", help="A server to call, though it is in a private network."),
    ] = None,
    redis: Annotated[str | None, typer.Option("--redis", metavar="ADDRESS", help="Keep the queue in a Redis.")] = None,
    public_url: Annotated[
        str | None, typer.Option("--public-url", help="What addresses of results begin with.", show_default=False)
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="The token that clients show; or $LIPSTITCH_TOKEN.")
    ] = None,
    max_megabytes: Annotated[int, typer.Option("--max-megabytes", min=1, help="Of an input file.")] = 8192,
    max_seconds: Annotated[float, typer.Option("--max-seconds", min=0.1, help="Of an input file.")] = 14400,
    max_waiting: Annotated[int, typer.Option("--max-waiting", min=1, help="Generations that wait; more: 429.")] = 100,
    keep_hours: Annotated[float, typer.Option("--keep-hours", min=0.01, help="Results are removed after that.")] = 72,
    *,
    allow_addresses: Annotated[
        bool, typer.Option("--allow-addresses", help="Fetch inputs from public addresses, and call webhooks.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Offer generations over HTTP, in the shape of sync.so's API. With --jobs 0 other machines do the work."""

    def work() -> int:
        require_packages()
        from lipstitch.service.serve import run_server
        from lipstitch.service.settings import Addresses, Limits, ServiceSettings, check_settings

        settings = check_settings(
            ServiceSettings(
                folder=folder,
                inputs=tuple(inputs or ()),
                addresses=Addresses(allowed=allow_addresses, trusted=tuple(trust or ())),
                limits=Limits(
                    max_bytes=max_megabytes << 20,
                    max_seconds=max_seconds,
                    max_waiting=max_waiting,
                    keep_hours=keep_hours,
                ),
                base_job=config,
                redis=redis,
                public_url=public_url,
                token=read_token(token_file),
            )
        )
        run_server(settings, host, port, jobs)
        return 0

    exit_with(work, stopped=STOPPED, debug=debug)


@app.command()
def work(
    folder: Folder = Path("lipstitch-service"), jobs: Jobs = 1, parent: Parent = None, *, debug: Debug = False
) -> None:
    """Render what a service is asked for, on this machine or on others that share its folder."""

    def consume() -> int:
        require_packages()
        from lipstitch.service.serve import run_worker

        run_worker(folder, max(jobs, 1), parent)
        return 0

    exit_with(consume, stopped=STOPPED, debug=debug)


@app.command("run-generation", hidden=True)
def run_generation(
    folder: Annotated[Path, typer.Argument()],
    worker: Annotated[int, typer.Option("--worker")],
    cores: Annotated[str, typer.Option("--cores")] = "",
) -> None:
    """Run the job of a generation; workers start it."""

    def run() -> int:
        from lipstitch.service.run import run_generation as run_job_of

        return run_job_of(folder, worker, [int(core) for core in cores.split(",") if core])

    exit_with(run, stopped="stopped.", debug=False)


def require_packages() -> None:
    """Raise ConfigError where the service's packages are not installed."""
    if any(find_spec(name) is None for name in PACKAGES):
        raise ConfigError("The service needs `pip install 'lipstitch[service]'`.")


def read_token(path: Path | None) -> str | None:
    """Return the token in a file, or else of the environment; raise ConfigError if the file cannot be read."""
    if path is None:
        return os.environ.get("LIPSTITCH_TOKEN") or None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"--token-file {path}: cannot be read. Check the path.") from exc
