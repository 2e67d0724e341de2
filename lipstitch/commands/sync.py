"""The commands `sync` and `init`: a job without a job file, and a job file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipstitch.commands.exits import exit_with, same_command
from lipstitch.commands.options import Compare, Debug, Force, Plan, ProgressKind, Quiet, Settings

app = typer.Typer()


@app.command()
def sync(
    video: Annotated[str, typer.Argument(help="The video: a file, or an address on the web.", show_default=False)],
    audio: Annotated[str | None, typer.Argument(help="Its dub, alike.", show_default="the video's own sound")] = None,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.", show_default=False)],
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="START-END", help="Re-sync this stretch only, as in 1:05-1:30. Repeatable."),
    ] = None,
    settings: Settings = None,
    save_job: Annotated[
        Path | None, typer.Option("--save-job", metavar="YAML", help="Also write a job file of all this.")
    ] = None,
    plan: Plan = False,
    force: Force = False,
    compare: Compare = None,
    progress: ProgressKind = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Re-sync a video with its dub, without a job file.

    The word `sync` may be left out: lipstitch talk.mp4 talk.hi.wav -o talk.hi.mp4
    """

    def work() -> int:
        from lipstitch.commands.job_files import FilesOfJob, build_job_of
        from lipstitch.job import run_job
        from lipstitch.progress import choose_reporter
        from lipstitch.side_files import SideFiles

        files = FilesOfJob(video, audio, output, tuple(ranges or ()))
        job = build_job_of(files, settings or (), save_job, force=force)
        reporter = choose_reporter(quiet=quiet, progress=progress)
        return run_job(job, reporter, plan_only=plan, force=force, beside=SideFiles(compare)).exit_code

    exit_with(work, stopped=f"stopped. Finished clips are kept; to continue, run: {same_command()}", debug=debug)


@app.command()
def init(
    video: Annotated[Path, typer.Argument(help="The video.", show_default=False)],
    audio: Annotated[Path | None, typer.Argument(help="Its dub.", show_default="the video's own sound")] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="YAML", help="The job file.", show_default="the video's name with .yaml"),
    ] = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Write a job file with comments, to be edited."""

    def work() -> int:
        from lipstitch.commands.job_files import write_commented_job

        typer.echo(f"Job file: {write_commented_job(video, audio, out, force=force)}")
        return 0

    exit_with(work, stopped="stopped; nothing was written.", debug=debug)
