"""What was done with each frame of an output: rendered, re-encoded unchanged, or copied."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from media.clips import RenderedClip
from media.coding.encoder_options import CODED_PSNR
from media.intervals import Interval, complement, contains, merge
from media.orientation import Rectangle


@dataclass(frozen=True, slots=True)
class ReencodedSpan:
    """Consecutive output frames that were re-encoded without a new mouth."""

    start_frame: int
    stop_frame: int
    reason: str
    least_psnr: float
    """Decibels of the worst of them, or of a frame of the same clip; 99 if all are equal to the source's."""


def reencoded_spans(clips: Sequence[RenderedClip], enhanced: Rectangle | None = None) -> list[ReencodedSpan]:
    """Return the output frames that were re-encoded unchanged, neighbours with the same reason joined.

    enhanced: the rectangle of whole frames if the job enhances them; then only clips that fell back hold such frames.
    """
    spans: list[ReencodedSpan] = []
    for rendered in clips:
        clip = rendered.clip
        if rendered.outcome == "copied" or (enhanced and rendered.outcome != "fell_back"):
            continue
        kept = [(clip.start_frame, clip.stop_frame)]
        if rendered.outcome == "rendered":
            kept = complement(clip.rendered, clip.start_frame, clip.stop_frame)
        for start, stop in kept:
            span = ReencodedSpan(start, stop, rendered.reason, rendered.least_psnr)
            if spans and spans[-1].stop_frame == start and spans[-1].reason == span.reason:
                least = min(spans[-1].least_psnr, span.least_psnr)
                spans[-1] = ReencodedSpan(spans[-1].start_frame, stop, span.reason, least)
            else:
                spans.append(span)
    return spans


def rendered_parts(
    clips: Sequence[RenderedClip], enhanced: Rectangle | None = None
) -> list[tuple[Interval, Rectangle | None]]:
    """Return the output frames that got a new mouth, or were enhanced as a whole, each interval with its box.

    The box is the stored rectangle outside which nothing changed; None if nothing changed at all. enhanced: as of
    reencoded_spans.
    """
    parts: list[tuple[Interval, Rectangle | None]] = []
    for rendered in clips:
        clip = rendered.clip
        if enhanced and rendered.outcome in ("rendered", "reencoded"):
            parts.append(((clip.start_frame, clip.stop_frame), enhanced))
        elif rendered.outcome == "rendered":
            parts += zip(clip.rendered, rendered.boxes or (None,) * len(clip.rendered), strict=True)
    return parts


@dataclass(frozen=True, slots=True)
class FrameProvenance:
    """What was done with each frame of an output; frames that are not named were copied."""

    rendered: tuple[tuple[Interval, Rectangle | None], ...]
    """Sorted, disjoint intervals with a new mouth, or enhanced as a whole, each with its box as from rendered_parts."""
    coded: tuple[Interval, ...]
    """Sorted, disjoint intervals that were re-encoded unchanged."""
    coarse: tuple[tuple[Interval, float], ...] = ()
    """Sorted, disjoint parts of `coded` in which the codec at its finest stays below CODED_PSNR, each with the decibels
    that it reaches."""

    @classmethod
    def of(cls, clips: Sequence[RenderedClip], enhanced: Rectangle | None = None) -> FrameProvenance:
        """Return what was done with the frames of finished clips. enhanced: as of reencoded_spans."""
        spans = reencoded_spans(clips, enhanced)
        return cls(
            rendered=tuple(sorted(rendered_parts(clips, enhanced), key=lambda part: part[0])),
            coded=tuple(merge((span.start_frame, span.stop_frame) for span in spans)),
            coarse=tuple(
                ((span.start_frame, span.stop_frame), span.least_psnr) for span in spans if span.least_psnr < CODED_PSNR
            ),
        )

    @property
    def synthetic(self) -> list[Interval]:
        """Frames with pixels that are not the source's: sorted, disjoint."""
        return merge(interval for interval, box in self.rendered if box)

    def box_of(self, frame: int) -> Rectangle | None:
        """Return the box of a rendered frame; an empty one if nothing changed, None if the frame was not rendered."""
        at = bisect_right(self.rendered, frame, key=lambda part: part[0][0]) - 1
        if at < 0 or frame >= self.rendered[at][0][1]:
            return None
        return self.rendered[at][1] or (0, 0, 0, 0)

    def is_coded(self, frame: int) -> bool:
        """Tell whether a frame was re-encoded unchanged."""
        return contains(self.coded, frame)

    def coded_psnr(self, frame: int) -> float:
        """Return the decibels that a frame re-encoded unchanged must reach."""
        at = bisect_right(self.coarse, frame, key=lambda part: part[0][0]) - 1
        is_coarse = at >= 0 and frame < self.coarse[at][0][1]
        return min(CODED_PSNR, self.coarse[at][1]) if is_coarse else CODED_PSNR

    def is_copied(self, frame: int) -> bool:
        """Tell whether the packet of a frame is the source's own."""
        return self.box_of(frame) is None and not self.is_coded(frame)
