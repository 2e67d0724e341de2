"""The files that a program is given, and whether what it wrote lies over them.

source frames --region, rate, BT.601--> video.mp4 -.
driving sound --the same seconds-----> audio.wav  --> program --> output --compared around the face--> Fit
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lipstitch.programs.pieces import Piece
from media.affine import sample, sample_shrunk
from media.audio.driving import DRIVING_RATE
from media.audio.reader import read_samples
from media.base.errors import MediaError, RenderError
from media.base.files import disk_errors
from media.coding.lossless import PROGRAM_COLOUR, PROGRAM_FORMAT, LosslessWriter
from media.info import DisplayTags, VideoInfo
from media.orientation import PLAIN, UPRIGHT, Rectangle
from media.picture import FrameConformer, PictureConverter, Pixels, VideoFrame, crop, snap_to_chroma
from media.reader import FrameReader
from media.source_video import SourceVideo, scan_video
from renderer.drawn_video import Fit, frame_shown, shown_seconds
from renderer.networks.base import MASK_TOP

SHORT_SECONDS: Final = Fraction(1, 4)
"""By which what comes back may be shorter; its last picture stands in. Programs drop some frames at the end."""
OTHER_SHAPE: Final = 0.02
"""By how much the ratio of its sides may differ."""
DARK: Final = 0.3
"""A face of less than this share of its brightness was not drawn."""
NUM_COMPARED: Final = 5
"""Pictures that are compared, spread over a piece."""
GROWN: Final = 0.15
"""How far around the face's box, as a share of its height, pictures may change."""
LEAST_AROUND, RIM = 0.05, 0.04
"""Share of the pixels that has to lie around the face to be compared; else a rim of this share of the sides is."""
COMPARED_PX: Final = 640
"""The longer side of pictures that are compared."""
AS_CODED, MOST_COPIED = 1.5, 3.0
"""A lower face was only coded again if its pixels differ at most so many times as much as those around it, and by so
many levels on average."""
BLOCK_PX: Final = 16
MOST_CHANGED: Final = 2.0
"""8-bit levels by which blocks around the face may differ on average: what coding leaves is less."""
MOST_OFFSET: Final = 12.0
"""Levels by which its colours may be off as a whole, as they are after a trip through another matrix."""
MOST_SHIFT: Final = 3.0
"""Pixels by which its pictures may be moved as a whole."""
SHIFT_STEPS: Final = 6

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Exchange:
    """How one video is shown to a program."""

    source: SourceVideo
    rate: Fraction
    """Frames a second."""

    def aligned(self, piece: Piece) -> Piece:
        """Return a piece whose region lies on whole chroma samples of the stored picture."""
        video = self.source.video
        stored = video.orientation.to_stored(piece.region, video.width, video.height)
        snapped = snap_to_chroma(stored, VideoFrame(video.width, video.height, video.pixel_format))
        return replace(piece, region=video.orientation.to_upright(snapped, video.width, video.height))

    def write_video(self, piece: Piece, path: Path) -> None:
        """Write what a piece shows."""
        video, size = self.source.video, _even(piece.region)
        stored = video.orientation.to_stored(piece.region, video.width, video.height)
        conformer = FrameConformer(video.orientation, _as_programs_take_it(video), size)
        with LosslessWriter(path, size, self.rate) as writer, FrameReader(self.source, num_threads=1) as reader:
            for _, frame in reader.read(piece.given(self.rate)):
                writer.write(conformer.conform(crop(frame, stored)))


def _even(region: Rectangle) -> tuple[int, int]:
    left, top, right, bottom = region
    return max((right - left) // 2 * 2, 2), max((bottom - top) // 2 * 2, 2)


def _as_programs_take_it(video: VideoInfo) -> VideoInfo:
    display = DisplayTags(PLAIN, Fraction(1))
    coded = replace(video.coded, lasting_sei=())
    made = replace(video, pixel_format=PROGRAM_FORMAT, colour=PROGRAM_COLOUR, display=display, coded=coded)
    assert made.orientation == UPRIGHT
    return made


def sound_of(piece: Piece, driving: Path) -> NDArray[np.int16]:
    """Return the sound that a piece is driven by, at DRIVING_RATE. Raises MediaError if it cannot be read."""
    start, stop = piece.seconds[0], piece.seconds[-1]
    zero = Fraction(0)
    blocks = read_samples(driving, stream_index=0, rate=DRIVING_RATE, layout="mono", start=start, stop=stop, zero=zero)
    samples = np.concatenate([block[0] for block in blocks])
    return np.asarray(np.clip(np.rint(samples * 32767), -32768, 32767), "<i2")


def write_sound(samples: NDArray[np.int16], path: Path) -> None:
    """Write a sound of DRIVING_RATE as a WAV file."""
    with disk_errors(path), wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(DRIVING_RATE)
        file.writeframes(samples.tobytes())


def find_fit(piece: Piece, given: Path, written: Path, *, is_heard: bool = False) -> Fit:
    """Return how a program's pictures lie over what it was given.

    is_heard: whether there was anything to draw. Raises RenderError where they will not do: too few, of another shape,
    black, of something else, or just as they were given.
    """
    try:
        return _fit(piece, scan_video(given), scan_video(written), is_heard=is_heard)
    except MediaError as exc:
        raise RenderError(f"what it wrote is no video that can be read ({exc}).") from exc


def _fit(piece: Piece, shown: SourceVideo, came: SourceVideo, *, is_heard: bool) -> Fit:
    length, wanted = (each.table.seconds(len(each.table)) for each in (came, shown))
    if length < wanted - SHORT_SECONDS:
        raise RenderError(f"what it wrote lasts {float(length):.2f} s, and {float(wanted):.2f} s were asked for.")
    size, own = came.video.upright_size, shown.video.upright_size
    if abs(size[0] * own[1] / (size[1] * own[0]) - 1) > OTHER_SHAPE:
        raise RenderError(f"its pictures have {size[0]}x{size[1]} pixels, another shape than {own[0]}x{own[1]}.")
    compared = _at_most(own, COMPARED_PX)
    face, around, still = _masks(piece, compared)
    pairs = _pairs(shown, came, compared, around)
    if any(two[face].mean() < DARK * one[face].mean() for one, two in pairs):
        raise RenderError("its pictures are dark where the face is.")
    shift = _shift(pairs, still)
    moved = [(one, _moved(two, shift)) for one, two in pairs]
    offset = np.median([(two - one)[around].mean(axis=0) for one, two in moved], axis=0)
    if np.abs(offset).max() > MOST_OFFSET:
        raise RenderError(f"its colours are off by up to {np.abs(offset).max():.0f} levels around the face.")
    changed = max(_changed(two - one - offset, around) for one, two in moved)
    if changed > MOST_CHANGED:
        raise RenderError(
            f"its pictures differ around the face, by {changed:.1f} levels on average: they show something else."
        )
    if is_heard and all(_is_same(two - one - offset, face & ~still, around) for one, two in moved):
        raise RenderError("its pictures are those that it was given: it has drawn no mouth.")
    left, top, right, bottom = piece.region
    per_pixel = (right - left) / compared[0], (bottom - top) / compared[1]
    blue, green, red = (round(float(value), 2) for value in offset)
    return Fit(size, (round(shift[0] * per_pixel[0], 3), round(shift[1] * per_pixel[1], 3)), (blue, green, red))


def _pairs(
    shown: SourceVideo, came: SourceVideo, size: tuple[int, int], around: NDArray[np.bool_]
) -> list[tuple[Floats, Floats]]:
    """Return pictures that a program was given, each with the one that it made of it, in the size of the former.

    A program with a rate of its own shows a frame a little sooner or later: of three that may be meant, the one that
    is most alike around the face is taken.
    """
    own, times = shown_seconds(shown), shown_seconds(came)
    wanted = own[-1] * np.array([(2 * number + 1) / (2 * NUM_COMPARED) for number in range(NUM_COMPARED)])
    made = sorted({frame_shown(times, Fraction(time), came.frame_rate) for time in wanted})
    near = [frame_shown(own, times[number], shown.frame_rate) for number in made]
    candidates = [[min(max(number + step, 0), len(own) - 1) for step in (-1, 0, 1)] for number in near]
    pictures = _pictures(shown, sorted({number for some in candidates for number in some}), size)
    return [
        (min((pictures[number] for number in some), key=lambda one: float(np.abs(one - two)[around].mean())), two)
        for some, two in zip(candidates, _pictures(came, made, size).values(), strict=True)
    ]


def _pictures(video: SourceVideo, numbers: Sequence[int], size: tuple[int, int]) -> dict[int, Floats]:
    """Return frames of a video, by increasing numbers: (height, width, 3) BGR, scaled to a size."""
    converter = PictureConverter(video.video.orientation)
    with FrameReader(video, num_threads=1) as reader:
        return {
            number: _scaled(converter.upright_bgr(frame), size).astype(np.float32)
            for number, frame in reader.read(numbers)
        }


def _scaled(picture: Pixels, size: tuple[int, int]) -> Pixels:
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    across, down = width / size[0], height / size[1]
    affine = np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5]])
    return sample_shrunk(picture, affine, size)


def _masks(piece: Piece, size: tuple[int, int]) -> tuple[NDArray[np.bool_], ...]:
    """Return which pixels, (height, width), are of the face, which lie around it, and which do not move with lips."""
    left, top, right, bottom = piece.region
    across, down = size[0] / (right - left), size[1] / (bottom - top)
    box, grown = piece.box, GROWN * piece.box.height

    def inside(more: float, first: float) -> NDArray[np.bool_]:
        mask = np.zeros((size[1], size[0]), np.bool_)
        rows = slice(max(int((first - more - top) * down), 0), max(int((box.bottom + more - top) * down) + 1, 1))
        columns = slice(max(int((box.left - more - left) * across), 0), max(int((box.right + more - left) * across), 1))
        mask[rows, columns] = True
        return mask

    face, around = inside(0, box.top), ~inside(grown, box.top)
    still = ~inside(grown, box.top + MASK_TOP * box.height)
    if around.mean() < LEAST_AROUND:
        around = np.ones_like(face)
        rows, columns = (max(int(RIM * side), 1) for side in around.shape)
        around[rows:-rows, columns:-columns] = False
    return face, around, still


def _shift(pairs: Sequence[tuple[Floats, Floats]], still: NDArray[np.bool_]) -> tuple[float, float]:
    """Return by how many pixels the second pictures lie too far to the right, and too low, as what is still tells.

    Least squares over gradients, step by step (Lucas and Kanade 1981). Zero where there is too little to see.
    """
    inner = still.copy()
    edge = round(MOST_SHIFT) + 1
    inner[:edge], inner[-edge:], inner[:, :edge], inner[:, -edge:] = False, False, False, False
    total = np.zeros(2)
    for _ in range(SHIFT_STEPS):
        products, wanted = np.zeros((2, 2)), np.zeros(2)
        for one, two in pairs:
            first, second = one.mean(axis=2), _moved(two, (total[0], total[1])).mean(axis=2)
            down, right = (gradient[inner] for gradient in np.gradient(first))
            difference = (second - first)[inner]
            difference = difference - difference.mean()
            slopes = np.stack([right, down])
            products += slopes @ slopes.T
            wanted -= slopes @ difference
        if np.linalg.eigvalsh(products)[0] < 1.0 * max(int(inner.sum()), 1) * len(pairs) / 4:
            return 0.0, 0.0
        step = np.linalg.solve(products, wanted)
        total += step
        if np.abs(total).max() > MOST_SHIFT:
            return 0.0, 0.0
        if np.abs(step).max() < 0.01:
            break
    return float(total[0]), float(total[1])


def _moved(picture: Floats, shift: tuple[float, float]) -> Floats:
    """Return a picture moved back by a shift."""
    if not any(shift):
        return picture
    height, width = picture.shape[:2]
    affine = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    levels = np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)
    return np.asarray(sample(levels, affine, (width, height)), np.float32)


def _at_most(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return a size of the same shape whose longer side is no longer than that."""
    scale = min(longest / max(size), 1.0)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _is_same(difference: NDArray[Any], face: NDArray[np.bool_], around: NDArray[np.bool_]) -> bool:
    """Tell whether a lower face was only coded again: it differs no more than what lies around it."""
    if not face.any():
        return False
    changes = np.abs(difference).mean(axis=2)
    inside, outside = float(changes[face].mean()), float(changes[around].mean())
    return inside <= MOST_COPIED and inside <= AS_CODED * max(outside, 0.1)


def _changed(difference: NDArray[Any], around: NDArray[np.bool_]) -> float:
    """Return the mean absolute difference of whole blocks that lie around the face."""
    rows, columns = around.shape[0] // BLOCK_PX, around.shape[1] // BLOCK_PX
    shape = rows, BLOCK_PX, columns, BLOCK_PX
    window = slice(rows * BLOCK_PX), slice(columns * BLOCK_PX)
    is_around = around[window].reshape(shape).all(axis=(1, 3))
    means = difference[window].reshape(*shape, 3).mean(axis=(1, 3))
    return float(np.abs(means[is_around]).mean()) if is_around.any() else 0.0
