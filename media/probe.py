"""What a file holds, read by demuxing alone: probe() -> MediaInfo, scan_packets() -> FrameTable."""

from __future__ import annotations

import os
import stat
import traceback
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from shlex import quote
from typing import Literal

import av
import av.error
from av.container import InputContainer

from media.bitstream import display_orientation, is_clean_keyframe, length_prefix_size
from media.errors import MissingStream, UnreadableMedia, UnsupportedMedia
from media.field_pairs import AnyPacket, join_fields
from media.first_picture import decode_first_picture, undecodable
from media.frame_table import (
    CLEAN,
    DESCRIPTION_SHIFT,
    KEYFRAME,
    MOST_DESCRIPTIONS,
    PacketIndex,
    build_decoded_table,
    build_frame_table,
    build_shown_table,
)
from media.frame_table import rebuild_dts as rebuild_dts
from media.orientation import PLAIN, DisplayMatrix, Orientation, find_orientation
from media.timeline import FrameTable

ATTACHED_PICTURE = 0x400
"""FFmpeg's AV_DISPOSITION_ATTACHED_PIC: cover art, not a video."""
DEFAULT_STREAM = 0x1
"""FFmpeg's AV_DISPOSITION_DEFAULT."""


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
Fields = Literal["progressive", "top field first", "bottom field first"]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The main video stream, as stored."""

    index: int
    """Stream index inside the file."""
    codec: str
    """FFmpeg's decoder name, for example h264 or hevc."""
    profile: str | None
    width: int
    """Stored width in pixels, before it is turned upright."""
    height: int
    pixel_format: str
    color_range: int
    """FFmpeg's AVColorRange: 1 limited, 2 full, 0 unknown. The next three follow ITU-T H.273; 2 is unknown."""
    color_matrix: int
    color_primaries: int
    color_transfer: int
    display_matrix: DisplayMatrix
    """How the container says that the picture is shown; PLAIN if it does not."""
    sample_aspect: Fraction
    """Width of a pixel divided by its height; 1 where the file does not say."""
    time_base: Fraction
    average_rate: Fraction
    """Frames per second on average; 25 where the file does not say."""
    start_seconds: Fraction
    """Time of the first displayed frame on the container's clock; 0 where the file does not say."""
    extradata: bytes
    codec_tag: str = ""
    """By what name the container calls the codec, where it has several: hvc1 or hev1 for example."""
    reorders: bool = False
    """Whether frames may be shown in another order than they are decoded (B-frames)."""
    field_order: int = 0
    """FFmpeg's AVFieldOrder: 0 unknown, 1 progressive, 2 top field first, 3 bottom field first, 4 and 5 likewise but
    stored the other way round."""
    coded_aspect: Fraction | None = None
    """The sample aspect by the pictures themselves; None where they tell none. What the container says goes before it,
    in players as in `sample_aspect`."""
    beside: tuple[str, ...] = ()
    """What travels beside the pictures, by the first packet: transparency for example, or captions (media.beside)."""
    lasting_sei: tuple[bytes, ...] = ()
    """H.264 and HEVC: units of the first key picture that say how HDR is to be shown, and how pictures are turned."""

    @property
    def orientation(self) -> Orientation:
        """How the picture is watched: as the container says, or else as the first H.264 or HEVC picture does.

        Raises ValueError, in words, for what is none of the eight orientations; require_video refuses such a video.
        """
        asked = display_orientation(self.codec, self.lasting_sei) if self.display_matrix == PLAIN else None
        return find_orientation(asked or self.display_matrix)

    @property
    def fields(self) -> Fields:
        """Return whether frames are interlaced, and which of their fields is shown first."""
        if self.field_order in (2, 4):
            return "top field first"
        return "bottom field first" if self.field_order in (3, 5) else "progressive"

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels of the picture as it is watched."""
        return self.orientation.upright_size(self.width, self.height)


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """One audio stream."""

    index: int
    codec: str
    profile: str | None
    sample_rate: int
    """Samples per second."""
    layout: str
    """Channel layout by FFmpeg's name, for example mono, stereo, 5.1."""
    num_channels: int
    time_base: Fraction
    start_seconds: Fraction
    """Time of the first sample on the container's clock; 0 where the file does not say."""
    bit_rate: int | None
    """Bits per second; None where the file does not say."""
    is_enabled: bool = True
    """Whether players turn it on by themselves. In MP4 and MOV all such tracks are heard at once."""


@dataclass(frozen=True, slots=True)
class OtherInfo:
    """A stream that is neither the main video nor sound: subtitles, data, cover art, attachments."""

    index: int
    kind: str
    codec: str


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a file holds."""

    path: str
    container: str
    """FFmpeg's format name, for example mov,mp4,m4a,3gp,3g2,mj2."""
    size_bytes: int
    video: VideoInfo | None
    audio: tuple[AudioInfo, ...]
    others: tuple[OtherInfo, ...]

    def require_video(self) -> VideoInfo:
        """Return the video stream; raise MissingStream if there is none, UnsupportedMedia if it is shown askew."""
        if self.video is None:
            raise MissingStream(f"{self.path}: no video stream in this file. Give a file that has one.")
        try:
            _ = self.video.orientation
        except ValueError as exc:
            raise UnsupportedMedia(
                f"{self.path}: its display matrix {exc}, which players show in different ways."
                f" Convert it first: {self.turning}"
            ) from exc
        return self.video

    @property
    def turning(self) -> str:
        """The command by which ffmpeg writes the pictures as it shows them, so that no player has to turn them."""
        path = Path(self.path)
        target = path.with_name(f"{path.stem}.upright{path.suffix if path.suffix in ('.mp4', '.mov') else '.mkv'}")
        return f"ffmpeg -i {quote(self.path)} -c:a copy -c:v libx264 -crf 16 {quote(str(target))}"

    def require_audio(self) -> AudioInfo:
        """Return the first audio stream; raise MissingStream if there is none."""
        if not self.audio:
            raise MissingStream(f"{self.path}: no audio stream in this file. Give a file that has one.")
        return self.audio[0]


@contextmanager
def open_input(path: str | Path) -> Iterator[InputContainer]:
    """Open a media file for reading and close it; FFmpeg's errors become UnreadableMedia here and nowhere else.

    `file:` keeps names with colons, percent signs or leading dashes from being read as something else.
    """
    try:
        with av.open(f"file:{path}", metadata_errors="ignore") as container:
            yield container
    except FileNotFoundError as exc:
        raise UnreadableMedia(f"{path}: no such file. Check the path.") from exc
    except av.error.FFmpegError as exc:
        reason = (exc.strerror or str(exc)).rstrip(".")
        raise UnreadableMedia(f"{path}: cannot be read as a media file ({reason}). Check that it is complete.") from exc
    except IndexError as exc:
        # PyAV lists the streams when a file is opened, and looks up each packet's stream in that list.
        if not traceback.extract_tb(exc.__traceback__)[-1].filename.startswith("av/"):
            raise
        raise UnsupportedMedia(
            f"{path}: a stream begins midway that the start of the file does not announce. Remux the file first."
        ) from exc


def probe(path: str | Path) -> MediaInfo:
    """Read what a file holds from its headers; raise UnreadableMedia if it cannot be opened."""
    _refuse_odd_file(Path(path))
    with open_input(path) as container:
        if container.format.name.endswith("_pipe") or container.format.name == "image2":
            raise UnsupportedMedia(f"{path}: this is a picture, not a video. Give a video.")
        video = None
        others = []
        for stream in container.streams:
            if stream.type == "video" and video is None and not int(stream.disposition) & ATTACHED_PICTURE:
                video = _video_info(container, stream.index)
            elif stream.type != "audio":
                context = stream.codec_context
                others.append(OtherInfo(stream.index, stream.type, context.name if context else "unknown"))
        audio = tuple(_audio_info(container, number) for number in range(len(container.streams.audio)))
        return MediaInfo(str(path), container.format.name, os.path.getsize(path), video, audio, tuple(others))


def _refuse_odd_file(path: Path) -> None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise UnreadableMedia(f"{path}: no such file. Check the path.") from exc
    except OSError as exc:
        raise UnreadableMedia(f"{path}: cannot be read ({exc.strerror}). Check the path and its permissions.") from exc
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableMedia(f"{path}: this is a folder. Give a media file.")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableMedia(f"{path}: this is no regular file. Save it to a file first.")
    if status.st_size == 0:
        raise UnreadableMedia(f"{path}: the file is empty. Give a complete media file.")
    if not os.access(path, os.R_OK):
        raise UnreadableMedia(f"{path}: no permission to read this file. Change its permissions.")


def _video_info(container: InputContainer, index: int) -> VideoInfo:
    stream = container.streams[index]
    assert isinstance(stream, av.VideoStream)
    context = stream.codec_context
    if not context:
        raise UnsupportedMedia(f"{container.name[5:]}: there is no decoder for its video. Convert it first.")
    first = decode_first_picture(
        container, index
    )  # before what it looks like is asked: encrypted pictures look like nothing
    if not context.width or context.pix_fmt is None:
        raise undecodable(container)
    return VideoInfo(
        index=index,
        codec=context.codec.canonical_name,
        profile=context.profile,
        width=context.width,
        height=context.height,
        pixel_format=context.pix_fmt,
        color_range=int(context.color_range),
        color_matrix=int(context.colorspace),
        color_primaries=int(context.color_primaries),
        color_transfer=int(context.color_trc),
        display_matrix=first.display_matrix,
        sample_aspect=stream.sample_aspect_ratio or Fraction(1),
        time_base=_known(stream.time_base),
        average_rate=_average_rate(stream),
        start_seconds=(stream.start_time or 0) * _known(stream.time_base),
        extradata=bytes(context.extradata or b""),
        reorders=context.has_b_frames,
        # Some codecs tell it in their frames alone.
        field_order=int(context.field_order) if int(context.field_order) > 1 else first.field_order,
        coded_aspect=context.sample_aspect_ratio,
        codec_tag=context.codec_tag,
        beside=first.beside,
        lasting_sei=first.lasting_sei,
    )


def _average_rate(stream: av.VideoStream) -> Fraction:
    """Return frames per second; of raw DV demuxers give the ticks of its clock as the average."""
    average, guessed = stream.average_rate, stream.guessed_rate
    if average and guessed and average * _known(stream.time_base) == 1:
        return guessed
    return average or guessed or Fraction(25)


def _audio_info(container: InputContainer, number: int) -> AudioInfo:
    stream = container.streams.audio[number]
    context = stream.codec_context
    if not context:
        raise UnsupportedMedia(f"{container.name[5:]}: there is no decoder for its sound. Convert it first.")
    time_base = _known(stream.time_base)
    return AudioInfo(
        index=stream.index,
        codec=context.codec.canonical_name,
        profile=context.profile,
        sample_rate=context.sample_rate,
        layout=context.layout.name,
        num_channels=context.layout.nb_channels,
        time_base=time_base,
        start_seconds=(stream.start_time or 0) * time_base,
        bit_rate=context.bit_rate,
        is_enabled=bool(int(stream.disposition) & DEFAULT_STREAM),
    )


def _known(time_base: Fraction | None) -> Fraction:
    assert time_base is not None, "streams of an opened container have a time base"
    return time_base


def scan_packets(info: MediaInfo, each: Callable[[AnyPacket], None] = lambda packet: None) -> FrameTable:
    """Read the times, keyframes and clean entry points of the video by demuxing; nothing is decoded.

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
    if any(table.pts[0] < ticks < table.pts[-1] for ticks in packets.hidden_pts):  # frames are cut out of the middle
        shown = _decode(info)
        whole = shown.is_damaged or _agree(table.pts, shown.times)
        return table if whole else build_shown_table(video, packets, shown.times)
    if video.codec in TRUSTED and not (video.reorders and in_order) and video.fields == "progressive":
        return table
    head = _decode(info, NUM_ORDERED_FRAMES)
    if video.reorders and in_order and any(a >= b for a, b in pairwise(head.times)):
        return build_decoded_table(video, packets, table.dts, _decode(info).times)
    if head.is_damaged or _agree(table.pts, head.times):
        return table
    return build_shown_table(video, packets, _decode(info).times)


def _index_packets(info: MediaInfo, video: VideoInfo, each: Callable[[AnyPacket], None]) -> PacketIndex:
    packets = PacketIndex()
    prefix_size = length_prefix_size(video.codec, video.extradata)
    packets.extradata.append(video.extradata)
    number = 0
    with open_input(info.path) as container:
        stream = container.streams[video.index]
        for packet in join_fields(container.demux(stream), video.index, video.codec, video.extradata):
            if packet.size == 0:
                continue
            if packet.has_sidedata("new_extradata"):
                number = _description(info.path, packets, bytes(packet.get_sidedata("new_extradata")))
            if packet.is_discard:
                if packet.pts is not None:
                    packets.hidden_slots.append(len(packets.pts))
                    packets.hidden_pts.append(packet.pts)
                    packets.hidden_dts.append(packet.pts if packet.dts is None else packet.dts)
                continue
            if packet.pts is None:
                raise UnsupportedMedia(f"{info.path}: frame {len(packets.pts)} has no time. Remux the file first.")
            each(packet)
            packets.pts.append(packet.pts)
            packets.has_dts &= packet.dts is not None
            packets.dts.append(packet.dts if packet.dts is not None else 0)
            clean = packet.is_keyframe and is_clean_keyframe(video.codec, bytes(packet), prefix_size)
            packets.flags.append(packet.is_keyframe * KEYFRAME | clean * CLEAN | number << DESCRIPTION_SHIFT)
            packets.end_pts = max(packets.end_pts, packet.pts + (packet.duration or 0))
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
