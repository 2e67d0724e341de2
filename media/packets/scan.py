"""What the packets of a video tell of its frames, read by demuxing: scan_packets() -> FrameTable."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from shlex import quote

import av
import av.error

from media.base.errors import UnreadableMedia, UnsupportedMedia
from media.bitstream.units import AnyPacket, is_clean_keyframe, length_prefix_size, new_extradata, sequence_sets
from media.info import MediaInfo, VideoInfo
from media.packets.field_pairs import is_hidden, join_fields
from media.packets.frame_table import FrameTable, build_decoded_table, build_frame_table, build_shown_table
from media.packets.packet_index import CLEAN, DESCRIPTION_SHIFT, KEYFRAME, MOST_DESCRIPTIONS, PacketIndex
from media.probe import open_input

NUM_ORDERED_FRAMES = 64
"""Frames that are decoded to see whether packets tell what is shown and when, where they leave a doubt."""
TRUSTED = (
    "h264",
    "hevc",
    "av1",
    "vp9",
    "mjpeg",
    "prores",
    "dnxhd",
    "dvvideo",
    "ffv1",
    "huffyuv",
    "ffvhuff",
    "rawvideo",
)
"""Codecs each of whose packets shows a frame, once the fields of H.264 are joined."""


def scan_packets(info: MediaInfo, each: Callable[[AnyPacket], None] = lambda packet: None) -> FrameTable:
    """Read the times, keyframes and clean entry points of the video by demuxing.

    each: called with every displayed packet, in decode order.

    Packets hidden by an edit list are not displayed and have no entry. Where packets do not tell what is shown, the
    video is decoded once. Raises UnreadableMedia if there is no frame, UnsupportedMedia if times are missing or not
    unique.
    """
    video = info.require_video()
    packets = _index_packets(info, video, each)
    if not packets.pts:
        raise UnreadableMedia(f"{info.path}: the video stream holds no frame. Check that the file is complete.")
    table = build_frame_table(info.path, video, packets)
    in_order = all(packet == frame for packet, frame in enumerate(table.decode_order))
    if any(table.pts[0] < ticks < table.pts[-1] for ticks in packets.hidden.pts):  # frames are cut out of the middle
        shown = _decode(info)
        whole = shown.is_damaged or _agree(table.pts, shown.times)
        return table if whole else build_shown_table(video, packets, shown.times)
    if video.codec in TRUSTED and not (video.coded.reorders and in_order) and video.fields == "progressive":
        return table
    head = _decode(info, NUM_ORDERED_FRAMES)
    if video.coded.reorders and in_order and any(a >= b for a, b in pairwise(head.times)):
        return build_decoded_table(video, packets, table.dts, _decode(info).times)
    if head.is_damaged or _agree(table.pts, head.times):
        return table
    return build_shown_table(video, packets, _decode(info).times)


def _index_packets(info: MediaInfo, video: VideoInfo, each: Callable[[AnyPacket], None]) -> PacketIndex:
    packets = PacketIndex()
    prefix_size = length_prefix_size(video.codec, video.coded.extradata)
    packets.extradata.append(video.coded.extradata)
    number = 0
    forms: list[tuple[bytes, ...]] = []
    with open_input(info.path) as container:
        stream = container.streams[video.index]
        for packet in join_fields(container.demux(stream), video.index, video.codec, video.coded.extradata):
            if packet.size == 0:
                continue
            if (extradata := new_extradata(packet)) is not None:
                number = _description(info.path, packets, extradata)
            if is_hidden(packet):
                if packet.pts is not None:
                    packets.hidden.slots.append(len(packets.pts))
                    packets.hidden.pts.append(packet.pts)
                    packets.hidden.stops.append(packet.pts + (packet.duration or 1))
                    packets.hidden.dts.append(packet.pts if packet.dts is None else packet.dts)
                continue
            if packet.pts is None:
                raise UnsupportedMedia(f"{info.path}: frame {len(packets.pts)} has no time. Remux the file first.")
            each(packet)
            pts, dts = packet.pts, packet.dts
            packets.pts.append(pts)
            packets.has_dts &= dts is not None
            packets.dts.append(dts or 0)
            flags = number << DESCRIPTION_SHIFT
            if packet.is_keyframe:
                payload = bytes(packet)
                flags |= KEYFRAME | CLEAN * is_clean_keyframe(video.codec, payload, prefix_size)
                form = sequence_sets(video.codec, payload, prefix_size)
                if form and form not in forms:
                    forms.append(form)
                    packets.new_forms += [len(packets.pts) - 1] if len(forms) > 1 else []
            packets.flags.append(flags)
            packets.end_pts = max(packets.end_pts, pts + (packet.duration or 0))
    return packets


def _description(path: str, packets: PacketIndex, extradata: bytes) -> int:
    """Return the number of parameter sets among those that a container told so far; they are added if they are new."""
    if extradata not in packets.extradata:
        packets.extradata.append(extradata)
        if len(packets.extradata) > MOST_DESCRIPTIONS:
            raise UnsupportedMedia(
                f"{path}: the video changes its parameter sets more than {MOST_DESCRIPTIONS - 1} times."
                f" Convert it first: ffmpeg -i {quote(path)} -crf 16 -c:a copy converted.mkv"
            )
    return packets.extradata.index(extradata)


def _agree(pts: Sequence[int], times: Sequence[int]) -> bool:
    """Tell whether the frames that a decoder puts out first are those of the packets, from the first of them on.

    Packets before that may have lost what they refer to.
    """
    if not times:
        return True
    first, last = min(times), max(times)
    return sorted(times) == [ticks for ticks in pts[: bisect_right(pts, last)] if ticks >= first]


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What a decoder makes of a video, or of its head."""

    times: list[int]
    """Times of the packets whose frames are put out, in that order, in ticks."""
    is_damaged: bool
    """Whether something could not be decoded, or not without guessing."""


def _decode(info: MediaInfo, most: int | None = None) -> _Decoded:
    """Decode a video; `most` frames at most.

    Where times run back, the file tells when its packets are decoded, not when their frames are shown (H.264 or packed
    MPEG-4 with B-frames in AVI). Packets that show nothing are found in VP8 (alternate references) and MPEG-4.
    """
    times: list[int] = []
    is_damaged = False
    with open_input(info.path) as container:
        stream = container.streams[info.require_video().index]
        assert isinstance(stream, av.VideoStream)
        stream.thread_type = "AUTO"
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    is_damaged |= frame.is_corrupt
                    if frame.pts is not None:
                        times.append(frame.pts)
            except av.error.InvalidDataError:
                is_damaged = True
                continue
            if most is not None and len(times) >= most:
                break
    return _Decoded(times, is_damaged)
