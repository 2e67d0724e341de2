"""Copied and coded packets in order, with the soundtrack and everything else of the source, in one file.

The source is walked once in file order, so interleaving and memory stay those of the source. Each displayed video
packet that goes by releases the next output packet: itself, an earlier one, or a coded one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from pathlib import Path

import av
import av.error
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from media.errors import StitchError, UnsupportedMedia, WorkspaceError
from media.field_pairs import AnyPacket, join_fields
from media.probe import ATTACHED_PICTURE, MediaInfo, open_input
from media.timeline import FrameTable, OutputTimeline, RenderedClip, Run
from stitcher.feeds import SoundFeed, VideoFeed
from stitcher.soundtrack import Soundtrack
from stitcher.subtitles import shown_at
from stitcher.transcoded import add_transcoded

MUXERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
    ".m2ts": "mpegts",
    ".mts": "mpegts",
    ".mpg": "mpeg",
    ".mpeg": "mpeg",
    ".vob": "vob",
    ".avi": "avi",
    ".flv": "flv",
}
"""FFmpeg's muxer for each file name ending."""
HIDING = ("mp4", "mov")
"""Muxers that hide, by an edit list, packets that are shown before the first frame."""
PRIMING_SECONDS = Fraction(1, 10)
"""Longest sound that decoders need before the first sample heard (Opus: 80 ms)."""
BRAND_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands")
"""Container tags that describe the source file itself, not what is in it."""
EQUAL_TIMES = 0x20000
"""FFmpeg's AVFMT_TS_NONSTRICT: packets of one stream may have the same decode time."""
MARGIN_SECONDS = Fraction(2)
"""How far packets of one time may lie apart in a file; an extraction reads this much more on both sides."""


@dataclass(slots=True)
class Assembled:
    """What was written, for the check of the finished file."""

    payloads: array[int] = field(default_factory=lambda: array("L"))
    """CRC-32 of each displayed video packet in decode order, as given to the muxer."""
    dropped_streams: list[str] = field(default_factory=list)
    """Streams of the source that the output container does not take, each with the reason."""
    has_lengths: bool = True
    """Whether units of H.264 and HEVC were given to the muxer behind lengths, not behind start codes."""


def muxer_of(output: Path) -> str:
    """Return FFmpeg's muxer for an output's name; raise UnsupportedMedia if its ending is unknown."""
    muxer = MUXERS.get(output.suffix.lower())
    if muxer is None:
        known = " ".join(sorted(MUXERS))
        raise UnsupportedMedia(f"{output}: unknown kind of file {output.suffix!r}. Use one of {known}.")
    return muxer


def assemble(
    source: MediaInfo,
    table: FrameTable,
    timeline: OutputTimeline,
    clips: Sequence[RenderedClip],
    soundtrack: Soundtrack | None,
    output: Path,
    *,
    muxer: str,
    is_new: bool = False,
    language: str | None = None,
    sound_keeps_tags: bool = False,
    on_progress: Callable[[int], None] = lambda num_frames: None,
) -> Assembled:
    """Write the output file: clips in order, one soundtrack, everything else of the source.

    soundtrack: replaces the source's first audio stream; None keeps that. is_new: as of the StreamCoding of the clips.
    language: ISO 639-2 code of the soundtrack. sound_keeps_tags: whether it is still the source's sound, patched, and
    so keeps language and title. muxer: as from muxer_of. output: overwritten; the caller checks it and renames it.
    on_progress: called with the number of frames written so far. Raises WorkspaceError where the disk is full,
    StitchError where muxing fails.
    """
    video = source.require_video()
    with ExitStack() as stack:
        reader = stack.enter_context(open_input(source.path))
        sound = SoundFeed(stack, soundtrack, timeline.time_base) if soundtrack else None
        coded = next((rendered.path for rendered in clips if rendered.path), None)
        feed = VideoFeed(video, table, timeline, clips, coded, is_new=is_new)
        options = _muxer_options(muxer, timeline, sound)
        writer = av.open(f"file:{output}", "w", format=muxer, container_options=options)
        try:
            assembly = Assembly(source, feed, sound, timeline, table, reader, writer)
            assembly.add_streams(language, sound_keeps_tags=sound_keeps_tags)
            assembly.run(on_progress)
            writer.close()  # a full disk is reported only here
        except OSError as exc:
            raise WorkspaceError(f"{output}: cannot be written ({exc.strerror}). Make space and start again.") from exc
        except (av.error.FFmpegError, ValueError) as exc:
            raise StitchError(
                f"{output}: {muxer} cannot hold these streams ({exc}). Use another kind of file."
            ) from exc
        finally:
            writer.close()
    return Assembled(feed.payloads, assembly.dropped, feed.has_lengths)


def _muxer_options(muxer: str, timeline: OutputTimeline, sound: SoundFeed | None) -> dict[str, str]:
    options = {"avoid_negative_ts": "disabled"}
    if muxer not in ("mp4", "mov"):
        return options
    options["movflags"] = "+faststart"
    video_clock = timeline.time_base.denominator
    if timeline.time_base.numerator == 1:
        options["video_track_timescale"] = str(video_clock)
    if timeline.pts[0] != 0:
        # A start other than 0 is an edit, counted on the movie's clock; its default of milliseconds would round it.
        clock = lcm(video_clock, sound.time_base.denominator if sound else 1)
        options["movie_timescale"] = str(clock if clock < 1 << 31 else video_clock)
    return options


class Assembly:
    """One walk through the source into the output."""

    def __init__(
        self,
        source: MediaInfo,
        video: VideoFeed,
        sound: SoundFeed | None,
        timeline: OutputTimeline,
        table: FrameTable,
        reader: InputContainer,
        writer: OutputContainer,
    ) -> None:
        self._source, self._video, self._sound = source, video, sound
        self._timeline, self._table = timeline, table
        self._reader, self._writer = reader, writer
        self._targets: dict[int, Stream] = {}
        self._earliest: dict[int, int] = {}
        """For each output stream but the videos the least decode time that its next packet may have."""
        self._hides = writer.format.name in HIDING
        self._least_step = 0 if int(writer.format.flags) & EQUAL_TIMES else 1
        self._sound_target: Stream | None = None
        self._has_begun = False
        self.dropped: list[str] = []

    def add_streams(
        self, language: str | None, *, sound_keeps_tags: bool = False, skips_first_audio: bool = False
    ) -> Stream:
        """Create the output's streams in the source's order; return that of the video."""
        video_index = self._source.require_video().index
        replaced = self._source.audio[0].index if self._source.audio and (self._sound or skips_first_audio) else None
        for stream in self._reader.streams:
            if stream.index == replaced:
                self._add_sound(language, stream, keeps_tags=sound_keeps_tags)
            elif stream.index == video_index:
                self._targets[stream.index] = self._add_video(stream)
            else:
                self._add_other(stream)
        if replaced is None:
            self._add_sound(language, None, keeps_tags=False)
        self._writer.metadata.update({k: v for k, v in self._reader.metadata.items() if k not in BRAND_TAGS})
        if self._timeline.is_source:
            self._writer.set_chapters(self._reader.chapters())
        elif self._reader.chapters():
            self.dropped.append("chapters: their times mean nothing in an extraction")
        return self._targets[video_index]

    def _add_video(self, stream: Stream) -> Stream:
        video, template = self._source.require_video(), self._video.template
        if template:
            target = add_transcoded(self._writer, template, video)
            if video.lasting_sei:
                self.dropped.append("HDR metadata of the video: a transcoded stream does not have it")
        else:
            target = self._writer.add_stream_from_template(stream, opaque=True)
        context = target.codec_context
        assert isinstance(context, av.VideoCodecContext)
        context.extradata = self._video.bits.extradata
        context.framerate = video.average_rate
        if video.fields != "progressive":  # which the source may tell in its frames alone
            context.field_order = video.field_order
        tag = stream.codec_context.codec_tag
        if template is None and self._writer.format.name in ("mp4", "mov") and stream.codec_context.name == "hevc":
            # hvc1 forbids parameter sets inside the stream; some players take nothing else.
            context.codec_tag = "hvc1" if tag == "hvc1" and not self._video.bits.needs_hev1 else "hev1"
        elif template is None and self._writer.format.name in self._reader.format.name.split(","):
            context.codec_tag = tag  # tells the flavour, of ProRes for example, or where parameter sets stand
        _inherit(stream, target)
        if template and self._writer.format.name == "avi":
            target.time_base = 1 / video.average_rate
        return target

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
        self._sound_target = target

    def _add_other(self, stream: Stream) -> None:
        name = stream.codec_context.name if stream.codec_context else "no codec"
        muxer = self._writer.format.name
        if (stream.type == "data" and muxer != "mpegts") or (stream.type == "attachment" and muxer != "matroska"):
            # Chapter titles and timecode stand in data tracks of MP4, which the muxer makes anew from the tags.
            if stream.index not in self._made_anew():
                self.dropped.append(f"stream {stream.index} ({stream.type}, {name}): {muxer} cannot hold it")
            return
        if self._writer.format.name == "matroska" and int(stream.disposition) & ATTACHED_PICTURE:
            self._attach(stream)
            return
        try:
            target = self._writer.add_stream_from_template(stream, opaque=True)
        except (ValueError, av.error.FFmpegError):
            held = f"{self._writer.format.name} cannot hold it"
            self.dropped.append(f"stream {stream.index} ({stream.type}, {name}): {held}")
            return
        _inherit(stream, target)
        self._targets[stream.index] = target

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
        data = [stream for stream in self._reader.streams if stream.type == "data"]
        timecodes = {stream.index for stream in data if "timecode" in stream.metadata}
        untyped = [stream.index for stream in data if getattr(stream, "codec_context", None) is None]
        titles = [index for index in untyped if index not in timecodes]
        has_chapters = bool(self._reader.chapters()) and self._timeline.is_source
        return timecodes.union(titles[:1] if has_chapters else ())

    def run(self, on_progress: Callable[[int], None]) -> None:
        """Write all packets."""
        for run in self._timeline.runs:
            if run.step == 1 and not (self._timeline.is_source and run.start_frame):
                self._video.begin(run)
                for packet in self._walk(run):
                    self._mux_video(packet)
                    if packet.is_keyframe:
                        on_progress(self._video.num_released)
            for packet in self._video.finish(run):
                self._mux_video(packet)
        for packet in self._sound.until(None) if self._sound else ():
            self._mux(packet, self._sound_target)
        on_progress(len(self._timeline))

    def _walk(self, run: Run) -> Iterator[AnyPacket]:
        """Yield the video packets to write as the source goes by; other streams are written on the way."""
        table, whole = self._table, self._timeline.is_source
        video_index = self._source.require_video().index
        source_stop = run.source_frame + run.stop_frame - run.start_frame
        begin, end = table.seconds(run.source_frame), table.seconds(source_stop)
        first = table.pts[0] * table.time_base
        shift = Fraction(0) if whole else self._timeline.pts[run.start_frame] * table.time_base - first - begin
        if not whole:
            subtitles = [index for index in self._targets if self._reader.streams[index].type == "subtitle"]
            for packet in shown_at(self._source, subtitles, first + begin):
                self._mux_shifted(packet, shift)
            self._seek(first + begin)
        video = self._source.require_video()
        for packet in join_fields(self._reader.demux(), video_index, video.codec, video.extradata):
            if packet.size == 0 or packet.stream_index not in self._targets:
                continue
            if packet.stream_index != video_index:
                if (whole and not self._is_cut_away(packet, first)) or _is_within(packet, first + begin, first + end):
                    self._mux_shifted(packet, shift)
            elif packet.pts is None:
                continue
            elif packet.is_discard:
                if self._video.keeps_hidden_head and self._hides and packet.pts < table.pts[0]:
                    self._mux(packet, self._targets[video_index])
            elif (frame := table.frame_of(packet.pts)) is not None and run.source_frame <= frame < source_stop:
                yield from self._video.accept(packet, frame)
            elif not whole and packet.dts is not None and packet.dts * table.time_base > first + end + MARGIN_SECONDS:
                return

    def _is_cut_away(self, packet: AnyPacket, first: Fraction) -> bool:
        """Tell whether a packet of sound is hidden by an edit list, and would be heard where there is none.

        What a decoder needs to begin stays: it is a few packets, and most containers tell to drop them.
        """
        if not packet.is_discard or self._hides or packet.pts is None:
            return False
        return (packet.pts + (packet.duration or 0)) * packet.time_base < first - PRIMING_SECONDS

    def _seek(self, seconds: Fraction) -> None:
        """Stand early enough before a time that no packet shown from then on is missed."""
        stream = self._reader.streams[self._source.require_video().index]
        frame = self._table.frame_at(
            max(seconds - self._table.pts[0] * self._table.time_base - MARGIN_SECONDS, Fraction(0))
        )
        keyframe = self._table.keyframe_before(min(frame, len(self._table) - 1))
        self._reader.seek(self._table.packet_pts(keyframe), stream=stream)

    def _mux_video(self, packet: AnyPacket) -> None:
        assert packet.dts is not None
        if self._writer.format.name == "avi" and not self._has_begun:
            self._skip_to(packet.dts * packet.time_base)
        self._has_begun = True
        for sound in self._sound.until(packet.dts) if self._sound else ():
            self._mux(sound, self._sound_target)
        self._mux(packet, self._targets[self._source.require_video().index])

    def _skip_to(self, seconds: Fraction) -> None:
        """Write empty chunks where the video begins late: AVI counts them, and its muxer omits them at the start."""
        target = self._targets[self._source.require_video().index]
        assert target.time_base is not None
        for ticks in range(int(seconds / target.time_base)):
            empty: AnyPacket = av.Packet(b"")
            empty.pts = empty.dts = ticks
            empty.time_base = target.time_base
            self._mux(empty, target)

    def _mux_shifted(self, packet: AnyPacket, shift: Fraction) -> None:
        ticks = round(shift / packet.time_base)
        if packet.pts is not None:
            packet.pts += ticks
        if packet.dts is not None:
            packet.dts += ticks
        self._mux(packet, self._targets[packet.stream_index])

    def _mux(self, packet: AnyPacket, target: Stream | None) -> None:
        assert target is not None
        packet.stream = target
        if target.type != "video" and packet.dts is not None:
            # Damage in a source may set a stream's clock back a little, which no muxer takes.
            packet.dts = max(packet.dts, self._earliest.get(target.index, packet.dts))
            self._earliest[target.index] = packet.dts + self._least_step
            packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
        self._writer.mux_one(packet)


def _inherit(stream: Stream, target: Stream) -> None:
    """Give an output stream the tags, disposition and time base of its source."""
    target.metadata.update(stream.metadata)
    target.disposition = stream.disposition
    if stream.time_base is not None:
        target.time_base = stream.time_base


def _is_within(packet: AnyPacket, begin: Fraction, end: Fraction) -> bool:
    return packet.pts is not None and begin <= packet.pts * packet.time_base < end
