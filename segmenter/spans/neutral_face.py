"""PURE: where a mouth rests, and where it is shut, by how open it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from media.faces import NeutralFace
from media.intervals import Interval
from segmenter.tracks import Track

NEUTRAL_FACE_FRAMES = 1500
"""A mouth at rest is looked for once in so many frames, a minute: after that light and head may be others."""
CLOSED_SHARE = 1.15
"""How much more open than ever a mouth may look that is taken for shut; what it is in each frame is seen when it is
drawn (renderer.silence)."""
CLOSED_FRAMES = 15
"""How long it must stay so, 0.6 s at 25 frames a second: in speech lips meet for 0.1 to 0.3 s."""


def find_closed_mouth(track: Track, frames: Sequence[int]) -> tuple[Interval, ...]:
    """Return where the mouth looks nearly as shut as it ever does, for CLOSED_FRAMES at least, by all looks in between.

    Lips that only meet in speech part again sooner. To show the source's own mouth so briefly would flicker.
    """
    looks = {frame: openness for frame in frames if (openness := track[frame].openness) is not None}
    most = CLOSED_SHARE * min(looks.values(), default=0.0)
    stretches = []
    for is_shut, group in groupby(looks, key=lambda frame: looks[frame] <= most):
        first, *rest = group
        last = rest[-1] if rest else first
        if is_shut and last - first >= CLOSED_FRAMES:
            stretches.append((first, last + 1))
    return tuple(stretches)


def find_neutral_faces(track: Track, frames: Sequence[int]) -> tuple[NeutralFace, ...]:
    """Return where the mouth looks most shut, once in every NEUTRAL_FACE_FRAMES frames of the video."""
    looked = [(frame, openness) for frame in frames if (openness := track[frame].openness) is not None]
    blocks = (list(block) for _, block in groupby(looked, key=lambda each: each[0] // NEUTRAL_FACE_FRAMES))
    best = (min(block, key=lambda each: each[1])[0] for block in blocks)
    return tuple(NeutralFace(frame, replace(track[frame], embedding=b"")) for frame in best)
