"""What a scan saw: the faces of some frames, and where shots begin; kept as JSON."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any

from media.faces import Face, FaceBox, FrameDetections


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
        """Return the scan as JSON; about 130 bytes a sample with one face, and 175 once a second for who it is."""
        samples = [[sample.frame, [_numbers(face) for face in sample.faces]] for sample in self.samples]
        content = {"detector": self.detector, "upright_size": self.upright_size, "cuts": self.cuts, "samples": samples}
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Scan:
        """Return the scan that to_json wrote, equal to the original; ValueError or KeyError if it is none."""
        content = json.loads(text)
        samples = (FrameDetections(frame, tuple(_face(*face) for face in faces)) for frame, faces in content["samples"])
        width, height = content["upright_size"]
        return cls(tuple(samples), tuple(content["cuts"]), content["detector"], (width, height))


def _numbers(face: Face) -> list[float | str | None]:
    box = face.box
    points = (coordinate for point in face.landmarks or () for coordinate in point)
    embedding = [b64encode(face.embedding).decode()] if face.embedding else []
    looks = (face.light, face.sharpness, face.openness)
    return [face.score, *looks, box.left, box.top, box.right, box.bottom, *points, *embedding]


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
