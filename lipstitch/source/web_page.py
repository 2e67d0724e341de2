"""A page that shows a video: yt-dlp, an optional library, gets the video from it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final

from lipstitch.source.web_file import CONNECT_SECONDS, Progress
from media.base.errors import ConfigError, UnreadableMedia
from media.base.files import disk_errors, flush

VIDEO_FORMATS: Final = "bestvideo*+bestaudio/best"
SOUND_FORMATS: Final = "bestaudio/best"
MOST_TEXT: Final = 200
"""Characters of what yt-dlp says that a message repeats."""


def fetch_page(key: str, address: str, path: Path, on_progress: Progress, *, is_sound: bool) -> None:
    """Fetch what a page shows into a file; what an interrupted run has got of it is used.

    key: of the job file. is_sound: the sound alone is wanted. Raises ConfigError where yt-dlp is not installed,
    UnreadableMedia where it finds nothing, or cannot get it.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
        from yt_dlp import YoutubeDL
        from yt_dlp.utils import YoutubeDLError
    except ImportError as exc:
        raise ConfigError(
            f"{key}: {address} is a page, not a media file. Give the file's own address, or install what gets videos"
            " from pages: pip install 'lipstitch[download]'."
        ) from exc
    folder = path.with_name(f"{path.stem}.pieces")
    options: dict[str, Any] = {
        "format": SOUND_FORMATS if is_sound else VIDEO_FORMATS,
        "outtmpl": {"default": str(folder / "media.%(ext)s")},
        "merge_output_format": "mkv",
        "ffmpeg_location": get_ffmpeg_exe(),
        "noplaylist": True,
        "playlist_items": "1",
        "socket_timeout": CONNECT_SECONDS,
        "progress_hooks": [lambda told: on_progress(told.get("downloaded_bytes") or 0, _total(told))],
        "logger": _NoLog(),
        "noprogress": True,
        "color": "no_color",
        "cachedir": False,
    }
    with disk_errors(path):
        folder.mkdir(exist_ok=True)
    try:
        with YoutubeDL(options) as program:
            found = program.extract_info(address)
            got = Path(found.get("entries", [found])[0]["requested_downloads"][0]["filepath"])
    except (YoutubeDLError, IndexError, KeyError) as exc:
        raise UnreadableMedia(f"{key}: yt-dlp gets no video from {address} ({_brief(exc)}).") from exc
    with disk_errors(path):
        flush(got)
        got.replace(path)
    shutil.rmtree(folder, ignore_errors=True)


def _total(told: dict[str, Any]) -> int:
    return int(told.get("total_bytes") or told.get("total_bytes_estimate") or 0)


def _brief(error: Exception) -> str:
    text = re.sub(r"\s+", " ", str(error).removeprefix("ERROR: ")).strip() or type(error).__name__
    text = text.partition("; please report this issue")[0].rstrip(".")
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}..."


class _NoLog:
    """Takes what yt-dlp says beside its errors."""

    def debug(self, text: str) -> None:
        """Drop it."""

    def warning(self, text: str) -> None:
        """Drop it."""

    def error(self, text: str) -> None:
        """Drop it: it is raised as well."""
