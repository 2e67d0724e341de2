"""The streams of an output, made before its first packet: those of the source that its container takes, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import lcm
from pathlib import Path

import av
import av.error
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from media.base.errors import LipstitchError, StitchError, WorkspaceError
from media.bitstream.side_data import LAYERS, TRANSPARENCY
from media.info import MediaInfo
from media.probe import ATTACHED_PICTURE, open_input
from media.timeline import OutputTimeline
from stitcher.bitstream_joins import WITHOUT_SETS
from stitcher.display_size import RESERVE, display_size, write_display_size
from stitcher.losses import DroppedData, DroppedStream, Loss
from stitcher.packet_sources import AudioPacketSource, VideoPacketSource
from stitcher.transcoded import add_transcoded

BRAND_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands")
"""Container tags that describe the source file itself, not what is in it."""


@contextmanager
def writing(writer: OutputContainer) -> Iterator[None]:
    """Translate errors of an output; what is read meanwhile is not read in here, lest a source's be taken for them."""
    try:
        yield
    except WRITING_ERRORS as exc:
        raise explain(exc, writer) from exc


WRITING_ERRORS = (OSError, av.error.FFmpegError, ValueError)
"""What PyAV raises where an output cannot be written."""


def explain(error: Exception, writer: OutputContainer) -> LipstitchError:
    """Return one of WRITING_ERRORS as a sentence."""
    path = writer.name.removeprefix("file:")
    if isinstance(error, OSError):
        return WorkspaceError(f"{path}: cannot be written ({error.strerror}). Make space and start again.")
    return StitchError(f"{path}: {writer.format.name} cannot hold these streams ({error}). Use another kind of file.")


def named_keys(tags: Mapping[str, str]) -> list[str]:
    """Return the tags that are named by whose they are, com.apple.quicktime.make for example, as phones write them."""
    return [key for key in tags if key.count(".") > 1]


def muxer_options(
    muxer: str, timeline: OutputTimeline, sound: AudioPacketSource | None, tags: Mapping[str, str]
) -> dict[str, str]:
    """Return what FFmpeg's muxer of that name is told. tags: those of the source."""
    options = {"avoid_negative_ts": "disabled"}
    if muxer not in ("mp4", "mov"):
        return options
    # Keys of any name are stored in another way than titles and artists are, and only one way is written.
    # Boxes of Dolby Vision and of 360-degree pictures are written for who asks for more than the plain standard.
    options["strict"] = "unofficial"
    options["movflags"] = "+faststart" + "+use_metadata_tags" * bool(named_keys(tags))
    video_clock = timeline.time_base.denominator
    if timeline.time_base.numerator == 1:
        options["video_track_timescale"] = str(video_clock)
    if timeline.pts[0] != 0:
        # A start other than 0 is an edit, counted on the movie's clock; its default of milliseconds would round it.
        clock = lcm(video_clock, sound.time_base.denominator if sound else 1)
        options["movie_timescale"] = str(clock if clock < 1 << 31 else video_clock)
    return options


KEEPS_KEYS = ("mp4", "mov", "matroska", "webm", "flv")
"""Muxers that write tags of any name."""
WITHOUT_PAST = ("flv", "mpeg", "vob")
"""Muxers whose clocks hold no time below 0."""


class OutputStreams:
    """The streams of one output, by the streams of its source."""

    def __init__(
        self,
        source: MediaInfo,
        video: VideoPacketSource,
        sound: AudioPacketSource | None,
        timeline: OutputTimeline,
        reader: InputContainer,
        writer: OutputContainer,
    ) -> None:
        self._source, self._video, self._sound = source, video, sound
        self._timeline, self._reader, self._writer = timeline, reader, writer
        self.targets: dict[int, Stream] = {}
        """By the index of the source's stream."""
        self.sound: Stream | None = None
        """Where the new soundtrack goes, if there is one."""
        self._shown_size: tuple[int, tuple[int, int]] | None = None
        """The place of the video among the output's tracks, and the size in which it is shown, if that is told."""
        self.losses: list[Loss] = []
        """What the output cannot hold of the source."""

    def add(self, language: str | None, *, sound_keeps_tags: bool = False, skips_first_audio: bool = False) -> Stream:
        """Create the output's streams in the source's order; return that of the video."""
        video_index = self._source.require_video().index
        replaced = self._source.audio[0].index if self._source.audio and (self._sound or skips_first_audio) else None
        for stream in self._reader.streams:
            if stream.index == replaced:
                self._add_sound(language, stream, keeps_tags=sound_keeps_tags)
            elif stream.index == video_index:
                self.targets[stream.index] = self._add_video(stream)
            else:
                self._add_other(stream)
        if replaced is None:
            self._add_sound(language, None, keeps_tags=False)
        self._writer.metadata.update({k: v for k, v in self._reader.metadata.items() if k not in BRAND_TAGS})
        if (keys := named_keys(self._reader.metadata)) and self._writer.format.name not in KEEPS_KEYS:
            self.losses.append(DroppedData(f"tags {', '.join(keys)}", f"{self._writer.format.name} cannot hold them"))
        if self._timeline.is_source:
            self._writer.set_chapters(self._reader.chapters())
        elif self._reader.chapters():
            self.losses.append(DroppedData("chapters", "their times mean nothing in an extraction"))
        return self.targets[video_index]

    def _add_video(self, stream: Stream) -> Stream:
        video, template = self._source.require_video(), self._video.template
        if template:
            target = add_transcoded(self._writer, template, video)
            if video.coded.lasting_sei:
                self.losses.append(DroppedData("HDR metadata of the video", "a transcoded stream does not have it"))
        else:
            target = self._writer.add_stream_from_template(stream, opaque=True)
        self._note_beside(template)
        context = target.codec_context
        assert isinstance(context, av.VideoCodecContext)
        context.extradata = self._video.bits.extradata
        context.framerate = video.clock.average_rate
        if video.fields != "progressive":  # which the source may tell in its frames alone
            context.field_order = video.display.field_order
        is_hevc = self._writer.format.name in ("mp4", "mov") and context.codec.canonical_name == "hevc"
        if template and is_hevc:
            context.codec_tag = "hvc1"
        elif is_hevc and video.coded.tag not in (*WITHOUT_SETS, "dvhe"):
            context.codec_tag = "hev1"
        elif template is None and self._writer.format.name in self._reader.format.name.split(","):
            context.codec_tag = video.coded.tag  # tells the flavour, of ProRes for example
        _inherit(stream, target)
        if template and self._writer.format.name == "avi":
            target.time_base = 1 / video.clock.average_rate
        self._tell_aspect(target)
        return target

    def _note_beside(self, template: str | None) -> None:
        """Note what travels beside the pictures and is lost."""
        beside = [name for name in self._source.require_video().beside if name not in (TRANSPARENCY, LAYERS)]
        if template and not self._video.keeps_beside:
            self._lose_side_data(beside, "a transcoded stream does not have it")
        elif self._writer.format.name not in ("matroska", "webm") and self._source.require_video().codec == "vp9":
            self._lose_side_data(beside, f"{self._writer.format.name} does not hold it")
        elif "Dolby Vision" in beside and self._writer.format.name == "mov":
            self.losses.append(DroppedData("the announcement of Dolby Vision", "mov cannot hold it"))
        elif self._timeline.is_source and len(self._timeline.runs) > 1:
            self.losses += [DroppedData(f"{name} of frames that are appended") for name in beside]

    def _lose_side_data(self, names: Sequence[str], reason: str) -> None:
        self.losses += [DroppedData(f"{name} of the video", reason) for name in names]

    def _tell_aspect(self, target: Stream) -> None:
        """Write the pixel aspect ratio to the container, if the source states one and the format can hold it."""
        video, muxer = self._source.require_video(), self._writer.format.name
        aspect, coded_aspect = video.display.sample_aspect, video.display.coded_aspect
        if muxer in ("mp4", "mov") and (aspect != 1 or coded_aspect):
            target.codec_context.sample_aspect_ratio = aspect  # type: ignore[attr-defined]
        if muxer in ("matroska", "webm") and (aspect != 1 or (coded_aspect or 1) != 1):
            target.metadata["title"] = target.metadata.get("title", "") + RESERVE
            tracks = [stream for stream in self._writer.streams if stream.type != "attachment"]
            size = display_size(video.width, video.height, aspect)
            self._shown_size = (tracks.index(target), size)

    def finish(self) -> None:
        """Write what the muxer has left out into the closed file. Raises OSError where it cannot be written."""
        if self._shown_size:
            write_display_size(Path(self._writer.name.removeprefix("file:")), *self._shown_size)

    def _add_sound(self, language: str | None, replaced: Stream | None, *, keeps_tags: bool) -> None:
        if self._sound is None:
            return
        target = self._writer.add_stream_from_template(self._sound.template, opaque=True)
        if replaced is not None:
            target.disposition = replaced.disposition
            if keeps_tags:
                target.metadata.update(replaced.metadata)
        if language:
            target.metadata["language"] = language
        self.sound = target

    def _add_other(self, stream: Stream) -> None:
        name = stream.codec_context.name if stream.codec_context else stream.metadata.get("handler_name", "no codec")
        muxer = self._writer.format.name
        if (stream.type == "data" and muxer != "mpegts") or (stream.type == "attachment" and muxer != "matroska"):
            # Chapter titles and timecode stand in data tracks of MP4, which the muxer makes anew from the tags.
            if stream.index not in self._made_anew():
                self.losses.append(DroppedStream(stream.index, stream.type, name, f"{muxer} cannot hold it"))
            return
        if self._writer.format.name == "matroska" and int(stream.disposition) & ATTACHED_PICTURE:
            self._attach(stream)
            return
        try:
            target = self._writer.add_stream_from_template(stream, opaque=True)
        except (ValueError, av.error.FFmpegError):
            self.losses.append(DroppedStream(stream.index, stream.type, name, f"{muxer} cannot hold it"))
            return
        _inherit(stream, target)
        self.targets[stream.index] = target

    def _attach(self, stream: Stream) -> None:
        """Write cover art as Matroska stores it: as an attached file."""
        kind = stream.codec_context.name
        with open_input(self._source.path) as again:
            picture = next(packet for packet in again.demux(again.streams[stream.index]) if packet.size)
        name = stream.metadata.get("filename", f"cover.{'jpg' if kind == 'mjpeg' else kind}")
        mimetype = stream.metadata.get("mimetype", f"image/{'jpeg' if kind == 'mjpeg' else kind}")
        _inherit(stream, self._writer.add_attachment(name, mimetype, bytes(picture)))

    def _made_anew(self) -> set[int]:
        """Return the data streams of the source that the muxer writes again by itself."""
        if self._writer.format.name not in ("mp4", "mov", "matroska", "webm"):
            return set()
        data = [stream for stream in self._reader.streams if stream.type == "data"]
        timecodes = {stream.index for stream in data if "timecode" in stream.metadata}
        untyped = [stream.index for stream in data if getattr(stream, "codec_context", None) is None]
        titles = [index for index in untyped if index not in timecodes]
        has_chapters = bool(self._reader.chapters()) and self._timeline.is_source
        return timecodes.union(titles[:1] if has_chapters else ())


def _inherit(stream: Stream, target: Stream) -> None:
    """Give an output stream the tags, disposition and time base of its source."""
    target.metadata.update(stream.metadata)
    target.disposition = stream.disposition
    if stream.time_base is not None:
        target.time_base = stream.time_base
