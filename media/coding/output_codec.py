"""Whether packets of a source can stand in an output; where not, to which codec the whole stream is transcoded."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import av
import av.error

from media.base.errors import UnsupportedMedia
from media.bitstream.units import join_units, parameter_sets
from media.coding.encoder_options import SPLICEABLE, VideoCoding, find_coding
from media.info import CodedForm, MediaInfo, VideoInfo
from media.orientation import PLAIN, UPRIGHT
from media.packets.frame_table import FrameTable, PacketsTell
from media.probe import open_input
from media.source_video import SourceVideo

FALLBACKS = {
    "mp4": ("h264", "hevc"),
    "mov": ("h264", "hevc", "prores"),
    "matroska": ("h264", "hevc", "ffv1"),
    "webm": ("vp9", "av1"),
    "mpegts": ("h264", "hevc"),
    "mpeg": ("mpeg2video",),
    "vob": ("mpeg2video",),
    "avi": ("mpeg4", "ffv1"),
    "flv": ("h264",),
}
"""For each muxer, the codecs to which a video is transcoded, the one that most players take first. H.264 in AVI is read
as if each frame were shown one later than it is."""
HELD = {
    "mpegts": ("h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "cavs", "dirac"),
    "mpeg": ("mpeg1video", "mpeg2video", "h264", "hevc"),
    "vob": ("mpeg1video", "mpeg2video", "h264", "hevc"),
}
"""What can be read back from the files of muxers that take any codec without a word, whatever the source."""
OWN_SOURCES = {"avi": "avi", "flv": "flv", "mpeg": "mpeg", "vob": "mpeg"}
"""Muxers whose clocks and streams are too narrow for whatever comes from another container than the one named."""
WHOLE_REASONS: dict[PacketsTell, str] = {
    "frames": "",
    "decoding": "the source does not tell when its frames are shown: the whole stream is re-encoded",
    "nothing": "some packets of the source show nothing: the whole stream is re-encoded",
}
"""Why no packet can be copied beside coded ones, by what the packets of a source tell."""
TELLS_ASPECT = ("mp4", "mov", "matroska", "webm")
"""Muxers whose files tell the form of pixels themselves; in others the pictures have to."""
INTERLACING = ("h264", "mpeg2video", "mpeg4", "prores")
"""Codecs that tell the order of fields."""
KEEPING_FIELDS = (*INTERLACING, "dnxhd", "dvvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo")
"""Codecs whose encoders here code interlaced frames as such, or every sample as it is."""
ORIENTED = ("mp4", "mov", "matroska", "webm")
"""Muxers that write how the picture is turned and mirrored."""


@dataclass(frozen=True, slots=True)
class StreamCoding:
    """How the video stream of an output is made of a source's."""

    frames: VideoCoding
    """How frames are re-encoded."""
    reason: str
    """Why no packet may be copied beside coded ones; empty if packets may be."""
    may_copy_whole: bool
    """Whether all packets may be copied, where nothing is rendered."""
    is_new: bool
    """Whether the stream has nothing of the source's, unless all packets are copied: it is transcoded, or retimed."""

    @property
    def codec(self) -> str:
        """FFmpeg's decoder name of what is written, unless all packets are copied."""
        return self.frames.codec


def choose_stream(source: SourceVideo, *, crf: int | None, preset: str, muxer: str) -> StreamCoding:
    """Return how the video of a file is coded for an output of FFmpeg's muxer of that name.

    The codec is the source's. Where that has no encoder for the pixel format, or the muxer does not take it, it is the
    first of the muxer's FALLBACKS that has one. crf, preset: as for choose_coding. Raises UnsupportedMedia where no
    codec of the muxer takes the pixel format or the order of fields, or the muxer takes nothing from such a container,
    or cannot say how the picture is shown.
    """
    info, table, video = source.info, source.table, source.video
    if muxer not in ORIENTED and video.display.matrix != PLAIN and video.orientation != UPRIGHT:
        raise UnsupportedMedia(
            f"output: {muxer} files cannot say that the picture of {info.path} is {video.orientation}."
            f" Use .mp4, .mov or .mkv, or convert it first: {info.turning}"
        )
    if muxer in OWN_SOURCES and OWN_SOURCES[muxer] not in info.container.split(","):
        raise UnsupportedMedia(
            f"output: only a source of the same kind is put into {muxer} files. Use .mp4, .mov, .mkv or .ts."
        )
    held = _can_hold(muxer, info)
    # What the container says of the form of pixels goes before what the pictures say, and few containers say it.
    aspect = video.display.sample_aspect
    is_told = muxer in TELLS_ASPECT or aspect == (video.display.coded_aspect or 1)
    may_copy = held and is_told and table.packets_tell == "frames"
    reorders = video.coded.reorders and not table.tells_decoding
    kept = replace(video, coded=replace(video.coded, reorders=reorders, extradata=_all_sets(video, table)))
    keeps_fields = video.fields == "progressive" or video.codec in KEEPING_FIELDS
    own = find_coding(kept, crf=crf, preset=preset) if keeps_fields else None
    if not (own and held):
        coding = replace(_fallback(video, crf, preset, muxer), sample_aspect=aspect)
        cause = f"{muxer} files cannot hold its {video.codec}"
        if held:
            kind = f"{video.pixel_format}, {video.fields}" if not keeps_fields else video.pixel_format
            cause = f"there is no visually lossless encoder for {video.codec} in {kind} here"
        return StreamCoding(coding, f"{cause}: the whole stream is transcoded to {coding.codec}", may_copy, is_new=True)
    reason = WHOLE_REASONS[table.packets_tell]
    if not reason and not is_told:
        reason = (
            f"in {muxer} files only the pictures tell the form of their pixels, here {aspect.numerator}:"
            f"{aspect.denominator}, and the source's do not: the whole stream is re-encoded"
        )
    elif not reason and video.codec not in SPLICEABLE:
        reason = f"packets of {video.codec} are not spliced: the whole stream is re-encoded"
    coding = own if may_copy else replace(own, sample_aspect=aspect)
    return StreamCoding(coding, reason, may_copy, is_new=not may_copy)


def _all_sets(video: VideoInfo, table: FrameTable) -> bytes:
    """Return extradata with every parameter set whose number is taken; that of the stream where nothing comes anew."""
    if video.codec != "h264" or not table.changes.descriptions:
        return video.coded.extradata
    told = [video.coded.extradata, *(each.extradata for each in table.changes.descriptions)]
    return join_units((unit for extradata in told for unit in parameter_sets("h264", extradata)), 0)


def _can_hold(muxer: str, info: MediaInfo) -> bool:
    """Tell whether a muxer takes the packets of a video, and they can be read back."""
    video = info.require_video()
    if muxer in HELD:
        return video.codec in HELD[muxer] or info.container == OWN_SOURCES.get(muxer, muxer)
    with open_input(info.path) as reader:
        writer = av.open(io.BytesIO(), "w", format=muxer)
        try:
            writer.add_stream_from_template(reader.streams[video.index], opaque=True)
            writer.start_encoding()
        except (ValueError, av.error.FFmpegError):
            return False
    return True


def _fallback(video: VideoInfo, crf: int | None, preset: str, muxer: str) -> VideoCoding:
    interlaced = video.fields != "progressive"
    for codec in FALLBACKS[muxer]:
        target = replace(video, codec=codec, coded=CodedForm(profile=None, extradata=b""))
        coding = find_coding(target, crf=crf, preset=preset)
        if coding and (codec in INTERLACING or not interlaced):
            return coding
    kind = f"{video.codec} in {'interlaced ' if interlaced else ''}{video.pixel_format}"
    codecs = " and ".join(FALLBACKS[muxer])
    raise UnsupportedMedia(
        f"the video is {kind}, and {muxer} files could only hold it transcoded to {codecs}, which does not keep that."
        " Use another kind of file, or convert the video first."
    )
