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

from media.errors import UnreadableMedia
from media.probe import MediaInfo, open_input
from media.timeline import FaceBox, FrameTable, Span

REVERSE_CHUNK_FRAMES = 24
"""Frames held at once when frames are read backwards."""


class FaceTracker(Protocol):
    """Follows the target face through consecutive frames."""

    @property
    def reach_frames(self) -> int:
        """Frames beyond a frame, on either side, that its box may depend on."""
        ...

    def track(
        self, frames: Iterable[tuple[int, VideoFrame]], spans: Sequence[Span]
    ) -> Iterator[tuple[int, VideoFrame, FaceBox | None]]:
        """Yield each (source frame index, frame) in the order given, with the target's box in upright pixels.

        Indexes run forwards, backwards or stand still. The box is None outside the face spans. It depends on nothing
        but the frames within reach of it inside its span, so it is the same wherever reading began.
        """
        ...


class FrameReader:
    """Decodes frames of one video by index. Use it in a `with` statement; it is not thread-safe."""

    def __init__(self, info: MediaInfo, table: FrameTable, *, num_threads: int = 0) -> None:
        """Open the file. num_threads: decoder threads, 0 for one a core; the frames do not depend on it."""
        self._info = info
        self._table = table
        self._num_threads = num_threads
        self._stack = ExitStack()
        self._decoded: Iterator[tuple[int, VideoFrame]] = iter(())
        self._next = len(table)
        self._container, self._stream = self._open()

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def read(self, frames: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (index, frame) for each index asked for, in that order.

        Ascending indexes are decoded straight on, descending ones in chunks of REVERSE_CHUNK_FRAMES, and a repeated
        index yields the same frame again. Raises UnreadableMedia, naming the frame, where decoding fails.
        """
        last: tuple[int, VideoFrame] | None = None
        for start, stop, reverse in _runs(frames):
            repeated = (last,) if last is not None and last[0] == start and not reverse else ()
            chunk = chain(repeated, self._read_ascending(start + len(repeated), stop))
            for last in reversed(list(chunk)) if reverse else chunk:
                yield last

    def _read_ascending(self, start: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        if not self._table.keyframe_before(start) <= self._next <= start:
            self._seek(start)
        for wanted in range(start, stop):
            index, frame = next((pair for pair in self._decoded if pair[0] >= wanted), (-1, None))
            if index != wanted or frame is None:
                raise self._undecodable(wanted)
            self._next = index + 1
            yield index, frame

    def _undecodable(self, frame: int) -> UnreadableMedia:
        seconds = float(self._table.seconds(frame))
        return UnreadableMedia(
            f"{self._info.path}: frame {frame} ({seconds:.3f} s) cannot be decoded. Repair the file."
        )

    def _open(self) -> tuple[InputContainer, VideoStream]:
        container = self._stack.enter_context(open_input(self._info.path))
        stream = container.streams[self._info.require_video().index]
        assert isinstance(stream, VideoStream)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = self._num_threads
        return container, stream

    def _seek(self, frame: int) -> None:
        """Stand before a keyframe from which a frame decodes; where seeking is inexact, go back until it holds."""
        keyframe, step = self._table.keyframe_before(frame), 1
        while keyframe > 0:
            self._container.seek(self._table.pts[keyframe], stream=self._stream)
            packets = self._container.demux(self._stream)
            first = next(packets, None)
            if first and first.is_keyframe and first.pts is not None and first.pts <= self._table.pts[keyframe]:
                self._decoded, self._next = self._decode(first, packets), keyframe
                return
            keyframe = self._table.keyframe_before(max(keyframe - step, 0))
            step *= 2
        self._stack.close()
        self._container, self._stream = self._open()
        packets = self._container.demux(self._stream)
        self._decoded, self._next = self._decode(next(packets), packets), 0

    def _decode(
        self, first: av.Packet[VideoStream], packets: Iterator[av.Packet[VideoStream]]
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Yield every displayed frame from a packet on, with its index."""
        try:
            for packet in chain((first,), packets):
                yield from self._indexed(packet)
        except av.error.FFmpegError as exc:
            raise self._undecodable(min(self._next, len(self._table) - 1)) from exc

    def _indexed(self, packet: av.Packet[VideoStream]) -> Iterator[tuple[int, VideoFrame]]:
        for frame in packet.decode():
            index = None if frame.pts is None else self._table.frame_of(frame.pts)
            if index is not None:
                yield index, frame


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
