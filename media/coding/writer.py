"""Coded frames that can stand beside the source's own packets.

A coded clip is a NUT file of its own: one packet a frame, no reordering, so packet i is frame i of the clip; its
times mean nothing, since the assembler gives every packet the time of its frame. `MEDIA.md` of the design tells why
each encoder option is as it is; in short: an IDR first and wherever the source has a keyframe, no B-frames, and
parameter sets that do not collide with the source's.
"""

from __future__ import annotations

import os
import struct
import sys
from collections import deque
from contextlib import suppress
from math import log10
from pathlib import Path
from types import TracebackType

import av
import av.error
import numpy as np
from av import VideoFrame
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import PictureType
from av.video.stream import VideoStream

from base.errors import RenderError, UnsupportedMedia, WorkspaceError
from media.coding.encoder_options import ENCODER_THREADS, VideoCoding, coded_rate
from media.info import VideoInfo
from media.picture import plane_views, unranged

CLIP_FORMATS = {"prores_ks": "mov", "dnxhd": "mov"}
"""Where the clips of some encoders go, which NUT does not take."""
BEST_PSNR = 99.0
"""What stands for the PSNR of a plane that is equal, in dB."""


class ClipWriter:
    """Codes the frames of one clip into a file. Use it in a `with` statement; leaving it finishes the file."""

    def __init__(self, path: Path, video: VideoInfo, coding: VideoCoding) -> None:
        """Open the file, which is overwritten; the caller renames it when it is complete."""
        self._path = path
        self._num_frames = self._num_packets = 0
        self.psnr: list[float] = []
        """For each frame the least PSNR of its planes against what was given, in dB."""
        self._depth = max(component.bits for component in VideoFormat(video.pixel_format).components)
        self._plane_samples = _plane_samples(video)
        container_format = CLIP_FORMATS.get(coding.encoder, "nut")
        self._container: OutputContainer = av.open(f"file:{path}", "w", format=container_format)
        self._stream = self._add_stream(video, coding)
        self._mirror = None if coding.encoder == "libx264" else _Mirror(coding.codec, self._stream, self.psnr)

    def _add_stream(self, video: VideoInfo, coding: VideoCoding) -> VideoStream:
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes to stderr, from errors (1) on
        rate = coded_rate(video, coding.encoder)
        stream = self._container.add_stream(coding.encoder, rate=rate, options=dict(coding.options))
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = video.width, video.height
        context.pix_fmt = coding.pixel_format or video.pixel_format
        context.time_base = 1 / rate
        if aspect := coding.sample_aspect or video.display.coded_aspect:
            context.sample_aspect_ratio = aspect
        context.color_range, context.colorspace = video.colour.range, video.colour.matrix
        context.color_primaries, context.color_trc = video.colour.primaries, video.colour.transfer
        context.thread_type, context.thread_count = "FRAME", ENCODER_THREADS
        _open(context)
        return stream

    def __enter__(self) -> ClipWriter:
        return self

    def write(self, frame: VideoFrame, *, keyframe: bool) -> None:
        """Code one frame; its time and picture type are overwritten. keyframe: begin a new GOP here."""
        frame.pts, frame.time_base = self._num_frames, self._stream.codec_context.time_base
        frame.pict_type = PictureType.I if keyframe or self._num_frames == 0 else PictureType.P
        self._num_frames += 1
        if self._mirror:
            self._mirror.expect(frame)
        self._mux(frame if frame.format.name == self._stream.pix_fmt else frame.reformat(format=self._stream.pix_fmt))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._mux(None)
                if self._mirror:
                    self._mirror.finish()
        finally:
            self._close()
        if error is None and self._num_packets != self._num_frames:
            raise RenderError(f"{self._path}: {self._num_frames} frames became {self._num_packets} packets.")

    def _mux(self, frame: VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._num_packets += 1
                if self._mirror:
                    self._mirror.compare(packet)
                else:
                    self._note_quality(packet)
                self._container.mux(packet)
        except OSError as exc:
            raise WorkspaceError(f"{self._path}: cannot be written ({exc.strerror}). Make space.") from exc

    def _close(self) -> None:
        try:
            self._container.close()  # a full disk is reported only here
        except OSError as exc:
            raise WorkspaceError(f"{self._path}: cannot be written ({exc.strerror}). Make space.") from exc

    def _note_quality(self, packet: av.Packet[VideoStream]) -> None:
        """Read AV_PKT_DATA_QUALITY_STATS: u32 quality, u8 type, u8 count, u16 unused, u64 squared error a plane."""
        if not packet.has_sidedata("quality_stats"):
            return
        stats = bytes(packet.get_sidedata("quality_stats"))
        errors = struct.unpack_from(f"<{stats[5]}Q", stats, 8)
        peak = float((1 << self._depth) - 1)
        decibels = [
            10 * log10(peak * peak * samples / error)
            for error, samples in zip(errors, self._plane_samples, strict=False)
            if error
        ]
        if errors:
            self.psnr.append(min(decibels, default=BEST_PSNR))


def write_blank(path: Path, video: VideoInfo, coding: VideoCoding) -> None:
    """Code one black frame of a video into a file; raise UnsupportedMedia if the encoder does not take its size."""
    frame = VideoFrame(video.width, video.height, video.pixel_format)
    for plane in plane_views(frame):
        plane[:] = 0
    try:
        with ClipWriter(path, video, coding) as writer:
            writer.write(frame, keyframe=True)
    except (av.error.FFmpegError, ValueError) as exc:
        raise UnsupportedMedia(
            f"the video has {video.width}x{video.height} pixels, which cannot be coded as {coding.codec} here ({exc})."
            " Convert it to H.264 or HEVC first."
        ) from exc


def _open(context: VideoCodecContext) -> None:
    """Open an encoder; the threads of this process stay as they are scheduled.

    SVT-AV1 run by root makes real-time threads of the one that opens it and of its own: nothing else on the machine
    would get a core.
    """
    if not sys.platform.startswith("linux"):
        context.open(strict=False)
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    context.open(strict=False)
    for thread in map(int, os.listdir("/proc/self/task")):
        with suppress(ProcessLookupError):  # it may have ended
            if os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO:
                os.sched_setscheduler(thread, policy, priority)


def _plane_samples(video: VideoInfo) -> list[int]:
    known = VideoFormat(video.pixel_format)
    chroma = known.chroma_width(video.width) * known.chroma_height(video.height)
    return [video.width * video.height, chroma, chroma]


class _Mirror:
    """Decodes what an encoder writes, and measures how far it is from what the encoder was given."""

    def __init__(self, codec: str, stream: VideoStream, psnr: list[float]) -> None:
        """codec: FFmpeg's decoder name. psnr: gets the least PSNR of the planes of each frame, in dB."""
        self._stream = stream
        self._psnr = psnr
        self._expected: deque[VideoFrame] = deque()
        decoder = av.CodecContext.create({"av1": "libdav1d", "flv1": "flv"}.get(codec, codec), "r")
        assert isinstance(decoder, VideoCodecContext)
        self._decoder = decoder
        self._decoder.thread_count = 1

    def expect(self, frame: VideoFrame) -> None:
        """Keep a frame until its packet has been decoded for comparison."""
        self._expected.append(frame)

    def compare(self, packet: av.Packet[VideoStream] | None) -> None:
        """Decode a packet (None: what is left) and measure the frames that come out; they come in order."""
        if not self._decoder.is_open:
            context = self._stream.codec_context
            self._decoder.extradata = context.extradata
            self._decoder.width, self._decoder.height = context.width, context.height
            self._decoder.pix_fmt, self._decoder.codec_tag = context.pix_fmt, context.codec_tag
        for frame in self._decoder.decode(packet):
            self._psnr.append(least_psnr(self._expected.popleft(), frame))

    def finish(self) -> None:
        """Measure the frames that the decoder still holds."""
        if self._decoder.is_open:
            self.compare(None)


def least_psnr(given: VideoFrame, coded: VideoFrame) -> float:
    """Return the least PSNR of the planes of two frames in dB; 99 where they are equal, 0 if their formats differ."""
    shapes = [(unranged(frame.format.name), frame.width, frame.height) for frame in (given, coded)]
    if shapes[0] != shapes[1]:
        return 0.0
    peak = float((1 << max(component.bits for component in given.format.components)) - 1)
    least = BEST_PSNR
    for a, b in zip(plane_views(given), plane_views(coded), strict=True):
        difference = (a.astype(np.float32) - b).ravel()
        error = float(np.dot(difference, difference)) / difference.size
        if error:
            least = min(least, 10 * log10(peak * peak / error))
    return least
