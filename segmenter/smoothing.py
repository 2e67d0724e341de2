"""Steady a path: a Savitzky-Golay filter of order 1, as weights for the frames around one frame.

A straight line is fitted to each window, and the result is filtered once more. In the middle of a span this is a mean
of means: less jitter than one mean over as many frames, or than a higher order with the same error (order 2 needs
windows of 17 frames to be as steady). At its ends the line of the last window is extended, so that nothing lags behind
there either. Even motion stays unchanged.

frame       0   1   2   3   4   5   6   7   8   9  10 ...   window of 7: half a window is 3
for 0       #   #   #   #   #   #   #   #   #   #           the first window's line, through points that need half a
for 6       #   #   #   #   #   #   #   #   #   #   # ...   window more; elsewhere two half windows on either side
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MOST_WINDOW_FRAMES, MOST_STEP_FRAMES = 51, 10
"""Longest window, and longest distance of two detections, that a job may ask for; plans leave room for both."""


def reach_of(window: int) -> int:
    """Return how many frames away, at most, the filter looks. window: odd number of frames."""
    return 3 * (window // 2)


def needed_frames(frame: int, start: int, stop: int, window: int) -> range:
    """Return the frames of a span [start, stop) that the filter needs at one of them: within reach, inside the span."""
    half = window // 2
    before = 2 * half + max(0, half - (stop - 1 - frame))
    after = 2 * half + max(0, half - (frame - start))
    return range(max(start, frame - before), min(stop, frame + after + 1))


@lru_cache(maxsize=256)
def filter_weights(num_frames: int, at: int, window: int) -> NDArray[np.float64]:
    """Return the weights (num_frames,) of the values of needed_frames for the frame at offset `at` among them.

    They add up to 1. A span shorter than the window gets the longest window that fits.
    """
    once = _line_fits(num_frames, min(window, num_frames - 1 + num_frames % 2))
    return np.asarray(once[at] @ once, np.float64)


def _line_fits(num_frames: int, window: int) -> NDArray[np.float64]:
    """Return for each frame the weights of all values in the line that is fitted to the window around it.

    Half a window from either end that line is the first or the last window's. At a distance d from the middle of n
    values, which lie at distances x, a least-squares line has the height sum((1 / n + d x / sum(x^2)) value).
    """
    half = window // 2
    x = np.arange(window) - half
    weights = np.zeros((num_frames, num_frames))
    for frame in range(num_frames):
        start = min(max(frame - half, 0), num_frames - window)
        distance = frame - start - half
        weights[frame, start : start + window] = 1 / window + distance * x / max(int(x @ x), 1)
    return weights
