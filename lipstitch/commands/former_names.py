"""Commands under the names that they had before: hidden from --help, with a note that gives the new name."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import typer


def add_former_name(app: typer.Typer, former: str, command: Callable[..., None], current: str) -> None:
    """Let `app` run a command under a former name as well. current: its name today, as a user types it."""

    @wraps(command)  # typer reads the options from the signature
    def run(*arguments: Any, **options: Any) -> None:
        note_new_name(former, current)
        command(*arguments, **options)

    app.command(former, hidden=True)(run)


def note_new_name(former: str, current: str) -> None:
    """Print on stderr what a command is called today."""
    typer.echo(f"Note: `{former}` is now called `{current}`.", err=True)
