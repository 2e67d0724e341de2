"""Frames of a range with exact times, bounded in memory; and the protocol by which a stage follows faces in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from types import TracebackType
from typing import Protocol

import av
import av.error
from av import VideoFrame
from av.container import InputContainer
from av.video.stream import VideoStream

from media.base.errors import UnreadableMedia, UnsupportedMedia
from media.clips import FaceSpan, TrackedFace
from media.faces import Face, FaceBox
from media.probe import open_input
from media.source_video import SourceVideo

MOST_FORMS = 32
"""Places at which a change of the picture's form is looked for."""
REVERSE_CHUNK_FRAMES = 24
"""Frames held at once when frames are read backwards."""


class FaceTracker(Protocol):
    """Follows the faces to render through consecutive frames."""

    @property
    def reach_frames(self) -> int:
        """Frames beyond a frame, on either side, that its box may depend on."""
        ...

    def track(
        self, frames: Iterable[tuple[int, VideoFrame]], spans: Sequence[FaceSpan]
    ) -> Iterator[tuple[int, VideoFrame, tuple[TrackedFace, ...]]]:
        """Yield each (source frame index, frame) in the order given, with its faces: one for each span that holds it.

        Indexes run forwards, backwards or stand still. Boxes are in upright pixels. A face depends on nothing but the
        frames within reach of it inside its span, so it is the same wherever reading began, and whatever other spans
        there are. Spans may overlap; the faces come in their order.
        """
        ...

    def pose(self, face: Face) -> tuple[FaceBox, float]:
        """Return the box of a face seen in one frame, and how far it is turned, as of a tracked one."""
        ...


class FrameReader:
    """Decodes frames of one video by index. Use it in a `with` statement; it is not thread-safe."""

    def __init__(self, source: SourceVideo, *, num_threads: int = 0, roughly: bool = False) -> None:
        """Open the file. num_threads: decoder threads, 0 for one a core; the frames do not depend on it.

        roughly: leave out the smoothing of block edges where a codec has it. H.264 is decoded a third faster then, and
        looks the same where it is made smaller; such frames are for looking at, not for coding.
        """
        self._source = source
        self._table = source.table
        self._num_threads = num_threads
        self._roughly = roughly
        self._stack = ExitStack()
        self._decoded: Iterator[tuple[int, VideoFrame]] = iter(())
        self._waiting: tuple[int, VideoFrame] | None = None
        """A frame that is decoded and not yet asked for."""
        self._shown: VideoFrame | None = None
        """The last frame that was decoded since reading began somewhere, before the one that waits."""
        self._latest_pts = source.table.pts[0] - 1
        """The latest time of the packets read since reading began somewhere."""
        self._damaged: set[int] = set()
        self._missing: set[int] = set()
        self._next = len(source.table)
        self._container, self._stream = self._open()

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        # What is left to decode refers to this reader: without this, a dozen frames would live until Python looks for
        # such circles, which it seldom does.
        self._decoded, self._waiting, self._shown = iter(()), None, None

    @property
    def damaged(self) -> frozenset[int]:
        """Return which of the frames read so far could not be decoded, or not without guessing."""
        return frozenset(self._damaged)

    @property
    def missing(self) -> frozenset[int]:
        """Return which of the frames read so far could not be decoded, so that their neighbours stood in."""
        return frozenset(self._missing)

    def read(self, frames: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (index, frame) for each index asked for, in that order.

        Ascending indexes are decoded straight on, descending ones in chunks of REVERSE_CHUNK_FRAMES, and a repeated
        index yields the same frame again. For a frame that cannot be decoded its neighbour stands in, the one before
        if there is one. Raises UnreadableMedia, naming the frame, where there is no neighbour either, and
        UnsupportedMedia where the size or format of the picture changes.
        """
        last: tuple[int, VideoFrame] | None = None
        for start, stop, reverse in _runs(frames):
            repeated = (last,) if last is not None and last[0] == start and not reverse else ()
            chunk = chain(repeated, self._read_ascending(start + len(repeated), stop))
            for last in reversed(list(chunk)) if reverse else chunk:
                yield last

    def _read_ascending(self, start: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        if start < stop and not self._table.keyframe_before(start) <= self._next <= start:
            self._seek(start)
        for wanted in range(start, stop):
            if self._reach(wanted):
                assert self._waiting is not None
                self._shown, self._waiting = self._waiting[1], None
                self._next = wanted + 1
                if self._shown.is_corrupt:
                    self._damaged.add(wanted)
                yield wanted, self._shown
                continue
            self._next = wanted + 1
            self._damaged.add(wanted)
            self._missing.add(wanted)
            neighbour = self._shown or (self._waiting[1] if self._waiting else None)
            if neighbour is None or self._table.pts[wanted] > self._latest_pts:  # which the file no longer holds
                raise self._undecodable(wanted)
            yield wanted, neighbour

    def _reach(self, wanted: int) -> bool:
        """Decode until a frame or one behind it waits; tell whether it is the frame itself."""
        while self._waiting is None or self._waiting[0] < wanted:
            if self._waiting is not None:
                self._shown = self._waiting[1]
            self._waiting = next(self._decoded, None)
            if self._waiting is None:
                return False
        return self._waiting[0] == wanted

    def _undecodable(self, frame: int) -> UnreadableMedia:
        seconds = float(self._table.seconds(frame))
        return UnreadableMedia(
            f"{self._source.info.path}: frame {frame} ({seconds:.3f} s) cannot be decoded. Repair the file."
        )

    def _open(self) -> tuple[InputContainer, VideoStream]:
        container = self._stack.enter_context(open_input(self._source.info.path))
        stream = container.streams[self._source.video.index]
        assert isinstance(stream, VideoStream)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = self._num_threads
        if self._roughly:
            stream.codec_context.options = {"skip_loop_filter": "all"}
        return container, stream

    def _seek(self, frame: int) -> None:
        """Stand before a frame, decoding from a keyframe; where that does not yield it, go back until it does.

        Not from every keyframe follows all that is shown behind it: a picture that begins a gradual refresh does not
        stand for itself, and some containers seek only roughly.
        """
        keyframe, step = self._table.keyframe_before(frame), 1
        while keyframe > 0:
            wanted = self._table.packet_pts(keyframe)
            if self._table.changes.descriptions:  # not every container tells them again behind a seek
                self._reopen(self._table.extradata_at(keyframe))
            try:
                self._container.seek(wanted, stream=self._stream)
            except av.error.FFmpegError:  # nothing to seek by: some files mark no keyframe
                break
            packets = self._container.demux(self._stream)
            first = next(packets, None)
            if first and first.is_keyframe and first.pts is not None and first.pts <= wanted:
                self._start(chain((first,), packets))
                # With frames before it, but not itself, it is damaged, and going back would not help.
                if self._reach(frame) or self._shown:
                    return
            keyframe = self._table.keyframe_before(max(keyframe - step, 0))
            step *= 2
        self._reopen(None)
        self._start(self._container.demux(self._stream))

    def _reopen(self, extradata: bytes | None) -> None:
        """Begin anew with a decoder that knows the parameter sets given; None: those that the stream begins with."""
        self._stack.close()
        self._container, self._stream = self._open()
        if extradata is not None:
            self._stream.codec_context.extradata = extradata

    def _start(self, packets: Iterator[av.Packet[VideoStream]]) -> None:
        self._decoded = self._decode(packets)
        self._shown = self._waiting = None
        self._latest_pts = self._table.pts[0] - 1

    def _decode(self, packets: Iterator[av.Packet[VideoStream]]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield every displayed frame from a packet on, with its index; what cannot be decoded is left out."""
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:  # the file ends here, whatever its headers promised
                return
            if packet is None:
                return
            if packet.pts is not None:
                self._latest_pts = max(self._latest_pts, packet.pts)
            try:
                yield from self._indexed(packet)
            except (av.error.InvalidDataError, av.error.ArgumentError):  # some decoders say so of what makes no sense
                continue

    def _indexed(self, packet: av.Packet[VideoStream]) -> Iterator[tuple[int, VideoFrame]]:
        for frame in packet.decode():
            index = None if frame.pts is None else self._table.frame_of(frame.pts)
            if index is not None:
                self._require_same_format(index, frame)
                yield index, frame

    def _require_same_format(self, index: int, frame: VideoFrame) -> None:
        video = self._source.video
        if (frame.width, frame.height, frame.format.name) != (video.width, video.height, video.pixel_format):
            raise UnsupportedMedia(
                f"{self._source.info.path}: at frame {index} ({float(self._table.seconds(index)):.3f} s) the picture"
                f" changes from {video.width}x{video.height} {video.pixel_format} to {frame.width}x{frame.height}"
                f" {frame.format.name}. Convert the file to one size first, or give its parts one by one."
            )


def check_one_format(source: SourceVideo) -> None:
    """Raise UnsupportedMedia, naming the frame, if the size or format of the picture changes midway.

    It can only where parameter sets do; the first MOST_FORMS frames of such places are decoded.
    """
    places = {
        *source.table.changes.new_forms,
        *(description.frames[0] for description in source.table.changes.descriptions),
    }
    with FrameReader(source, num_threads=1) as reader:
        for frame in sorted(places)[:MOST_FORMS]:
            for _ in reader.read((frame,)):
                pass


def _runs(frames: Sequence[int]) -> Iterator[tuple[int, int, bool]]:
    """Cut indexes into (start, stop, reverse): ascending runs of any length, descending ones of a chunk at most."""
    at = 0
    while at < len(frames):
        first = frames[at]
        step = frames[at + 1] - first if at + 1 < len(frames) else 1
        step = step if step in (1, -1) else 1
        longest = len(frames) if step == 1 else REVERSE_CHUNK_FRAMES
        count = 1
        while at + count < len(frames) and count < longest and frames[at + count] == first + step * count:
            count += 1
        yield (first, first + count, False) if step == 1 else (first - count + 1, first + 1, True)
        at += count
