"""How near pictures are to a reference: mean squared error, PSNR, and structural similarity, of luma."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from media.orientation import Rectangle
from media.picture import VideoFrame, largest_sample, plane_views

EQUAL: Final = 99.0
"""Decibels that stand for pictures without a difference, as in reports."""
WINDOW_PX, SPREAD_PX = 11, 1.5
"""The Gaussian window of Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to
Structural Similarity" (2004), whose constants these are, too."""
LEVELS: Final = 255.0
FIRST, SECOND = (0.01 * LEVELS) ** 2, (0.03 * LEVELS) ** 2

Luma = NDArray[np.float32]
"""(height, width), in 8-bit levels."""


@dataclass(slots=True)
class FidelitySums:
    """Sums over the pixels of frames."""

    squared: float = 0.0
    num_pixels: int = 0
    similar: float = 0.0
    num_windows: int = 0

    def add(self, other: FidelitySums) -> None:
        """Add the sums of further frames."""
        self.squared += other.squared
        self.num_pixels += other.num_pixels
        self.similar += other.similar
        self.num_windows += other.num_windows

    def figures(self, suffix: str = "") -> dict[str, float]:
        """Return mse, psnr and ssim; nothing without pixels."""
        if not self.num_pixels:
            return {}
        error = self.squared / self.num_pixels
        psnr = min(10 * log10(LEVELS**2 / error), EQUAL) if error else EQUAL
        similarity = {f"ssim{suffix}": self.similar / self.num_windows} if self.num_windows else {}
        return {f"mse{suffix}": error, f"psnr{suffix}": psnr, **similarity}


def compare(frame: VideoFrame, reference: VideoFrame, left_out: Rectangle | None = None) -> FidelitySums:
    """Return the sums of a frame against another of its size; left_out: a stored rectangle that does not count."""
    one, other = _luma(frame), _luma(reference)
    counts = np.ones(one.shape, np.bool_)
    if left_out is not None:
        left, top, right, bottom = left_out
        counts[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = False
    squared = np.square(one - other)[counts]
    rim = WINDOW_PX // 2  # windows that reach beyond the picture are left out
    inner = counts[rim:-rim, rim:-rim]
    found = np.ones_like(one) if np.array_equal(one, other) else similarities(one, other)
    similar = found[rim:-rim, rim:-rim][inner]
    return FidelitySums(
        float(squared.sum(dtype=np.float64)), squared.size, float(similar.sum(dtype=np.float64)), similar.size
    )


def similarities(one: Luma, other: Luma) -> Luma:
    """Return the structural similarity of the window around each pixel, (height, width), at most 1."""

    def mean(values: Luma) -> Luma:
        return np.asarray(cv2.GaussianBlur(values, (WINDOW_PX, WINDOW_PX), SPREAD_PX), np.float32)

    first, second = mean(one), mean(other)
    variance = mean(np.square(one)) + mean(np.square(other)) - np.square(first) - np.square(second)
    covariance = mean(one * other) - first * second
    return np.asarray(
        (2 * first * second + FIRST)
        * (2 * covariance + SECOND)
        / ((np.square(first) + np.square(second) + FIRST) * (variance + SECOND)),
        np.float32,
    )


def _luma(frame: VideoFrame) -> Luma:
    return np.asarray(plane_views(frame)[0] * np.float32((LEVELS + 1) / (largest_sample(frame) + 1)), np.float32)
