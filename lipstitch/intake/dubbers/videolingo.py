"""VideoLingo: the folder `output` with the source video, the dub's voice, and a finished video if it makes one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lipstitch.intake.dubbers.base import Files, FoundDub, Layout
from media.base.errors import ConfigError
from media.base.files import read_json
from media.probe import probe

FINISHED, VOICE, SUBTITLES, MANIFEST = "output_dub.mp4", "dub.mp3", "dub.srt", "input_manifest.json"
MADE = ("output_sub.mp4", FINISHED)
VIDEO_ENDINGS = (".mp4", ".mov", ".avi", ".mkv", ".flv", ".wmv", ".webm")


def find(folder: Path, files: Files) -> Sequence[FoundDub]:
    """Return the dub: as it sounds in the finished video, with the background, else the voice alone."""
    if not files.issuperset({VOICE, SUBTITLES}):
        return []
    # Where subtitles are not burned in, the finished video is a black frame without sound.
    has_mix = FINISHED in files and bool(probe(folder / FINISHED).audio)
    return [FoundDub(_source(folder, files), folder / (FINISHED if has_mix else VOICE), folder / VOICE)]


def _source(folder: Path, files: Files) -> Path:
    """Return the video that was dubbed: the one that the manifest names, else the only one that was not made here."""
    named = (read_json(folder / MANIFEST) or {}).get("path")
    if isinstance(named, str) and Path(named.replace("\\", "/")).name in files:
        return folder / Path(named.replace("\\", "/")).name
    videos = sorted(name for name in files if Path(name).suffix.lower() in VIDEO_ENDINGS and name.lower() not in MADE)
    if len(videos) != 1:
        raise ConfigError(f"{len(videos)} videos could be the source of its dub, not one. Leave that one alone there.")
    return folder / videos[0]


LAYOUT = Layout("VideoLingo", "Huanshere/VideoLingo 1726467a, 0f6129f9", find)
