"""A scan: the faces seen in some frames, and where shots begin; stored as JSON."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from media.faces import Face, FaceBox, FaceView, FrameDetections

MIN_FACE_PX = 64
"""Default height of the smallest face of interest, forehead to chin, in pixels of the upright picture: two thirds of
the 96 that the network generates."""


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How closely a video is scanned. The defaults are those of a job file."""

    samples_per_second: float = 5
    """Frames a second in which faces are looked for."""
    min_face_px: int = MIN_FACE_PX
    """Height of the smallest face of interest; it decides how small a picture is searched."""
    box: FaceBox | None = None
    """Where the only face is in every frame, in upright pixels; None: faces are looked for."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What was seen in the frames that were scanned."""

    samples: tuple[FrameDetections, ...]
    """By frame; boxes and landmarks in pixels of the upright picture, to a hundredth."""
    cuts: tuple[int, ...]
    """First frame of each shot that begins with a cut."""
    detector: str
    """Name of the detector."""
    upright_size: tuple[int, int]
    """Width and height of the upright picture."""

    def to_json(self) -> str:
        """Return the scan as JSON: about 130 bytes for a sample with one face, 130 more for its view and 175 for an
        embedding.
        """
        samples = [[sample.frame, [_numbers(face) for face in sample.faces]] for sample in self.samples]
        content = {"detector": self.detector, "upright_size": self.upright_size, "cuts": self.cuts, "samples": samples}
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Scan:
        """Return the scan that to_json wrote, equal to the original. Raises ValueError or KeyError."""
        content = json.loads(text)
        samples = (FrameDetections(frame, tuple(map(_face, faces))) for frame, faces in content["samples"])
        width, height = content["upright_size"]
        return cls(tuple(samples), tuple(content["cuts"]), content["detector"], (width, height))


def _numbers(face: Face) -> list[Any]:
    box, view = face.box, face.view
    points = [coordinate for point in face.landmarks or () for coordinate in point]
    return [
        face.score,
        *(face.light, face.sharpness, face.openness),
        *(box.left, box.top, box.right, box.bottom),
        points,
        b64encode(face.embedding).decode(),
        [*view.pose, *view.light, view.doubt] if view else None,
    ]


def _face(stored: Sequence[Any]) -> Face:
    score, light, sharpness, openness, left, top, right, bottom, points, embedding, numbers = stored
    landmarks = None
    if points:
        first, second, third, fourth, fifth = zip(points[::2], points[1::2], strict=True)
        landmarks = (first, second, third, fourth, fifth)
    view = None
    if numbers:
        yaw, pitch, roll, size, *around, doubt = numbers
        view = FaceView((yaw, pitch, roll, size), tuple(around), doubt)
    box = FaceBox(left, top, right, bottom)
    return Face(box, score, landmarks, b64decode(embedding), light, sharpness, openness, view)
