"""A video that shows one picture all the time: a group of pictures is coded once, and its packets are repeated.

The frames behind a keyframe repeat what a decoder makes of it, so that nothing is left to code in them: 20 bytes
each, and all of them show the very same samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.error
from av import VideoFrame
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from media.base.errors import UnsupportedMedia, WorkspaceError

KEYFRAME_SECONDS: Final = 4
"""Copying can begin at keyframes; each of them holds the whole picture anew."""
RATE_FACTOR: Final = 12
"""Of x264: about 52 dB from the picture. The frames with new mouths are coded from what is decoded of this."""
OPTIONS: Final = {
    "crf": str(RATE_FACTOR),
    "preset": "medium",
    "tune": "zerolatency",  # a packet for each frame as it is given
    "profile": "high",
    "x264-params": "threads=1:keyint=infinite:scenecut=0:ref=1",  # one thread: always the same bytes
}


def write_still_video(path: Path, picture: VideoFrame, rate: Fraction, num_frames: int) -> None:
    """Write an MP4 file of H.264 that shows a picture; the file is overwritten. The same input gives the same bytes.

    picture: 4:2:0 with even sides, and its colour tags. rate: frames a second. Takes milliseconds for each minute, and
    memory for the index of the file alone. Raises UnsupportedMedia if the encoder does not take the picture,
    WorkspaceError if the file cannot be written.
    """
    try:
        with av.open(f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=rate, options=OPTIONS)
            assert isinstance(stream, VideoStream)
            _describe(stream.codec_context, picture, rate)
            group = list(_code_group(stream, picture, min(num_frames, round(KEYFRAME_SECONDS * rate))))
            for number in range(num_frames):
                packet = av.Packet(group[number % len(group)])
                packet.stream, packet.time_base = stream, 1 / rate
                packet.pts = packet.dts = number
                packet.duration = 1
                packet.is_keyframe = number % len(group) == 0
                container.mux(packet)
    except av.error.FFmpegError as exc:
        if isinstance(exc, OSError) and not isinstance(exc, ValueError):
            raise WorkspaceError(f"{path}: cannot be written ({exc.strerror}). Make space.") from exc
        raise UnsupportedMedia(
            f"a picture of {picture.width}x{picture.height} pixels cannot be coded as H.264 here ({exc.strerror})."
            " Give a smaller one."
        ) from exc


def _describe(context: VideoCodecContext, picture: VideoFrame, rate: Fraction) -> None:
    context.width, context.height = picture.width, picture.height
    context.pix_fmt, context.time_base = picture.format.name, 1 / rate
    context.color_range, context.colorspace = picture.color_range, picture.colorspace
    context.color_primaries, context.color_trc = picture.color_primaries, picture.color_trc


def _code_group(stream: VideoStream, picture: VideoFrame, num_frames: int) -> Iterator[bytes]:
    """Yield the packets of a keyframe and of frames that repeat what is decoded of it."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    shown = picture
    for number in range(num_frames):
        shown.pts, shown.time_base = number, stream.codec_context.time_base
        (packet,) = stream.encode(shown)
        yield bytes(packet)
        if number == 0:
            decoder.extradata = stream.codec_context.extradata
            (shown,) = [*decoder.decode(av.Packet(bytes(packet))), *decoder.decode(None)]
            shown.pict_type = av.video.frame.PictureType.NONE  # else the encoder would make it a keyframe, too
