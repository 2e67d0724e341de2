"""Where faces are in a picture, and where one of them goes: values, in pixels of the upright picture."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A rectangle in pixels of the upright picture; edges are floats, right and bottom exclusive."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Area in square pixels; 0 for an empty or inverted box."""
        return max(0.0, self.width) * max(0.0, self.height)

    def overlap(self, other: FaceBox) -> float:
        """Return intersection over union with another box, in [0, 1]."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        return shared / (self.area + other.area - shared)

    def towards(self, other: FaceBox, share: float) -> FaceBox:
        """Return the box that lies `share` (0 to 1) of the way to another one."""
        own_share = 1.0 - share
        return FaceBox(
            own_share * self.left + share * other.left,
            own_share * self.top + share * other.top,
            own_share * self.right + share * other.right,
            own_share * self.bottom + share * other.bottom,
        )


Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class FaceView:
    """How a face's head is held, and how it is lit: what its mesh tells of one frame."""

    pose: tuple[float, float, float, float]
    """Yaw, pitch and roll in degrees, natural logarithm of the eye distance in pixels; see media.mesh.head_pose."""
    light: tuple[float, ...]
    """See media.mesh.light_around."""
    doubt: float
    """How far the points of its lips are likely off, as a share of the eye distance."""


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face, in pixels of the upright picture."""

    box: FaceBox
    score: float
    """Detector confidence in [0, 1]."""
    landmarks: tuple[Point, Point, Point, Point, Point] | None = None
    """Right eye, left eye, nose, right and left corner of the mouth (as seen: left to right); None if unknown."""
    embedding: bytes = b""
    """What the face is recognised by, packed as media.identity does; empty if it was not computed."""
    light: float | None = None
    """Mean luma of the face, 0 (black) to 1 (white); None if it was not measured."""
    sharpness: float | None = None
    """How much of the face's contrast lies in fine detail (segmenter.face_quality); None if it cannot be measured."""
    openness: float | None = None
    """How open the mouth looks, comparable only with the same face at other times; None if it was not measured."""
    view: FaceView | None = None
    """None if its mesh was not looked for."""

    def scaled(self, across: float, down: float, *, left: float = 0.0, top: float = 0.0) -> Face:
        """Return the face in a picture scaled by two factors, and then moved so that its corner lies at left, top."""
        box = self.box
        edges = FaceBox(
            left + box.left * across, top + box.top * down, left + box.right * across, top + box.bottom * down
        )
        if self.landmarks is None:
            return replace(self, box=edges)
        first, second, third, fourth, fifth = ((left + x * across, top + y * down) for x, y in self.landmarks)
        return replace(self, box=edges, landmarks=(first, second, third, fourth, fifth))


@dataclass(frozen=True, slots=True)
class FrameDetections:
    """The faces that a detector saw in one frame; empty if it saw none."""

    frame: int
    faces: tuple[Face, ...]


@dataclass(frozen=True, slots=True)
class FacePath:
    """Where a face is at some frames of one span: where a tracker looks for it."""

    frames: tuple[int, ...]
    """Increasing frame indexes, at least one."""
    boxes: tuple[FaceBox, ...]

    def box_at(self, frame: int) -> FaceBox:
        """Return the box at a frame: interpolated between neighbours, held before the first and after the last."""
        after = bisect_left(self.frames, frame)
        if after == 0:
            return self.boxes[0]
        if after == len(self.frames):
            return self.boxes[-1]
        start, stop = self.frames[after - 1], self.frames[after]
        return self.boxes[after - 1].towards(self.boxes[after], (frame - start) / (stop - start))

    def within(self, start: int, stop: int) -> FacePath:
        """Return what box_at needs in [start, stop): the boxes there, and one beyond on either side."""
        first = max(bisect_right(self.frames, start) - 1, 0)
        last = min(bisect_left(self.frames, stop) + 1, len(self.frames))
        return FacePath(self.frames[first:last], self.boxes[first:last])


@dataclass(frozen=True, slots=True)
class NeutralFace:
    """A face of a span as it looks with its mouth (nearly) closed, and the source frame that shows it."""

    frame: int
    face: Face
