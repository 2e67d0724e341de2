"""What of a video its first packets and its first decoded frame alone tell."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
from av.container import InputContainer
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame

from media.base.errors import UnreadableMedia
from media.bitstream.sei import lasting_sei, without_display_orientation
from media.bitstream.side_data import describe_beside
from media.bitstream.units import length_prefix_size
from media.orientation import PLAIN, DisplayMatrix

UNKNOWN_SIDE_DATA = 64
"""FFmpeg numbers kinds of side data one by one, and has half as many."""


@dataclass(frozen=True, slots=True)
class FirstPicture:
    """What only the first packets and the first decoded frame tell."""

    lasting_sei: tuple[bytes, ...]
    """H.264 and HEVC: units that speak of the whole video."""
    beside: tuple[str, ...]
    """What travels beside the picture of the first packet (media.bitstream.side_data)."""
    display_matrix: DisplayMatrix
    """How the container says that pictures are shown; PLAIN if it does not."""
    field_order: int
    """What the decoder says of fields, as FFmpeg's AVFieldOrder: 1 progressive, 2 top field first, 3 bottom field
    first."""


def decode_first_picture(container: InputContainer, index: int) -> FirstPicture:
    """Decode up to the first frame; raise UnreadableMedia if no frame decodes, or if the packets are encrypted.

    The container's display matrix travels with decoded frames, where no picture that speaks for itself overrules it.
    """
    stream = container.streams[index]
    assert isinstance(stream, av.VideoStream)
    codec = stream.codec_context.codec.canonical_name
    prefix_size = length_prefix_size(codec, bytes(stream.codec_context.extradata or b""))
    first = b""
    beside: tuple[str, ...] = ()
    for packet in container.demux(stream):
        if packet.has_sidedata("encryption_info"):
            raise UnreadableMedia(f"{container.name[5:]}: the video is encrypted. Give a file without copy protection.")
        payload = bytes(packet)
        if not first:
            first, beside = payload, describe_beside(codec, packet, prefix_size)
        silent = without_display_orientation(codec, payload, prefix_size)
        try:
            for frame in stream.decode(packet if silent == payload else av.Packet(silent)):
                sei = tuple(lasting_sei(codec, first, prefix_size))
                return FirstPicture(sei, beside, _display_matrix(frame), _field_order(frame))
        except av.error.InvalidDataError:  # a recording that was cut may begin in the middle of a picture
            continue
    raise undecodable(container)


def _display_matrix(frame: VideoFrame) -> DisplayMatrix:
    try:
        told = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV shows nothing where it does not know all that is there: the Exif of JPEG, for example
        told = _without_unknown(frame).side_data.get("DISPLAYMATRIX")
    return struct.unpack("=9i", bytes(told)) if isinstance(told, SideData) else PLAIN


def _without_unknown(frame: VideoFrame) -> VideoFrame:
    """Return a frame without the side data that PyAV has no name for."""
    graph = Graph()
    last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
    )
    deleting = (
        graph.add("sidedata", f"mode=delete:type={kind}") for kind in range(len(SideDataType), UNKNOWN_SIDE_DATA)
    )
    for following in (*deleting, graph.add("buffersink")):
        last.link_to(following)
        last = following
    graph.configure()
    graph.push(frame)
    cleaned = graph.pull()
    assert isinstance(cleaned, VideoFrame)
    return cleaned


def _field_order(frame: VideoFrame) -> int:
    """Return which field of a decoded frame is shown first; PyAV does not give the decoder's word on it, filters do."""
    if not frame.interlaced_frame:
        return 1
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
    )
    select, sink = graph.add("select", "eq(interlace_type,TOPFIRST)"), graph.add("buffersink")
    source.link_to(select)
    select.link_to(sink)
    graph.configure()
    graph.push(frame)
    try:
        graph.pull()
    except av.error.BlockingIOError:
        return 3
    return 2


def undecodable(container: InputContainer) -> UnreadableMedia:
    """Return the error that says that a file's video shows nothing."""
    return UnreadableMedia(
        f"{container.name[5:]}: not one frame of the video can be decoded. Check that it is complete."
    )
