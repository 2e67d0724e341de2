"""The command `wav2lip`, which is inference.py as well: jobs in the words of Wav2Lip's own command line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from lipstitch.commands.exits import exit_with
from lipstitch.commands.options import Debug, Quiet, Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
DEFAULT_OUTFILE = Path("results/result_voice.mp4")
Sides = tuple[int, int, int, int]
SIDES = "TOP BOTTOM LEFT RIGHT"
PADS: Sides = (0, 10, 0, 0)
WHOLE: Sides = (0, -1, 0, -1)
NO_BOX: Sides = (-1, -1, -1, -1)


@app.command()
def wav2lip(
    checkpoint: Annotated[
        str, typer.Option("--checkpoint_path", help="Weights of the network: a file, or a registered name.")
    ],
    face: Annotated[Path, typer.Option("--face", help="The video, or a picture.")],
    audio: Annotated[Path, typer.Option("--audio", help="The sound: any audio or video file.")],
    outfile: Annotated[
        Path, typer.Option("--outfile", help="The file to write. An existing one is replaced.")
    ] = DEFAULT_OUTFILE,
    pads: Annotated[Sides, typer.Option("--pads", metavar=SIDES, help="Pixels added to the face's box.")] = PADS,
    batch_size: Annotated[
        int | None, typer.Option("--wav2lip_batch_size", min=1, help="Faces per pass.", show_default="a job's")
    ] = None,
    static: Annotated[
        Literal["true", "false"], typer.Option("--static", case_sensitive=False, help="Only of a still picture.")
    ] = "false",
    fps: Annotated[float, typer.Option("--fps", help="Only of a still picture: frames a second.")] = 25.0,
    detection_batch_size: Annotated[
        int | None, typer.Option("--face_det_batch_size", help="Without effect.", show_default="none")
    ] = None,
    resize_factor: Annotated[int, typer.Option("--resize_factor", min=1, help="Without effect.")] = 1,
    crop: Annotated[Sides, typer.Option("--crop", metavar=SIDES, help="Without effect.")] = WHOLE,
    box: Annotated[Sides, typer.Option("--box", metavar=SIDES, help="Where the face is, in all frames.")] = NO_BOX,
    settings: Settings = None,
    *,
    nosmooth: Annotated[bool, typer.Option("--nosmooth", help="Do not steady the face's box.")] = False,
    rotate: Annotated[bool, typer.Option("--rotate", help="Without effect.")] = False,
    progress: Annotated[
        Literal["auto", "json"], typer.Option("--progress", help="json: one JSON object per line on stdout.")
    ] = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Take Wav2Lip's own options: names, units and defaults are those of its inference.py.

    The network draws the largest face of each shot, and the output lasts as long as the sound. 0 is returned for every
    complete video, with a warning where clips fell back to the original frames.
    """

    def work() -> int:
        from lipstitch.intake.wav2lip import (
            FrameOptions,
            Wav2LipFiles,
            Wav2LipOptions,
            build_wav2lip_job,
            describe_ignored,
        )
        from lipstitch.job import run_job
        from lipstitch.progress import choose_reporter

        reporter = choose_reporter(quiet=quiet, progress=progress)
        options = Wav2LipOptions(
            pads=pads,
            is_static=static == "true",
            is_steadied=not nosmooth,
            batch_size=batch_size,
            detection_batch_size=detection_batch_size,
            fps=fps,
            frames=FrameOptions(resize_factor, crop, box, rotate),
        )
        job = build_wav2lip_job(Wav2LipFiles(checkpoint, face, audio, outfile), options, settings or ())
        for text in describe_ignored(options):
            reporter.info(text)
        if outfile == DEFAULT_OUTFILE:
            with suppress(OSError):  # the job says that the folder is not there
                outfile.parent.mkdir(exist_ok=True)
        run_job(job, reporter, force=True)
        return 0

    exit_with(work, stopped="stopped. Finished clips are kept; run the same command to continue.", debug=debug)
