"""The command line: parse the arguments, make one call into the package, exit with a code.

`lipstitch` (or `python main.py` in a checkout) runs a job; further commands are `people`, `verify`, `score`, `train`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import typer

from lipstitch.commands import training
from lipstitch.commands.exits import exit_with
from lipstitch.commands.former_names import add_former_name
from lipstitch.commands.options import Debug, Detector, DetectorWeights, Force, JobFile, Quiet, Settings

EPILOG = """Exit codes: 0 done; 2 the job file or the command line; 3 an input file; 4 network weights; 5 rendering;
6 assembling the output; 7 the workspace or the disk; 8 training; 10 done, but some clips fall back to the
original frames (see the report); 130 stopped by Ctrl-C or SIGTERM.

Start from a job file in configs/."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


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
        typer.Option("--spans", metavar="CSV", help="With --plan: also write the spans to a table to edit."),
    ] = None,
    turns: Annotated[
        Path | None,
        typer.Option("--turns", metavar="CSV", help="With --plan: also write who speaks when (input.speakers: auto)."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing output. Finished clips are reused either way.")
    ] = False,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="VIDEO", help="Also write a side-by-side video of source and result."),
    ] = None,
    preview: Annotated[
        float | None,
        typer.Option(
            "--preview",
            metavar="SECONDS",
            min=1,
            max=600,
            help="Render only the seconds in which most is said, beside the output, with a comparison video.",
        ),
    ] = None,
    progress: Annotated[
        Literal["auto", "json"],
        typer.Option("--progress", help="json: one JSON object per line on stdout, for programs."),
    ] = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Re-sync the lips of a long dubbed video; everything else in it stays untouched."""
    if context.invoked_subcommand is not None:
        if config is not None:
            context.fail(f"Put --config after {context.invoked_subcommand}.")
        return
    if config is None:
        context.fail("Missing option '--config'.")
    if spans is not None and not plan:
        context.fail("--spans needs --plan.")
    if turns is not None and not plan:
        context.fail("--turns needs --plan.")

    if preview is not None and plan:
        context.fail("--preview renders. Leave out --plan.")

    def work() -> int:
        # Imported here so that --help and a wrong option answer at once.
        from lipstitch.job import run_job
        from lipstitch.job_file.config import load_job
        from lipstitch.progress import choose_reporter

        job = load_job(config, settings or ())
        reporter = choose_reporter(quiet=quiet, progress=progress)
        shown = None if preview is None else Fraction(str(preview))
        return run_job(
            job, reporter, plan_only=plan, force=force, comparison=compare, preview=shown, spans=spans, turns=turns
        )

    flags = [*(["--force"] if force else []), *(["--compare", str(compare)] if compare else [])]
    flags += ["--preview", f"{preview:g}"] if preview else []
    again = resume_command(config, settings, flags)
    exit_with(work, stopped=f"stopped. Finished clips are kept; to continue, run: {again}", debug=debug)


@app.command()
def people(
    config: Annotated[Path, JobFile],
    out: Annotated[
        Path, typer.Option("--out", metavar="HTML", help="The contact sheet; a JSON file is written beside it.")
    ],
    settings: Settings = None,
    *,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show who is in the video, as a contact sheet.

    Choose segmenter.target from it. Renders nothing; the job file only has to contain input.video.
    """

    def work() -> int:
        from lipstitch.job_file.config import load_job
        from lipstitch.progress import choose_reporter
        from lipstitch.report.contact_sheet import list_people

        reporter = choose_reporter(quiet=quiet, progress="auto")
        return list_people(load_job(config, settings or (), output=out), out, reporter, force=force)

    exit_with(work, stopped="stopped; the contact sheet was not written.", debug=debug)


@app.command()
def verify(
    config: Annotated[Path, JobFile], settings: Settings = None, *, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Check a finished output.

    Decodes the output and its source, compares them with the report, and prints what it found.
    """

    def work() -> int:
        from lipstitch.job_file.config import load_job
        from lipstitch.progress import choose_reporter
        from lipstitch.report.verify import verify_job

        return verify_job(load_job(config, settings or ()), choose_reporter(quiet=quiet, progress="auto"))

    exit_with(work, stopped="stopped; nothing was changed.", debug=debug)


@app.command()
def score(
    video: Annotated[Path | None, typer.Argument(metavar="[VIDEO]", help="A video.", show_default=False)] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Instead: the file of a finished job.")] = None,
    settings: Settings = None,
    audio: Annotated[
        Path | None, typer.Option("--audio", metavar="SOUND", help="Measure against this sound, not the video's own.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", metavar="VIDEO", help="Compare pictures with this video.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there, too.")] = None,
    syncnet: Annotated[
        str | None,
        typer.Option(
            "--syncnet", help="SyncNet's weights: a registered name, a path, or none.", show_default="syncnet_v2"
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1 ...", show_default="the job's, or auto")
    ] = None,
    detector: Detector = "auto",
    detector_weights: DetectorWeights = None,
    *,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure a video: lips against sound, mouths, pictures.

    Of a finished job its new mouths are measured, clip by clip, and the figures go into the report as well. What each
    of them means is defined in docs/measures.md.
    """
    if (video is None) == (config is None):
        raise typer.BadParameter("give a video or --config, one of the two.")
    if config is not None and (audio or reference or detector != "auto" or detector_weights):
        raise typer.BadParameter("--audio, --reference and --detector are for a video; a job file says them itself.")
    if config is None and settings:
        raise typer.BadParameter("--set needs --config.")

    def work() -> int:
        from lipstitch.evaluation.score import ScoreOptions, VideoFiles, score_job, score_video
        from lipstitch.job_file.config import load_job
        from lipstitch.progress import choose_reporter
        from lipstitch.training.preparation.prepare import DetectorSource

        reporter, options = choose_reporter(quiet=quiet, progress="auto"), ScoreOptions(syncnet, device, json)
        if video is None:
            assert config is not None
            return score_job(load_job(config, settings or ()), options, reporter)
        files = VideoFiles(video, audio, reference)
        return score_video(files, DetectorSource(detector, detector_weights), options, reporter)

    exit_with(work, stopped="stopped; nothing was written.", debug=debug)


app.add_typer(training.app, name="train")
add_former_name(app, "faces", people, "people")
add_former_name(app, "prepare", training.prepare, "train prepare")
add_former_name(app, "finetune", training.finetune, "train finetune")
add_former_name(app, "assess-network", training.evaluate, "train evaluate")


def resume_command(config: Path, settings: Sequence[str] | None, flags: Sequence[str]) -> str:
    """Return what to type to continue a job."""
    program = ["lipstitch"] if Path(sys.argv[0]).name == "lipstitch" else ["python", "main.py"]
    overrides = [part for setting in settings or () for part in ("--set", setting)]
    return shlex.join([*program, "--config", str(config), *overrides, *flags])
