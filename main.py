"""The command line: arguments, one call into the pipeline, errors to one sentence and an exit code."""

from __future__ import annotations

import io
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from media.errors import LipstitchError
from pipeline.stop import StopSignals

EPILOG = """Exit codes: 0 done; 2 the job file or the command line; 3 an input file; 4 network weights; 5 rendering;
6 putting the output together; 7 the workspace or the disk; 10 done, but some clips keep their mouths (see the report);
130 stopped by Ctrl-C or SIGTERM.

Start from a job file in configs/."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

JobFile = typer.Option("--config", help="The job file (YAML).", show_default=False)
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as renderer.batch_size=32. Repeatable."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print warnings and errors alone.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]


@app.callback(invoke_without_command=True, epilog=EPILOG)
def run(
    context: typer.Context,
    config: Annotated[Path | None, JobFile] = None,
    settings: Settings = None,
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print spans, clips, time, disk and memory, and stop before rendering.")
    ] = False,
    spans: Annotated[
        Path | None,
        typer.Option(
            "--spans", metavar="CSV", help="With --plan: also write the spans as a table, for segmenter.spans."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing output. Finished clips are reused either way.")
    ] = False,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="REEL", help="Also write a reel: source and result side by side."),
    ] = None,
    progress: Annotated[
        Literal["auto", "json"],
        typer.Option("--progress", help="json: one JSON object a line on stdout, for machines."),
    ] = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Re-sync the lips of a long dubbed video; everything else in it stays untouched."""
    if context.invoked_subcommand is not None:
        if config is not None:
            context.fail(f"Give --config behind {context.invoked_subcommand}.")
        return
    if config is None:
        context.fail("Missing option '--config'.")
    if spans is not None and not plan:
        context.fail("--spans goes with --plan.")

    def work() -> int:
        # Imported here so that --help and a wrong option answer at once.
        from pipeline.config import load_job
        from pipeline.job import run_job
        from pipeline.progress import choose_reporter

        job = load_job(config, settings or ())
        reporter = choose_reporter(quiet=quiet, progress=progress)
        return run_job(job, reporter, plan_only=plan, force=force, reel=compare, spans=spans)

    flags = [*(["--force"] if force else []), *(["--compare", str(compare)] if compare else [])]
    again = _command(config, settings, flags)
    _exit_with(work, stopped=f"stopped. Finished clips are kept; go on with: {again}", debug=debug)


@app.command()
def verify(
    config: Annotated[Path, JobFile], settings: Settings = None, *, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Check a finished output against its source and its report, decoding both, and print what was found."""

    def work() -> int:
        from pipeline.config import load_job
        from pipeline.progress import choose_reporter
        from pipeline.verify import verify_job

        return verify_job(load_job(config, settings or ()), choose_reporter(quiet=quiet, progress="auto"))

    _exit_with(work, stopped="stopped; nothing was changed.", debug=debug)


@app.command()
def faces(
    config: Annotated[Path, JobFile],
    out: Annotated[Path, typer.Option("--out", metavar="HTML", help="The contact sheet; the same as JSON beside it.")],
    settings: Settings = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show who is in the video: a contact sheet to pick segmenter.target from. Nothing is rendered."""

    def work() -> int:
        from pipeline.config import load_job
        from pipeline.faces import show_faces
        from pipeline.progress import choose_reporter

        reporter = choose_reporter(quiet=quiet, progress="auto")
        return show_faces(load_job(config, settings or ()), out, reporter, force=force)

    _exit_with(work, stopped="stopped; the contact sheet was not written.", debug=debug)


def _command(config: Path, settings: Sequence[str] | None, flags: Sequence[str]) -> str:
    """Return what to type to go on with a job."""
    overrides = [part for setting in settings or () for part in ("--set", setting)]
    return shlex.join(["python", "main.py", "--config", str(config), *overrides, *flags])


def _exit_with(work: Callable[[], int], *, stopped: str, debug: bool) -> NoReturn:
    """Do the work and exit with its code, or with one sentence and the code of what went wrong."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    signals = StopSignals(f"Error: {stopped}")
    try:
        raise typer.Exit(work())
    except KeyboardInterrupt:
        signals.end()
    except LipstitchError as exc:
        if signals.came:  # the error is what the signal did to the work
            signals.end()
        if debug:
            traceback.print_exc()
        typer.echo(f"Error: {_one_line(str(exc))}", err=True)
        raise typer.Exit(exc.exit_code) from exc


def _one_line(text: str) -> str:
    """Return text with what would break a line, or drive a terminal, written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    app()
