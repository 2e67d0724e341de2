"""An encoder for some frames of a clip: packets in order, each with how near it comes to the frame it was given."""

from __future__ import annotations

import os
import struct
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from math import log10
from typing import NamedTuple

import av
import numpy as np
from av import VideoFrame
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import PictureType
from av.video.stream import VideoStream

from media.coding.encoder_options import ENCODER_THREADS, VideoCoding, coded_rate
from media.coding.quality import BLOCK_PSNR, block_errors, keeps_blocks
from media.info import VideoInfo
from media.picture import plane_views, unranged

BEST_PSNR = 99.0
"""What stands for the PSNR of a plane that is equal, in dB."""


class Nearness(NamedTuple):
    """How near a coded frame comes to what was given, in dB."""

    psnr: float
    """Of its worst plane."""
    block_psnr: float
    """Of the worst block of luma; BEST_PSNR where the quantiser alone keeps what blocks have to."""

    def above(self, least_psnr: float) -> float:
        """Return by how many decibels a frame is above what it has to keep: negative if it falls short.

        least_psnr: of its planes; 0: its blocks are free, too.
        """
        return min(self.psnr - least_psnr, self.block_psnr - BLOCK_PSNR if least_psnr else self.psnr)


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A coded frame."""

    packet: av.Packet[VideoStream]
    nearness: Nearness


class Encoder:
    """Codes frames without reordering, and measures them.

    What x264 says of its own errors is what a decoder shows, to the last sample. Where its quantiser also keeps each
    block near enough, nothing is decoded; all else is, and compared.
    """

    def __init__(self, video: VideoInfo, coding: VideoCoding, context: VideoCodecContext) -> None:
        """Open the encoder. context: of coding.encoder and with its options, not open yet."""
        self._context = context
        rate = coded_rate(video, coding.encoder)
        context.width, context.height = video.width, video.height
        context.pix_fmt = coding.pixel_format or video.pixel_format
        context.time_base = 1 / rate
        if aspect := coding.sample_aspect or video.display.coded_aspect:
            context.sample_aspect_ratio = aspect
        context.color_range, context.colorspace = video.colour.range, video.colour.matrix
        context.color_primaries, context.color_trc = video.colour.primaries, video.colour.transfer
        context.thread_type, context.thread_count = "FRAME", ENCODER_THREADS
        _open(context)
        self._gauge = _Stats(context) if keeps_blocks(coding) else _Mirror(coding.codec, context)
        self._packets: deque[av.Packet[VideoStream]] = deque()
        """Those that are not measured yet."""
        self._is_first, self._is_finished = True, False

    @property
    def time_base(self) -> Fraction:
        """Unit of the packets' times, in seconds."""
        return Fraction(self._context.time_base)

    def encode(self, frame: VideoFrame, number: int, *, is_key: bool) -> list[Coded]:
        """Code a frame, whose time and picture type are overwritten; return what is coded and measured by now.

        number: its time, in units of time_base. is_key: begin a GOP here; the first frame does in any case.
        """
        frame.pts, frame.time_base = number, self._context.time_base
        frame.pict_type = PictureType.I if is_key or self._is_first else PictureType.P
        self._is_first = False
        self._gauge.expect(frame)
        same = frame.format.name == self._context.pix_fmt
        return self._measured(frame if same else frame.reformat(format=self._context.pix_fmt))

    def finish(self) -> list[Coded]:
        """Return what the encoder still held; it takes no more frames."""
        self._is_finished = True
        return self._measured(None)

    def close(self) -> None:
        """Let go of the encoder; what it still holds is lost."""
        if self._context.codec.name == "libsvtav1" and not self._is_finished:
            self._context.encode(None)  # else it complains on stderr

    def _measured(self, frame: VideoFrame | None) -> list[Coded]:
        for packet in self._context.encode(frame):
            self._packets.append(packet)
            self._gauge.compare(packet)
        if frame is None:
            self._gauge.finish()
        return [Coded(self._packets.popleft(), nearness) for nearness in self._gauge.measured()]


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


class _Stats:
    """Reads from its packets what x264 says of the errors of its frames."""

    def __init__(self, encoder: VideoCodecContext) -> None:
        known = VideoFormat(str(encoder.pix_fmt))
        chroma = known.chroma_width(encoder.width) * known.chroma_height(encoder.height)
        self._samples = (encoder.width * encoder.height, chroma, chroma)
        self._peak = float((1 << max(component.bits for component in known.components)) - 1)
        self._measured: list[Nearness] = []

    def expect(self, frame: VideoFrame) -> None:
        """Keep nothing: the encoder compares with what it was given."""

    def compare(self, packet: av.Packet[VideoStream]) -> None:
        """Read AV_PKT_DATA_QUALITY_STATS: u32 quality, u8 type, u8 count, u16 unused, u64 squared error a plane."""
        stats = bytes(packet.get_sidedata("quality_stats"))
        errors = struct.unpack_from(f"<{stats[5]}Q", stats, 8)
        worst = max(error / samples for error, samples in zip(errors, self._samples, strict=False))
        self._measured.append(Nearness(min(_decibels(worst, self._peak), BEST_PSNR), BEST_PSNR))

    def finish(self) -> None:
        """Do nothing: a packet's frame is measured when it comes."""

    def measured(self) -> list[Nearness]:
        """Return how near each frame comes that was measured since the last call."""
        new, self._measured = self._measured, []
        return new


class _Mirror:
    """Decodes what an encoder writes, and measures how far it is from what the encoder was given."""

    def __init__(self, codec: str, encoder: VideoCodecContext) -> None:
        """codec: FFmpeg's decoder name."""
        self._encoder = encoder
        self._expected: deque[VideoFrame] = deque()
        self._measured: list[Nearness] = []
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
            context = self._encoder
            self._decoder.extradata = context.extradata
            self._decoder.width, self._decoder.height = context.width, context.height
            self._decoder.pix_fmt, self._decoder.codec_tag = context.pix_fmt, context.codec_tag
        for frame in self._decoder.decode(packet):
            self._measured.append(measure(self._expected.popleft(), frame))

    def finish(self) -> None:
        """Measure the frames that the decoder still holds."""
        if self._decoder.is_open:
            self.compare(None)

    def measured(self) -> list[Nearness]:
        """Return how near each frame comes that was measured since the last call."""
        new, self._measured = self._measured, []
        return new


def measure(given: VideoFrame, coded: VideoFrame) -> Nearness:
    """Compare two frames: 99 dB where they are equal, 0 if their formats differ."""
    shapes = [(unranged(frame.format.name), frame.width, frame.height) for frame in (given, coded)]
    if shapes[0] != shapes[1]:
        return Nearness(0.0, 0.0)
    peak = float((1 << max(component.bits for component in given.format.components)) - 1)
    pairs = zip(plane_views(given), plane_views(coded), strict=True)
    differences = [a.astype(np.float32) - b for a, b in pairs]
    planes = [float(np.dot(flat, flat)) / flat.size for flat in map(np.ravel, differences)]
    return Nearness(*(_decibels(error, peak) for error in (max(planes), block_errors(differences[0]).max(initial=0.0))))


def least_psnr(given: VideoFrame, coded: VideoFrame) -> float:
    """Return the least PSNR of the planes of two frames in dB; 99 where they are equal, 0 if their formats differ."""
    return measure(given, coded).psnr


def _decibels(error: float, peak: float) -> float:
    return 10 * log10(peak * peak / error) if error else BEST_PSNR
