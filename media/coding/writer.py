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
from pathlib import Path
from types import TracebackType

import av
import av.error
from av import VideoFrame
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from base.errors import RenderError, UnsupportedMedia, WorkspaceError
from media.bitstream.units import parameter_sets
from media.coding.encoder import Coded, Encoder
from media.coding.encoder_options import VideoCoding, coded_rate
from media.coding.quality import CODED_PSNR, can_change, coarser, finer
from media.info import VideoInfo
from media.picture import plane_views

CLIP_FORMATS = {"prores_ks": "mov", "dnxhd": "mov"}
"""Where the clips of some encoders go, which NUT does not take."""
TRIED_FRAMES = 6
"""Frames that are coded to see how near a quality comes: the first of a GOP is finer than those behind it."""
ATTEMPTS = 3
"""Qualities that are tried at most that keep the bound."""
LEAST_FRAMES = 24
"""From where a quality was looked for to the GOP at whose beginning another is."""
SPARE = 0.35
"""Decibels above the bound at which a quality is found: the frames behind those tried differ by about as much."""


class ClipWriter:
    """Codes the frames of one clip into a file. Use it in a `with` statement; leaving it finishes the file.

    It finds the coarsest quality that keeps CODED_PSNR: at the beginning, and wherever a GOP begins, it codes some
    frames, measures them, and begins again more finely or more coarsely. A frame that falls short later begins a GOP
    of its own, coded more finely. What was written is not touched again, and only frames that are not written yet are
    held: those being tried, and what the encoder holds back.

        frames      0 1 2 3 4 5 6 7 8 9 ...
        crf 22      x x x x x x                 all above 46.5 dB
        crf 24      o o o o o o o o x           frame 8 falls short
        crf 23                      o o ...
    """

    def __init__(self, path: Path, video: VideoInfo, coding: VideoCoding) -> None:
        """Open the file, which is overwritten; the caller renames it when it is complete."""
        self._path, self._video, self._coding = path, video, coding
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
        self._attempts = self._allowed_attempts()
        """How many more qualities that keep the bound are tried; 0 where none is looked for."""
        self._begun = 0
        """The frame from which a quality was looked for last."""

    def __enter__(self) -> ClipWriter:
        return self

    def write(self, frame: VideoFrame, *, keyframe: bool, is_unchanged: bool = True) -> None:
        """Code one frame; its time and picture type are overwritten.

        keyframe: begin a new GOP here. is_unchanged: whether it should look as in the source.
        """
        number, keyframe = self._num_frames, keyframe or self._num_frames == 0
        least = CODED_PSNR if is_unchanged or not self._coding.is_fixed else 0.0
        self._num_frames += 1
        if keyframe and number - self._begun >= LEAST_FRAMES and can_change(self._coding):
            self._code([], ends=True)
            self._begin(self._coding)
            self._begun, self._attempts = number, self._allowed_attempts()
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
            self._close()
        if error is None and self._num_packets != self._num_frames:
            raise RenderError(f"{self._path}: {self._num_frames} frames became {self._num_packets} packets.")

    def _allowed_attempts(self) -> int:
        return ATTEMPTS if can_change(self._coding) and not self._coding.is_fixed else 0

    def _code(self, given: Sequence[_Given], *, ends: bool = False) -> None:
        """Give frames to the encoder, and write what is near enough; ends: no more come before a new encoder."""
        waiting = deque(given)
        while waiting or ends:
            is_end = not waiting
            if is_end:
                self._coded += self._encoder.finish()
            else:
                following = waiting.popleft()
                self._coded += self._encoder.encode(following.frame, following.number, is_key=following.is_key)
            if (other := self._better(is_end=is_end)) is not None:
                self._begin(other)
                waiting = deque(self._pending)
            elif is_end:
                return

    def _better(self, *, is_end: bool) -> VideoCoding | None:
        """Return the coding with which to begin again at the first frame that is not written; None to go on."""
        if self._attempts and (is_end or len(self._coded) >= TRIED_FRAMES):
            tried = zip(self._coded, self._pending, strict=False)
            above = min((coded.psnr - given.least_psnr for coded, given in tried), default=0.0)
            self._attempts -= above >= 0
            if above < 0 and (other := finer(self._coding, SPARE - above)) is not None:
                return other
            if above > SPARE and self._attempts and (other := coarser(self._coding, above - SPARE)) is not None:
                return other
            self._attempts = 0
        if self._attempts:
            return None
        while self._coded:
            if self._coded[0].psnr < self._pending[0].least_psnr:
                missing = self._pending[0].least_psnr - self._coded[0].psnr
                if (other := finer(self._coding, missing + SPARE)) is not None:
                    return other
            self._write(self._coded.popleft())
            self._pending.popleft()
        return None

    def _begin(self, coding: VideoCoding) -> None:
        """Begin a new encoder, with the first frame that is not written."""
        self._coding = coding
        self._coded.clear()
        first = self._stream.codec_context
        context = av.CodecContext.create(coding.encoder, "w")
        assert isinstance(context, VideoCodecContext)
        context.flags, context.options = first.flags, dict(coding.options)
        context.framerate = first.framerate
        self._encoder = Encoder(self._video, coding, context)
        if _described(context) != _described(first):
            raise RenderError(f"{self._path}: {coding.encoder} describes its pictures anew. Please report this.")

    def _write(self, coded: Coded) -> None:
        packet = coded.packet
        packet.stream, packet.time_base = self._stream, self._encoder.time_base
        packet.pts = packet.dts = self._num_packets  # there is no reordering, and encoders that begin anew count anew
        self._num_packets += 1
        self.psnr.append(coded.psnr)
        try:
            self._container.mux(packet)
        except OSError as exc:
            raise WorkspaceError(f"{self._path}: cannot be written ({exc.strerror}). Make space.") from exc

    def _close(self) -> None:
        try:
            self._container.close()  # a full disk is reported only here
        except OSError as exc:
            raise WorkspaceError(f"{self._path}: cannot be written ({exc.strerror}). Make space.") from exc


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
