"""A scan: the faces seen in some frames, and where shots begin; stored as JSON."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any

from media.faces import Face, FaceBox, FrameDetections

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
        """Return the scan as JSON: about 130 bytes for a sample with one face, and 175 more for an embedding."""
        samples = [[sample.frame, [_numbers(face) for face in sample.faces]] for sample in self.samples]
        content = {"detector": self.detector, "upright_size": self.upright_size, "cuts": self.cuts, "samples": samples}
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Scan:
        """Return the scan that to_json wrote, equal to the original. Raises ValueError or KeyError."""
        content = json.loads(text)
        samples = (FrameDetections(frame, tuple(_face(*face) for face in faces)) for frame, faces in content["samples"])
        width, height = content["upright_size"]
        return cls(tuple(samples), tuple(content["cuts"]), content["detector"], (width, height))


def _numbers(face: Face) -> list[float | str | None]:
    box = face.box
    points = (coordinate for point in face.landmarks or () for coordinate in point)
    embedding = [b64encode(face.embedding).decode()] if face.embedding else []
    quality = (face.light, face.sharpness, face.openness)
    return [face.score, *quality, box.left, box.top, box.right, box.bottom, *points, *embedding]


def _face(
    score: float,
    light: float | None,
    sharpness: float | None,
    openness: float | None,
    left: float,
    top: float,
    right: float,
    bottom: float,
    *rest: Any,
) -> Face:
    box = FaceBox(left, top, right, bottom)
    embedding = b64decode(rest[-1]) if rest and isinstance(rest[-1], str) else b""
    points = rest[:-1] if embedding else rest
    if not points:
        return Face(box, score, None, embedding, light, sharpness, openness)
    first, second, third, fourth, fifth = zip(points[::2], points[1::2], strict=True)
    return Face(box, score, (first, second, third, fourth, fifth), embedding, light, sharpness, openness)
