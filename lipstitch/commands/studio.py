"""The command `studio`, and the one by which its page looks at a video."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lipstitch.commands.exits import exit_with
from lipstitch.commands.options import Debug
from lipstitch.commands.service import STOPPED, Folder, Jobs, Parent, read_token, require_packages
from media.base.errors import ConfigError

app = typer.Typer()


@app.command()
def studio(
    folder: Folder = Path("lipstitch-service"),
    host: Annotated[str, typer.Option("--host", help="Where to listen. Other than 127.0.0.1 needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8765,
    jobs: Jobs = 1,
    config: Annotated[
        Path | None, typer.Option("--config", help="A job file with settings that all jobs share.")
    ] = None,
    inputs: Annotated[
        list[Path] | None, typer.Option("--inputs", metavar="FOLDER", help="Offer files from there, too. Repeatable.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="The token that the browser asks for; or $LIPSTITCH_TOKEN.")
    ] = None,
    *,
    debug: Debug = False,
) -> None:
    """Set up, watch and compare jobs on a page in the browser; the service of `serve` is there as well."""

    def work() -> int:
        require_packages()
        if find_spec("gradio") is None:
            raise ConfigError("The studio needs `pip install 'lipstitch[service,studio]'`.")
        from lipstitch.service.serve import run_server
        from lipstitch.service.settings import ServiceSettings, check_settings
        from lipstitch.studio.app import PATH, build_studio

        given = ServiceSettings(
            folder=folder, inputs=tuple(inputs or ()), base_job=config, token=read_token(token_file)
        )
        run_server(check_settings(given), host, port, jobs, build=build_studio, path=PATH)
        return 0

    exit_with(work, stopped=STOPPED, debug=debug)


@app.command("look", hidden=True)
def look(folder: Annotated[Path, typer.Argument()], parent: Parent = None) -> None:
    """Look at the video of the job in a folder; the studio starts it."""

    def work() -> int:
        from lipstitch.stop import follow_parent

        if parent is not None:
            follow_parent(parent)
        from lipstitch.job_file.config import load_job
        from lipstitch.progress import JsonLines
        from lipstitch.studio.look import look_at

        look_at(load_job(folder / "job.json"), folder, JsonLines())
        return 0

    exit_with(work, stopped="stopped.", debug=False)
