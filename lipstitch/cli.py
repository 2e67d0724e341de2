"""The command line: parse the arguments, make one call into the package, exit with a code.

`lipstitch` (or `python main.py` in a checkout) runs a job file, or a job that its arguments name. lipstitch/commands
holds the further commands.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from lipstitch.commands import service, studio, sync, training, wav2lip
from lipstitch.commands.default_command import DEFAULT_COMMAND, CommandsOrFiles
from lipstitch.commands.exits import exit_with, same_command
from lipstitch.commands.former_names import add_former_name
from lipstitch.commands.jobs import Jobs, from_folder, run_list
from lipstitch.commands.options import (
    Compare,
    Debug,
    Detector,
    DetectorWeights,
    Force,
    JobFile,
    Plan,
    ProgressKind,
    Quiet,
    Settings,
)

EPILOG = """Exit codes: 0 done; 2 the job file or the command line; 3 an input file; 4 network weights; 5 rendering;
6 assembling the output; 7 the workspace or the disk; 8 training; 10 done, but some clips fall back to the
original frames (see the report); 130 stopped by Ctrl-C or SIGTERM. --jobs: the code of the first job that failed.

Start from a job file in configs/."""

app = typer.Typer(cls=CommandsOrFiles, rich_markup_mode=None, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 (typer calls it)
    if wanted:
        from importlib.metadata import version

        typer.echo(f"lipstitch {version('lipstitch')}")
        raise typer.Exit


@app.callback(invoke_without_command=True, epilog=EPILOG)
def run(
    context: typer.Context,
    config: Annotated[Path | None, JobFile] = None,
    jobs: Jobs = None,
    settings: Settings = None,
    *,
    plan: Plan = False,
    spans: Annotated[
        Path | None,
        typer.Option("--spans", metavar="CSV", help="With --plan or --redo: also write the spans to a table to edit."),
    ] = None,
    turns: Annotated[
        Path | None,
        typer.Option("--turns", metavar="CSV", help="With --plan: also write who speaks when (input.speakers: auto)."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing output. Finished clips are reused either way.")
    ] = False,
    compare: Compare = None,
    redo: Annotated[
        str | None,
        typer.Option(
            "--redo",
            metavar="CLIPS",
            help="Make clips of the finished output again, by their numbers in the report (12,15), and keep the others."
            " With --set renderer.method, strength or quality: in another way.",
        ),
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option("--timeline", metavar="FILE", help="Also write what was rendered for editors: .otio or .edl."),
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
    progress: ProgressKind = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Re-sync the lips of a long dubbed video; everything else in it stays untouched."""
    command = context.invoked_subcommand
    if command is not None:
        for option in context.command.params:
            source = context.get_parameter_source(str(option.name))
            if source is not None and source.name != "DEFAULT":
                context.fail(f"Put {option.opts[0]} after {'the files' if command == DEFAULT_COMMAND else command}.")
        return
    if jobs is not None:
        if config or spans or turns or compare or redo or timeline or preview:
            context.fail("--jobs takes no --config, --spans, --turns, --compare, --redo, --timeline or --preview.")
        run_list(jobs, settings, plan=plan, force=force, progress=progress, quiet=quiet, debug=debug)
    if config is None:
        context.fail("Missing option '--config', or a video, its dub and -o.")
    if spans is not None and not plan and redo is None:
        context.fail("--spans needs --plan or --redo.")
    if turns is not None and not plan:
        context.fail("--turns needs --plan.")
    if timeline is not None and plan:
        context.fail("--timeline tells what was rendered. Leave out --plan.")
    if preview is not None and (plan or redo or spans or timeline):
        context.fail("--preview renders a sample. Leave out --plan, --redo, --spans and --timeline.")

    def work() -> int:
        # Imported here so that --help and a wrong option answer at once.
        from lipstitch.job import run_job
        from lipstitch.job_file.config import load_job
        from lipstitch.progress import choose_reporter
        from lipstitch.redo import read_redo
        from lipstitch.side_files import SideFiles

        wanted, others = (None, settings or ()) if redo is None else read_redo(redo, settings or ())
        job = load_job(config, others)
        reporter = choose_reporter(quiet=quiet, progress=progress)
        done = run_job(
            job,
            reporter,
            plan_only=plan,
            force=force,
            preview=None if preview is None else Fraction(str(preview)),
            redo=wanted,
            beside=SideFiles(compare, spans, turns, timeline),
        )
        return done.exit_code

    exit_with(work, stopped=f"stopped. Finished clips are kept; to continue, run: {same_command()}", debug=debug)


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


app.add_typer(sync.app)
app.command("from")(from_folder)
app.command()(wav2lip.wav2lip)
app.add_typer(service.app)
app.add_typer(studio.app)
app.add_typer(training.app, name="train")
add_former_name(app, "faces", people, "people")
add_former_name(app, "prepare", training.prepare, "train prepare")
add_former_name(app, "finetune", training.finetune, "train finetune")
add_former_name(app, "assess-network", training.evaluate, "train evaluate")
