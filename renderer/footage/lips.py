"""The mouths of one clip from footage: what each frame shows of a way, drawn into the frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from media.affine import shifted
from media.clips import TrackedMesh, Visible
from media.mesh import head_pose
from media.orientation import Orientation, Rectangle
from media.picture import VideoFrame, chroma_step, largest_sample, plane_views
from renderer.footage.bank import Bank
from renderer.footage.drawing.draw import Part, changed_region, draw, led_in_frame
from renderer.footage.drawing.mask import Pose
from renderer.footage.lip_motion import LipMotion, lead, load_lip_motion
from renderer.footage.transitions import LED_FRAMES, Shown

WAY_MARGIN: Final = 2 * LED_FRAMES + 1
"""Frames on either side of a frame that what it shows depends on: lips are led over LED_FRAMES around a jump, and how
far depends on whether another jump comes within as many."""


@dataclass(frozen=True, slots=True)
class Way:
    """Which mouth of a bank is shown in each of consecutive frames."""

    bank: int
    """Number of the bank among those of the job."""
    start_frame: int
    """As an index of the output."""
    mouths: tuple[int, ...]
    measures: tuple[tuple[float, ...], ...]
    """Where the lips are led to in each frame: see lip_shape.SHAPES, in eye distances."""

    def within(self, start: int, stop: int) -> Way:
        """Return the part of the way in frames [start, stop); it may be empty."""
        first = max(start - self.start_frame, 0)
        part = slice(first, max(stop - self.start_frame, 0))
        return replace(
            self, start_frame=self.start_frame + first, mouths=self.mouths[part], measures=self.measures[part]
        )


@dataclass(frozen=True, slots=True)
class FootageFace:
    """A face that gets a mouth from footage."""

    mesh: TrackedMesh
    bank: int
    """Number of the bank."""
    shown: Shown
    strength: float
    """How much of its new mouth is to be seen."""
    visible: Visible | None = None
    """Where it may be replaced; None: everywhere."""


class FootageLips:
    """Draws mouths of banks into the frames of one video."""

    def __init__(self, banks: Sequence[Bank | None], orientation: Orientation) -> None:
        """banks: as ways number them; None for one that no way shows."""
        self._banks, self._orientation = banks, orientation

    @cached_property
    def _motion(self) -> LipMotion:
        return load_lip_motion()

    def shown(self, ways: Sequence[Way]) -> dict[int, tuple[int, Shown]]:
        """Return for each frame of some ways the number of the bank, and what is shown of it.

        The first and the last WAY_MARGIN frames of a way that was cut off are not what the whole way shows there.
        """
        found: dict[int, tuple[int, Shown]] = {}
        for way in ways:
            bank = self._bank(way.bank)
            mouths, measures = np.array(way.mouths, np.int64), np.array(way.measures, np.float32)
            each = lead(mouths, bank.candidates, bank.upright, bank.measured, measures, self._motion)
            found |= {way.start_frame + number: (way.bank, shown) for number, shown in enumerate(each)}
        return found

    def uncovered(self, number: int, face: TrackedMesh) -> float:
        """Return how far the mouth of a face may be replaced, in [0, 1]; number: of its bank."""
        return float(self._bank(number).usual_doubt.uncovered(face.doubt, float(head_pose(face.steady)[0])))

    def draw(self, frame: VideoFrame, face: FootageFace, strength: float) -> Rectangle:
        """Draw what a frame shows into it, in place; return the stored region outside which nothing changed.

        face: of the frame. strength: how much of the new mouth is seen, in (0, 1].
        """
        bank, shown, size = self._bank(face.bank), face.shown, (frame.width, frame.height)
        upright = Pose(face.mesh.mesh, face.mesh.steady)
        mesh, steady = (self._orientation.points_to_stored(each, *size) for each in (upright.mesh, upright.steady))
        parts = []
        for mouth, weight in zip(shown.mouths, shown.weights, strict=True):
            led = None
            if shown.goal is not None:
                away = led_in_frame(shown.goal - bank.upright[mouth], bank.reference, upright)
                led = self._orientation.points_to_stored(upright.steady + away, *size) - steady
            parts.append(Part(bank.mouth(mouth, self._orientation), weight, led))
        scale = largest_sample(frame)
        seen = self._seen(face.visible, changed_region(steady, size, chroma_step(frame.format)), size)
        return draw(plane_views(frame), Pose(mesh, steady), parts, full_scale=scale, strength=strength, seen=seen)

    def _seen(self, visible: Visible | None, region: Rectangle, size: tuple[int, int]) -> NDArray[np.float32] | None:
        """Return how far each luma pixel of a stored region may be replaced; None: wholly."""
        if visible is None:
            return None
        left, top, right, bottom = self._orientation.to_upright(region, *size)
        affine = shifted(visible.affine, -left, -top)
        seen = cv2.warpAffine(visible.mask, affine, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
        return np.asarray(self._orientation.turn_back(seen), np.float32)

    def _bank(self, number: int) -> Bank:
        bank = self._banks[number]
        assert bank is not None
        return bank
