"""PURE: which steps of 1/25 s, counted from a video's first frame, one of its frames stands for.

24/s      |   |   |   |   |   |   |   |   |   |        a frame may stand for two steps
steps     |  |  |  |  |  |  |  |  |  |  |  |  |
30/s      | | | x | | | | x | | | | x | | | | |        frames between two steps (x) stand for none
"""

from __future__ import annotations

from math import ceil

from lipstitch.evaluation.shifts import STEPS_PER_SECOND
from lipstitch.training.dataset.grid import FARTHEST_SECONDS
from media.packets.frame_table import FrameTable


def steps_of(table: FrameTable, frame: int) -> list[int]:
    """Return the steps to which a frame is the nearest one, and near enough; the first frame is that of step 0."""
    now = table.seconds(frame)
    first = ceil((table.seconds(frame - 1) + now) / 2 * STEPS_PER_SECOND) if frame else 0
    stop = ceil((now + table.seconds(frame + 1)) / 2 * STEPS_PER_SECOND)
    near = FARTHEST_SECONDS * STEPS_PER_SECOND
    return [step for step in range(first, stop) if abs(step - now * STEPS_PER_SECOND) <= near]
