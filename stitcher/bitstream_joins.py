"""Where copied and coded packets meet: decode-time slots, parameter sets, and the form of a packet on either side.

Output packets are numbered in decode order. Coded clips have no reordering, and copied ones begin and end where the
packets of their frames are complete, so the packets of a clip are exactly numbers start_frame to stop_frame - 1.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from media.bitstream.hevc_ids import RenumberedSets, add_hevc_sets
from media.bitstream.side_data import Beside, with_av1_beside, with_beside
from media.bitstream.units import (
    add_h264_sets,
    as_bla,
    irap_type,
    is_clean_keyframe,
    join_units,
    length_prefix_size,
    parameter_sets,
    split_units,
    unit_type,
    without_av1_delimiters,
)
from media.clips import Clip
from media.info import VideoInfo
from media.packets.frame_table import FrameTable, rebuild_dts
from media.timeline import OutputTimeline

WITHOUT_SETS = ("hvc1", "dvh1")
"""Tags of HEVC in MP4 that forbid parameter sets inside the stream (ISO/IEC 14496-15 8.4.1), without Dolby Vision and
with it. Apple's players take no others."""


def copied_order(table: FrameTable, clip: Clip) -> list[int]:
    """Return the source frames of a copied clip in decode order."""
    first, last = clip.source_frames[0], clip.source_frames[-1]
    # Pictures that lead the clip's first one may stand behind it in decode order; they were re-encoded. At the head
    # of a file pictures may lead, too: an edit list may hide what they refer to.
    at = first
    while first and table.decode_order[at] != first:
        at -= 1
    return [frame for frame in table.decode_order[at : last + 1] if first <= frame <= last]


def decode_slots(table: FrameTable, timeline: OutputTimeline, clips: Sequence[Clip]) -> Sequence[int]:
    """Return the decode time in ticks of each output packet, increasing and never after its frame's time.

    Where the output is the source, slots are inherited (and go on behind its end at the last distance). An extraction
    joins pieces whose slots may cross, so there they are rebuilt from the presentation times.
    """
    if timeline.is_source:
        lag = table.pts[-1] - table.dts[-1]
        appended = array("q", (ticks - lag for ticks in timeline.pts[len(table) :]))
        return table.dts + appended
    order = array("q")
    for clip in clips:
        if clip.action == "copy":
            shift = clip.start_frame - clip.source_frames[0]
            order.extend(frame + shift for frame in copied_order(table, clip))
        else:
            order.extend(range(clip.start_frame, clip.stop_frame))
    slots = rebuild_dts(array("q", timeline.pts), order)
    # Where an extraction begins later than 0 to leave time for it, packets are as early as they are in the source:
    # readers of AVI count on that.
    wanted = min(table.pts[-1] - table.dts[-1], timeline.pts[0])
    early = max(wanted - (timeline.pts[0] - slots[0]), 0)
    return array("q", (ticks - early for ticks in slots))


class Bitstream:
    """Makes copied and coded packets of one video fit into one stream that strict players take.

    H.264 behind lengths: both parameter sets go into the configuration record, copied packets stay byte-identical.
    H.264 in Annex B: the coded packets' sets stand in front of their IDR pictures, as the source's do. HEVC, whose
    encoder cannot choose ids: sets in front of every IRAP picture, and the stream is tagged hev1 to allow it; from a
    source that is tagged hvc1, which forbids it, the coded packets get other ids, and both sets go into the record.
    Both codecs get the source's words on HDR in front of coded IDR pictures. The other codecs bring along all that
    their key pictures need.
    """

    def __init__(
        self, video: VideoInfo, coded_extradata: bytes | None, *, any_copied: bool, is_annex_b: bool = False
    ) -> None:
        """coded_extradata: of the coded clips' encoder; None if every packet is copied. is_annex_b: of the output.

        Its muxer then puts H.264's sets in front of IDR pictures alone; some sources have none.
        """
        self._codec = video.codec
        self._prefix_size = length_prefix_size(video.codec, video.coded.extradata)
        self._is_mixed = coded_extradata is not None
        self._own_sets: list[bytes] = []
        self._coded_sets: list[bytes] = []
        self._lasting_sei = list(video.coded.lasting_sei)
        self.extradata = video.coded.extradata
        """Extradata of the output stream."""
        self._renumbered: RenumberedSets | None = None
        self._repeated_sets: list[bytes] = []
        """What stands in front of H.264 keyframes that are no IDR pictures."""
        if coded_extradata is None:
            pass
        elif video.codec == "h264":
            self._coded_sets = parameter_sets("h264", coded_extradata)
            if self._prefix_size:
                self.extradata = add_h264_sets(video.coded.extradata, self._coded_sets)
                self._coded_sets = []
        elif video.codec == "hevc" and self._prefix_size and video.coded.tag in WITHOUT_SETS:
            own = parameter_sets("hevc", video.coded.extradata)
            self._renumbered = RenumberedSets(parameter_sets("hevc", coded_extradata), own)
            self.extradata = add_hevc_sets(video.coded.extradata, self._renumbered.sets)
        elif video.codec == "hevc":
            self._own_sets = parameter_sets("hevc", video.coded.extradata)
            self._coded_sets = parameter_sets("hevc", coded_extradata)
        elif not any_copied:
            self.extradata = coded_extradata
        if is_annex_b and video.codec == "h264" and self._prefix_size:
            # All of them: the muxer repeats the last sets that it saw in the stream in front of the next IDR picture.
            self._repeated_sets = parameter_sets("h264", self.extradata)

    def coded(self, packet: bytes, beside: Beside | None = None, *, keyframe: bool) -> bytes:
        """Return a coded clip's packet (Annex B, no sets) in the form of the output.

        beside: what goes beside its picture, in place of what the encoder wrote; None: that stays.
        """
        if self._codec == "av1":
            packet = without_av1_delimiters(packet)
            return with_av1_beside(packet, beside) if beside else packet
        if self._codec not in ("h264", "hevc"):
            return packet
        before = [*self._coded_sets, *self._lasting_sei] if keyframe else []
        units = list(split_units(packet, 0))
        if self._renumbered:
            units = [self._renumbered.slice(unit) if unit_type("hevc", unit) < 32 else unit for unit in units]
        if beside is not None:
            units = with_beside(self._codec, units, beside)
        return join_units([*before, *units], self._prefix_size)

    def copied(self, packet: bytes, *, keyframe: bool, breaks: bool) -> bytes:
        """Return a source packet in the form of the output; breaks: it does not follow what it followed in the source.

        A CRA picture then becomes a BLA: decoders start their picture order count anew there.
        """
        if self._repeated_sets and keyframe and not is_clean_keyframe("h264", packet, self._prefix_size):
            return join_units([*self._repeated_sets, *split_units(packet, self._prefix_size)], self._prefix_size)
        if self._codec != "hevc" or irap_type(packet, self._prefix_size) is None:
            return packet
        if breaks:
            packet = as_bla(packet, self._prefix_size)
        if not self._is_mixed or self._renumbered:
            return packet
        units = list(split_units(packet, self._prefix_size))
        missing = [unit for unit in self._own_sets if unit not in units]
        return join_units([*missing, *units], self._prefix_size)
