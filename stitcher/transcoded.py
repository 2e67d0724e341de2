"""The output's video stream where it has nothing of the source's: made from a coded clip instead."""

from __future__ import annotations

import io
import struct

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext

from media.info import VideoInfo
from media.orientation import UPRIGHT, Orientation
from media.probe import open_input

MATRIX_OFFSET = 44
"""Bytes from the type of a tkhd box (version 0) to its matrix."""


def add_transcoded(writer: OutputContainer, path: str, video: VideoInfo) -> Stream:
    """Add a stream for the packets of coded clips, of which `path` is one; what players are told is the source's.

    Raises ValueError or FFmpegError where the container does not take it.
    """
    with open_input(path) as clip:
        template = clip.streams.video[0]
        if video.orientation == UPRIGHT:
            target = writer.add_stream_from_template(template, opaque=True)
        else:
            with av.open(io.BytesIO(_turned(clip, video.orientation))) as turned:
                target = writer.add_stream_from_template(turned.streams.video[0], opaque=True)
    context = target.codec_context
    assert isinstance(context, VideoCodecContext)
    context.sample_aspect_ratio = video.display.sample_aspect
    context.color_range, context.colorspace = video.colour.range, video.colour.matrix
    context.color_primaries, context.color_trc = video.colour.primaries, video.colour.transfer
    return target


def _turned(clip: InputContainer, orientation: Orientation) -> bytes:
    """Return an MP4 file with a clip's first packet, shown so: no other way leads to a stream with a display matrix."""
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as container:
        target = container.add_stream_from_template(clip.streams.video[0], opaque=True)
        packet = next(clip.demux(clip.streams.video[0]))
        packet.stream, packet.pts, packet.dts = target, 0, 0
        container.mux_one(packet)
    written = bytearray(content.getvalue())
    at = written.index(b"tkhd") + MATRIX_OFFSET
    struct.pack_into(">9i", written, at, *orientation.display_matrix)
    return bytes(written)
