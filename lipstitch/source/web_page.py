"""A page that shows a video: yt-dlp, an optional library, gets the video from it."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from lipstitch.source.web_file import CONNECT_SECONDS, Progress
from media.base.errors import ConfigError, UnreadableMedia
from media.base.files import disk_errors, flush

VIDEO_FORMATS: Final = "bestvideo*+bestaudio/best"
SOUND_FORMATS: Final = "bestaudio/best"
PART_CODING: Final = ["-c:v", "libx264", "-crf", "14", "-preset", "veryfast"]
"""How FFmpeg codes a part whose borders lie between keyframes."""
QUIETLY: Final = ["-loglevel", "error", "-nostats"]
MOST_TEXT: Final = 200
"""Characters of what yt-dlp says that a message repeats."""


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page that shows a video, or a video of which a part is wanted."""

    key: str
    """Of the job file, for messages."""
    address: str
    is_sound: bool
    """Whether the sound alone is wanted."""
    part: tuple[Fraction, Fraction] | None = None
    """Seconds to fetch, to the frame; None: all. FFmpeg then reads what lies around them alone, and re-encodes it."""

    def fetch(self, path: Path, on_progress: Progress) -> None:
        """Fetch what the page shows into a file; what an interrupted run has got of it is used.

        Raises ConfigError where yt-dlp is not installed, UnreadableMedia where it finds nothing, or cannot get it.
        """
        try:
            from imageio_ffmpeg import get_ffmpeg_exe
            from yt_dlp import YoutubeDL
            from yt_dlp.utils import YoutubeDLError, download_range_func
        except ImportError as exc:
            what = "a part (#t=) is cut by yt-dlp" if self.part else f"{self.address} is a page, not a media file"
            raise ConfigError(
                f"{self.key}: {what}. Install it with pip install 'lipstitch[download]', or give the address of a whole"
                " file."
            ) from exc
        folder = path.with_name(f"{path.stem}.pieces")
        options: dict[str, Any] = {
            "format": SOUND_FORMATS if self.is_sound else VIDEO_FORMATS,
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
        if self.part:
            options["download_ranges"] = download_range_func(None, [tuple(map(float, self.part))])
            options["force_keyframes_at_cuts"] = True
            options["external_downloader_args"] = {"ffmpeg_i": QUIETLY, "ffmpeg_o": PART_CODING}
        with disk_errors(path):
            folder.mkdir(exist_ok=True)
        try:
            with YoutubeDL(options) as program:
                found = program.extract_info(self.address)
                got = Path(found.get("entries", [found])[0]["requested_downloads"][0]["filepath"])
        except (YoutubeDLError, IndexError, KeyError) as exc:
            raise UnreadableMedia(f"{self.key}: yt-dlp gets no video from {self.address} ({_brief(exc)}).") from exc
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
