"""The video that a job works on: what it is, and when each of its frames is shown."""

from __future__ import annotations

from dataclasses import dataclass

from media.info import MediaInfo, VideoInfo
from media.packets.frame_table import FrameTable


@dataclass(frozen=True, slots=True)
class SourceVideo:
    """A file with a video stream, and its frames."""

    info: MediaInfo
    table: FrameTable

    @property
    def video(self) -> VideoInfo:
        """Return its video stream."""
        return self.info.require_video()
