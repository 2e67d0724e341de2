"""A group of commands in which a file may stand in a command's place: `lipstitch talk.mp4 dub.wav -o out.mp4`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from typer.core import TyperGroup

DEFAULT_COMMAND = "sync"


class CommandsOrFiles(TyperGroup):
    """Runs `sync` where the first word is the name of a file, or an address on the web."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return (name, command, its arguments); see Click."""
        word = args[0]
        is_file = word not in self.commands and (Path(word).suffix != "" or "://" in word or Path(word).exists())
        return super().resolve_command(ctx, [DEFAULT_COMMAND, *args] if is_file else args)
