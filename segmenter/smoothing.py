"""Steady a path: SciPy's Savitzky-Golay filter, as weights for the frames around one frame.

A straight line is fitted to each window (order 1), and the result is filtered once more. In the middle of a span this
is a mean of means: less jitter than one mean over as many frames, or than a higher order with the same error. At its
ends the line of the last window is extended, so that nothing lags behind there either. Even motion stays unchanged.

frame       0   1   2   3   4   5   6   7   8   9  10 ...   window of 7: half a window is 3
for 0       #   #   #   #   #   #   #   #   #   #           the first window's line, through points that need half a
for 6       #   #   #   #   #   #   #   #   #   #   # ...   window more; elsewhere two half windows on either side
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ORDER = 1
"""Order of the polynomial. Order 2 needs windows of 17 frames to be as steady, with no smaller error."""

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
    from scipy.signal import savgol_filter  # takes most of a second, which plans and scans can save

    length = min(window, num_frames - 1 + num_frames % 2)
    impulses = np.eye(num_frames)
    for _ in range(2):
        impulses = savgol_filter(impulses, length, min(ORDER, length - 1), axis=0)
    return np.asarray(impulses[at], np.float64)
