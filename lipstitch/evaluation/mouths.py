"""What mouths do and how they look, read by the mesh that ships: how they open with the sound, how still, how sharp.

Everything is a sum over frames, and sums of two stretches of a track add up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from lipstitch.evaluation.faces import SeenFace
from lipstitch.evaluation.sound import AROUND_SECONDS, HeardSound
from media.affine import Affine, cut_out, sample
from media.orientation import Rectangle
from media.picture import PictureConverter, VideoFrame, snap_to_chroma
from renderer.footage import looks
from renderer.footage.lip_shape import measure

LAG_SECONDS: Final = np.arange(-10, 11) * 0.04
"""By which mouths may come after the sound: 0.4 s on either side."""
NEAR_LAGS: Final = np.abs(LAG_SECONDS) < 0.1
"""Those at which a mouth is in time: of all 21, one fits foreign sound as well by chance."""
LEAST_FRAMES: Final = 25
"""That a correlation says something of."""
LEAST_SPREAD: Final = 1e-3
"""Of openings, in eye distances: a mouth that moves less goes with no sound."""
_WIDTH, _HEIGHT = looks.CROP
_NUM_SIDES: Final = 2

Floats = NDArray[np.float32]


def _mask() -> NDArray[np.bool_]:
    """Return which pixels of the aligned mouth count: an ellipse, whose corners may show what is behind the face."""
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    across, down = (x + 0.5) / _WIDTH * 2 - 1, (y + 0.5) / _HEIGHT * 2 - 1
    return np.asarray(across**2 + down**2 <= 1)


MOUTH: Final = _mask()


@dataclass(slots=True)
class MouthSums:
    """Sums over the frames of one track."""

    moments: NDArray[np.float64] = field(default_factory=lambda: np.zeros((6, len(LAG_SECONDS))))
    """For each lag: 1, opening, loudness, squares and product; the mean of the second around is taken away."""
    movement: NDArray[np.float64] = field(default_factory=lambda: np.zeros((_NUM_SIDES, 2)))
    """In speech and in silence: how far lips went, in eye distances, and in how many seconds."""
    change: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    """Of successive mouths, in 8-bit levels; of the reference's; and how many."""
    sharpness: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    """Of mouths, as a share of what is above; of the reference's; and how many."""
    seconds: float = 0.0

    def add(self, other: MouthSums) -> None:
        """Add the sums of further frames."""
        self.moments = self.moments + other.moments
        self.movement = self.movement + other.movement
        self.change = self.change + other.change
        self.sharpness = self.sharpness + other.sharpness
        self.seconds += other.seconds

    @property
    def num_frames(self) -> float:
        """Frames whose opening is known."""
        return float(self.moments[0, 0])

    def correlations(self) -> NDArray[np.float64] | None:
        """Return Pearson's correlation of opening and loudness for each lag; None where it says nothing."""
        count, opening, loudness, opening2, loudness2, product = self.moments
        if self.num_frames < LEAST_FRAMES:
            return None
        spread, heard = opening2 / count - (opening / count) ** 2, loudness2 / count - (loudness / count) ** 2
        if spread[0] < LEAST_SPREAD**2 or heard.min() < LEAST_SPREAD**2:
            return None
        return np.asarray((product / count - opening * loudness / count**2) / np.sqrt(spread * heard))


@dataclass(frozen=True, slots=True, eq=False)
class _Before:
    """What is known of the frame before."""

    index: int
    opening: float
    seconds: float
    mouths: tuple[Floats, ...]
    """Of the video and of its reference, if it has one."""


@dataclass(frozen=True, slots=True, eq=False)
class _Opening:
    """How far a mouth is open, and where that counts."""

    seconds: float
    opening: float
    sums: MouthSums


class MouthReader:
    """Reads the mouths of one track, frame by frame; holds a second of openings. Call `finish` at its end."""

    def __init__(self, sound: HeardSound, converter: PictureConverter) -> None:
        """converter: of the frames of the video and of its reference."""
        self._sound, self._converter = sound, converter
        self._before: _Before | None = None
        self._openings: deque[_Opening] = deque()
        """Of the second around the one that is added next."""
        self._added = 0
        """How many of them are added to their sums."""

    def read(self, index: int, seconds: float, face: SeenFace, frames: tuple[VideoFrame, ...], sums: MouthSums) -> None:
        """Read a frame's mouth into some sums.

        frames: of the video, and of its reference, if that shows the same.
        """
        opening = float(measure(face.raw[None], face.reference)[0, 0])
        self._openings.append(_Opening(seconds, opening, sums))
        self._add_openings(seconds - AROUND_SECONDS)
        affine = looks.mouth_map(face.mesh, face.reference)
        pictures = [self._aligned(frame, affine) for frame in frames]
        mouths = tuple(picture[_HEIGHT:][MOUTH] for picture in pictures)
        ratios = [_sharpness(picture) for picture in pictures]
        sums.sharpness += (ratios[0], ratios[-1], 1)
        before = self._before
        if before is not None and before.index == index - 1:
            passed = seconds - before.seconds
            side = int(self._sound.is_silent_at(seconds))
            sums.movement[side] += (abs(opening - before.opening), passed)
            sums.seconds += passed
            if len(mouths) == len(before.mouths):
                moved = [float(np.abs(one - two).mean()) for one, two in zip(mouths, before.mouths, strict=True)]
                sums.change += (moved[0], moved[-1], 1)
        self._before = _Before(index, opening, seconds, mouths)

    def finish(self) -> None:
        """Add what waits for the second around it."""
        self._add_openings(np.inf)

    def _add_openings(self, until: float) -> None:
        """Add the openings of frames up to a time, less the mean of the second around them, to their sums."""
        while self._added < len(self._openings) and self._openings[self._added].seconds <= until:
            own = self._openings[self._added]
            while self._openings[0].seconds < own.seconds - AROUND_SECONDS:
                self._openings.popleft()
                self._added -= 1
            near = [each.opening for each in self._openings if each.seconds <= own.seconds + AROUND_SECONDS]
            opening = own.opening - sum(near) / len(near)
            loud = self._sound.loudness_at(own.seconds - LAG_SECONDS)
            one = np.ones_like(loud)
            own.sums.moments += np.stack(
                [one, opening * one, loud, opening**2 * one, loud**2, opening * loud],
            )
            self._added += 1

    def _aligned(self, frame: VideoFrame, affine: Affine) -> Floats:
        """Return the mouth in the upright face, and as much of the face above it: (144, 88, 3)."""
        taller = np.column_stack([affine[:, :2], affine @ (0, -_HEIGHT, 1)])
        corners = taller @ np.array([[0, _WIDTH, 0, _WIDTH], [0, 0, 2 * _HEIGHT, 2 * _HEIGHT], [1, 1, 1, 1]])
        shrink = max(int(np.hypot(*taller[:, 0])), 1)
        low, high = np.floor(corners.min(axis=1)) - 2 * shrink, np.ceil(corners.max(axis=1)) + 2 * shrink
        outline: Rectangle = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
        stored = self._converter.orientation.to_stored(outline, frame.width, frame.height)
        region = cut_out(frame, snap_to_chroma(stored, frame), self._converter, shrink)
        if region is None:
            return np.zeros((2 * _HEIGHT, _WIDTH, 3), np.float32)
        return sample(region.pixels, region.affine(taller), (_WIDTH, 2 * _HEIGHT)).astype(np.float32)


def _sharpness(picture: Floats) -> float:
    """Return the spread of the second differences in the mouth, as a share of that in the face above it."""
    edges = cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.CV_32F)
    return float(edges[_HEIGHT:][MOUTH].std() / max(float(edges[:_HEIGHT][MOUTH].std()), 1e-3))
