"""Coded frames that can stand beside the source's own packets.

A coded clip is a NUT file of its own: one packet a frame, no reordering, so packet i is frame i of the clip; its
times mean nothing, since the assembler gives every packet the time of its frame. `MEDIA.md` of the design tells why
each encoder option is as it is; in short: an IDR first and wherever the source has a keyframe, no B-frames, and
parameter sets that do not collide with the source's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import log10
from pathlib import Path
from types import TracebackType

import av
import av.error
from av import VideoFrame
from av.container import OutputContainer
from av.video.format import VideoFormat
from av.video.frame import PictureType
from av.video.stream import VideoStream

from media.bitstream import free_h264_id, parameter_sets
from media.errors import RenderError, UnsupportedMedia, WorkspaceError
from media.probe import VideoInfo

ENCODER_THREADS = 2
"""Fixed, since the number of threads changes what x264 and x265 write, and results must not depend on workers."""

H264_PROFILES = {
    "Constrained Baseline": "baseline",
    "Baseline": "baseline",
    "Main": "main",
    "High": "high",
    "High 10": "high10",
    "High 10 Intra": "high10",
    "High 4:2:2": "high422",
    "High 4:2:2 Intra": "high422",
    "High 4:4:4 Predictive": "high444",
}
SPLICEABLE = ("h264", "hevc")
"""Codecs whose coded and copied packets may stand in one stream. The others are coded again as a whole."""


@dataclass(frozen=True, slots=True)
class VideoCoding:
    """How frames are coded again: the source's codec, profile class, pixel format and colour tags."""

    encoder: str
    """FFmpeg's encoder name."""
    options: tuple[tuple[str, str], ...]


def choose_coding(video: VideoInfo, *, crf: int, preset: str) -> VideoCoding:
    """Return how frames of a video are coded again; raise UnsupportedMedia where its codec has no encoder.

    crf: constant rate factor of x264 and x265, lower is better; preset: theirs, or auto. Other codecs are coded at a
    fixed, visually lossless quality.
    """
    if preset == "auto":
        preset = "ultrafast" if video.codec == "hevc" else "veryfast"
    if video.codec == "h264":
        return VideoCoding("libx264", _x264_options(video, crf, preset))
    if video.codec == "hevc":
        params = f"bframes=0:keyint=-1:scenecut=0:open-gop=0:pools={ENCODER_THREADS}:frame-threads=1:log-level=none"
        return VideoCoding(
            "libx265", (("crf", str(crf)), ("preset", preset), ("forced-idr", "1"), ("x265-params", params))
        )
    if video.codec in _WHOLE:
        encoder, options = _WHOLE[video.codec]
        if video.pixel_format in {known.name for known in av.Codec(encoder, "w").video_formats or ()}:
            return VideoCoding(encoder, options)
    raise UnsupportedMedia(
        f"the video is {video.codec} in {video.pixel_format}, for which there is no encoder here."
        " Convert it to H.264 or HEVC first."
    )


def _x264_options(video: VideoInfo, crf: int, preset: str) -> tuple[tuple[str, str], ...]:
    set_id = free_h264_id(parameter_sets("h264", video.extradata))
    # All frames are forced to be I or P. Yet B-frames are announced where the source has some: Matroska stores no
    # decode times, and readers guess them from the depth of reordering that the first parameter set states.
    b_frames = "bframes=2:b-pyramid=normal:b-adapt=0" if video.reorders else "bframes=0"
    params = f"sps-id={set_id}:{b_frames}:keyint=infinite:scenecut=0:open-gop=0:threads={ENCODER_THREADS}:stitchable=1"
    options = [("crf", str(crf)), ("preset", preset), ("forced-idr", "1"), ("flags", "+psnr"), ("x264-params", params)]
    profile = H264_PROFILES.get(video.profile or "")
    return (*options, ("profile", profile)) if profile else tuple(options)


def finer(coding: VideoCoding) -> VideoCoding | None:
    """Return a coding with a rate factor lower by 4; None if it has none or cannot go lower."""
    options = dict(coding.options)
    crf = int(options.get("crf", "0"))
    if crf <= 2:
        return None
    options["crf"] = str(max(crf - 4, 2))
    return VideoCoding(coding.encoder, tuple(options.items()))


_QUANTISER = (("flags", "+qscale"), ("global_quality", str(2 * 118)))
"""FF_QP2LAMBDA is 118: quantiser 2, the finest that MPEG-2 and MPEG-4 encoders take in all frames."""
_WHOLE: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "mpeg1video": ("mpeg1video", _QUANTISER),
    "mpeg2video": ("mpeg2video", _QUANTISER),
    "mpeg4": ("mpeg4", _QUANTISER),
    "mjpeg": ("mjpeg", _QUANTISER),
    "prores": ("prores_ks", ()),
    "ffv1": ("ffv1", ()),
    "vp8": ("libvpx", (("crf", "6"), ("b", "0"), ("cpu-used", "4"), ("qmax", "20"))),
    "vp9": ("libvpx-vp9", (("crf", "12"), ("b", "0"), ("cpu-used", "5"), ("row-mt", "1"))),
    "av1": ("libsvtav1", (("crf", "14"), ("preset", "8"), ("svtav1-params", "pred-struct=1"))),
}


class ClipWriter:
    """Codes the frames of one clip into a file. Use it in a `with` statement; leaving it finishes the file."""

    def __init__(self, path: Path, video: VideoInfo, coding: VideoCoding) -> None:
        """Open the file, which is overwritten; the caller renames it when it is complete."""
        self._path = path
        self._num_frames = self._num_packets = 0
        self.psnr: list[float] = []
        """For each frame the least PSNR of its planes against what was given, in dB; empty if the encoder is mum."""
        self._depth = max(component.bits for component in VideoFormat(video.pixel_format).components)
        self._plane_samples = _plane_samples(video)
        self._container: OutputContainer = av.open(f"file:{path}", "w", format="nut")
        self._stream = self._add_stream(video, coding)

    def _add_stream(self, video: VideoInfo, coding: VideoCoding) -> VideoStream:
        stream = self._container.add_stream(coding.encoder, rate=video.average_rate, options=dict(coding.options))
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = video.width, video.height, video.pixel_format
        context.time_base = 1 / video.average_rate
        context.sample_aspect_ratio = video.sample_aspect
        context.color_range, context.colorspace = video.color_range, video.color_matrix
        context.color_primaries, context.color_trc = video.color_primaries, video.color_transfer
        context.thread_type, context.thread_count = "FRAME", ENCODER_THREADS
        return stream

    def __enter__(self) -> ClipWriter:
        return self

    def write(self, frame: VideoFrame, *, keyframe: bool) -> None:
        """Code one frame; its time and picture type are overwritten. keyframe: begin a new GOP here."""
        frame.pts, frame.time_base = self._num_frames, self._stream.codec_context.time_base
        frame.pict_type = PictureType.I if keyframe or self._num_frames == 0 else PictureType.P
        self._num_frames += 1
        self._mux(frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._mux(None)
        finally:
            self._close()
        if error is None and self._num_packets != self._num_frames:
            raise RenderError(f"{self._path}: {self._num_frames} frames became {self._num_packets} packets.")

    def _mux(self, frame: VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._num_packets += 1
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
            self.psnr.append(min(decibels, default=99.0))


def _plane_samples(video: VideoInfo) -> list[int]:
    known = VideoFormat(video.pixel_format)
    chroma = known.chroma_width(video.width) * known.chroma_height(video.height)
    return [video.width * video.height, chroma, chroma]
