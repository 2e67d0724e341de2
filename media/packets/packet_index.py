"""What demuxing tells of the packets of a video, in decode order."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

KEYFRAME, CLEAN = 1, 2
"""Flags of a packet: a keyframe; one of a kind that later packets cannot reach back over."""
DESCRIPTION_SHIFT, MOST_DESCRIPTIONS = 2, 64
"""Where the number of the parameter sets stands among a packet's flags, and how many there can be."""


@dataclass(slots=True)
class HiddenPackets:
    """The packets that an edit list hides, or that are half a frame. Each array has an entry for each of them."""

    slots: array[int] = field(default_factory=lambda: array("q"))
    """How many displayed packets come before it."""
    pts: array[int] = field(default_factory=lambda: array("q"))
    """Its presentation time in ticks."""
    stops: array[int] = field(default_factory=lambda: array("q"))
    """When it would stop being shown, in ticks."""
    dts: array[int] = field(default_factory=lambda: array("q"))
    """Its decode time in ticks; the presentation time where the container tells none."""


@dataclass(slots=True)
class PacketIndex:
    """What demuxing tells of the packets of a video, in decode order. It grows while the file is read."""

    pts: array[int] = field(default_factory=lambda: array("q"))
    """Presentation times of the displayed packets in ticks."""
    dts: array[int] = field(default_factory=lambda: array("q"))
    """Decode times of the displayed packets in ticks."""
    has_dts: bool = True
    """Whether the container tells all of them."""
    flags: bytearray = field(default_factory=bytearray)
    """KEYFRAME and CLEAN of each displayed packet, and the number of its entry in `extradata`."""
    extradata: list[bytes] = field(default_factory=list)
    """What the container says of parameter sets: first what the stream begins with, then what comes anew."""
    end_pts: int = 0
    """Where the last frame stops being shown, in ticks."""
    new_forms: list[int] = field(default_factory=list)
    """Numbers of displayed packets that say of the form of pictures what none before them said."""
    hidden: HiddenPackets = field(default_factory=HiddenPackets)
