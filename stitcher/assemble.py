"""Writes copied and encoded packets in order, with the soundtrack and everything else of the source, to one file.

The source is read once in file order, so interleaving and memory use stay those of the source. Each displayed video
packet of the source releases the next output packet: itself, an earlier one, or an encoded one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from media.base.errors import UnsupportedMedia
from media.bitstream.units import AnyPacket
from media.packets.field_pairs import is_hidden, join_fields
from media.probe import open_input
from media.source_video import SourceVideo
from media.timeline import FrameRun, OutputTimeline
from stitcher.audio.soundtrack import Soundtrack
from stitcher.disclosure.embedded import WITH_XMP, append_xmp, container_tags
from stitcher.disclosure.statement import Disclosure
from stitcher.losses import DroppedStream, Loss
from stitcher.packet_sources import AudioPacketSource, OutputVideo, VideoPacketSource
from stitcher.streams import WITHOUT_PAST, WRITING_ERRORS, OutputStreams, explain, muxer_options, writing
from stitcher.subtitles import shown_at

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
"""Most sound that decoders need before the first sample that is heard (Opus: 80 ms)."""
EQUAL_TIMES = 0x20000
"""FFmpeg's AVFMT_TS_NONSTRICT: packets of one stream may have the same decode time."""
MARGIN_SECONDS = Fraction(2)
"""How far apart packets of the same time may lie in a file; an extraction reads this much more on both sides."""


@dataclass(frozen=True, slots=True)
class NewTags:
    """What an output says that its source does not."""

    language: str | None = None
    """ISO 639-2 code of the soundtrack."""
    sound_keeps_tags: bool = False
    """Whether the soundtrack is the source's sound with patches, and so keeps its language and title."""
    disclosure: Disclosure | None = None
    """Which of its pictures are partly synthetic; None: nothing of that is said."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """What was written to an output file, for its check and its report."""

    payloads: array[int] = field(default_factory=lambda: array("L"))
    """CRC-32 of each displayed video packet in decode order, as given to the muxer."""
    losses: tuple[Loss, ...] = ()
    """What the output cannot hold of the source."""
    has_lengths: bool = True
    """Whether units of H.264 and HEVC were given to the muxer with length prefixes rather than start codes."""

    @property
    def dropped_streams(self) -> tuple[int, ...]:
        """The indexes of the source's streams that are not in the output."""
        return tuple(loss.index for loss in self.losses if isinstance(loss, DroppedStream))


def muxer_of(output: Path) -> str:
    """Return FFmpeg's muxer for an output's name; raise UnsupportedMedia if its ending is unknown."""
    muxer = MUXERS.get(output.suffix.lower())
    if muxer is None:
        known = " ".join(sorted(MUXERS))
        raise UnsupportedMedia(f"{output}: unknown kind of file {output.suffix!r}. Use one of {known}.")
    return muxer


def assemble(
    video: OutputVideo,
    soundtrack: Soundtrack | None,
    output: Path,
    *,
    muxer: str,
    tags: NewTags = NewTags(),
    on_progress: Callable[[int], None] = lambda num_frames: None,
) -> Assembled:
    """Write the output file: clips in order, one soundtrack, everything else of the source.

    soundtrack: replaces the source's first audio stream; None keeps that stream. output: overwritten; the caller checks
    it and renames it. muxer: as from muxer_of. tags: what the source does not say. on_progress: called with the number
    of frames written so far. Raises WorkspaceError where the disk is full, StitchError where muxing fails.
    """
    source, timeline = video.source, video.timeline
    with ExitStack() as stack:
        reader = stack.enter_context(open_input(source.info.path))
        sound = AudioPacketSource(stack, soundtrack, timeline.time_base) if soundtrack else None
        coded = next((rendered.path for rendered in video.clips if rendered.path), None)
        feed = VideoPacketSource(video, coded, is_annex_b=muxer == "mpegts")
        options = muxer_options(muxer, timeline, sound, reader.metadata)
        writer = av.open(f"file:{output}", "w", format=muxer, container_options=options)
        try:
            streams = OutputStreams(source.info, feed, sound, timeline, reader, writer)
            with writing(writer):
                streams.add(tags.language, sound_keeps_tags=tags.sound_keeps_tags)
                if tags.disclosure:
                    writer.metadata.update(container_tags(muxer, tags.disclosure))
            Assembly(source, feed, sound, timeline, streams, writer).run(on_progress)
            with writing(writer):
                writer.close()  # a full disk is reported only here
                streams.finish()
                if tags.disclosure and muxer in WITH_XMP:
                    append_xmp(output, tags.disclosure.xmp())
        finally:
            with suppress(OSError, av.error.FFmpegError):  # an earlier error says more
                writer.close()
    return Assembled(feed.payloads, tuple(streams.losses), feed.has_lengths)


class Assembly:
    """One walk through the source into the output."""

    def __init__(
        self,
        source: SourceVideo,
        video: VideoPacketSource,
        sound: AudioPacketSource | None,
        timeline: OutputTimeline,
        streams: OutputStreams,
        writer: OutputContainer,
    ) -> None:
        self._source, self._video, self._sound = source, video, sound
        self._video_index = source.video.index
        self._timeline, self._table = timeline, source.table
        self._writer, self._targets, self._sound_target = writer, streams.targets, streams.sound
        self._earliest: dict[int, int] = {}
        """For each output stream except the video, the least decode time of its next packet."""
        self._hides = writer.format.name in HIDING
        self._least_step = 0 if int(writer.format.flags) & EQUAL_TIMES else 1
        self._has_begun = False

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

    def _walk(self, run: FrameRun) -> Iterator[AnyPacket]:
        """Read the source and yield the video packets to write; packets of other streams are written on the way."""
        table, whole = self._table, self._timeline.is_source
        video_index = self._video_index
        source_stop = run.source_frame + run.stop_frame - run.start_frame
        begin, end = table.seconds(run.source_frame), table.seconds(source_stop)
        first = table.pts[0] * table.time_base
        shift = Fraction(0) if whole else self._timeline.pts[run.start_frame] * table.time_base - first - begin
        if not whole:
            subtitles = [index for index, target in self._targets.items() if target.type == "subtitle"]
            for packet in shown_at(self._source.info, subtitles, first + begin):
                self._mux_shifted(packet, shift)
        for packet in self._read(None if whole else first + begin):
            if packet.size == 0 or packet.stream_index not in self._targets:
                continue
            if packet.stream_index != video_index:
                if (whole and not self._is_cut_away(packet, first)) or _is_within(packet, first + begin, first + end):
                    self._mux_shifted(packet, shift)
            elif packet.pts is None:
                continue
            elif is_hidden(packet):
                if self._video.keeps_hidden_head and self._hides and packet.pts < table.pts[0]:
                    self._mux(packet, self._targets[video_index])
            elif (frame := table.frame_of(packet.pts)) is not None and run.source_frame <= frame < source_stop:
                yield from self._video.accept(packet, frame)
            elif not whole and packet.dts is not None and packet.dts * table.time_base > first + end + MARGIN_SECONDS:
                return

    def _is_cut_away(self, packet: AnyPacket, first: Fraction) -> bool:
        """Tell whether an edit list hides a packet of sound that would be heard in a file without edit lists.

        The priming that an encoder puts before the sound stays, since decoders need it, and it is silent. In a trimmed
        file the same packets hold sound.
        """
        if not packet.is_discard or self._hides or packet.pts is None:
            return False
        if self._table.hidden.head != "none":
            return True
        return (packet.pts + (packet.duration or 0)) * packet.time_base < first - PRIMING_SECONDS

    def _read(self, seconds: Fraction | None) -> Iterator[AnyPacket]:
        """Yield the packets of the source from its start, or from early enough to hold all that is shown at a time.

        The source is opened again, so that an error of the writer is not raised in here.
        """
        video = self._source.video
        with open_input(self._source.info.path) as reader:
            if seconds is None or self._seek(reader, seconds):
                yield from join_fields(reader.demux(), video.index, video.codec, video.coded.extradata)
                return
        with open_input(self._source.info.path) as reader:
            yield from join_fields(reader.demux(), video.index, video.codec, video.coded.extradata)

    def _seek(self, reader: InputContainer, seconds: Fraction) -> bool:
        """Seek to before a time; return False, with the position undefined, if the source cannot be sought."""
        table = self._table
        begin = max(seconds - table.pts[0] * table.time_base - MARGIN_SECONDS, Fraction(0))
        keyframe = table.keyframe_before(min(table.frame_at(begin), len(table) - 1))
        if keyframe == 0:
            return True
        try:
            reader.seek(table.packet_pts(keyframe), stream=reader.streams[self._source.video.index])
        except av.error.FFmpegError:  # some files have no index to seek by
            return False
        return True

    def _mux_video(self, packet: AnyPacket) -> None:
        assert packet.dts is not None
        if self._writer.format.name == "avi" and not self._has_begun:
            self._skip_to(packet.dts * packet.time_base)
        self._has_begun = True
        for sound in self._sound.until(packet.dts) if self._sound else ():
            # The priming that an encoder puts before the sound is silent.
            if not (self._writer.format.name in WITHOUT_PAST and (sound.dts or 0) < 0):
                self._mux(sound, self._sound_target)
        self._mux(packet, self._targets[self._video_index])

    def _skip_to(self, seconds: Fraction) -> None:
        """Write empty chunks up to the start of a late video: AVI counts chunks, and its muxer omits the first ones."""
        target = self._targets[self._source.video.index]
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
            # Damage in a source may set a stream's clock back a little, which no muxer accepts.
            packet.dts = max(packet.dts, self._earliest.get(target.index, packet.dts))
            self._earliest[target.index] = packet.dts + self._least_step
            packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
        try:  # without a context manager, which for each packet of hours takes seconds
            self._writer.mux_one(packet)
        except WRITING_ERRORS as exc:
            raise explain(exc, self._writer) from exc


def _is_within(packet: AnyPacket, begin: Fraction, end: Fraction) -> bool:
    return packet.pts is not None and begin <= packet.pts * packet.time_base < end
