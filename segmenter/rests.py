"""PURE: where a mouth rests, and where it is shut, by how open it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from media.timeline import Interval, Rest
from segmenter.tracks import Track

REST_FRAMES = 1500
"""A mouth at rest is looked for once in so many frames, a minute: after that light and head may be others."""
SHUT_SHARE = 1.15
"""How much more open than ever a mouth may look that is taken for shut; what it is in each frame is seen when it is
drawn (renderer.silence)."""
SHUT_FRAMES = 15
"""How long it must stay so, 0.6 s at 25 frames a second: in speech lips meet for 0.1 to 0.3 s."""


def find_shut(track: Track, frames: Sequence[int]) -> tuple[Interval, ...]:
    """Return where the mouth looks nearly as shut as it ever does, for SHUT_FRAMES at least, by every look in between.

    Lips that only meet in speech part again sooner. To show the source's own mouth so briefly would flicker.
    """
    looks = {frame: openness for frame in frames if (openness := track[frame].openness) is not None}
    most = SHUT_SHARE * min(looks.values(), default=0.0)
    stretches = []
    for is_shut, group in groupby(looks, key=lambda frame: looks[frame] <= most):
        first, *rest = group
        last = rest[-1] if rest else first
        if is_shut and last - first >= SHUT_FRAMES:
            stretches.append((first, last + 1))
    return tuple(stretches)


def find_rests(track: Track, frames: Sequence[int]) -> tuple[Rest, ...]:
    """Return where the mouth looks most shut, once in every REST_FRAMES frames of the video."""
    looked = [(frame, openness) for frame in frames if (openness := track[frame].openness) is not None]
    blocks = (list(block) for _, block in groupby(looked, key=lambda each: each[0] // REST_FRAMES))
    best = (min(block, key=lambda each: each[1])[0] for block in blocks)
    return tuple(Rest(frame, replace(track[frame], embedding=b"")) for frame in best)
