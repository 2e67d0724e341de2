"""open-dubbing: an output folder that holds a finished video for each language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lipstitch.intake.dubbers.base import Files, FoundDub, Layout

DUBBED = re.compile(r"dubbed_video_(?P<language>\w+)\.mp4")
"""Its picture is the source's, copied."""


def find(folder: Path, files: Files) -> Sequence[FoundDub]:
    """Return a dub for each finished video."""
    return [FoundDub(folder / name) for name in sorted(files) if DUBBED.fullmatch(name)]


LAYOUT = Layout("open-dubbing", "Softcatala/open-dubbing 06724e39", find)
