"""What a file holds, read by demuxing alone: probe() -> MediaInfo, scan_packets() -> FrameTable."""

from __future__ import annotations

import os
import stat
import traceback
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import av.error
from av.container import InputContainer

from media.bitstream import is_clean_keyframe, lasting_sei, length_prefix_size
from media.errors import MissingStream, UnreadableMedia, UnsupportedMedia
from media.frame_table import build_decoded_table
from media.frame_table import build_frame_table as build_frame_table
from media.frame_table import rebuild_dts as rebuild_dts
from media.timeline import FrameTable

ATTACHED_PICTURE = 0x400
"""FFmpeg's AV_DISPOSITION_ATTACHED_PIC: cover art, not a video."""
DEFAULT_STREAM = 0x1
"""FFmpeg's AV_DISPOSITION_DEFAULT."""


NUM_ORDERED_FRAMES = 64
"""Frames that are decoded to see whether times are those of presentation, where packets leave a doubt."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The main video stream, as stored."""

    index: int
    """Stream index inside the file."""
    codec: str
    """FFmpeg's decoder name, for example h264 or hevc."""
    profile: str | None
    width: int
    """Stored width in pixels, before rotation."""
    height: int
    pixel_format: str
    color_range: int
    """FFmpeg's AVColorRange: 1 limited, 2 full, 0 unknown. The next three follow ITU-T H.273; 2 is unknown."""
    color_matrix: int
    color_primaries: int
    color_transfer: int
    rotation: int
    """Degrees clockwise by which the stored picture is turned to stand upright: 0, 90, 180 or 270."""
    sample_aspect: Fraction
    """Width of a pixel divided by its height; 1 where the file does not say."""
    time_base: Fraction
    average_rate: Fraction
    """Frames per second on average; 25 where the file does not say."""
    start_seconds: Fraction
    """Time of the first displayed frame on the container's clock; 0 where the file does not say."""
    extradata: bytes
    reorders: bool = False
    """Whether frames may be shown in another order than they are decoded (B-frames)."""
    field_order: int = 0
    """FFmpeg's AVFieldOrder: 0 unknown, 1 progressive, 2 top field first, 3 bottom field first, 4 and 5 likewise but
    stored the other way round."""
    lasting_sei: tuple[bytes, ...] = ()
    """H.264 and HEVC: units of the first key picture that say how HDR is to be shown."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels of the picture as it is watched."""
        return (self.height, self.width) if self.rotation in (90, 270) else (self.width, self.height)


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
        """Return the video stream; raise MissingStream if there is none."""
        if self.video is None:
            raise MissingStream(f"{self.path}: no video stream in this file. Give a file that has one.")
        return self.video

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
    first = _first_picture(container, index)  # before what it looks like is asked: encrypted pictures look like nothing
    if not context.width or context.pix_fmt is None:
        raise _undecodable(container)
    extradata = bytes(context.extradata or b"")
    codec = context.codec.canonical_name
    return VideoInfo(
        index=index,
        codec=codec,
        profile=context.profile,
        width=context.width,
        height=context.height,
        pixel_format=context.pix_fmt,
        color_range=int(context.color_range),
        color_matrix=int(context.colorspace),
        color_primaries=int(context.color_primaries),
        color_transfer=int(context.color_trc),
        rotation=first.rotation,
        sample_aspect=stream.sample_aspect_ratio or Fraction(1),
        time_base=_known(stream.time_base),
        average_rate=stream.average_rate or stream.guessed_rate or Fraction(25),
        start_seconds=(stream.start_time or 0) * _known(stream.time_base),
        extradata=extradata,
        reorders=context.has_b_frames,
        field_order=int(context.field_order),
        lasting_sei=tuple(lasting_sei(codec, first.packet, length_prefix_size(codec, extradata))),
    )


@dataclass(frozen=True, slots=True)
class _FirstPicture:
    """What only the first packets and the first decoded frame tell."""

    packet: bytes
    rotation: int
    """Degrees clockwise by which the stored picture is turned to stand upright."""


def _first_picture(container: InputContainer, index: int) -> _FirstPicture:
    """Decode until there is a frame; raise UnreadableMedia if there is none, or if the packets are encrypted.

    The display matrix travels with decoded frames; PyAV gives it there, counter-clockwise in (-180, 180].
    """
    stream = container.streams[index]
    assert isinstance(stream, av.VideoStream)
    first = b""
    for packet in container.demux(stream):
        if packet.has_sidedata("encryption_info"):
            raise UnreadableMedia(f"{container.name[5:]}: the video is encrypted. Give a file without copy protection.")
        first = first or bytes(packet)
        try:
            for frame in packet.decode():
                return _FirstPicture(first, -frame.rotation % 360)
        except av.error.InvalidDataError:  # a recording that was cut may begin in the middle of a picture
            continue
    raise _undecodable(container)


def _undecodable(container: InputContainer) -> UnreadableMedia:
    return UnreadableMedia(
        f"{container.name[5:]}: not one frame of the video can be decoded. Check that it is complete."
    )


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


def scan_packets(info: MediaInfo) -> FrameTable:
    """Read the times, keyframes and clean entry points of the video by demuxing; nothing is decoded.

    Packets hidden by an edit list are not displayed and have no entry. A video whose packets tell when they are decoded
    is decoded once, to see in which order its frames are shown. Raises UnreadableMedia if there is no frame,
    UnsupportedMedia if times are missing or not unique.
    """
    video = info.require_video()
    pts, dts, flags, end = array("q"), array("q"), bytearray(), 0
    dts_missing = False
    prefix_size = length_prefix_size(video.codec, video.extradata)
    with open_input(info.path) as container:
        for packet in container.demux(container.streams[video.index]):
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.pts is None:
                raise UnsupportedMedia(f"{info.path}: frame {len(pts)} has no time. Remux the file first.")
            pts.append(packet.pts)
            dts_missing |= packet.dts is None
            dts.append(packet.dts if packet.dts is not None else 0)
            clean = packet.is_keyframe and is_clean_keyframe(video.codec, bytes(packet), prefix_size)
            flags.append(packet.is_keyframe | clean << 1)
            end = max(end, packet.pts + (packet.duration or 0))
    if not pts:
        raise UnreadableMedia(f"{info.path}: the video stream holds no frame. Check that the file is complete.")
    table = build_frame_table(info.path, video, pts, None if dts_missing else dts, flags, end)
    in_order = all(packet == frame for packet, frame in enumerate(table.decode_order))
    if video.reorders and in_order and _is_reordered(decoded_times(info, NUM_ORDERED_FRAMES)):
        return build_decoded_table(video, pts, table.dts, decoded_times(info), flags, table.end_pts)
    return table


def _is_reordered(times: Sequence[int]) -> bool:
    return any(a >= b for a, b in pairwise(times))


def decoded_times(info: MediaInfo, most: int | None = None) -> list[int]:
    """Return the times of the packets whose frames a decoder puts out, in that order; `most` frames at most.

    Where they run back, the file tells when its packets are decoded, not when their frames are shown (H.264 or packed
    MPEG-4 with B-frames in AVI).
    """
    times: list[int] = []
    with open_input(info.path) as container:
        stream = container.streams[info.require_video().index]
        assert isinstance(stream, av.VideoStream)
        stream.thread_type = "AUTO"
        for packet in container.demux(stream):
            try:
                times += (frame.pts for frame in packet.decode() if frame.pts is not None)
            except av.error.InvalidDataError:
                continue
            if most is not None and len(times) >= most:
                break
    return times
