"""How frames are re-encoded so that they can stand beside the source's own packets: encoder, options, quality.

The same codec, profile class, pixel format, field order and colour tags as the source; parameter sets that do not
collide with the source's; no reordering; and a quality from
which a ClipWriter finds the coarsest at which frames keep least_psnr.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
from av.video.format import VideoFormat

from media.base.errors import UnsupportedMedia
from media.bitstream.units import MPEG_SEQUENCE_EXTENSION, free_h264_id, parameter_sets
from media.info import VideoInfo
from media.picture import unranged

CODED_PSNR: Final = 45.0
"""Decibels of the worst plane that a frame which should look unchanged keeps, wherever the codec can and the user asks
for nothing else."""
ENCODER_THREADS = 2
"""Fixed, since the number of threads changes what encoders write, and results must not depend on workers."""
X264_THREADS = 1
"""With more, x264's lookahead runs beside the coding, and on a busy machine the same frames now and then become other
bytes; the lookahead is off for the same reason. Its thread works beside the renderer's anyway."""
START_X264, START_X265 = 22, 25
"""Quantiser and rate factor at which most videos keep the bound; from there a ClipWriter finds each clip's own."""
FAST_SEARCH: Final = ":partitions=i8x8,i4x4"
"""Added to veryfast, no motion of parts of a macroblock is looked for: a quarter less time, 1 to 4 % more bytes."""
LAMBDA = 118
"""FFmpeg's FF_QP2LAMBDA: the unit of its global_quality."""
_Options = tuple[tuple[str, str], ...]

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
SPLICEABLE = (
    "h264",
    "hevc",
    "vp9",
    "mpeg1video",
    "mpeg2video",
    "mjpeg",
    "prores",
    "dnxhd",
    "dvvideo",
    "av1",
)
"""Codecs whose coded and copied packets may stand in one stream. The others are re-encoded as a whole."""


@dataclass(frozen=True, slots=True)
class VideoCoding:
    """How frames are re-encoded: the source's codec, profile class, pixel format and colour tags."""

    codec: str
    """FFmpeg's decoder name of what is written: the source's unless the stream is transcoded."""
    encoder: str
    """FFmpeg's encoder name."""
    options: tuple[tuple[str, str], ...]
    pixel_format: str | None = None
    """Format in which the encoder takes frames, if it is not the source's."""
    sample_aspect: Fraction | None = None
    """Width of a pixel divided by its height as the coded pictures tell it; None: as the source's pictures do."""
    is_fixed: bool = False
    """Whether the user has chosen the quality: then only frames that should look unchanged are coded more finely than
    the options say, and none more coarsely."""
    least_psnr: float = CODED_PSNR
    """Decibels that each frame keeps, where the quality is found."""


def choose_coding(video: VideoInfo, *, crf: int | None, preset: str) -> VideoCoding:
    """Return how frames of a video are re-encoded; raise UnsupportedMedia where its codec has no encoder.

    crf: constant rate factor of x264 and x265, lower is better; None: a ClipWriter finds the coarsest that will do.
    preset: theirs, or auto.
    """
    coding = find_coding(video, crf=crf, preset=preset)
    if coding is None:
        raise UnsupportedMedia(
            f"the video is {video.codec} in {video.pixel_format}, for which there is no encoder here."
            " Convert it to H.264 or HEVC first."
        )
    return coding


def find_coding(video: VideoInfo, *, crf: int | None, preset: str) -> VideoCoding | None:
    """Return as choose_coding, but None where there is no encoder."""
    if video.codec == "h264" and (pixel_format := _nearest_format("libx264", video.pixel_format)):
        options = _x264_options(video, crf, preset)
        return VideoCoding("h264", "libx264", options, pixel_format, is_fixed=crf is not None)
    if video.codec == "hevc" and (pixel_format := _nearest_format("libx265", video.pixel_format)):
        preset = "ultrafast" if preset == "auto" else preset
        params = f"bframes=0:keyint=-1:scenecut=0:open-gop=0:pools={ENCODER_THREADS}:frame-threads=1:log-level=none"
        factor = str(START_X265 if crf is None else crf)
        x265 = (("crf", factor), ("preset", preset), ("forced-idr", "1"), ("x265-params", params))
        return VideoCoding("hevc", "libx265", x265, pixel_format, is_fixed=crf is not None)
    for codec, encoder, options in _FIXED:
        if codec == "dnxhd" and not (video.coded.profile or "").startswith("DNXHR"):
            continue  # the older profiles have one bit rate for each size, which is not known here
        if video.codec == codec and (pixel_format := _nearest_format(encoder, video.pixel_format)):
            return VideoCoding(codec, encoder, _fitted(video, encoder, options), pixel_format)
    return None


def _nearest_format(encoder: str, pixel_format: str) -> str | None:
    """Return the format in which an encoder takes frames: theirs, or one that its stream does not tell from theirs.

    ProRes 4444 holds transform coefficients of no certain depth, which FFmpeg decodes to 12 bits and codes from 10. VP9
    tells of full range elsewhere than in the format's name.
    """
    known = av.Codec(encoder, "w").video_formats
    names = {pixel_format} if known is None else {str(each.name) for each in known}
    if pixel_format not in names and encoder == "prores_ks":
        pixel_format = pixel_format.replace("12le", "10le")
    if pixel_format not in names:
        pixel_format = unranged(pixel_format)
    return pixel_format if pixel_format in names else None


def _with_fields(video: VideoInfo, encoder: str, options: _Options) -> _Options:
    """Return an encoder's options with the flags for interlaced video, where the source is interlaced.

    MPEG-2 may also say that no picture need be progressive (progressive_sequence, ISO/IEC 13818-2 6.3.5) and have them
    all progressive nevertheless. A decoder that meets another value starts anew and loses a frame.
    """
    at = video.coded.extradata.find(MPEG_SEQUENCE_EXTENSION)
    extension = video.coded.extradata[at + 4 : at + 6] if at >= 0 else b""
    mixed = video.codec == "mpeg2video" and len(extension) == 2 and extension[0] >> 4 == 1 and not extension[1] & 8
    if encoder not in _INTERLACING or (video.fields == "progressive" and not mixed):
        return options
    named = dict(options)
    return tuple({**named, "flags": named.get("flags", "") + _INTERLACING[encoder]}.items())


def _fitted(video: VideoInfo, encoder: str, options: _Options) -> _Options:
    """Return an encoder's options with what depends on the source."""
    if encoder == "dnxhd":
        options = (("profile", (video.coded.profile or "").lower().replace(" ", "_")),)
    if encoder == "mpeg4" and video.coded.reorders:
        # AVI stores when packets are decoded. Readers guess the rest from whether B-frames are announced.
        options = (*options, ("bf", "1"))
    if encoder == "libsvtav1" and "10" in video.pixel_format:
        # With preset 8 pictures of 10 bits become the worse the finer they are quantised: 25 dB at the finest.
        options = tuple({**dict(options), "preset": "6"}.items())
    return _with_fields(video, encoder, options)


def coded_rate(video: VideoInfo, encoder: str) -> Fraction:
    """Return the frame rate to tell an encoder: the average one, or the nearest that its codec can express."""
    known = [Fraction(rate.numerator, rate.denominator) for rate in av.Codec(encoder, "w").frame_rates or ()]
    if known:
        return min(known, key=lambda rate: abs(rate - video.clock.average_rate))
    rate = video.clock.average_rate
    return rate.limit_denominator(1001) if encoder in ("mpeg4", "flv", "h263") else rate


def _x264_options(video: VideoInfo, crf: int | None, preset: str) -> tuple[tuple[str, str], ...]:
    set_id = free_h264_id(parameter_sets("h264", video.coded.extradata))
    # All frames are forced to be I or P. Yet B-frames are announced where the source has some: Matroska stores no
    # decode times, and readers guess them from the depth of reordering that the first parameter set states.
    b_frames = "bframes=2:b-pyramid=normal:b-adapt=0" if video.coded.reorders else "bframes=0"
    fields = {"top field first": ":tff=1", "bottom field first": ":bff=1"}.get(video.fields, "")
    params = (
        f"sps-id={set_id}:{b_frames}:keyint=infinite:scenecut=0:open-gop=0:threads={X264_THREADS}:rc-lookahead=0:mbtree=0:stitchable=1"
        + fields
    )
    rate = ("crf", str(START_X264 if crf is None else crf))
    if crf is None:
        # What counts is the worst frame: with the same quantiser everywhere, all frames come about equally near. At the
        # bound such files are a quarter smaller than with adaptive quantisers, and smaller than with x264's lookahead.
        params += ":aq-mode=0:qcomp=1:deadzone-inter=15:deadzone-intra=9"
        if max(component.bits for component in VideoFormat(video.pixel_format).components) == 8:
            # The quantiser itself, of I pictures as well, without x264's look at how hard pictures are, nor for fades.
            rate, params = ("qp", str(START_X264)), params + ":ipratio=1:weightp=0"
    if preset == "auto":
        preset, params = "veryfast", params + FAST_SEARCH
    flags = "+psnr+ildct" if fields else "+psnr"
    options = [
        rate,
        ("preset", preset),
        ("forced-idr", "1"),
        ("flags", flags),
        ("x264-params", params),
    ]
    profile = H264_PROFILES.get(video.coded.profile or "")
    return (*options, ("profile", profile)) if profile else tuple(options)


def quantiser(number: int) -> dict[str, str]:
    """Return the options that quantise all pictures alike, 1 being the finest step of the MPEG codecs."""
    limits = {"qmin": str(number), "qmax": str(number), "lmin": str(number * LAMBDA)}
    return {"flags": "+qscale", "global_quality": str(number * LAMBDA), **limits}


_MPEG: _Options = tuple(quantiser(2).items())
_FIXED: tuple[tuple[str, str, _Options], ...] = (
    # MPEG-1 has no coefficients beyond 255, too few for great changes between pictures: every picture is an I picture.
    ("mpeg1video", "mpeg1video", (*_MPEG, ("g", "1"))),
    ("mpeg2video", "mpeg2video", (*_MPEG, ("g", "600"), ("sc_threshold", "1000000000"))),
    ("mpeg4", "mpeg4", (*_MPEG, ("g", "600"), ("sc_threshold", "1000000000"))),
    ("flv1", "flv", (*_MPEG, ("g", "600"))),
    ("mjpeg", "mjpeg", _MPEG),
    ("prores", "prores_ks", ()),
    ("dnxhd", "dnxhd", ()),
    ("dvvideo", "dvvideo", ()),
    ("ffv1", "ffv1", ()),
    ("huffyuv", "huffyuv", ()),
    ("ffvhuff", "ffvhuff", ()),
    ("utvideo", "utvideo", ()),
    ("rawvideo", "rawvideo", ()),
    ("vp8", "libvpx", (("b", "500000000"), ("qmin", "0"), ("qmax", "4"), ("cpu-used", "4"))),
    ("vp9", "libvpx-vp9", (("crf", "22"), ("b", "0"), ("cpu-used", "5"), ("row-mt", "1"))),
    ("av1", "libsvtav1", (("crf", "22"), ("preset", "8"), ("svtav1-params", "pred-struct=1"))),
)
"""(codec, encoder, options) of the other codecs, at about the quality that keeps 45 dB."""
_INTERLACING = {"mpeg2video": "+ildct+ilme", "mpeg4": "+ildct+ilme", "prores_ks": "+ildct", "dnxhd": "+ildct"}
"""Flags by which an encoder codes both fields of a picture by themselves where that is better."""
