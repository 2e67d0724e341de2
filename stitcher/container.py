"""Checks before the long work whether a container can hold the output."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import av.error

from media.base.errors import ContractBroken, MediaError, UnsupportedMedia
from media.bitstream.side_data import LAYERS, TRANSPARENCY, is_alpha_key, read_beside
from media.bitstream.units import AnyPacket
from media.coding.output_codec import StreamCoding
from media.coding.writer import write_blank
from media.intervals import Interval
from media.packets.frame_table import FrameTable
from media.probe import open_input, probe
from media.source_video import SourceVideo
from media.timeline import OutputTimeline
from stitcher.losses import Loss
from stitcher.packet_sources import OutputVideo, VideoPacketSource
from stitcher.streams import WITHOUT_PAST, OutputStreams, muxer_options
from stitcher.verify.streams import verify_fields, verify_format

ENCODER_DELAY = Fraction(3, 10)
"""Seconds by which the packets of a soundtrack may begin before what is heard: MP3's at 8 kHz are 282 ms early."""


def first_time(muxer: str, table: FrameTable, kept: Sequence[Interval]) -> int:
    """Return when the first frame of an extraction is shown, in ticks: 0 where times below 0 can be written.

    FLV and program streams cannot hold such times, so the first frame is shown late enough for what is decoded before
    it. AVI stores no presentation times, and its readers show frames as late as in the source. kept: as for
    concat_ranges.
    """
    if muxer == "avi":
        return table.pts[-1] - table.dts[-1]
    if muxer not in WITHOUT_PAST:
        return 0
    reordered = 0
    for start, stop in kept:
        order = [frame for frame in table.decode_order[start:stop] if start <= frame < stop]
        reordered = max(reordered, *(table.pts[start + i] - table.pts[frame] for i, frame in enumerate(order)))
    return reordered + ceil(ENCODER_DELAY / table.time_base)


def check_container(
    source: SourceVideo,
    timeline: OutputTimeline,
    muxer: str,
    *,
    replaces_sound: bool,
    coding: StreamCoding | None = None,
) -> tuple[Loss, ...]:
    """Return what a muxer cannot hold of the source; raise UnsupportedMedia if too much is lost.

    replaces_sound: whether the source's first audio stream is replaced. coding: how the video is encoded; None if it is
    copied. Where the whole video is encoded, one picture is encoded, muxed and read back, since few codecs and
    containers keep all that tells players how to show it.
    """
    video = source.video
    _check_beside(source, timeline, muxer, coding)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        reader = stack.enter_context(open_input(source.info.path))
        sample = str(folder / "sample") if coding and coding.is_new else None
        if coding and sample:
            write_blank(Path(sample), video, coding.frames)
        options = muxer_options(muxer, timeline, None, reader.metadata)
        writer = av.open(f"file:{folder / 'container'}", "w", format=muxer, container_options=options)
        try:
            feed = VideoPacketSource(OutputVideo(source, timeline, (), is_new=sample is not None), sample)
            streams = OutputStreams(source.info, feed, None, timeline, reader, writer)
            target = streams.add(None, skips_first_audio=replaces_sound)
            writer.start_encoding()
            if sample:
                clip = stack.enter_context(open_input(sample))
                packet: AnyPacket = next(clip.demux(clip.streams.video[0]))
                packet.stream, packet.pts, packet.dts = target, 0, 0
                writer.mux_one(packet)
                writer.close()
                streams.finish()
        except (av.error.FFmpegError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or exc
            raise UnsupportedMedia(
                f"output: {muxer} files cannot hold the streams of {source.info.path} ({reason}). Use the same ending."
            ) from exc
        if coding and sample:
            try:
                written = probe(folder / "container").require_video()
                verify_format(video, written, coding.codec)
                verify_fields(video, written)
            except (ContractBroken, MediaError) as exc:
                found = str(exc).removeprefix("Tags: ").removesuffix(" Please report this.")
                raise UnsupportedMedia(
                    f"output: {coding.reason}, but then {found.rstrip('.')}. Use another ending, or convert it first."
                ) from exc
    return tuple(streams.losses)


def _check_beside(source: SourceVideo, timeline: OutputTimeline, muxer: str, coding: StreamCoding | None) -> None:
    """Raise UnsupportedMedia where side data that is part of the picture would be lost."""
    table, video = source.table, source.video
    if LAYERS in video.beside:
        raise UnsupportedMedia(
            f"{source.info.path}: the video has a second layer (a second view, or transparency), which would not follow"
            " the first. Export it with one layer first."
        )
    if TRANSPARENCY not in video.beside:
        return
    if muxer not in ("matroska", "webm") or (coding and coding.is_new):
        raise UnsupportedMedia(
            f"output: the video is transparent, and {muxer} files do not hold that beside {video.codec}."
            " Use .webm or .mkv."
        )
    if timeline.is_source and len(timeline.runs) > 1:
        raise UnsupportedMedia(
            f"{source.info.path}: the video is transparent, and frames appended to it would not be. Set the length"
            " policy to cut."
        )
    starts = [0] if timeline.is_source else [run.source_frame for run in timeline.runs]
    keys = _alpha_keys(source) if any(starts) else [0]
    for start in starts:
        if start not in keys:
            earlier = max((key for key in keys if key < start), default=0)
            later = min((key for key in keys if key > start), default=None)
            seconds = [
                f"{float(table.seconds(frame)):.3f} s" for frame in (start, earlier, *([later] if later else []))
            ]
            raise UnsupportedMedia(
                f"{source.info.path}: its transparency cannot begin at {seconds[0]}."
                f" Begin the range at {' or '.join(seconds[1:])}."
            )


def _alpha_keys(source: SourceVideo) -> list[int]:
    """Return the frames whose transparency is encoded without reference to other frames."""
    video = source.video
    with open_input(source.info.path) as container:
        found = [
            source.table.frame_of(packet.pts)
            for packet in container.demux(container.streams[video.index])
            if packet.size and packet.pts is not None
            if is_alpha_key(video.codec, read_beside(video.codec, packet, 0).alpha or b"")
        ]
    return [frame for frame in found if frame is not None]
