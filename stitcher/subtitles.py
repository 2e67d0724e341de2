"""Subtitles that were there before a range began, and are still shown in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import av
import av.error

from media.info import MediaInfo
from media.probe import open_input

LONGEST_SECONDS = Fraction(60)
"""How far before a range subtitles are looked for: no one reads one for longer."""


def shown_at(source: MediaInfo, indexes: Collection[int], seconds: Fraction) -> Iterator[av.Packet[Any]]:
    """Yield the packets of streams that began before a time and last beyond it, cut so that they begin then.

    seconds: on the container's clock. Subtitles without a duration (those of discs and of broadcasts) tell only by the
    next one when they end; they are left out.
    """
    if not indexes:
        return
    video_index = source.require_video().index
    with ExitStack() as stack:
        container = stack.enter_context(open_input(source.path))
        try:
            container.seek(max(int((seconds - LONGEST_SECONDS) * 1_000_000), 0))
        except av.error.FFmpegError:  # some files have nothing to seek by; they then stand anywhere
            container = stack.enter_context(open_input(source.path))
        for packet in container.demux():
            if packet.pts is None:
                continue
            start = packet.pts * packet.time_base
            if packet.stream_index == video_index and start >= seconds:
                return
            if packet.stream_index in indexes and packet.duration:
                begin = round(seconds / packet.time_base)
                left = packet.pts + packet.duration - begin
                if start < seconds and left > 0:
                    packet.pts = packet.dts = begin
                    packet.duration = left
                    yield packet
