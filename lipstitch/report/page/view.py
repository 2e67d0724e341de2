"""PURE: what a page says, from a report and its material: sentences, lanes of a timeline, a card for each clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lipstitch.report.page.material import PageMaterial
from lipstitch.report.page.ranking import Overlaps, find_concerns, rank_clips
from lipstitch.report.records import OUTCOME_NAMES, ClipRecord, OutcomeName, SpanRecord
from lipstitch.report.report import Report
from media.base.clock import format_clock
from media.base.text import size_text
from media.clips import Outcome
from media.intervals import Interval

_WORDS: Mapping[Outcome, str] = {
    "rendered": "with new mouths",
    "copied": "copied",
    "reencoded": "re-encoded",
    "fell_back": "fell back",
}
OUTCOME_WORDS: Mapping[OutcomeName, str] = {OUTCOME_NAMES[outcome]: words for outcome, words in _WORDS.items()}
"""What a page calls an outcome."""
COUNTED: Mapping[str, str] = {"footage": "from footage", "network": "by a network", **dict(OUTCOME_WORDS.items())}
"""Kinds of blocks that the summary of a lane counts, in words."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a lane, in percent of the whole video."""

    left: str
    width: str
    kind: str
    """What it is coloured by."""
    text: str
    key: int | None = None
    """The clip, or the reason in PageView.reasons, that it belongs to."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A line of the timeline."""

    name: str
    blocks: tuple[Block, ...]
    summary: str
    """The same in words."""


@dataclass(frozen=True, slots=True)
class Card:
    """A clip."""

    index: int
    outcome: OutcomeName
    begins: str
    seconds: str
    frames: Interval
    """Of the source."""
    who: tuple[str, ...]
    """People and speakers that it shows."""
    methods: tuple[str, ...]
    """Where its mouths come from."""
    concerns: tuple[str, ...]
    note: str
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SpanLine:
    """A span as a line of a table."""

    begins: str
    ends: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class PageView:
    """All that a page says beside the report's own tables."""

    title: str
    facts: tuple[tuple[str, str], ...]
    notices: tuple[str, ...]
    """What the user should know, a sentence each."""
    figures: tuple[tuple[str, str], ...]
    """Of the whole output."""
    lanes: tuple[Lane, ...]
    reasons: tuple[tuple[str, str], ...]
    """Why frames are left as they are, and for how long; the longest first."""
    cards: tuple[Card, ...]
    """Those that deserve a look first come first."""
    spans: tuple[SpanLine, ...]


def build_view(report: Report, material: PageMaterial) -> PageView:
    """Return what a page says."""
    figures = {each.clip: each.figures for each in report.measures}
    cards = _cards(report, material, {clip: own for clip, own in figures.items() if clip is not None})
    reasons = _reasons(report.spans, material)
    return PageView(
        title=Path(report.output.path).name,
        facts=tuple((name, value) for name, value in _facts(report) if value),
        notices=tuple(_notices(report)),
        figures=_figures(figures.get(None, {})),
        lanes=tuple(_lanes(report, material, cards, [name for name, _ in reasons])),
        reasons=tuple((name, clock(seconds)) for name, seconds in reasons),
        cards=tuple(cards),
        spans=tuple(_line(span, material) for span in report.spans),
    )


def clock(seconds: float) -> str:
    """Return a time as people read it, to the hundredth before it."""
    return format_clock(Fraction(int(seconds * 100 + 1e-6), 100), digits=2)


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    source, output, target = report.source, report.output, report.target
    share = report.num_rendered_frames / max(output.num_frames, 1)
    yield "source", source.path
    yield "picture", f"{source.width} x {source.height}, {source.codec}, {source.orientation}"
    yield "output", output.path
    yield "length", f"{clock(output.seconds)}, {output.num_frames} frames"
    yield "new mouths", f"in {report.num_rendered_frames} frames ({share:.0%})"
    sizes = [size_text(each.size_bytes) for each in (output, source) if each.size_bytes is not None]
    yield "size", f"{sizes[0]}, the source has {sizes[1]}" if len(sizes) == 2 else ""
    yield "target", target.chosen if target else ""
    yield "sound", report.soundtrack.note
    yield "silence", report.silence
    yield "detector", report.detector
    yield "align", report.align
    yield "masks", ", ".join(report.masks)
    yield "restored by", report.restore
    yield "says of itself", report.disclosure.note if report.disclosure else ""
    yield "drawn by", report.program
    for further in report.further_footage:
        yield "footage", f"{further.seconds:g} s of person {further.person} from {further.path}"


def _notices(report: Report) -> Iterator[str]:
    if count := report.num_clips.get("fell_back"):
        yield f"{count} of {len(report.clips)} clips could not be rendered and fell back to the original frames."
    if not any(span.kind == "face" for span in report.spans):
        yield "There was no face to render, so no lips were changed."
    if report.damaged_frames:
        yield f"{len(report.damaged_frames)} frames of the source are damaged."
    notes = [report.target.note if report.target else "", report.video.note if report.video else ""]
    for note in filter(None, [*notes, *report.soundtrack.notes]):
        yield f"{note[:1].upper()}{note[1:]}."
    for loss in report.output.dropped_streams:
        yield f"The output lacks {loss}."


def _figures(figures: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"{value:.4g}") for name, value in figures.items())


def _cards(report: Report, material: PageMaterial, figures: Mapping[int, Mapping[str, float]]) -> list[Card]:
    overlaps = Overlaps(report.spans)
    damaged = report.damaged_frames
    cards = []
    for clip, frames in zip(report.clips, material.lanes.clips, strict=True):
        faces = [span for span in overlaps.of(frames) if span.kind == "face"]
        num_damaged = sum(frames[0] <= frame < frames[1] for frame in damaged)
        cards.append(
            Card(
                index=clip.index,
                outcome=clip.outcome,
                begins=clock(clip.start_seconds),
                seconds=f"{material.seconds(frames[1]) - material.seconds(frames[0]):.1f} s",
                frames=frames,
                who=tuple(_who(clip, faces, frames, material)),
                methods=tuple(dict.fromkeys(filter(None, (span.method for span in faces)))),
                concerns=find_concerns(clip, faces, num_damaged),
                note=_note(clip),
                figures=_figures(figures.get(clip.index, {})),
            )
        )
    ranked = rank_clips(report.clips, [card.concerns for card in cards], figures)
    return [cards[at] for at in ranked]


def _note(clip: ClipRecord) -> str:
    """Return why frames are shown without a new mouth; empty where a concern says so."""
    if not clip.reason or clip.outcome == "fell_back":
        return ""
    return f"{'Some frames unchanged' if clip.outcome == 'rendered' else 'Unchanged'}: {clip.reason}."


def _who(clip: ClipRecord, faces: Iterable[SpanRecord], frames: Interval, material: PageMaterial) -> Iterator[str]:
    if clip.outcome not in ("rendered", "fell_back"):
        return
    yield from dict.fromkeys(f"person {span.person}" for span in faces if span.person is not None)
    for speaker in material.lanes.speakers:
        if any(start < frames[1] and frames[0] < stop for start, stop in speaker.frames):
            yield speaker.name


def _reasons(spans: Sequence[SpanRecord], material: PageMaterial) -> list[tuple[str, float]]:
    seconds: dict[str, float] = {}
    for span in spans:
        if span.kind == "no_face":
            length = material.seconds(span.stop_frame) - material.seconds(span.start_frame)
            seconds[span.reason] = seconds.get(span.reason, 0.0) + length
    return sorted(seconds.items(), key=lambda each: -each[1])


def _lanes(report: Report, material: PageMaterial, cards: Sequence[Card], reasons: Sequence[str]) -> Iterator[Lane]:
    lanes = material.lanes
    if lanes.ranges:
        yield _lane("Ranges", [_block(part, "range", "range", material) for part in lanes.ranges])
    shots = [
        _block(part, f"shot{number % 2}", f"shot {number}", material)
        for number, part in enumerate(lanes.shots, start=1)
    ]
    yield _lane("Shots", shots)
    for person in sorted({span.person for span in report.spans if span.kind == "face"}, key=lambda each: each or 0):
        spans = [span for span in report.spans if span.kind == "face" and span.person == person]
        name = "Faces" if person is None else f"Person {person}"
        yield _lane(name, [_face_block(span, material) for span in spans])
    gaps = [
        _block(_frames(span), "gap", span.reason, material, reasons.index(span.reason))
        for span in report.spans
        if span.kind == "no_face"
    ]
    if gaps:
        yield _lane("Left as it is", gaps)
    in_order = sorted(cards, key=lambda card: card.index)
    clips = [
        _block(card.frames, card.outcome, f"clip {card.index}: {OUTCOME_WORDS[card.outcome]}", material, card.index)
        for card in in_order
    ]
    yield _lane("Clips", clips)
    for speaker in lanes.speakers:
        yield _lane(speaker.name, [_block(part, "turn", speaker.name, material) for part in speaker.frames])


def _lane(name: str, blocks: Sequence[Block]) -> Lane:
    counts = Counter(COUNTED[block.kind] for block in blocks if block.kind in COUNTED)
    parts = [f"{count} {words}" for words, count in counts.items()] or [f"{len(blocks)} parts"]
    return Lane(name, tuple(blocks), f"{name}: {', '.join(parts)}")


def _face_block(span: SpanRecord, material: PageMaterial) -> Block:
    reason = f": {span.method_reason}" if span.method_reason else ""
    return _block(_frames(span), span.method or "network", f"{_making(span)}{reason}", material)


def _making(span: SpanRecord) -> str:
    """Return how the mouths of a face are made."""
    strength = f", strength {span.strength:g}" if span.strength is not None else ""
    return f"{span.method or 'network'}{strength}{f', quality {span.quality}' if span.quality else ''}"


def _block(frames: Interval, kind: str, text: str, material: PageMaterial, key: int | None = None) -> Block:
    start, stop = (material.seconds(frame) for frame in frames)
    whole = material.seconds(material.num_frames) or 1.0
    return Block(
        left=f"{100 * start / whole:.4f}",
        width=f"{100 * (stop - start) / whole:.4f}",
        kind=kind,
        text=f"{clock(start)} to {clock(stop)}, {text}",
        key=key,
    )


def _line(span: SpanRecord, material: PageMaterial) -> SpanLine:
    who = f"face of person {span.person}" if span.person is not None else "face"
    what = f"{who}, {_making(span)}" if span.kind == "face" else "left as it is"
    begins, ends = (clock(material.seconds(frame)) for frame in _frames(span))
    return SpanLine(begins, ends, what, span.method_reason or span.reason)


def _frames(span: SpanRecord) -> Interval:
    return span.start_frame, span.stop_frame
