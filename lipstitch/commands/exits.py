"""How a command ends: exit codes, and every error as one sentence on stderr."""

from __future__ import annotations

import io
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import typer

from lipstitch.stop import StopSignals
from media.base.errors import LipstitchError


def exit_with(work: Callable[[], int], *, stopped: str, debug: bool) -> NoReturn:
    """Do the work and exit with its code; on an error, print one sentence and exit with the error's code.

    stopped: what to print on Ctrl-C or SIGTERM. debug: whether to print the traceback of an error too.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    signals = StopSignals(f"Error: {stopped}")
    try:
        raise typer.Exit(work())
    except KeyboardInterrupt:
        signals.end()
    except LipstitchError as exc:
        if signals.came:  # the signal caused this error
            signals.end()
        if debug:
            traceback.print_exc()
        typer.echo(f"Error: {_one_line(str(exc))}", err=True)
        raise typer.Exit(exc.exit_code) from exc


def same_command() -> str:
    """Return what to type to run the command of this process again."""
    program = ["lipstitch"] if Path(sys.argv[0]).name == "lipstitch" else ["python", "main.py"]
    return shlex.join([*program, *sys.argv[1:]])


def _one_line(text: str) -> str:
    """Return text with line breaks and control characters, which could drive a terminal, written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
