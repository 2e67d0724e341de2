"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

JobFile = typer.Option("--config", help="The job file (YAML or JSON).", show_default=False)
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as in renderer.batch_size=32. Repeatable."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace existing files.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only warnings and errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="On an error, print the traceback too.")]

Plan = Annotated[
    bool, typer.Option("--plan", help="Print spans, clips, time, disk and memory, and stop before rendering.")
]
Compare = Annotated[
    Path | None,
    typer.Option("--compare", metavar="VIDEO", help="Also write a side-by-side video of source and result."),
]
ProgressKind = Annotated[
    Literal["auto", "json"],
    typer.Option("--progress", help="json: one JSON object per line on stdout, for programs."),
]

TrainingFile = typer.Option("--config", help="The training file (YAML).", show_default=False)
Videos = Annotated[
    list[Path],
    typer.Option("--videos", help="Videos, or folders of videos; more can follow.", show_default=False),
]
MoreVideos = Annotated[list[Path] | None, typer.Argument(metavar="[VIDEO]...", help="More videos.", show_default=False)]
Expert = Annotated[Path | None, typer.Option("--expert", help="Weights of a sync expert.", show_default=False)]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 ...")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.", show_default=False)]
Detector = Annotated[str, typer.Option("--detector", help="Face detector, as in a job file.")]
DetectorWeights = Annotated[
    str | None,
    typer.Option(
        "--detector-weights", help="Weights of the detector: a registered name or a path.", show_default=False
    ),
]
