"""From packets in decode order to the FrameTable: presentation order, clean entries and exits, decode-time slots."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Literal

from media.base.errors import UnsupportedMedia
from media.info import VideoInfo
from media.intervals import Interval, complement, merge
from media.packets.packet_index import CLEAN, DESCRIPTION_SHIFT, KEYFRAME, PacketIndex

PacketsTell = Literal["frames", "decoding", "nothing"]
HiddenHead = Literal["none", "negative", "other"]
MOST_REORDERING = 32
"""Frames by which a packet may stand before or behind its place in presentation order. Codecs reorder 16 pictures at
most, and encoders code up to 31 between two anchors; a packet farther away has a time of another recording."""
LEADING_MAY_GO = ("hevc", "mpeg1video", "mpeg2video")
"""Codecs in which the pictures that lead a keyframe can be left out behind it without harm to what follows."""


@dataclass(frozen=True, slots=True)
class SampleDescription:
    """Frames that need other parameter sets than the stream begins with."""

    frames: Interval
    extradata: bytes
    """Configuration record or, in Annex B, parameter sets."""


@dataclass(frozen=True, slots=True)
class ParameterChanges:
    """Where the parameter sets of a stream change."""

    descriptions: tuple[SampleDescription, ...] = ()
    """What the container says anew of parameter sets, in order of their frames."""
    new_forms: tuple[int, ...] = ()
    """Frames that say of the form of pictures, inside the stream, what none before them said."""


@dataclass(frozen=True, slots=True)
class CleanCuts:
    """Where copying may resume and stop."""

    entry: bytes
    """1 for each frame at which copying may resume: it and all later frames can be copied, and refer to nothing
    before. (In HEVC, pictures that lead it may follow it in decode order; they are not copied.)"""
    exit: bytes
    """1 for each k, 0 to the number of frames, where the first k packets are exactly the first k frames shown:
    copying may stop before frame k."""


@dataclass(frozen=True, slots=True)
class HiddenSlots:
    """Where packets stand that are not displayed."""

    head: HiddenHead = "none"
    """What an edit list hides of the packets that the first frames may refer to. none: nothing. negative: packets that
    stop being shown by 0 and whose decode times fit between the slots, so that an output's edit list can hide them.
    other: packets that no output can hide."""
    slots: array[int] = field(default_factory=lambda: array("q"))
    """Where the other hidden packets stand: for each the slot of the displayed packet behind it, non-decreasing."""


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Every displayed frame of a video stream, in presentation order."""

    time_base: Fraction
    pts: array[int]
    """Presentation time of each frame in ticks, strictly increasing."""
    dts: array[int]
    """Decode-time slots in ticks: slot i belongs to the i-th displayed packet in decode order; non-decreasing."""
    decode_order: array[int]
    """Frame index carried by the i-th displayed packet in decode order."""
    keyframe: bytes
    """1 for each frame whose packet is a keyframe, by frame index."""
    clean: CleanCuts
    end_pts: int
    """Where the last frame stops being shown, in ticks."""
    packets_tell: PacketsTell = "frames"
    """frames: each packet is a frame, shown at its time. decoding: times of packets are those of decoding; the i-th
    packet in decode order carries pts[i], whichever frame it holds. nothing: which packets are shown is known from
    decoding alone; decode_order means nothing. Packets are copied in the first case only; decoded frames carry the
    times of their packets in all."""
    hidden: HiddenSlots = field(default_factory=HiddenSlots)
    changes: ParameterChanges = field(default_factory=ParameterChanges)

    def foreign_to(self, extradata: bytes | None) -> list[Interval]:
        """Return the frames that need other parameter sets than these: sorted, disjoint.

        None: those that the stream begins with. Frames that one stream of an output is copied from need the same.
        """
        described = [each.frames for each in self.changes.descriptions if each.extradata != extradata]
        if extradata is None:
            return described
        return merge([*described, *complement([each.frames for each in self.changes.descriptions], 0, len(self))])

    def extradata_at(self, frame: int) -> bytes | None:
        """Return what a decoder that begins at a frame has to know; None: what the stream begins with."""
        found = (each for each in self.changes.descriptions if each.frames[0] <= frame < each.frames[1])
        return next((each.extradata for each in found), None)

    @property
    def tells_decoding(self) -> bool:
        """Whether times of packets are those of decoding."""
        return self.packets_tell == "decoding"

    def __len__(self) -> int:
        return len(self.pts)

    def seconds(self, frame: int) -> Fraction:
        """Return the time of a frame in seconds since the first displayed frame; frame == len gives the end."""
        ticks = self.end_pts if frame == len(self.pts) else self.pts[frame]
        return (ticks - self.pts[0]) * self.time_base

    def frame_at(self, seconds: Fraction) -> int:
        """Return the first frame shown at or after a time (seconds since the first frame); len if all come earlier."""
        return bisect_left(self.pts, self.pts[0] + seconds / self.time_base)

    def frame_of(self, pts: int) -> int | None:
        """Return the frame whose packet has exactly this time in ticks, or None."""
        frame = bisect_left(self.pts, pts)
        if frame == len(self.pts) or self.pts[frame] != pts:
            return None
        return self.decode_order[frame] if self.tells_decoding else frame

    def packet_pts(self, frame: int) -> int:
        """Return the time in ticks that the packet of a frame has in the file."""
        return self.pts[self.decode_order.index(frame) if self.tells_decoding else frame]

    def keyframe_before(self, frame: int) -> int:
        """Return the last keyframe at or before a frame, or 0."""
        return max(self.keyframe.rfind(1, 0, frame + 1), 0)


def build_frame_table(path: str, video: VideoInfo, packets: PacketIndex) -> FrameTable:
    """Sort packets into a FrameTable.

    A keyframe that later packets cannot reach back over is a clean entry if it has no leading pictures: all packets
    before it, and none after it, are shown before it. Leading pictures of HEVC, MPEG-1 and MPEG-2 stand right behind it
    in decode order, so there it is enough that they can be left out. Raises UnsupportedMedia if times are not unique,
    or run backwards.

        frame   0 1 2 3 4 5 6 7           decode order  0 2 1 | 5 3 4 | 7 6
                      L L C                                       ^ the first 6 packets are frames 0 to 5
    """
    pts, flags = packets.pts, packets.flags
    order = sorted(range(len(pts)), key=pts.__getitem__)
    frame_of_packet = array("q", bytes(8 * len(pts)))
    for frame, packet in enumerate(order):
        frame_of_packet[packet] = frame
    sorted_pts = array("q", (pts[packet] for packet in order))
    for frame in range(1, len(sorted_pts)):
        if sorted_pts[frame] == sorted_pts[frame - 1]:
            raise UnsupportedMedia(
                f"{path}: frames {frame - 1} and {frame} have the same time"
                f" ({float(sorted_pts[frame] * video.clock.time_base):.3f} s). Remux or convert the file first."
            )
    _require_local_order(path, video, pts, frame_of_packet)
    keyframe, clean_exit = bytearray(len(pts)), bytearray(len(pts) + 1)
    clean_exit[0] = 1
    last_shown = -1
    for packet, frame in enumerate(frame_of_packet):
        keyframe[frame] = flags[packet] & KEYFRAME
        last_shown = max(last_shown, frame)
        clean_exit[packet + 1] = last_shown == packet
    clean_entry = bytearray(len(pts))
    for packet, frame in enumerate(frame_of_packet):
        led = frame != packet and video.codec not in LEADING_MAY_GO
        clean_entry[frame] = bool(flags[packet] & CLEAN) & clean_exit[frame + 1] & (not led)
    average = average_ticks(video)
    slots = settle_dts(packets.dts if packets.has_dts else None, sorted_pts, frame_of_packet, average)
    hidden = zip(packets.hidden.slots, packets.hidden.pts, strict=True)
    return FrameTable(
        time_base=video.clock.time_base,
        pts=sorted_pts,
        dts=slots,
        decode_order=frame_of_packet,
        keyframe=bytes(keyframe),
        clean=CleanCuts(bytes(clean_entry), bytes(clean_exit)),
        end_pts=packets.end_pts if packets.end_pts > sorted_pts[-1] else sorted_pts[-1] + average,
        hidden=HiddenSlots(
            _hidden_head(packets, sorted_pts[0], slots),
            array("q", (slot for slot, ticks in hidden if ticks >= sorted_pts[0])),
        ),
        changes=ParameterChanges(
            _descriptions(packets, order), tuple(frame_of_packet[packet] for packet in packets.new_forms)
        ),
    )


def _hidden_head(packets: PacketIndex, first: int, slots: array[int]) -> HiddenHead:
    """Return what is hidden before the first frame, shown at `first` ticks; slots: of the displayed packets."""
    hidden = [*zip(packets.hidden.slots, packets.hidden.pts, packets.hidden.stops, packets.hidden.dts, strict=True)]
    if any(slot == 0 and pts > first for slot, pts, _, _ in hidden):  # shown later, but decoded before all frames
        return "other"
    head = [(slot, 0, stop, dts) for slot, pts, stop, dts in hidden if pts < first]
    if not head:
        return "none"
    shown = [(slot, 1, 0, dts) for slot, dts in enumerate(slots[: head[-1][0] + 1])]
    in_order = all(a[3] < b[3] for a, b in pairwise(sorted([*head, *shown], key=itemgetter(0, 1))))
    return "negative" if in_order and all(stop <= 0 for _, _, stop, _ in head) else "other"


def _descriptions(packets: PacketIndex, order: Sequence[int]) -> tuple[SampleDescription, ...]:
    """Return the stretches of frames, in presentation order, that need other parameter sets than the first."""
    if len(packets.extradata) < 2:
        return ()
    numbered = ((packets.flags[packet] >> DESCRIPTION_SHIFT, frame) for frame, packet in enumerate(order))
    stretches = [(number, [frame for _, frame in part]) for number, part in groupby(numbered, key=itemgetter(0))]
    return tuple(
        SampleDescription((frames[0], frames[-1] + 1), packets.extradata[number])
        for number, frames in stretches
        if number
    )


def average_ticks(video: VideoInfo) -> int:
    """Return how long a frame is shown on average, in ticks; 1 at least."""
    return max(round(1 / (video.clock.average_rate * video.clock.time_base)), 1)


def build_shown_table(video: VideoInfo, packets: PacketIndex, shown: Sequence[int]) -> FrameTable:
    """Return the FrameTable of a video some of whose packets show nothing, or whose frames have no packets.

    shown: the times of the frames that a decoder puts out. They are the frames; packets of other times have none.

        packets   1:key 2 3:not shown 4 5          shown  1 2 4 5          frames  0 1 2 3
    """
    pts = array("q", sorted(set(shown)))
    keyframes = {ticks for ticks, flags in zip(packets.pts, packets.flags, strict=True) if flags & KEYFRAME}
    nothing = bytes(len(pts) + 1)
    order = array("q", range(len(pts)))
    return FrameTable(
        time_base=video.clock.time_base,
        pts=pts,
        dts=rebuild_dts(pts, order),
        decode_order=order,
        keyframe=bytes(ticks in keyframes for ticks in pts),
        clean=CleanCuts(nothing[1:], nothing),
        end_pts=packets.end_pts if packets.end_pts > pts[-1] else pts[-1] + average_ticks(video),
        packets_tell="nothing",
    )


def build_decoded_table(video: VideoInfo, packets: PacketIndex, dts: array[int], shown: Sequence[int]) -> FrameTable:
    """Return the FrameTable of a video whose packets tell when they are decoded, not when their frames are shown.

    packets: their times increase. dts: decode-time slots. shown: the times of the packets whose frames a decoder puts
    out, in that order. Frame i has the i-th time. A packet without a frame stands behind all that came before it: it
    repeats the picture shown last, or is damaged.

        packets   1:I 2:P 3:B 4:P 5:B      shown  1 3 2 5 4      decode order  0 2 1 4 3
    """
    pts = packets.pts
    place = {ticks: number for number, ticks in enumerate(shown)}
    behind = -1
    keys = []
    for packet, ticks in enumerate(pts):
        behind = max(behind, place.get(ticks, -1))
        keys.append((place[ticks], -1) if ticks in place else (behind, packet))
    frame_of_packet = array("q", bytes(8 * len(pts)))
    for frame, packet in enumerate(sorted(range(len(pts)), key=keys.__getitem__)):
        frame_of_packet[packet] = frame
    keyframe = bytearray(len(pts))
    for packet, frame in enumerate(frame_of_packet):
        keyframe[frame] = packets.flags[packet] & KEYFRAME
    nothing = bytes(len(pts) + 1)
    return FrameTable(
        time_base=video.clock.time_base,
        pts=pts,
        dts=dts,
        decode_order=frame_of_packet,
        keyframe=bytes(keyframe),
        clean=CleanCuts(nothing[1:], nothing),
        end_pts=packets.end_pts if packets.end_pts > pts[-1] else pts[-1] + average_ticks(video),
        packets_tell="decoding",
    )


def _require_local_order(path: str, video: VideoInfo, pts: array[int], frame_of_packet: array[int]) -> None:
    """Raise UnsupportedMedia where a packet's time is so far from its neighbours' that times must have run back."""
    for packet, frame in enumerate(frame_of_packet):
        if abs(frame - packet) > MOST_REORDERING:
            raise UnsupportedMedia(
                f"{path}: times run backwards near {float(pts[packet] * video.clock.time_base):.3f} s"
                f" (packet {packet})."
                " Convert the file first, or give its parts one by one."
            )


def settle_dts(dts: array[int] | None, sorted_pts: array[int], decode_order: array[int], most: int) -> array[int]:
    """Return decode-time slots that increase and are never after the presentation time of the packet that takes them.

    dts: as the container tells them, None if it does not. They are kept as far as possible: where two are equal, or
    cross, the former is moved before the latter, by `most` ticks at most. Otherwise all are built anew.
    """
    if dts is None:
        return rebuild_dts(sorted_pts, decode_order)
    settled = array("q", dts)
    for slot in range(len(dts) - 1, -1, -1):
        latest = sorted_pts[decode_order[slot]]
        settled[slot] = min(dts[slot], latest, settled[slot + 1] - 1 if slot + 1 < len(dts) else latest)
        if dts[slot] - settled[slot] > most:
            return rebuild_dts(sorted_pts, decode_order)
    return settled


def rebuild_dts(sorted_pts: array[int], decode_order: array[int]) -> array[int]:
    """Return decode-time slots where the container has none: presentation times, early enough for every packet.

    Slot i is the i-th presentation time less one constant, the least that keeps each slot at or before the
    presentation time of the packet that takes it.
    """
    delay = max((sorted_pts[i] - sorted_pts[frame] for i, frame in enumerate(decode_order)), default=0)
    return array("q", (ticks - delay for ticks in sorted_pts))
