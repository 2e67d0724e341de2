"""Face embeddings: what an embedder takes as input, and embeddings packed into a few bytes.

An embedder is a network that turns an aligned face into a vector; vectors of one person point in similar directions.
The similarity of two faces is the cosine of the angle between their vectors, in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
"""(n,) float32."""

CAUTION = 0.7
"""Where the border lies between `different` (0) and `same` (1)."""


@dataclass(frozen=True, slots=True)
class EmbedderSettings:
    """What an embedder takes as input, and how to read its similarities.

    Its input is (value - mean) * scale, per channel. The defaults are those of the ArcFace convention.
    """

    scale: float = 1 / 128
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    """In the order of the channels."""
    channels: Literal["rgb", "bgr"] = "rgb"
    same: float = 0.6
    """Cosine above which nearly all pairs of pictures of one person lie."""
    different: float = 0.35
    """Cosine below which nearly all pairs of pictures of two people lie."""

    @property
    def border(self) -> float:
        """Return the cosine from which two faces are one person: nearer to `same`, since rendering a stranger is worse.

        Measured with mobilefacenet.onnx on 26 people: every picture is above it against the mean of its own person, and
        below it against the means of all others.
        """
        return self.different + CAUTION * (self.same - self.different)


def pack(vector: Vector) -> bytes:
    """Return a vector's direction with one signed byte per number; cosines change by less than 0.005 (128 numbers)."""
    largest = float(np.abs(vector).max(initial=0.0))
    scaled = vector * (127 / largest) if largest > 0 else np.zeros_like(vector)
    packed: bytes = np.rint(scaled).astype(np.int8).tobytes()
    return packed


def unpack(packed: bytes) -> Vector:
    """Return a packed vector with length 1; a vector of zeros stays one."""
    return unit(np.frombuffer(packed, np.int8).astype(np.float32))


def unit(vector: Vector) -> Vector:
    """Return a vector scaled to length 1; a vector of zeros stays one."""
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length > 0 else vector, np.float32)


def mean_direction(packed: Sequence[bytes], weights: Sequence[float]) -> Vector:
    """Return the weighted mean direction, of length 1, of one or more packed vectors."""
    total = sum(weight * unpack(vector).astype(np.float64) for vector, weight in zip(packed, weights, strict=True))
    return unit(np.asarray(total, np.float32))
