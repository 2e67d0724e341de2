"""PURE: which clips deserve a look first, and why."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal

from lipstitch.report.records import OUTCOME_NAMES, ClipRecord, OutcomeName, SpanRecord
from media.clips import Outcome
from media.intervals import Interval

WORSE: Final[Mapping[str, Literal["high", "low", "far"]]] = {
    "lse_d": "high",
    "lse_c": "low",
    "lse_offset_frames": "far",
    "sync_distance": "high",
    "sync_confidence": "low",
    "sync_offset_frames": "far",
    "opening_correlation": "low",
    "opening_lag_ms": "far",
    "silence_movement": "high",
    "flicker_ratio": "high",
    "sharpness_ratio": "low",
    "psnr_untouched": "low",
}
"""Which values of a figure speak against a clip: high ones, low ones, or those far from 0. Others do not rank clips."""
_BY_TIER: Final[Sequence[Outcome]] = ("fell_back", "rendered", "reencoded", "copied")
TIERS: Final[Mapping[OutcomeName, int]] = {OUTCOME_NAMES[outcome]: tier for tier, outcome in enumerate(_BY_TIER)}


class Overlaps:
    """Finds the spans that share frames with an interval, in time that grows with their logarithm."""

    def __init__(self, spans: Sequence[SpanRecord]) -> None:
        """Sort the spans."""
        self._spans = sorted(spans, key=lambda span: span.start_frame)
        self._latest_stops = list(accumulate((span.stop_frame for span in self._spans), max))

    def of(self, frames: Interval) -> list[SpanRecord]:
        """Return the spans that share frames with an interval, by their first frame."""
        start, stop = frames
        first = bisect_right(self._latest_stops, start)
        last = bisect_left(self._spans, stop, key=lambda span: span.start_frame)
        return [span for span in self._spans[first:last] if span.stop_frame > start]


def find_concerns(clip: ClipRecord, faces: Sequence[SpanRecord], num_damaged: int) -> tuple[str, ...]:
    """Return what speaks against a clip, a sentence each, the worst first.

    faces: the face spans that it shows. num_damaged: its frames that could not be decoded properly.
    """
    concerns = []
    if clip.outcome == "fell_back":
        concerns.append(f"Fell back to the original frames: {clip.reason}.")
    if num_damaged:
        concerns.append(f"{num_damaged} frames of the source are damaged.")
    if clip.outcome == "rendered":
        reasons = dict.fromkeys(span.method_reason for span in faces if span.method_reason)
        concerns += [f"A network drew the mouth: {reason}." for reason in reasons]
    return tuple(concerns)


def rank_clips(
    clips: Sequence[ClipRecord], concerns: Sequence[Sequence[str]], figures: Mapping[int, Mapping[str, float]]
) -> list[int]:
    """Return the positions of clips, the worst first.

    Clips that fell back come first, then those with new mouths, then those without. Of clips that were measured those
    come first whose figures are worst: each figure ranks the clips, and the mean of a clip's ranks counts. Otherwise,
    and among equals, those with more concerns come first, then the earlier ones. figures: by the clip's index.
    """
    badness = _mean_ranks(figures)
    return sorted(
        range(len(clips)),
        key=lambda at: (
            TIERS[clips[at].outcome],
            -badness.get(clips[at].index, -1.0),
            -len(concerns[at]),
            clips[at].start_frame,
        ),
    )


def _mean_ranks(figures: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """Return for each measured clip how bad it is among them, from 0 to 1: the mean over its figures."""
    ranks: dict[int, list[float]] = {}
    for name, worse in WORSE.items():
        values = {index: _badness(own[name], worse) for index, own in figures.items() if name in own}
        ordered = sorted(values.values())
        for index, value in values.items():
            below, not_above = bisect_left(ordered, value), bisect_right(ordered, value)
            ranks.setdefault(index, []).append((below + not_above) / 2 / len(ordered))
    return {index: sum(own) / len(own) for index, own in ranks.items()}


def _badness(value: float, worse: Literal["high", "low", "far"]) -> float:
    return {"high": value, "low": -value, "far": abs(value)}[worse]
