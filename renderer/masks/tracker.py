"""A FaceTracker that also tells which pixels of each face may be replaced, frame by frame, steadied in time.

What is before a face in its own frame is never drawn over, whatever its neighbours show: a mask is the least of its own
and of the mean of those around it. So it fades where something comes, and does not flicker.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import cv2
import numpy as np

from media.affine import Affine, Size
from media.clips import FaceSpan, TrackedFace, Visible
from media.faces import Face, FaceBox
from media.mesh import head_pose
from media.picture import Pixels, VideoFrame
from media.reader import FaceTracker
from renderer.masks.maskers import Mask, Masker
from renderer.template import TEMPLATE_PX, template_affine

MASKS_VERSION: Final = 1
"""Raised when the same network gives other masks than before."""
REACH: Final = 2
"""Frames on either side that a mask is the mean of."""
MASK_PX: Final = 256
"""Height and width of a mask, over the whole template."""
MOUTH: Final = (slice(320, 440), slice(185, 330))
"""Rows and columns of the template in which a mouth lies."""
SHRUNK, SOFTENED = 5, 0.8
"""Pixels by which a mask is drawn back from what is before the face, and over which its edge is soft."""
LEAST: Final = 0.06
"""Below it, nothing is seen of what is drawn."""

Sample = Callable[[VideoFrame, Affine, Size], Pixels]


class MaskTracker:
    """Adds masks to the faces of another tracker. Not thread-safe."""

    def __init__(self, faces: FaceTracker, maskers: Sequence[Masker], sample: Sample) -> None:
        """sample: returns pixels of a frame through a map to the upright picture; see Compositor.sample."""
        self._faces, self._maskers, self._sample = faces, maskers, sample
        self._found: OrderedDict[tuple[int, int], Mask] = OrderedDict()
        """Recent masks, by number of the span and frame."""

    @property
    def reach_frames(self) -> int:
        """Frames beyond a frame, on either side, that its face may depend on."""
        return self._faces.reach_frames + REACH

    def pose(self, face: Face) -> tuple[FaceBox, float]:
        """Return the box of a face seen in one frame, and how far it is turned; see FaceTracker."""
        return self._faces.pose(face)

    def track(
        self, frames: Iterable[tuple[int, VideoFrame]], spans: Sequence[FaceSpan]
    ) -> Iterator[tuple[int, VideoFrame, tuple[TrackedFace, ...]]]:
        """Yield each frame in the order given with its faces and their masks; see FaceTracker.

        A frame waits for those within REACH.
        """
        self._found.clear()
        numbers = {id(span): number for number, span in enumerate(spans)}
        waiting: deque[tuple[int, VideoFrame, tuple[TrackedFace, ...]]] = deque()
        for index, frame, faces in self._faces.track(frames, spans):
            for face in faces:
                self._look(numbers[id(face.span)], index, frame, face, len(spans))
            waiting.append((index, frame, faces))
            if len(waiting) > REACH:
                yield self._with_masks(*waiting.popleft(), numbers)
        while waiting:
            yield self._with_masks(*waiting.popleft(), numbers)

    def _look(self, number: int, index: int, frame: VideoFrame, face: TrackedFace, num_spans: int) -> None:
        key = number, index
        if key in self._found:
            self._found.move_to_end(key)
            return
        mask = np.ones((MASK_PX, MASK_PX), np.float32)
        for masker in self._maskers:
            picture = self._sample(frame, _template(face, masker.px), (masker.px, masker.px))
            seen = masker(picture, with_neck=face.mesh is not None)
            mask = np.minimum(mask, cv2.resize(seen, (MASK_PX, MASK_PX), interpolation=cv2.INTER_AREA))
        self._found[key] = _drawn_back(mask)
        if len(self._found) > (4 * REACH + 4) * num_spans:
            self._found.popitem(last=False)

    def _with_masks(
        self, index: int, frame: VideoFrame, faces: tuple[TrackedFace, ...], numbers: dict[int, int]
    ) -> tuple[int, VideoFrame, tuple[TrackedFace, ...]]:
        masked = []
        for face in faces:
            number, span = numbers[id(face.span)], face.span
            own = self._found[number, index]
            first, stop = max(index - REACH, span.start_frame), min(index + REACH + 1, span.stop_frame)
            mean = np.mean([self._found.get((number, near), own) for near in range(first, stop)], axis=0)
            rows, columns = (_scaled(part) for part in MOUTH)
            visible = Visible(np.minimum(own, mean), _template(face, MASK_PX), 1 - float(mean[rows, columns].mean()))
            masked.append(replace(face, visible=visible))
        return index, frame, tuple(masked)


def _template(face: TrackedFace, px: int) -> Affine:
    roll = face.roll_degrees if face.mesh is None else float(head_pose(face.mesh.steady)[2])
    return template_affine(face.box, roll, px)


def _scaled(part: slice) -> slice:
    return slice(part.start * MASK_PX // TEMPLATE_PX, part.stop * MASK_PX // TEMPLATE_PX)


def _drawn_back(mask: Mask) -> Mask:
    """Return a mask that ends before what is in front of the face, softly."""
    smaller = cv2.erode(mask, np.ones((SHRUNK, SHRUNK), np.uint8))
    soft = cv2.GaussianBlur(smaller, (0, 0), SOFTENED)
    return np.where(soft < LEAST, np.float32(0), np.asarray(soft, np.float32))
