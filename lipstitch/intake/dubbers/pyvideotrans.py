"""pyvideotrans: a folder for each video, with the finished one and the sounds of both languages.

The source lies elsewhere, and the finished video may be slower in places, so its own sound is what fits it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lipstitch.intake.dubbers.base import Files, FoundDub, Layout
from media.base.errors import ConfigError

SOUND = re.compile(r"(?P<language>[a-z]{2,3}(-[a-z]{2,4})?)\.(m4a|wav)", re.IGNORECASE)
SUBTITLES = ".srt"
VIDEO_ENDINGS = (".mp4", ".mkv")


def find(folder: Path, files: Files) -> Sequence[FoundDub]:
    """Return the finished video of a folder that holds sound and subtitles of a language."""
    languages = {match["language"] for match in map(SOUND.fullmatch, files) if match}
    if not any(f"{language}{SUBTITLES}" in files for language in languages):
        return []
    videos = sorted(name for name in files if Path(name).suffix.lower() in VIDEO_ENDINGS)
    # The folder is named after the video, with its ending or without.
    own = [name for name in videos if _plain(folder.name).startswith(_plain(Path(name).stem))] or videos
    if len(own) > 1:
        raise ConfigError(f"{len(own)} videos could be its finished one. Leave that one alone there.")
    return [FoundDub(folder / name) for name in own]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "-", name).casefold()


LAYOUT = Layout("pyvideotrans", "jianchang512/pyvideotrans 06a2d41c, 11aa0e62", find)
