"""Which pictures of a finished file are decoded to see that players show what was promised: head, seams and end."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from media.intervals import Interval, merge
from media.packets.frame_table import FrameTable
from media.timeline import OutputTimeline
from stitcher.verify.pixels import source_frames
from stitcher.verify.provenance import FrameProvenance

GOP_FRAMES = 25
"""Most frames behind a seam that are compared, where the next keyframe is farther away."""
LEAD_FRAMES = 4
"""Frames before a seam that are compared: what is shown last before it may have been decoded after it."""
MOST_END_FRAMES = 1000
"""Frames that may be decoded to reach the last ones; a file whose last keyframe lies farther back is left to its
seams."""
SEAM_FRAMES, RENDERED_SHARE, CODED_SHARE, COPIED_SHARE = 100, 0.2, 0.06, 0.01
"""How many frames are decoded for seams: some in any file, and a share of the frames that were made in each way. So
the check takes a few per cent of the time of a job."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Where a finished file was put together."""

    seams: tuple[int, ...]
    """Output frames with which a clip begins that is re-encoded, or follows one that is; increasing."""
    seed: str
    """Chooses among the seams of a file that has too many of them to look at all: the same ones in every run."""


def choose_frames(
    written: FrameTable, source: FrameTable, timeline: OutputTimeline, marks: FrameProvenance, sampling: Sampling
) -> Sequence[int]:
    """Return the output frames to compare, increasing: the first and the last group of pictures, and around seams.

    A group is cut at GOP_FRAMES. Of thousands of seams so many are chosen that decoding is a few per cent of the work
    that was done. written: of the output; source: of the source.

        keyframes   |           |        |  seam      |
        compared    [----------)       [----|---------)       ...[-----)
                    head                LEAD                        end
    """
    shown = source_frames(timeline)
    last = len(shown)
    head = (0, _group_stop(written, 0, last))
    chosen = [head]
    end = (max(written.keyframe_before(last - 1), last - GOP_FRAMES), last)
    if _cost(end, written, source, shown) <= MOST_END_FRAMES:
        chosen.append(end)
    left = _allowance(marks, last)
    for seam in sorted(sampling.seams, key=lambda seam: zlib.crc32(f"{sampling.seed} {seam}".encode())):
        part = (max(seam - LEAD_FRAMES, 0), _group_stop(written, seam, last))
        cost = _cost(part, written, source, shown)
        if cost <= left:
            left -= cost
            chosen.append(part)
    return list(_frames(merge(chosen)))


def _group_stop(table: FrameTable, start: int, last: int) -> int:
    """Return where the group of pictures that holds a frame ends, GOP_FRAMES behind the frame at most."""
    following = table.keyframe.find(1, start + 1, start + GOP_FRAMES)
    return following if following >= 0 else min(start + GOP_FRAMES, last)


def _cost(part: Interval, written: FrameTable, source: FrameTable, shown: Sequence[int]) -> int:
    """Return how many frames of output and source are decoded to compare a part of the output."""
    first, last = (pick(shown[part[0] : part[1]]) for pick in (min, max))
    return part[1] - written.keyframe_before(part[0]) + last + 1 - source.keyframe_before(first)


def _allowance(marks: FrameProvenance, num_frames: int) -> float:
    rendered = sum(stop - start for (start, stop), _ in marks.rendered)
    coded = sum(stop - start for start, stop in marks.coded)
    copied = num_frames - rendered - coded
    return SEAM_FRAMES + RENDERED_SHARE * rendered + CODED_SHARE * coded + COPIED_SHARE * copied


def _frames(parts: Sequence[Interval]) -> Iterator[int]:
    for start, stop in parts:
        yield from range(start, stop)
