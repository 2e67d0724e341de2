"""Linly-Dubbing: a folder for each video, with the source and the dub, once mixed and once as the voice alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lipstitch.intake.dubbers.base import Files, FoundDub, Layout

SOURCE, MIX, VOICE = "download.mp4", "audio_combined.wav", "audio_tts.wav"


def find(folder: Path, files: Files) -> Sequence[FoundDub]:
    """Return the dub of a video. What its speed_up makes of both is not in these files."""
    if not files.issuperset({SOURCE, MIX}):
        return []
    return [FoundDub(folder / SOURCE, folder / MIX, folder / VOICE if VOICE in files else None)]


LAYOUT = Layout("Linly-Dubbing", "Kedreamix/Linly-Dubbing 0c72a56c", find)
