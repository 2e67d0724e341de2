"""What a file holds, read from its headers and its first pictures: probe() -> MediaInfo."""

from __future__ import annotations

import os
import stat
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer

from media.base.errors import UnreadableMedia, UnsupportedMedia
from media.first_picture import decode_first_picture, undecodable
from media.info import (
    AudioInfo,
    CodedForm,
    ColourTags,
    DisplayTags,
    MediaInfo,
    OtherInfo,
    VideoClock,
    VideoInfo,
)

ATTACHED_PICTURE = 0x400
"""FFmpeg's AV_DISPOSITION_ATTACHED_PIC: cover art, not a video."""
DEFAULT_STREAM = 0x1
"""FFmpeg's AV_DISPOSITION_DEFAULT."""
WAV_OPTIONS = {"max_size": str(1 << 16)}
"""For WAV files: larger packets than FFmpeg's own of a tenth of a second or less, since each costs Python's time."""
ONE_PACKET = {"max_probe_packets": "1"}
"""Whether samples are PCM or DTS in disguise shows in the first packet, where it is not silent. FFmpeg looks at up to
2,500 packets, which takes a tenth of a second each time that a file is opened."""
WAV_HEAD_BYTES = 1 << 15
"""Of the samples at the head of a WAV file: half a packet."""


@contextmanager
def open_input(path: str | Path, formats: Iterable[str] = ()) -> Iterator[InputContainer]:
    """Open a media file for reading and close it; FFmpeg's errors become UnreadableMedia here and nowhere else.

    formats: names of FFmpeg's demuxers that may read it, before which it reads nothing else that the file names (as a
    playlist does); none: any. `file:` keeps names with colons, percent signs or leading dashes from being read as
    something else.
    """
    try:
        allowed = ",".join(formats)
        options = {**_wav_options(path), **({"format_whitelist": allowed} if allowed else {})}
        with av.open(f"file:{path}", metadata_errors="ignore", options=options) as container:
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


def _wav_options(path: str | Path) -> dict[str, str]:
    """Return how a file is opened if it is WAV, also of more than 4 GB (EBU Tech 3306); nothing for other files."""
    try:
        with open(path, "rb") as file:
            head = file.read(2 * WAV_HEAD_BYTES)
    except OSError:  # of which FFmpeg tells more
        return {}
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:12] != b"WAVE":
        return {}
    at = head.find(b"data")
    samples = head[at + 8 : at + 8 + WAV_HEAD_BYTES] if at >= 0 else b""
    return {**WAV_OPTIONS, **(ONE_PACKET if any(samples) else {})}


def probe(path: str | Path) -> MediaInfo:
    """Read what a file holds from its headers; raise UnreadableMedia if it cannot be opened."""
    _refuse_odd_file(Path(path))
    with open_input(path) as container:
        if is_picture_format(container.format.name):
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


def is_picture_format(name: str) -> bool:
    """Tell whether FFmpeg's name of a container stands for a single picture."""
    return name.endswith("_pipe") or name == "image2"


@dataclass(frozen=True, slots=True)
class Stated:
    """What a file's headers state, nothing decoded."""

    seconds: Fraction | None
    """How long it is; None where it does not say."""
    rate: Fraction | None
    """Frames per second of its video on average; None without a video."""
    has_audio: bool
    num_pixels: int = 0
    """Of each picture of its video; 0 without one."""


def probe_stated(path: Path, formats: Iterable[str]) -> Stated:
    """Read a file's headers; raise UnreadableMedia if no demuxer of those names (FFmpeg's) reads it."""
    _refuse_odd_file(path)
    with open_input(path, formats) as container:
        videos = (each for each in container.streams.video if not int(each.disposition) & ATTACHED_PICTURE)
        video = next(videos, None)
        seconds = Fraction(container.duration, av.time_base) if container.duration else None
        has_audio = bool(container.streams.audio)
        if video is None:
            return Stated(seconds, None, has_audio)
        return Stated(seconds, _average_rate(video), has_audio, video.codec_context.width * video.codec_context.height)


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
        raise UnreadableMedia(f"{path}: not a regular file (a pipe or device). Pass a file.")
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
        width=context.width,
        height=context.height,
        pixel_format=context.pix_fmt,
        colour=ColourTags(
            int(context.color_range), int(context.colorspace), int(context.color_primaries), int(context.color_trc)
        ),
        display=DisplayTags(
            matrix=first.display_matrix,
            sample_aspect=stream.sample_aspect_ratio or Fraction(1),
            coded_aspect=context.sample_aspect_ratio,
            # Some codecs tell it in their frames alone.
            field_order=int(context.field_order) if int(context.field_order) > 1 else first.field_order,
        ),
        clock=VideoClock(
            time_base=_known(stream.time_base),
            average_rate=_average_rate(stream),
            start_seconds=(stream.start_time or 0) * _known(stream.time_base),
            timecode=_timecode(container, stream),
        ),
        coded=CodedForm(
            profile=context.profile,
            extradata=bytes(context.extradata or b""),
            tag=context.codec_tag,
            reorders=context.has_b_frames,
            lasting_sei=first.lasting_sei,
        ),
        beside=first.beside,
    )


def _average_rate(stream: av.VideoStream) -> Fraction:
    """Return frames per second; of raw DV demuxers give the ticks of its clock as the average."""
    average, guessed = stream.average_rate, stream.guessed_rate
    if average and guessed and average * _known(stream.time_base) == 1:
        return guessed
    return average or guessed or Fraction(25)


def _timecode(container: InputContainer, stream: av.VideoStream) -> str:
    """Return the timecode of the first frame: by the video, the file, or a track beside it that holds nothing else."""
    for tags in (stream.metadata, container.metadata, *(other.metadata for other in container.streams.data)):
        found = next((value for key, value in tags.items() if key.lower() == "timecode"), "")
        if found:
            return found
    return ""


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
