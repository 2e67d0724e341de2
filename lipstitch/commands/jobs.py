"""Many jobs instead of one: the option --jobs, and the command `from`, which writes job files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from lipstitch.commands.exits import exit_with, same_command
from lipstitch.commands.options import Debug, Force, Quiet

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


def from_folder(
    folder: Annotated[Path, typer.Argument(help="The folder in which a dubbing program left its files.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Where job files and outputs go.", show_default="FOLDER/lipstitch"
        ),
    ] = None,
    *,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write job files for what a dubbing program has left.

    Known are open-dubbing, VideoLingo, KrillinAI, Linly-Dubbing and pyvideotrans. Each dub in the folder, or below it,
    gets a job file; --jobs does them all.
    """

    def work() -> int:
        from lipstitch.intake.from_folder import write_jobs
        from lipstitch.progress import choose_reporter

        reporter = choose_reporter(quiet=quiet, progress="auto")
        written = write_jobs(folder, out, reporter, force=force)
        reporter.info(f"To do them all: {shlex.join(['lipstitch', '--jobs', str(written)])}")
        return 0

    exit_with(work, stopped="stopped; some job files may be missing.", debug=debug)
