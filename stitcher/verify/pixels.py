"""The contract on decoded pictures: what was to stay untouched is, and in rendered frames only the box changed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from media.base.errors import ContractBroken, UnreadableMedia
from media.coding.quality import BLOCK_PSNR, BLOCK_PX, block_errors
from media.intervals import Interval
from media.orientation import Rectangle
from media.picture import VideoFrame, plane_views, unranged
from media.reader import FrameReader
from media.source_video import SourceVideo
from media.timeline import OutputTimeline
from stitcher.verify.provenance import FrameProvenance

RENDERED_PSNR = 40.0
"""Decibels of the worst plane that a rendered frame must reach outside its box, at the default quality. It is below
CODED_PSNR, since the clip's quantiser is chosen for frames whose pictures did not change."""
PSNR_ROUNDING = 0.01
"""Decibels by which two ways to add up the same errors (an encoder's and ours) may differ."""
BLOCK_SPREAD = 12.0
"""A small region that was changed hides in the mean of a large frame. Clips are coded so that each block is as near as
BLOCK_PSNR, or at least within this spread of what the frame must reach, where that is little."""
BLUR_PX = 16
"""How far beyond a box the encoder's filters may carry what is in it."""
EQUAL = 99.0
"""Decibels that stand for bit-identical."""


@dataclass(frozen=True, slots=True)
class PixelsFound:
    """How near the pictures are to the source's."""

    num_copied: int
    num_reencoded: int
    num_rendered: int
    worst_coded: float
    """PSNR in dB of the worst frame that was re-encoded unchanged; 99 without such frames, or if all are equal."""
    worst_rendered: float
    """PSNR in dB of the worst rendered frame, outside its box."""
    num_uncertain: int = 0
    """Frames that differ near damage of the source: what a decoder shows there depends on where it began."""


def source_frames(timeline: OutputTimeline) -> Sequence[int]:
    """Return the source frame that each output frame shows."""
    frames = array("q")
    for run in timeline.runs:
        frames.extend(run.source_frames(run.start_frame, run.stop_frame))
    return frames


def verify_pixels(
    source: SourceVideo,
    timeline: OutputTimeline,
    written: SourceVideo,
    marks: FrameProvenance,
    on_progress: Callable[[int], None] = lambda num_frames: None,
    *,
    quality_allowance_db: float = 0.0,
    frames: Sequence[int] | None = None,
) -> PixelsFound:
    """Decode source and output side by side and compare them; raise ContractBroken at the first frame that is wrong.

    Copied frames must decode to the same samples, frames re-encoded must come near, rendered ones outside their box,
    and none may be missing that the source has; near damage of the source they may differ. Two frames are held at a
    time, besides what the decoders hold. on_progress: called with the number of frames done.
    quality_allowance_db: decibels by which the user asked for a lower quality of rendered frames than the default.
    frames: the output frames to compare, increasing; None: all.
    """
    comparison = _Comparison(marks, quality_allowance_db)
    damage = _Damage(source)
    shown = source_frames(timeline)
    numbers = range(len(shown)) if frames is None else frames
    with FrameReader(source) as before, FrameReader(written) as after:
        pairs = zip(before.read([shown[number] for number in numbers]), _decoded(after, numbers), strict=True)
        for done, ((source_frame, wanted), (number, got)) in enumerate(pairs, start=1):
            place = f"frame {number} (source frame {source_frame})"
            try:
                if number in after.missing and source_frame not in before.missing:
                    raise ContractBroken(f"Same frames: {place} of the output cannot be decoded. Please report this.")
                comparison.compare(number, wanted, got, place)
            except ContractBroken:
                if not damage.is_near(source_frame):
                    raise
                comparison.num_uncertain += 1
            on_progress(done)
    return comparison.found()


class _Comparison:
    """What was found of the frames compared so far."""

    def __init__(self, marks: FrameProvenance, quality_allowance_db: float) -> None:
        self._marks, self._allowance_db = marks, quality_allowance_db
        self._copied = 0
        self._coded: list[float] = []
        self._rendered: list[float] = []
        self.num_uncertain = 0

    def compare(self, number: int, wanted: VideoFrame, got: VideoFrame, place: str) -> None:
        """Compare an output frame with the source's; raise ContractBroken if it is not what was promised."""
        box = self._marks.box_of(number)
        if box is not None:
            least = RENDERED_PSNR - self._allowance_db
            self._rendered.append(_require_near(wanted, got, box, least, f"Only the mouth: {place}"))
        elif self._marks.is_coded(number):
            least = self._marks.coded_psnr(number)
            self._coded.append(_require_near(wanted, got, None, least, f"Untouched pixels: {place}"))
        else:
            _require_equal(wanted, got, f"Untouched pixels: {place}")
            self._copied += 1

    def found(self) -> PixelsFound:
        """Return what was found."""
        coded, rendered = (min(values, default=EQUAL) for values in (self._coded, self._rendered))
        counts = (self._copied, len(self._coded), len(self._rendered))
        return PixelsFound(*counts, coded, rendered, self.num_uncertain)


class _Damage:
    """Where the source is damaged, looked up only where a picture differs."""

    def __init__(self, source: SourceVideo) -> None:
        self._source = source
        self._known: dict[Interval, bool] = {}

    def is_near(self, frame: int) -> bool:
        """Tell whether anything is damaged from the group of pictures before a frame's to the one behind it.

        Not all that a decoder makes up is told as damaged, but something in a group is.
        """
        table = self._source.table
        start = table.keyframe_before(max(table.keyframe_before(frame) - 1, 0))
        following = table.keyframe.find(1, frame + 1)
        stop = table.keyframe.find(1, following + 1) if following >= 0 else -1
        part = (start, stop if stop >= 0 else len(table))
        if part not in self._known:
            with FrameReader(self._source) as reader:
                for _ in reader.read(range(*part)):
                    pass
                self._known[part] = bool(reader.damaged)
        return self._known[part]


def _decoded(reader: FrameReader, numbers: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
    """Yield the frames of the output, each with its number; what cannot be decoded breaks the contract."""
    try:
        yield from reader.read(numbers)
    except UnreadableMedia as exc:
        raise ContractBroken(f"Same frames: {exc}") from exc


def _require_equal(wanted: VideoFrame, got: VideoFrame, place: str) -> None:
    _require_format(wanted, got, place)
    if not all(np.array_equal(a, b) for a, b in zip(plane_views(wanted), plane_views(got), strict=True)):
        raise ContractBroken(f"{place} was copied but does not show the same picture. Please report this.")


def _require_near(wanted: VideoFrame, got: VideoFrame, box: Rectangle | None, least: float, place: str) -> float:
    """Return the PSNR of the worst plane outside a box in dB; raise ContractBroken if it or a block is too low."""
    _require_format(wanted, got, place)
    peak = float((1 << max(component.bits for component in wanted.format.components)) - 1)
    pairs = zip(plane_views(wanted), plane_views(got), strict=True)
    differences = [a.astype(np.float32) - b for a, b in pairs]
    size = (wanted.width, wanted.height)
    lowest = min(_decibels(_mean_outside(plane, size, box), peak) for plane in differences)
    if lowest < least - PSNR_ROUNDING:
        raise ContractBroken(
            f"{place} differs from the source by {lowest:.1f} dB, which must be {least:g} dB or more."
            " Lower stitcher.video.crf, where the codec has one."
        )
    block = _decibels(_worst_block(differences[0], box), peak)
    if block < min(BLOCK_PSNR, least - BLOCK_SPREAD):
        raise ContractBroken(f"{place} is changed where it was to stay ({block:.1f} dB). Please report this.")
    return lowest


def _require_format(wanted: VideoFrame, got: VideoFrame, place: str) -> None:
    shapes = [(unranged(frame.format.name), frame.width, frame.height) for frame in (wanted, got)]
    if shapes[0] != shapes[1]:
        kinds = [f"{name} {width}x{height}" for name, width, height in shapes]
        raise ContractBroken(f"{place} is {kinds[1]} instead of {kinds[0]}. Please report this.")


def _mean_outside(plane: NDArray[np.float32], size: tuple[int, int], box: Rectangle | None) -> float:
    """Return the mean square of a plane's differences outside a box of luma samples; size: (width, height) of luma.

    Of a plane with fewer samples those count that lie outside with all their luma samples.
    """
    parts = [plane]
    if box is not None and box[2] > box[0]:
        step_y, step_x = round(size[1] / plane.shape[0]), round(size[0] / plane.shape[1])
        left, top = max(box[0], 0) // step_x, max(box[1], 0) // step_y
        right, bottom = -(-box[2] // step_x), -(-box[3] // step_y)
        beside = plane[top:bottom]
        parts = [plane[:top], plane[bottom:], beside[:, :left], beside[:, right:]]
    count = sum(part.size for part in parts)
    total = sum(float(np.dot(flat, flat)) for flat in map(np.ravel, parts))
    return total / count if count else 0.0


def _worst_block(plane: NDArray[np.float32], box: Rectangle | None) -> float:
    """Return the mean square of the differences in the worst block of luma that the box, grown by BLUR_PX, leaves."""
    means = block_errors(plane)
    if box is not None and box[2] > box[0]:
        left, top = (max(edge - BLUR_PX, 0) // BLOCK_PX for edge in box[:2])
        right, bottom = (-(-(edge + BLUR_PX) // BLOCK_PX) for edge in box[2:])
        means[top:bottom, left:right] = 0
    return float(means.max(initial=0.0))


def _decibels(mean_square: float, peak: float) -> float:
    return min(float(10 * np.log10(peak * peak / mean_square)), EQUAL) if mean_square else EQUAL
