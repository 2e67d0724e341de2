"""The option --jobs: many jobs instead of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from lipstitch.commands.exits import exit_with, same_command

Jobs = Annotated[
    Path | None,
    typer.Option(
        "--jobs",
        metavar="CSV|FOLDER",
        help="Instead of --config: the jobs of a table (video, audio, output and keys), or of a folder of job files.",
        show_default=False,
    ),
]


def run_list(
    jobs: Path,
    settings: Sequence[str] | None,
    *,
    plan: bool,
    force: bool,
    progress: Literal["auto", "json"],
    quiet: bool,
    debug: bool,
) -> NoReturn:
    """Run the jobs of a list and exit with their code."""

    def work() -> int:
        from lipstitch.batch import run_jobs
        from lipstitch.intake.job_list import load_jobs
        from lipstitch.progress import choose_reporter

        listed = load_jobs(jobs, settings or ())
        return run_jobs(listed, choose_reporter(quiet=quiet, progress=progress), plan_only=plan, force=force)

    exit_with(work, stopped=f"stopped. What is finished is kept; to continue, run: {same_command()}", debug=debug)
