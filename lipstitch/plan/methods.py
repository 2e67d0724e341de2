"""PURE: where the new mouths of each span come from, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lipstitch.footage.read import Footage, SubjectBank
from lipstitch.footage.subjects import Views, views_of
from lipstitch.job_file.config import RendererConfig
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.plan.target import TargetSelection
from media.clips import FaceSpan, Gap, MouthSource, Span, in_time_order
from media.intervals import Interval, complement, merge
from renderer.footage.bank import Bank
from segmenter.scan import Scan

MOST_TURN: Final = 20.0
"""Degrees by which a head may be turned or bowed further than in all of its footage."""
MOST_SCALE: Final = 1.8
"""How much larger a face may be than the largest of its footage: its mouth would look soft."""
MISFIT_SHARE: Final = 0.3
"""Of a span's samples that may not fit."""
MOST_DOUBT: Final = 0.06
"""Eye distances by which the points of the lips may be off, as the mesh network itself thinks: median of a span."""


@dataclass(frozen=True, slots=True)
class FaceSelection:
    """Whose faces are rendered, and where their new mouths come from."""

    target: TargetSelection
    footage: Footage
    scan: Scan
    settings: RendererConfig

    def seen_spans(self, intervals: Sequence[Interval]) -> tuple[Span, ...]:
        """Return the spans of some frames of the source; in a dialogue, wherever speakers are seen."""
        return self._with_methods(self.target.seen_spans(intervals))

    def spans_of(self, specs: Sequence[OutputSpec]) -> tuple[Span, ...]:
        """Return the spans of all frames that outputs show, as their plans have them."""
        return self._with_methods(self.target.spans_of(specs))

    def _with_methods(self, spans: Sequence[Span]) -> tuple[Span, ...]:
        """Return spans with the source of their mouths; those that should keep their frames become gaps."""
        chosen = [with_method(span, self.footage, self.scan, self.settings) for span in spans]
        return _apart(chosen)


def _apart(chosen: Sequence[Span]) -> tuple[Span, ...]:
    """Return spans in order, their gaps without frames that show another face, and without each other's."""
    faces = merge((span.start_frame, span.stop_frame) for span in chosen if isinstance(span, FaceSpan))
    apart = [
        replace(span, start_frame=start, stop_frame=stop)
        for span in chosen
        if isinstance(span, Gap)
        for start, stop in complement(faces, span.start_frame, span.stop_frame)
    ]
    disjoint: list[Span] = []
    for gap in in_time_order(apart):
        first = max(gap.start_frame, disjoint[-1].stop_frame if disjoint else 0)
        if first < gap.stop_frame:
            disjoint.append(replace(gap, start_frame=first))
    return tuple(in_time_order([*disjoint, *(span for span in chosen if isinstance(span, FaceSpan))]))


def with_method(span: Span, footage: Footage, scan: Scan, settings: RendererConfig) -> Span:
    """Return a span with the source of its mouths; one that should keep its frames as a gap, with the reason."""
    if isinstance(span, Gap):
        return span
    asked = span.source.method if span.source.is_asked else settings.method
    if asked == "network":
        return replace(span, source=replace(span.source, method="network"))
    number = footage.number_of(span)
    if number is None:
        return replace(span, source=MouthSource("network"))
    bank, views = footage.banks[number], views_of(span, scan)
    if not len(views):  # a turn of a dialogue that is shorter than the scan's step
        views = views_of(bank.subject.whole(span), scan)
    problem = _problem(bank, views)
    # Who asks for footage gets it, however poor, where there is any.
    is_possible = bank.num_mouths > 0 and len(views) > 0
    if not problem or (asked == "footage" and is_possible):
        return replace(span, source=MouthSource("footage", is_asked=span.source.is_asked))
    if settings.keeps_without_footage:
        return Gap(span.start_frame, span.stop_frame, f"no mouths from footage: {problem}")
    return replace(span, source=MouthSource("network", problem))


def _problem(bank: SubjectBank, views: Views) -> str:
    """Return why the mouths of a bank do not suit a span; empty if they do. views: of the span."""
    if not bank.num_mouths:
        return "no mouth in the footage is sharp, lit and sure enough"
    if not len(views):
        return "the points of the face were not looked for in it"
    if float(np.median(views.doubt)) > MOST_DOUBT:
        return "the points of the face are unsure in it"
    with Bank(bank.path) as opened:
        if _misfit_share(views, opened) > MISFIT_SHARE:
            return "the head is turned further, or larger, than in the footage"
    return ""


def _misfit_share(views: Views, bank: Bank) -> float:
    """Return the share of samples that no mouth of a bank suits."""
    footage = bank.candidates.pose
    turn = np.abs(views.pose[:, None, :2] - footage[None, :, :2]).max(axis=2)
    scale = views.pose[:, None, 3] - footage[None, :, 3]
    suits = (turn <= MOST_TURN) & (scale <= np.log(MOST_SCALE))
    return float(1 - suits.any(axis=1).mean())
