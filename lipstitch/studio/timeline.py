"""The timeline of the studio: what would be rendered, and why not elsewhere; ranges are drawn on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from html import escape
from importlib.resources import files
from typing import Any

from lipstitch.studio.look import Look, ShownSpan
from media.base.clock import format_clock

NUM_TICKS = 6
METHODS = {"footage": "mouths from the speaker's own footage", "network": "drawn by a network", "keep": "kept as it is"}
NO_FACE = "nothing is rendered"
Ranges = Sequence[tuple[float, float]]


def read_part(ending: str) -> str:
    """Return the timeline's template, style or script; ending: html, css or js."""
    return (files("lipstitch.studio") / f"timeline.{ending}").read_text(encoding="utf-8")


def timeline_of(look: Look | None, ranges: Ranges = ()) -> str:
    """Return what the template is filled with, in JSON. look: None before the video was looked at."""
    return json.dumps(_material(look, ranges))


def drawn_ranges(shown: str) -> tuple[tuple[float, float], ...]:
    """Return the ranges on a timeline, from its value in the browser."""
    return tuple((float(start), float(stop)) for start, stop in json.loads(shown)["ranges"])


def _material(look: Look | None, ranges: Ranges) -> dict[str, Any]:
    if look is None or not look.seconds:
        return {"seconds": 1, "spans": [], "ranges": [], "ticks": [], "legend": []}
    kinds = dict.fromkeys((span.kind, span.method) for span in look.spans)
    return {
        "seconds": look.seconds,
        "spans": [
            {"start": s.start, "stop": s.stop, "kind": s.kind, "method": s.method, "title": _safe(_title(s))}
            for s in look.spans
        ],
        "ranges": [[start, stop] for start, stop in ranges],
        "ticks": [
            {"at": 100 * number / NUM_TICKS, "text": clock(look.seconds * number / NUM_TICKS)}
            for number in range(NUM_TICKS + 1)
        ],
        "legend": [{"kind": kind, "method": method, "text": _kind_text(kind, method)} for kind, method in kinds],
    }


def _safe(text: str) -> str:
    """Return text that means only itself in HTML, and in the templates that the page makes it with."""
    return escape(text).replace("{", "&#123;").replace("$", "&#36;").replace("`", "&#96;")


def _title(span: ShownSpan) -> str:
    who = f"person {span.person}, " if span.person is not None else ""
    reason = f": {span.reason}" if span.reason else ""
    return f"{clock(span.start)} to {clock(span.stop)}: {who}{_kind_text(span.kind, span.method)}{reason}"


def _kind_text(kind: str, method: str) -> str:
    return METHODS.get(method, "new mouths") if kind == "face" else NO_FACE


def clock(seconds: float) -> str:
    """Return a time as people read it."""
    return format_clock(Fraction(str(round(seconds, 1))), digits=1).removeprefix("00:")
