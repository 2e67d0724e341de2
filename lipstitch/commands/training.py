"""The commands `train prepare`, `run`, `finetune`, `evaluate`, `mesh` and `shapes`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lipstitch.commands.exits import exit_with
from lipstitch.commands.former_names import note_new_name
from lipstitch.commands.options import (
    Debug,
    Detector,
    DetectorWeights,
    Device,
    Expert,
    MoreVideos,
    Quiet,
    Settings,
    Threads,
    TrainingFile,
    Videos,
)

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
RESUME = "stopped. Run the same command to continue from the last checkpoint."


@app.callback(invoke_without_command=True)
def train(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", hidden=True)] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", hidden=True)] = None,
    *,
    quiet: Annotated[bool, typer.Option("--quiet", hidden=True)] = False,
    debug: Annotated[bool, typer.Option("--debug", hidden=True)] = False,
) -> None:
    """Train network weights, or adapt them to one speaker."""
    if context.invoked_subcommand is not None:
        if config is not None or settings or quiet or debug:
            context.fail(f"Put options after {context.invoked_subcommand}.")
        return
    if config is None:
        context.fail("Missing command: prepare, run, finetune, evaluate, mesh or shapes.")
    note_new_name("train --config", "train run --config")
    _train(config, settings, quiet=quiet, debug=debug)


@app.command()
def prepare(
    videos: Videos,
    out: Annotated[Path, typer.Option("--out", help="Folder of the dataset.", show_default=False)],
    more: MoreVideos = None,
    expert: Expert = None,
    detector: Detector = "auto",
    detector_weights: DetectorWeights = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Videos at a time.", show_default=False)
    ] = None,
    *,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Turn videos of people speaking into a training dataset. Finished videos are kept."""

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

    exit_with(work, stopped="stopped. Finished videos are kept; run the same command to continue.", debug=debug)


@app.command()
def run(
    config: Annotated[Path, TrainingFile],
    settings: Settings = None,
    *,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a sync expert and a lip network on a dataset. Run it again to resume a stopped training."""
    _train(config, settings, quiet=quiet, debug=debug)


def _train(config: Path, settings: Sequence[str] | None, *, quiet: bool, debug: bool) -> None:
    def work() -> int:
        from lipstitch.progress import choose_reporter
        from lipstitch.training.config import load_training
        from lipstitch.training.train import run_training

        run_training(load_training(config, settings or ()), choose_reporter(quiet=quiet, progress="auto"))
        return 0

    exit_with(work, stopped=RESUME, debug=debug)


@app.command()
def finetune(
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="Weights to start from.", show_default=False)],
    videos: Videos,
    out: Annotated[Path, typer.Option("--out", help="The file to write (.safetensors).", show_default=False)],
    more: MoreVideos = None,
    expert: Expert = None,
    held_share: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of each video, at its end, that is held out for evaluation.")
    ] = 0.25,
    steps: Annotated[int, typer.Option(min=1, help="Maximum number of steps.")] = 400,
    seconds: Annotated[float | None, typer.Option(min=1, help="Maximum time.", show_default=False)] = None,
    learning_rate: Annotated[float, typer.Option(min=1e-8, max=1.0)] = 1e-4,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    device: Device = "auto",
    threads: Threads = None,
    detector: Detector = "auto",
    detector_weights: DetectorWeights = None,
    *,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Adapt a network to one speaker. Weights that do worse on held-out footage are not saved."""

    def work() -> int:
        from lipstitch.progress import choose_reporter
        from lipstitch.training.equipment import Equipment
        from lipstitch.training.finetune import FinetuneSettings
        from lipstitch.training.finetune import finetune as adapt
        from lipstitch.training.preparation.prepare import DetectorSource

        adapt(
            checkpoint,
            [*videos, *(more or ())],
            out,
            choose_reporter(quiet=quiet, progress="auto"),
            FinetuneSettings(
                held_share=held_share, steps=steps, seconds=seconds, learning_rate=learning_rate, seed=seed
            ),
            Equipment(expert, DetectorSource(detector, detector_weights), device, threads),
        )
        return 0

    exit_with(work, stopped="stopped; nothing was saved.", debug=debug)


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="The new weights.", show_default=False)],
    against: Annotated[Path, typer.Option("--against", help="The old weights.", show_default=False)],
    videos: Videos,
    more: MoreVideos = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file.", show_default=False)
    ] = None,
    expert: Expert = None,
    held_out: Annotated[
        str, typer.Option("--held-out", metavar="NAMES", help="Use only these people, as in head_13,head_14.")
    ] = "",
    work_folder: Annotated[Path, typer.Option("--work", help="Folder for faces and filmstrips.")] = Path(
        "build/assess"
    ),
    device: Device = "auto",
    threads: Threads = None,
    detector: Detector = "auto",
    detector_weights: DetectorWeights = None,
    *,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare two networks on the same faces. Prints a table; writes JSON and filmstrips."""

    def work() -> int:
        from lipstitch.progress import choose_reporter
        from lipstitch.training.equipment import Equipment
        from lipstitch.training.evaluation.assess import assess_networks, choose_videos
        from lipstitch.training.preparation.prepare import DetectorSource
        from media.base.files import write_json

        names = [name.strip() for name in held_out.split(",") if name.strip()]
        figures = assess_networks(
            checkpoint,
            against,
            choose_videos([*videos, *(more or ())], names),
            work_folder,
            choose_reporter(quiet=quiet, progress="auto"),
            Equipment(expert, DetectorSource(detector, detector_weights), device, threads),
        )
        if json_file is not None:
            write_json(json_file, figures)
        return 0

    exit_with(work, stopped="stopped; prepared faces are kept.", debug=debug)


@app.command()
def mesh(
    config: Annotated[Path, TrainingFile],
    settings: Settings = None,
    *,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train the network that finds the points of faces, from labelled videos. Run it again to resume."""

    def work() -> int:
        from lipstitch.progress import choose_reporter
        from lipstitch.training.mesh.config import load_mesh_training
        from lipstitch.training.mesh.train import train_mesh

        train_mesh(load_mesh_training(config, settings or ()), choose_reporter(quiet=quiet, progress="auto"))
        return 0

    exit_with(work, stopped=RESUME, debug=debug)


@app.command()
def shapes(
    config: Annotated[Path, TrainingFile],
    settings: Settings = None,
    *,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train the network that hears lip shapes in sound, from labelled videos. Run it again to resume."""

    def work() -> int:
        from lipstitch.progress import choose_reporter
        from lipstitch.training.shapes.config import load_shapes_training
        from lipstitch.training.shapes.train import train_shapes

        train_shapes(load_shapes_training(config, settings or ()), choose_reporter(quiet=quiet, progress="auto"))
        return 0

    exit_with(work, stopped=RESUME, debug=debug)
