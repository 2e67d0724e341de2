"""The video that a job works on: what it is, and when each of its frames is shown."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from media.info import MediaInfo, VideoInfo
from media.packets.frame_table import FrameTable
from media.packets.scan import scan_packets
from media.probe import probe


@dataclass(frozen=True, slots=True)
class SourceVideo:
    """A file with a video stream, and its frames."""

    info: MediaInfo
    table: FrameTable

    @property
    def video(self) -> VideoInfo:
        """Return its video stream."""
        return self.info.require_video()

    @property
    def frame_rate(self) -> Fraction:
        """Mean number of frames a second."""
        return len(self.table) / self.table.seconds(len(self.table))


def scan_video(path: str | Path) -> SourceVideo:
    """Probe a file and scan the packets of its video; raise MediaError if it cannot be read."""
    info = probe(path)
    return SourceVideo(info, scan_packets(info))
