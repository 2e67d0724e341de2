"""The video of a job: opened, checked, and recognised by its content wherever it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from base.errors import UnsupportedMedia
from lipstitch.job_file.config import JobConfig
from lipstitch.source.checks import USE_DAMAGED
from lipstitch.workspace import fingerprint
from media.coding.output_codec import StreamCoding, choose_stream
from media.packets.scan import scan_packets
from media.packets.truncation import check_complete
from media.picture import is_composable
from media.probe import probe
from media.reader import check_one_format
from media.source_video import SourceVideo
from stitcher.assemble import muxer_of


@dataclass(frozen=True, slots=True)
class Source(SourceVideo):
    """The video of a job, and what identifies it."""

    fingerprint: str
    """As in lipstitch.workspace: the same for every copy of the file, whatever its name."""


def open_source(config: JobConfig) -> SourceVideo:
    """Open the job's video and index its packets.

    Raises MediaError if it cannot be read, is cut off (unless input.accept_damaged), changes its format midway, or
    stores its pixels in a way that mouths cannot be drawn into.
    """
    info = probe(config.input.video)
    if not config.input.accept_damaged:
        check_complete(info, advice=USE_DAMAGED)
    pixel_format = info.require_video().pixel_format
    if not is_composable(pixel_format):
        raise UnsupportedMedia(f"{info.path}: pixels are stored as {pixel_format}. Convert it to yuv420p first.")
    video = SourceVideo(info, scan_packets(info))
    check_one_format(video)
    return video


def identify_source(video: SourceVideo) -> Source:
    """Return the video with its fingerprint, for which every byte of the file is read."""
    return Source(video.info, video.table, fingerprint(Path(video.info.path), video.table))


def choose_coding(config: JobConfig, video: SourceVideo) -> StreamCoding:
    """Return how the video is coded for the job's outputs, which share a container. Raises UnsupportedMedia."""
    settings = config.stitcher.video
    muxer = muxer_of(config.output)
    crf = None if settings.crf == "auto" else settings.crf
    return choose_stream(video, crf=crf, preset=settings.preset, muxer=muxer)
