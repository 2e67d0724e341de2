"""PURE: where a mouth is neutral, and where it stays closed, by how open it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from media.faces import NeutralFace
from media.intervals import Interval
from segmenter.tracks import Track

NEUTRAL_FACE_FRAMES = 1500
"""One neutral face is chosen in so many frames, a minute: after that light and head may have changed."""
CLOSED_SHARE = 1.15
"""How much more open than at its most closed a mouth may look and still count as closed; whether it is closed in each
frame shows when it is rendered (renderer.silence)."""
CLOSED_FRAMES = 15
"""How long it must stay closed, 0.6 s at 25 frames a second: in speech lips meet for 0.1 to 0.3 s."""


def find_closed_mouth(track: Track, frames: Sequence[int]) -> tuple[Interval, ...]:
    """Return where the mouth looks nearly as closed as it ever does, in every sample of CLOSED_FRAMES or more.

    Lips that only meet in speech part again sooner; to show the original mouth so briefly would flicker.
    """
    openness = _openness(track, frames)
    most = CLOSED_SHARE * min(openness.values(), default=0.0)
    intervals = []
    for is_closed, group in groupby(openness, key=lambda frame: openness[frame] <= most):
        closed = list(group)
        if is_closed and closed[-1] - closed[0] >= CLOSED_FRAMES:
            intervals.append((closed[0], closed[-1] + 1))
    return tuple(intervals)


def find_neutral_faces(track: Track, frames: Sequence[int]) -> tuple[NeutralFace, ...]:
    """Return where the mouth looks most closed, once in every NEUTRAL_FACE_FRAMES frames of the video."""
    openness = _openness(track, frames)
    blocks = (list(block) for _, block in groupby(openness, key=lambda frame: frame // NEUTRAL_FACE_FRAMES))
    best = (min(block, key=lambda frame: openness[frame]) for block in blocks)
    return tuple(NeutralFace(frame, replace(track[frame], embedding=b"")) for frame in best)


def _openness(track: Track, frames: Sequence[int]) -> dict[int, float]:
    """Return how open the mouth looks, for each frame in which that was measured."""
    return {frame: openness for frame in frames if (openness := track[frame].openness) is not None}
