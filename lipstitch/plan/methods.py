"""PURE: where the new mouths of each span come from, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lipstitch.footage.read import Footage, SubjectBank
from lipstitch.footage.subjects import Views, views_of
from lipstitch.job_file.renderer import RendererConfig
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.plan.target import TargetSelection
from media.clips import FaceSpan, Gap, Span, in_time_order
from media.intervals import Interval, complement, merge
from renderer.footage.bank import Bank
from segmenter.scan import Scan
from segmenter.spans.table import SpanRow, to_rows, with_changes

MOST_TURN: Final = 20.0
"""Degrees by which a head may be turned or bowed further than in all of its footage."""
MOST_SCALE: Final = 1.8
"""How much larger a face may be than the largest of its footage: its mouth would look soft."""
LEAST_SAMPLES: Final = 2
"""Samples of the scan in a row for which another source of mouths is worth a change: a single one may be mistaken."""
COVERED: Final = "something is before the mouth"
TURNED: Final = "the head is turned further, or larger, than in the footage"
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
        """Return the spans of all frames that outputs show, as their plans have them.

        Where mouths come from is decided for whole spans: a turn may hold too few samples of the scan to tell.
        """
        shown = merge(part for spec in specs for part in spec.scanned_frames)
        return self.target.cut_spans(self.seen_spans(shown), specs)

    def to_rows(self, specs: Sequence[OutputSpec]) -> list[SpanRow]:
        """Return the rows of a span file that says the same as the job, and what the user changed."""
        return with_changes(to_rows(self.spans_of(specs)), self.target.changes)

    def _with_methods(self, spans: Sequence[Span]) -> tuple[Span, ...]:
        """Return spans with the source of their mouths; those that should keep their frames become gaps."""
        return _apart([part for span in spans for part in with_methods(span, self.footage, self.scan, self.settings)])


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


def with_methods(span: Span, footage: Footage, scan: Scan, settings: RendererConfig) -> list[Span]:
    """Return a span with the source of its mouths, in parts where it is not the same for all of its frames.

    Frames that should stay as they are become gaps, with the reason.
    """
    if isinstance(span, Gap):
        return [span]
    asked = span.source.method if span.source.is_asked else settings.method
    if asked == "network":
        return [replace(span, source=replace(span.source, method="network"))]
    number = footage.number_of(span)
    if number is None:
        return [replace(span, source=replace(span.source, method="network", reason="", is_asked=False))]
    bank, views = footage.banks[number], views_of(span, scan)
    if not len(views):  # a turn of a dialogue that is shorter than the scan's step
        views = views_of(bank.subject.whole(span), scan)
    # Who asks for footage gets it, however poor, where there is any.
    if asked == "footage" and bank.num_mouths > 0 and len(views) > 0:
        return [_with_footage(span)]
    parts = list(_parts(span, views, _problems(bank, views)))
    return [_with_source(part, problem, settings) for part, problem in parts]


def _with_footage(span: FaceSpan) -> FaceSpan:
    return replace(span, source=replace(span.source, method="footage", reason=""))


def _with_source(part: FaceSpan, problem: str, settings: RendererConfig) -> Span:
    """Return a part of a span with the source of its mouths. problem: why those of a bank do not suit it."""
    if not problem:
        return _with_footage(part)
    if problem == COVERED:  # a network would draw over it
        return Gap(part.start_frame, part.stop_frame, problem)
    if settings.keeps_without_footage:
        return Gap(part.start_frame, part.stop_frame, f"no mouths from footage: {problem}")
    return replace(part, source=replace(part.source, method="network", reason=problem, is_asked=False))


def _parts(span: FaceSpan, views: Views, problems: Sequence[str]) -> Iterator[tuple[FaceSpan, str]]:
    """Yield a span in parts, each with why the mouths of its bank do not suit it; empty if they do.

    problems: of the views, or one for them all. Parts are cut half-way between two samples.
    """
    runs = _runs(problems)
    start = span.start_frame
    for (_, stop, problem), following in zip_longest(runs, runs[1:]):
        inside = following is not None
        frames = views.frames[stop - 1 : stop + 1] if inside else ()
        end = min(max(int(sum(frames)) // 2 + 1, start), span.stop_frame) if inside else span.stop_frame
        if start < end:
            fades_in = span.fades_in if start == span.start_frame else True
            fades_out = span.fades_out if end == span.stop_frame else True
            yield replace(span, start_frame=start, stop_frame=end, fades_in=fades_in, fades_out=fades_out), problem
        start = end


def _runs(problems: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return runs (first, stop, problem) of samples that suit, or do not, each of LEAST_SAMPLES at least.

    What is shorter is part of the run before it, or of the first one. Where no run is long enough, there is one, of
    what most samples are. Of several problems in a run, the most frequent is told.
    """
    edges = [at for at in range(1, len(problems)) if bool(problems[at]) != bool(problems[at - 1])]
    runs: list[tuple[int, int, bool]] = []
    for first, stop in pairwise([0, *edges, len(problems)]):
        is_bad = bool(problems[first])
        if stop - first < LEAST_SAMPLES or (runs and runs[-1][2] == is_bad):
            runs[-1:] = [(runs[-1][0], stop, runs[-1][2])] if runs else []
        else:
            runs.append((first if runs else 0, stop, is_bad))
    if not runs:
        runs = [(0, len(problems), sum(map(bool, problems)) > len(problems) / 2)]
    return [
        (first, stop, Counter(filter(None, problems[first:stop])).most_common(1)[0][0] if is_bad else "")
        for first, stop, is_bad in runs
    ]


def _problems(bank: SubjectBank, views: Views) -> list[str]:
    """Return for each view why the mouths of a bank do not suit it, empty if they do; or one reason for them all."""
    if not bank.num_mouths:
        return ["no mouth in the footage is sharp, lit and sure enough"]
    if not len(views):
        return ["the points of the face were not looked for in it"]
    opened = Bank(bank.path)
    covered = opened.usual_doubt.uncovered(views.doubt, views.pose[:, 0]) == 0
    suits = _suits(views, opened)
    if float(np.median(views.doubt[~covered] if not covered.all() else views.doubt)) > MOST_DOUBT:
        return ["the points of the face are unsure in it"]
    return [COVERED if hidden else "" if fits else TURNED for hidden, fits in zip(covered, suits, strict=True)]


def _suits(views: Views, bank: Bank) -> NDArray[np.bool_]:
    """Mark the views for which a bank has a mouth of a head that is held about so, and about as large."""
    footage = bank.candidates.pose
    turn = np.abs(views.pose[:, None, :2] - footage[None, :, :2]).max(axis=2)
    scale = views.pose[:, None, 3] - footage[None, :, 3]
    return np.asarray(((turn <= MOST_TURN) & (scale <= np.log(MOST_SCALE))).any(axis=1))
