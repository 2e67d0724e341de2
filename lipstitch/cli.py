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

from base.errors import LipstitchError
from lipstitch.execution.stop import StopSignals

EPILOG = """Exit codes: 0 done; 2 the job file or the command line; 3 an input file; 4 network weights; 5 rendering;
6 putting the output together; 7 the workspace or the disk; 8 training; 10 done, but some clips fall back to the
original frames (see the report); 130 stopped by Ctrl-C or SIGTERM.

Start from a job file in configs/."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

JobFile = typer.Option("--config", help="The job file (YAML or JSON).", show_default=False)
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
        typer.Option(
            "--compare", metavar="VIDEO", help="Also write a comparison video: source and result side by side."
        ),
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
        from lipstitch.job import run_job
        from lipstitch.job_file.config import load_job
        from lipstitch.progress import choose_reporter

        job = load_job(config, settings or ())
        reporter = choose_reporter(quiet=quiet, progress=progress)
        return run_job(job, reporter, plan_only=plan, force=force, comparison=compare, spans=spans)

    flags = [*(["--force"] if force else []), *(["--compare", str(compare)] if compare else [])]
    again = _command(config, settings, flags)
    _exit_with(work, stopped=f"stopped. Finished clips are kept; go on with: {again}", debug=debug)


@app.command()
def verify(
    config: Annotated[Path, JobFile], settings: Settings = None, *, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Check a finished output against its source and its report, decoding both, and print what was found."""

    def work() -> int:
        from lipstitch.job_file.config import load_job
        from lipstitch.progress import choose_reporter
        from lipstitch.report.verify import verify_job

        return verify_job(load_job(config, settings or ()), choose_reporter(quiet=quiet, progress="auto"))

    _exit_with(work, stopped="stopped; nothing was changed.", debug=debug)


Videos = Annotated[
    list[Path], typer.Option("--videos", help="Videos, or folders of them. More may follow.", show_default=False)
]
More = Annotated[list[Path] | None, typer.Argument(metavar="[VIDEO]...", help="More videos.", show_default=False)]
Expert = Annotated[Path | None, typer.Option("--expert", help="Weights of a sync expert.", show_default=False)]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 ...")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads on the CPU.", show_default=False)]
Detector = Annotated[
    Literal["auto", "retinaface", "cascade"], typer.Option("--detector", help="Face detector, as in a job file.")
]
DetectorWeights = Annotated[
    str, typer.Option("--detector-weights", help="Weights of RetinaFace: a registered name or a path.")
]


@app.command()
def prepare(
    videos: Videos,
    out: Annotated[Path, typer.Option("--out", help="Folder of the dataset.", show_default=False)],
    more: More = None,
    expert: Expert = None,
    detector: Detector = "auto",
    detector_weights: DetectorWeights = "retinaface_mobilenet",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Videos at a time.", show_default=False)
    ] = None,
    *,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Turn videos of speaking people into a dataset for training; what is there already is kept."""

    def work() -> int:
        from lipstitch.progress import choose_reporter
        from lipstitch.training.preparation.prepare import DetectorSource, prepare_dataset

        prepare_dataset(
            [*videos, *(more or ())],
            out,
            choose_reporter(quiet=quiet, progress="auto"),
            detector=DetectorSource(detector, detector_weights),
            workers=workers,
            expert=expert,
        )
        return 0

    _exit_with(work, stopped="stopped. Finished videos are kept; the same command goes on.", debug=debug)


@app.command()
def train(
    config: Annotated[Path, typer.Option("--config", help="The training file (YAML).", show_default=False)],
    settings: Settings = None,
    *,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a sync expert and a network on a dataset; the same command goes on where a run was stopped."""

    def work() -> int:
        from lipstitch.progress import choose_reporter
        from lipstitch.training.config import load_training
        from lipstitch.training.train import run_training

        run_training(load_training(config, settings or ()), choose_reporter(quiet=quiet, progress="auto"))
        return 0

    _exit_with(work, stopped="stopped. The same command goes on from the last checkpoint.", debug=debug)


@app.command()
def finetune(
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="Weights to begin with.", show_default=False)],
    videos: Videos,
    out: Annotated[Path, typer.Option("--out", help="The file to write (.safetensors).", show_default=False)],
    more: More = None,
    expert: Expert = None,
    held_share: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Part of each video to judge by, its last.")
    ] = 0.25,
    steps: Annotated[int, typer.Option(min=1, help="Steps at most.")] = 400,
    seconds: Annotated[float | None, typer.Option(min=1, help="Time at most.", show_default=False)] = None,
    learning_rate: Annotated[float, typer.Option(min=1e-8, max=1.0)] = 1e-4,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    device: Device = "auto",
    threads: Threads = None,
    detector: Detector = "auto",
    detector_weights: DetectorWeights = "retinaface_mobilenet",
    *,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Adapt a network to one speaker; a result that is worse on footage held out is not saved."""

    def work() -> int:
        from lipstitch.progress import choose_reporter
        from lipstitch.training.finetune import finetune as adapt
        from lipstitch.training.preparation.prepare import DetectorSource

        adapt(
            checkpoint,
            [*videos, *(more or ())],
            out,
            choose_reporter(quiet=quiet, progress="auto"),
            expert=expert,
            held_share=held_share,
            steps=steps,
            seconds=seconds,
            learning_rate=learning_rate,
            seed=seed,
            device=device,
            threads=threads,
            detector=DetectorSource(detector, detector_weights),
        )
        return 0

    _exit_with(work, stopped="stopped; nothing was saved.", debug=debug)


@app.command()
def assess_network(
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="The new weights.", show_default=False)],
    against: Annotated[Path, typer.Option("--against", help="The old weights.", show_default=False)],
    videos: Videos,
    more: More = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures.", show_default=False)] = None,
    expert: Expert = None,
    held_out: Annotated[
        str, typer.Option("--held-out", metavar="NAMES", help="Of the videos these people alone, as head_13,head_14.")
    ] = "",
    work_folder: Annotated[Path, typer.Option("--work", help="Folder for faces and filmstrips.")] = Path(
        "build/assess"
    ),
    device: Device = "auto",
    threads: Threads = None,
    detector: Detector = "auto",
    detector_weights: DetectorWeights = "retinaface_mobilenet",
    *,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure new weights against old ones on the same faces: a table, JSON, and filmstrips."""

    def work() -> int:
        from lipstitch.progress import choose_reporter
        from lipstitch.training.evaluation.assess import assess_networks
        from lipstitch.training.preparation.prepare import DetectorSource

        assess_networks(
            checkpoint,
            against,
            [*videos, *(more or ())],
            json_file,
            choose_reporter(quiet=quiet, progress="auto"),
            expert=expert,
            held_out=[name.strip() for name in held_out.split(",") if name.strip()],
            work=work_folder,
            device=device,
            threads=threads,
            detector=DetectorSource(detector, detector_weights),
        )
        return 0

    _exit_with(work, stopped="stopped; prepared faces are kept.", debug=debug)


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
    """Show who is in the video: a contact sheet to pick segmenter.target from.

    Nothing is rendered, and of the job file input.video is enough.
    """

    def work() -> int:
        from lipstitch.job_file.config import load_job
        from lipstitch.progress import choose_reporter
        from lipstitch.report.contact_sheet import list_people

        reporter = choose_reporter(quiet=quiet, progress="auto")
        return list_people(load_job(config, settings or (), output=out), out, reporter, force=force)

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
