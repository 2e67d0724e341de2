"""Frame tables of videos that do not exist."""

from array import array
from fractions import Fraction

from media.packets.frame_table import CleanCuts, FrameTable


def table_of(times, time_base=Fraction(1, 1000)):
    """Return the table of a video with frames at the given times in ticks; every frame is a keyframe."""
    pts = array("q", times)
    num_frames = len(pts)
    flags = bytes([1] * num_frames)
    return FrameTable(
        time_base=time_base,
        pts=pts,
        dts=pts,
        decode_order=array("q", range(num_frames)),
        keyframe=flags,
        clean=CleanCuts(flags, flags + b"\1"),
        end_pts=pts[-1] + (pts[-1] - pts[-2] if num_frames > 1 else 40),
    )
