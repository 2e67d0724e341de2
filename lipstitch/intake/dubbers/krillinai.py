"""KrillinAI: a folder for each task, with the source if it was downloaded, the dub, and the source with the dub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lipstitch.intake.dubbers.base import Files, FoundDub, Layout

SOURCE, DUB, FINISHED = "origin_video.mp4", "tts_final_audio.wav", "video_with_tts.mp4"


def find(folder: Path, files: Files) -> Sequence[FoundDub]:
    """Return the dub of a task; a source that was not downloaded lies elsewhere, and its finished video is taken."""
    if SOURCE in files and DUB in files:
        return [FoundDub(folder / SOURCE, folder / DUB)]
    return [FoundDub(folder / FINISHED)] if FINISHED in files else []


LAYOUT = Layout("KrillinAI", "krillinai/KrillinAI 03bd35d1, 238859ff", find)
