"""The video of a job: opened, checked, and recognised by its content wherever it lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lipstitch.job_file.config import JobConfig
from lipstitch.source.checks import USE_DAMAGED
from lipstitch.source.remembered import Remembered, Seen, recall, remember, seen_now
from lipstitch.source.still import find_video
from lipstitch.workspace import Workspace, fingerprint, workspace_folder
from media.base.errors import UnsupportedMedia
from media.coding.encoder_options import CODED_PSNR
from media.coding.output_codec import StreamCoding, choose_stream
from media.info import MediaInfo
from media.packets.scan import scan_packets
from media.packets.truncation import check_complete
from media.picture import is_composable
from media.probe import probe
from media.reader import check_one_format
from media.source_video import SourceVideo
from stitcher.assemble import muxer_of

HDR_TRANSFERS: Final = {16: "HDR (PQ)", 18: "HDR (HLG)"}
"""Of ITU-T H.273; all others are SDR."""
ENHANCED: Final = "stitcher.enhance changes every frame: the whole stream is re-encoded"


@dataclass(frozen=True, slots=True)
class OpenedVideo(SourceVideo):
    """The video of a job, of which not every byte need have been read."""

    seen: Seen | None
    """The file before anything was read of it."""
    fingerprint: str | None
    """What identifies it, if an earlier run left that in the workspace."""


@dataclass(frozen=True, slots=True)
class Source(SourceVideo):
    """The video of a job, and what identifies it."""

    fingerprint: str
    """As in lipstitch.workspace: the same for every copy of the file, whatever its name."""


def open_source(config: JobConfig, workspace: Path | None = None) -> OpenedVideo:
    """Open the job's video and index its packets, unless an earlier run has.

    workspace: folder in which that run may have left what it found; None: the job's. Of a picture, the video that is
    made of it lies there. Raises MediaError if the video cannot be read, is cut off (unless input.accept_damaged),
    changes its format midway, or stores its pixels in a way that mouths cannot be drawn into.
    """
    folder = workspace or workspace_folder(config)
    info = _probed(find_video(config, folder), config)
    pixel_format = info.require_video().pixel_format
    if not is_composable(pixel_format):
        raise UnsupportedMedia(f"{info.path}: pixels are stored as {pixel_format}. Convert it to yuv420p first.")
    return _indexed(info, folder)


def open_further(config: JobConfig, video: SourceVideo) -> tuple[OpenedVideo, ...]:
    """Open the further videos of the job's people, as far as mouths come from footage; see open_source.

    Raises UnsupportedMedia also for one that is HDR while the job's video is not, or the other way round.
    """
    found = []
    for path in config.input.footage if config.needs_further_footage else ():
        info = _probed(path, config)
        own, other = (HDR_TRANSFERS.get(each.colour.transfer, "SDR") for each in (video.video, info.require_video()))
        if own != other:
            raise UnsupportedMedia(
                f"input.footage: {path} is {other} and the video is {own}: its mouths would have other colours. Convert"
                f" it to {own} first, or leave it out."
            )
        found.append(_indexed(info, workspace_folder(config)))
    return tuple(found)


def _probed(path: Path, config: JobConfig) -> MediaInfo:
    info = probe(path)
    if not config.input.accept_damaged:
        check_complete(info, advice=USE_DAMAGED)
    info.require_video()
    return info


def _indexed(info: MediaInfo, workspace: Path) -> OpenedVideo:
    seen = seen_now(Path(info.path))
    known = recall(Workspace(workspace), seen.state) if seen else None
    video = OpenedVideo(info, known.table if known else scan_packets(info), seen, known.fingerprint if known else None)
    check_one_format(video)
    return video


def identify_source(video: OpenedVideo) -> Source:
    """Return the video with its fingerprint, for which every byte of the file is read if no earlier run has."""
    known = video.fingerprint or fingerprint(Path(video.info.path), video.table)
    return Source(video.info, video.table, known)


def remember_source(workspace: Workspace, video: OpenedVideo, source: Source) -> None:
    """Leave in the workspace what a later run need not read the whole file for."""
    if video.fingerprint is None and video.seen:
        remember(workspace, Path(source.info.path), video.seen, Remembered(source.table, source.fingerprint))


def choose_coding(config: JobConfig, video: SourceVideo) -> StreamCoding:
    """Return how the video is coded for the job's outputs, which share a container. Raises UnsupportedMedia."""
    settings = config.stitcher.video
    muxer = muxer_of(config.output)
    crf = None if settings.crf == "auto" else settings.crf
    coding = choose_stream(video, crf=crf, preset=settings.preset, muxer=muxer)
    least_psnr = settings.psnr if crf is None else CODED_PSNR
    coding = replace(coding, frames=replace(coding.frames, least_psnr=least_psnr))
    if config.stitcher.enhance and config.stitcher.enhance.frames == "all":
        return replace(coding, reason=coding.reason or ENHANCED, may_copy_whole=False)
    return coding
