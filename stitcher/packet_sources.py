"""What goes into the output: packets of the soundtrack up to a time, and video packets in decode order."""

from __future__ import annotations

import zlib
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction

import av
from av.packet import PacketSideData

from media.base.errors import StitchError
from media.bitstream.side_data import COPIED_KINDS, Beside, is_alpha_key, read_beside
from media.bitstream.units import AnyPacket, length_prefix_size
from media.clips import Clip, RenderedClip
from media.info import VideoInfo
from media.intervals import Interval, contains
from media.packets.frame_table import FrameTable
from media.probe import open_input
from media.source_video import SourceVideo
from media.timeline import FrameRun, OutputTimeline
from stitcher.audio.soundtrack import Soundtrack
from stitcher.bitstream_joins import Bitstream, copied_order, decode_slots


class AudioPacketSource:
    """The packets of the soundtrack, released up to a time."""

    def __init__(self, stack: ExitStack, soundtrack: Soundtrack, clock: Fraction) -> None:
        """clock: the time base of the ticks given to `until`, in seconds."""
        container = stack.enter_context(open_input(soundtrack.path))
        self.template = container.streams[soundtrack.stream_index]
        self._packets = container.demux(self.template)
        assert self.template.time_base is not None
        self.time_base = self.template.time_base
        self._shift = round(soundtrack.offset / self.time_base)
        # In whole numbers, since they are compared for every frame of hours.
        self._per_tick = (clock / self.time_base).as_integer_ratio()
        self._next = self._shifted()

    def until(self, ticks: int | None) -> Iterator[AnyPacket]:
        """Yield packets decoded before a time on the output's clock; None for all that are left."""
        numerator, denominator = self._per_tick
        limit = None if ticks is None else -(-ticks * numerator // denominator)
        while (packet := self._next) is not None:
            if limit is not None and packet.dts is not None and packet.dts >= limit:
                return
            self._next = self._shifted()
            yield packet

    def _shifted(self) -> AnyPacket | None:
        packet = next((packet for packet in self._packets if packet.size), None)
        if packet is not None and packet.pts is not None:
            packet.pts += self._shift
            packet.dts = packet.pts if packet.dts is None else packet.dts + self._shift
        return packet


@dataclass(frozen=True, slots=True)
class OutputVideo:
    """What the video of an output is made of."""

    source: SourceVideo
    timeline: OutputTimeline
    clips: Sequence[RenderedClip]
    """In order; they cover the timeline."""
    is_new: bool = False
    """As in the StreamCoding of the clips: whether nothing of the stream is the source's."""


class VideoPacketSource:
    """Releases output packets in decode order as the source's displayed packets go by."""

    def __init__(self, output: OutputVideo, coded: str | None, *, is_annex_b: bool = False) -> None:
        """coded: the file of an encoded clip, or one like it; None if none is encoded. is_annex_b: as for Bitstream."""
        video, table, timeline, clips = output.source.video, output.source.table, output.timeline, output.clips
        self._table, self._timeline, self._clips = table, timeline, clips
        self._slots: Sequence[int] = decode_slots(table, timeline, [rendered.clip for rendered in clips])
        codec, extradata = _coded_form(coded) if coded else (video.codec, None)
        any_copied = any(rendered.path is None for rendered in clips)
        self._source_prefix = length_prefix_size(video.codec, video.coded.extradata)
        video = _described(video, table, clips)
        is_same = codec == video.codec
        self.template = coded if output.is_new else None
        """A coded file whose stream is the output's, which has nothing of the source's; None if it has."""
        if self.template:
            coded_form = replace(video.coded, extradata=extradata or b"", lasting_sei=())
            video = replace(video, codec=codec, coded=coded_form)
            extradata = None
            # Nothing is reordered. Yet readers take H.264 in AVI as shown one frame late, as the source was read.
            if not (table.tells_decoding and codec == "h264"):
                self._slots = timeline.pts
        self.bits = Bitstream(video, extradata, any_copied=any_copied, is_annex_b=is_annex_b)
        self.has_lengths = bool(length_prefix_size(video.codec, video.coded.extradata))
        """Whether units of H.264 and HEVC stand behind lengths."""
        self._video = video
        self._beside: dict[int, Beside] | None = {} if is_same else None
        """What goes beside the pictures that are re-encoded, by source frame; None if the codec is another."""
        self._walked: Interval = (0, 0)
        """Output frames whose source's packets go by."""
        self._copied: list[Interval] = []
        self._arrived: deque[AnyPacket] = deque()
        self._sequence = self._packets()
        self.num_released = 0
        self._num_due = 0
        copies_head = bool(clips) and clips[0].path is None and timeline.is_source
        self.keeps_hidden_head = copies_head and table.hidden.head == "negative" and not table.clean.entry[0]
        """Whether what an edit list hides before the first frame stands in the output, too: its first frames are
        copied, and refer to it."""
        self.payloads = array("L")

    @property
    def keeps_beside(self) -> bool:
        """Tell whether what travels beside the source's pictures does so in the output."""
        return self._beside is not None

    def begin(self, run: FrameRun) -> None:
        """Prepare for the packets of a run of the source."""
        self._walked = (run.start_frame, run.stop_frame)
        clips = [
            r.clip for r in self._clips if r.path is None and run.start_frame <= r.clip.start_frame < run.stop_frame
        ]
        self._copied = [(clip.source_frames[0], clip.source_frames[-1] + 1) for clip in clips]

    def accept(self, packet: AnyPacket, frame: int) -> Iterator[AnyPacket]:
        """Take a displayed packet of the source that belongs to the run; yield what may now be written."""
        if contains(self._copied, frame):
            self._arrived.append(packet)
        elif self._beside is not None:
            self._beside[frame] = read_beside(self._video.codec, packet, self._source_prefix)
        self._num_due += 1
        yield from self._release(self._num_due)

    def finish(self, run: FrameRun) -> Iterator[AnyPacket]:
        """Yield what is left of a run; raise StitchError if the source did not hold all its packets."""
        self._num_due = run.stop_frame
        yield from self._release(run.stop_frame)
        if self.num_released < run.stop_frame:
            raise StitchError(f"the packet of output frame {self.num_released} is gone: the source changed meanwhile.")

    def _release(self, num_packets: int) -> Iterator[AnyPacket]:
        while self.num_released < num_packets:
            packet = next(self._sequence, None)
            if packet is None:
                return
            self.num_released += 1
            yield packet

    def _packets(self) -> Iterator[AnyPacket | None]:
        """Yield every output packet; None where the next one has to come from the source first."""
        source_next: int | None = 0
        for rendered in self._clips:
            clip = rendered.clip
            if rendered.path is not None:
                yield from self._coded_packets(rendered.path, clip)
                source_next = None
                continue
            breaks = clip.source_frames[0] != source_next
            shift = clip.start_frame - clip.source_frames[0]
            for number, frame in enumerate(copied_order(self._table, clip), clip.start_frame):
                while not self._arrived:
                    yield None
                packet = self._arrived.popleft()
                payload = self.bits.copied(bytes(packet), keyframe=packet.is_keyframe, breaks=breaks)
                side = [data for data in packet.iter_sidedata() if data.data_type in COPIED_KINDS]
                yield self._stamped(payload, number, frame + shift, side, keyframe=packet.is_keyframe)
                breaks = False
            source_next = clip.source_frames[-1] + 1

    def _coded_packets(self, path: str, clip: Clip) -> Iterator[AnyPacket | None]:
        """Yield the packets of a coded clip; None while what goes beside one has not gone by in the source."""
        number = clip.start_frame
        with open_input(path) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size and number < clip.stop_frame:
                    frame = clip.source_frames[number - clip.start_frame]
                    is_walked = self._beside is not None and contains([self._walked], number)
                    while self._beside is not None and is_walked and frame not in self._beside:
                        yield None
                    beside = self._beside.pop(frame) if self._beside is not None and is_walked else Beside()
                    # A player that starts here must be able to start with the transparency, too.
                    begins = beside.alpha is None or is_alpha_key(self._video.codec, beside.alpha)
                    kept = beside if self._beside is not None else None
                    payload = self.bits.coded(bytes(packet), kept, keyframe=packet.is_keyframe)
                    yield self._stamped(payload, number, number, beside.side, keyframe=packet.is_keyframe and begins)
                if packet.size:
                    number += 1
        if number != clip.stop_frame:
            held = number - clip.start_frame
            raise StitchError(f"clip {clip.index} holds {held} frames, not {len(clip)}. Delete {path} and start again.")

    def _stamped(
        self, payload: bytes, number: int, frame: int, side: Iterable[PacketSideData], *, keyframe: bool
    ) -> AnyPacket:
        """Return packet `number` in decode order, carrying output frame `frame`, with inherited times."""
        timeline = self._timeline
        packet: AnyPacket = av.Packet(payload)
        packet.pts, packet.dts = timeline.pts[frame], self._slots[number]
        packet.time_base = timeline.time_base
        packet.duration = (timeline.pts[frame + 1] if frame + 1 < len(timeline) else timeline.end_pts) - packet.pts
        packet.is_keyframe = keyframe
        for data in side:
            packet.set_sidedata(data)
        self.payloads.append(zlib.crc32(payload))
        return packet


def _described(video: VideoInfo, table: FrameTable, clips: Sequence[RenderedClip]) -> VideoInfo:
    """Return a video with the parameter sets that all its copied frames need."""
    first = next((rendered.clip.source_frames[0] for rendered in clips if rendered.path is None), 0)
    extradata = table.extradata_at(first)
    return video if extradata is None else replace(video, coded=replace(video.coded, extradata=extradata))


def _coded_form(path: str) -> tuple[str, bytes]:
    """Return FFmpeg's decoder name and the extradata of a coded clip."""
    with open_input(path) as container:
        context = container.streams.video[0].codec_context
        return context.codec.canonical_name, bytes(context.extradata or b"")
