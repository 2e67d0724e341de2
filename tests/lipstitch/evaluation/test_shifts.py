"""Shifts: a known one is found, whatever the length of a run, and windows count for the clip that they lie in."""

import numpy as np
import pytest

from lipstitch.evaluation.shifts import SyncRun
from tests.support.syncing import KnowingJudge


def run_through(judge, num_steps, first=0, label_of=lambda step: 0):
    run = SyncRun(judge, first)
    for step in range(first, first + num_steps):
        run.add(np.full((2, 2, 3), (step % 256, step // 256, 0), np.uint8), label_of(step))
    return run.finish()


@pytest.mark.parametrize("late", [-15, -3, 0, 4, 15])
@pytest.mark.parametrize("is_cut", [True, False])
def test_lips_that_come_late_have_a_positive_offset(late, is_cut):
    (sums,) = run_through(KnowingJudge(late, is_cut), 400, first=17).values()
    assert sums.offset == late
    assert sums.count == 395
    if not is_cut:
        assert sums.distance < 0.01
        assert sums.confidence > 3


@pytest.mark.parametrize("num_steps", [30, 68, 69, 83, 84, 133, 300])
def test_blocks_change_nothing(num_steps):
    """Windows are embedded in blocks; the sums are those of all at once."""
    judge = KnowingJudge(2, is_cut=True)
    (sums,) = run_through(judge, num_steps).values()
    count = num_steps - 5
    lips = judge._directions[np.arange(count) + 500 - 2]
    sound = np.pad(judge._directions[np.arange(count) + 500], ((15, 15), (0, 0)))
    wanted = [np.linalg.norm(lips - sound[shift : shift + count], axis=1).sum() for shift in range(31)]
    assert np.allclose(sums.distances, wanted, rtol=1e-4, atol=1e-2)
    assert judge.most_windows <= 64


def test_windows_count_for_the_clip_of_their_middle():
    sums = run_through(KnowingJudge(0), 200, label_of=lambda step: None if step < 50 else step // 100)
    assert {label: each.count for label, each in sums.items()} == {0: 50, 1: 97}  # the last window is left out


def test_a_short_run_is_not_judged():
    assert run_through(KnowingJudge(0), 29) == {}
    assert run_through(KnowingJudge(0), 30) != {}
