"""How editing programs count the frames of a video: at a constant rate, from its timecode on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from media.base.errors import ConfigError
from media.packets.frame_table import FrameTable
from media.source_video import SourceVideo
from media.timeline import OutputTimeline

INSTALL: Final = "pip install 'lipstitch[timeline]'"
NTSC: Final = Fraction(1000, 1001)
"""By how much the rates of NTSC are slower than whole numbers."""
RATES: Final = (24 * NTSC, 24, 25, 30 * NTSC, 30, 48, 50, 60 * NTSC, 60)
"""Frames a second for which SMPTE ST 12 defines timecode."""
DROP_RATES: Final = (30 * NTSC, 60 * NTSC)
"""Rates whose timecode may leave out numbers, so that it keeps up with the clock."""
TIMECODE: Final = re.compile(r"(\d\d:[0-5]\d:[0-5]\d)([:;.,])(\d\d)")


def load_otio(key: str) -> Any:
    """Return the library opentimelineio; raise ConfigError if it is not installed. key: what needs it."""
    try:
        import opentimelineio
    except ImportError as exc:
        raise ConfigError(f"{key}: this needs OpenTimelineIO. Install it: {INSTALL}.") from exc
    return opentimelineio


@dataclass(frozen=True, slots=True)
class EditClock:
    """The clock of one video, in editing programs."""

    rate: Fraction
    """Frames a second; of a video whose frames come at no constant rate, ticks of its time base a second."""
    is_constant: bool
    start: int
    """The count of the first frame: its timecode, in units of `rate`; 0 where the file tells none."""
    is_drop: bool
    """Whether its timecode is drop-frame."""

    @classmethod
    def of(cls, video: SourceVideo, otio: Any) -> EditClock:
        """Return the clock of a video: its rate as its frames tell it, its start as the file's timecode does."""
        rate, text = constant_rate(video.table), video.video.clock.timecode
        start, is_drop = parse_timecode(text, rate, otio) if rate else (None, False)
        return cls(rate or 1 / video.table.time_base, rate is not None, start or 0, is_drop)

    def count(self, table: FrameTable | OutputTimeline, frame: int) -> int:
        """Return how many units of `rate` after the first frame a frame begins; frame == len: the video ends."""
        if self.is_constant:
            return frame
        return (table.end_pts if frame == len(table) else table.pts[frame]) - table.pts[0]

    def describe(self) -> str:
        """Return rate and kind of timecode, in words."""
        if not self.is_constant:
            return "a variable frame rate"
        drop = ", drop-frame" if self.is_drop else ", non-drop-frame" if self.rate in DROP_RATES else ""
        return f"{float(self.rate):.6g} frames a second{drop}"


def constant_rate(table: FrameTable) -> Fraction | None:
    """Return the rate at which frame n is nearer to n / rate than to its neighbours' times; None if there is no such.

    So it is the rate of a video whose container rounds times, too, as Matroska does to milliseconds. Where several fit,
    as they do short videos, it is the one that fits best.
    """
    ticks = np.array([*table.pts, table.end_pts], np.int64) - table.pts[0]
    seconds = ticks * float(table.time_base)
    mean = Fraction(len(table), 1) / table.seconds(len(table))
    tried = dict.fromkeys([*(Fraction(rate) for rate in RATES), mean.limit_denominator(1001)])
    off = {rate: float(np.abs(seconds * float(rate) - np.arange(len(ticks)))[:-1].max()) for rate in tried}
    best = min(off, key=lambda rate: (round(off[rate], 9), rate.denominator))
    return best if off[best] < 0.5 else None


def exact_rate(rate: float) -> Fraction:
    """Return the rate that a file means by a rounded number: 29.97 and 23.976 stand for multiples of 1000/1001."""
    whole = Fraction(round(rate))
    for exact in (whole, whole * NTSC):
        if exact and abs(rate - exact) < 0.005:
            return exact
    return Fraction(rate).limit_denominator(1001)


def parse_timecode(text: str, rate: Fraction, otio: Any) -> tuple[int | None, bool]:
    """Return the frame count of a timecode, and whether it is drop-frame; the count is None if it is not a timecode.

    Drop-frame is written with another sign than a colon before the frames. Rates without drop-frame ignore that.
    """
    match = TIMECODE.fullmatch(text.strip())
    if match is None:
        return None, False
    is_drop = match[2] != ":" and rate in DROP_RATES
    written = f"{match[1]}{';' if is_drop else ':'}{match[3]}"
    try:
        return int(otio.opentime.from_timecode(written, timecode_rate(rate, is_drop=is_drop)).value), is_drop
    except ValueError:  # frame 27 of 25, or a rate without timecode
        return None, False


def timecode_rate(rate: Fraction, *, is_drop: bool) -> float:
    """Return the number by which opentimelineio turns counts into timecode and back.

    For non-drop-frame it is the whole one, since that counts through: at 30000/1001 it would drop frames.
    """
    return float(rate if is_drop else round(rate))
