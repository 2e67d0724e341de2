"""The command line: arguments, one call into the pipeline, errors to one sentence and an exit code."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from media.errors import LipstitchError

EPILOG = """Exit codes: 0 done; 2 the job file or the command line; 3 an input file; 4 network weights; 5 rendering;
6 putting the output together; 7 the workspace or the disk; 10 done, but some clips keep their mouths (see the report).

Start from a job file in configs/."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog=EPILOG)
def run(
    config: Annotated[Path, typer.Option("--config", help="The job file (YAML).", show_default=False)],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as renderer.batch_size=32. Repeatable."),
    ] = None,
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print spans, clips, time, disk and memory, and stop before rendering.")
    ] = False,
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
    quiet: Annotated[bool, typer.Option("--quiet", help="Print warnings and errors alone.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Re-sync the lips of a long dubbed video; everything else in it stays untouched."""
    try:
        # Imported here so that --help and a wrong option answer at once.
        from pipeline.config import load_job
        from pipeline.job import run_job
        from pipeline.progress import choose_reporter

        job = load_job(config, settings or ())
        code = run_job(job, choose_reporter(quiet=quiet, progress=progress), plan_only=plan, force=force, reel=compare)
    except LipstitchError as exc:
        if debug:
            traceback.print_exc()
        _fail(str(exc), exc.exit_code)
    except KeyboardInterrupt:
        _fail(f"stopped. Finished clips are kept; go on with: python main.py --config {config}", 130)
    raise typer.Exit(code)


def _fail(sentence: str, code: int) -> NoReturn:
    typer.echo(f"Error: {sentence}", err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
