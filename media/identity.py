"""Who a face belongs to, as numbers: what an embedder wants to see, and embeddings packed into a few bytes.

An embedder is a network that turns an aligned face into a vector; vectors of one person point in similar directions.
How alike two faces are is the cosine of the angle between their vectors, in [-1, 1].
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
"""Where between `different` and `same` the border lies."""


@dataclass(frozen=True, slots=True)
class EmbedderSettings:
    """What an embedder takes, and how alike faces are for it.

    It sees (value - mean) * scale, per channel. The defaults are those of the ArcFace convention.
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
        """Cosine that parts one person from two: nearer to `same`, since a stranger's moving lips are the worse fault.

        Measured with mobilefacenet.onnx: of 26 people every picture lies above it against its person's mean, and below
        it against all others'.
        """
        return self.different + CAUTION * (self.same - self.different)


def pack(vector: Vector) -> bytes:
    """Return a vector's direction as one signed byte a number; cosines change by less than 0.005 (128 numbers)."""
    largest = float(np.abs(vector).max(initial=0.0))
    scaled = vector * (127 / largest) if largest > 0 else np.zeros_like(vector)
    packed: bytes = np.rint(scaled).astype(np.int8).tobytes()
    return packed


def unpack(packed: bytes) -> Vector:
    """Return a packed vector, of length 1 (or 0 if there is no direction)."""
    return unit(np.frombuffer(packed, np.int8).astype(np.float32))


def unit(vector: Vector) -> Vector:
    """Return a vector scaled to length 1; one of length 0 as it is."""
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length > 0 else vector, np.float32)


def mean_direction(packed: Sequence[bytes], weights: Sequence[float]) -> Vector:
    """Return the weighted mean direction of packed vectors, of length 1. At least one is needed."""
    total = sum(weight * unpack(each).astype(np.float64) for each, weight in zip(packed, weights, strict=True))
    return unit(np.asarray(total, np.float32))
