"""Coded frames that can stand beside the source's own packets.

A coded clip is a NUT file of its own: one packet a frame, no reordering, so packet i is frame i of the clip; its
times mean nothing, since the assembler gives every packet the time of its frame. `MEDIA.md` of the design tells why
each encoder option is as it is; in short: an IDR first and wherever the source has a keyframe, no B-frames, and
parameter sets that do not collide with the source's.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType

import av
import av.error
from av import VideoFrame
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from media.base.errors import RenderError, UnsupportedMedia, WorkspaceError
from media.bitstream.units import parameter_sets
from media.coding.encoder import Coded, Encoder
from media.coding.encoder_options import VideoCoding, coded_rate
from media.coding.quality import can_change, coarser, finer, level, with_level
from media.info import VideoInfo
from media.picture import plane_views

CLIP_FORMATS = {"prores_ks": "mov", "dnxhd": "mov"}
"""Where the clips of some encoders go, which NUT does not take."""
TRIED_FRAMES = 6
"""Frames that are coded to see how near a quality comes: the first of a GOP is finer than those behind it."""
ATTEMPTS = 3
"""At most so many qualities that keep the bound are tried."""
LEAST_FRAMES = 24
"""A group of pictures that begins sooner after a quality was looked for keeps it."""
SPARE = 0.35
"""Decibels above the bound at which a quality is found: the frames behind those tried differ by about as much."""


class ClipWriter:
    """Codes the frames of one clip into a file. Use it in a `with` statement; leaving it finishes the file.

    It finds the coarsest quality at which frames keep what the coding asks for: at the beginning, and wherever a GOP
    begins, it codes some frames, measures them, and begins again more finely or more coarsely. A frame that falls short
    later begins a GOP of its own, coded more finely. What was written is not touched again, and only frames that are
    not written yet are held: those being tried, and what the encoder holds back.

        frames      0 1 2 3 4 5 6 7 8 9 ...
        crf 22      x x x x x x                 all above 46.5 dB
        crf 24      o o o o o o o o x           frame 8 falls short
        crf 23                      o o ...
    """

    def __init__(self, path: Path, video: VideoInfo, coding: VideoCoding) -> None:
        """Open the file, which is overwritten; the caller renames it when it is complete."""
        self._path, self._video = path, video
        self._asked = self._coding = coding
        self._num_frames = self._num_packets = 0
        self.psnr: list[float] = []
        """For each frame the least PSNR of its planes against what was given, in dB."""
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes to stderr, from errors (1) on
        container_format = CLIP_FORMATS.get(coding.encoder, "nut")
        self._container: OutputContainer = av.open(f"file:{path}", "w", format=container_format)
        rate = coded_rate(video, coding.encoder)
        stream = self._container.add_stream(coding.encoder, rate=rate, options=dict(coding.options))
        assert isinstance(stream, VideoStream)
        self._stream = stream
        self._encoder = Encoder(video, coding, stream.codec_context)
        self._pending: deque[_Given] = deque()
        """Frames that are not written yet, in order; those that are tried and those that the encoder holds."""
        self._coded: deque[Coded] = deque()
        """Packets of the first of them."""
        self._search = _Search(ATTEMPTS if can_change(coding) and not coding.is_fixed else 0)
        self._begun = 0
        """The frame from which a quality was looked for last."""

    def __enter__(self) -> ClipWriter:
        return self

    def write(self, frame: VideoFrame, *, keyframe: bool, is_unchanged: bool = True) -> None:
        """Code one frame; its time and picture type are overwritten.

        keyframe: begin a new GOP here. is_unchanged: whether it should look as in the source.
        """
        number, keyframe = self._num_frames, keyframe or self._num_frames == 0
        least = self._asked.least_psnr if is_unchanged or not self._asked.is_fixed else 0.0
        self._num_frames += 1
        if keyframe and number - self._begun >= LEAST_FRAMES and can_change(self._coding):
            self._code([], ends=True)
            self._begin(self._asked if self._asked.is_fixed else self._coding)
            self._begun, self._search = number, _Search(0 if self._asked.is_fixed else ATTEMPTS)
        given = _Given(number, frame, keyframe, least)
        self._pending.append(given)
        self._code([given])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._code([], ends=True)
        finally:
            self._encoder.close()
            self._close()
        if error is None and self._num_packets != self._num_frames:
            raise RenderError(f"{self._path}: {self._num_frames} frames became {self._num_packets} packets.")

    def _code(self, given: Sequence[_Given], *, ends: bool = False) -> None:
        """Give frames to the encoder, and write what is near enough; ends: no more come before a new encoder."""
        waiting = deque(given)
        while waiting or ends:
            # A quality that the user chose was left for frames that should look unchanged; this one need not.
            returns = bool(waiting) and self._is_left_for_nothing(waiting[0])
            is_end = returns or not waiting
            if is_end:
                self._coded += self._encoder.finish()
            else:
                following = waiting.popleft()
                self._coded += self._encoder.encode(following.frame, following.number, is_key=following.is_key)
            if (other := self._better(is_end=is_end)) is not None:
                self._begin(other)
                waiting = deque(self._pending)
            elif returns:
                self._begin(self._asked)
                self._search = _Search(0)
            elif is_end:
                return

    def _is_left_for_nothing(self, given: _Given) -> bool:
        is_left = self._asked.is_fixed and level(self._coding) != level(self._asked)
        return is_left and not given.least_psnr

    def _better(self, *, is_end: bool) -> VideoCoding | None:
        """Return the coding with which to begin again at the first frame that is not written; None to go on."""
        if self._search.goes_on:
            if len(self._coded) < TRIED_FRAMES and not is_end:
                return None
            tried = islice(zip(self._coded, self._pending, strict=False), TRIED_FRAMES)
            above = min((coded.nearness.above(given.least_psnr) for coded, given in tried), default=0.0)
            if (other := self._search.next(self._coding, above)) is not None:
                return other
        while self._coded:
            missing = -self._coded[0].nearness.above(self._pending[0].least_psnr)
            if missing > 0 and (other := finer(self._coding, missing + SPARE)) is not None:
                # The first frame of a group is finer than those behind it, which have to be looked at, too.
                self._search = _Search(1)
                return other
            self._write(self._coded.popleft())
            self._pending.popleft()
        return None

    def _begin(self, coding: VideoCoding) -> None:
        """Begin a new encoder, with the first frame that is not written."""
        self._coding = coding
        self._coded.clear()
        self._encoder.close()
        first = self._stream.codec_context
        context = av.CodecContext.create(coding.encoder, "w")
        assert isinstance(context, VideoCodecContext)
        context.flags, context.options = first.flags, dict(coding.options)
        context.framerate, context.bit_rate = first.framerate, first.bit_rate or 0
        context.bit_rate_tolerance = first.bit_rate_tolerance or 0
        self._encoder = Encoder(self._video, coding, context)
        if _described(context) != _described(first):
            raise RenderError(f"{self._path}: {coding.encoder} describes its pictures anew. Please report this.")

    def _write(self, coded: Coded) -> None:
        packet = coded.packet
        packet.stream, packet.time_base = self._stream, self._encoder.time_base
        packet.pts = packet.dts = self._num_packets  # there is no reordering, and encoders that begin anew count anew
        self._num_packets += 1
        self.psnr.append(coded.nearness.psnr)
        try:
            self._container.mux(packet)
        except OSError as exc:
            raise WorkspaceError(f"{self._path}: cannot be written ({exc.strerror}). Make space.") from exc

    def _close(self) -> None:
        try:
            self._container.close()  # a full disk is reported only here
        except OSError as exc:
            raise WorkspaceError(f"{self._path}: cannot be written ({exc.strerror}). Make space.") from exc


class _Search:
    """Looks for the coarsest quality at which the frames that are tried keep their bound."""

    def __init__(self, attempts: int) -> None:
        """attempts: how many qualities that keep the bound are tried at most; with 0 nothing is looked for."""
        self._attempts = attempts
        self._held: int | None = None
        """The coarsest level that kept the bound."""
        self._failed: int | None = None
        """The finest that did not."""

    @property
    def goes_on(self) -> bool:
        """Whether frames are tried."""
        return self._attempts > 0

    def next(self, coding: VideoCoding, above: float) -> VideoCoding | None:
        """Return what to try next; None: the coding that was tried is taken.

        above: by how many decibels the worst frame is above its bound.
        """
        now = level(coding)
        if above < 0:
            self._failed = now
            other = finer(coding, SPARE - above)
            if other is not None and self._held is not None and level(other) <= self._held:
                other = with_level(coding, min(self._held + 1, now - 1))
                self._attempts = 1  # between what held and what failed there is little left to gain
        else:
            self._held = now
            self._attempts -= 1
            other = coarser(coding, above - SPARE) if above > SPARE and self._attempts else None
            if other is not None and self._failed is not None and level(other) >= self._failed:
                other = with_level(coding, self._failed - 1) if self._failed - 1 > now else None
        if other is None:
            self._attempts = 0
        return other


def _described(context: VideoCodecContext) -> object:
    """Return what an encoder says of all its pictures, without remarks such as the options of x265."""
    extradata, codec = bytes(context.extradata or b""), context.codec.canonical_name
    return parameter_sets(codec, extradata) if codec in ("h264", "hevc") else extradata


@dataclass(frozen=True, slots=True)
class _Given:
    """A frame to code."""

    number: int
    frame: VideoFrame
    is_key: bool
    least_psnr: float


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
