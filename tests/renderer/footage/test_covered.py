"""When something is held before a mouth, by the mesh network's doubt about the lips."""

import numpy as np
import pytest

from renderer.footage.covered import COVERED_FROM, COVERED_WHOLLY, LEAST_NEAR, MOST_TURNED, UsualDoubt

SURE = 0.017


def usual(doubts, yaws=0.0):
    return UsualDoubt.of(np.array(doubts), np.broadcast_to(yaws, len(doubts)))


def test_a_hand_covers_a_mouth_and_speech_does_not():
    of_person = usual([SURE] * 60 + [2.2 * SURE] * 60)
    assert of_person.uncovered(np.array([1.0, 1.3, 1.9, 2.5]) * SURE, 0.0).tolist() == [1, 1, 0, 0]
    halfway = (COVERED_FROM + COVERED_WHOLLY) / 2 * SURE
    assert float(of_person.uncovered(halfway, 0.0)) == pytest.approx(0.5)


def test_a_head_is_measured_by_those_that_are_turned_alike():
    doubts, yaws = [SURE] * 40 + [1.55 * SURE] * 40, [0.0] * 40 + [30.0] * 40
    of_person = UsualDoubt.of(np.array(doubts), np.array(yaws))
    assert float(of_person.uncovered(1.9 * SURE, 30.0)) == 1
    assert float(of_person.uncovered(1.9 * SURE, 0.0)) == 0


@pytest.mark.parametrize(("count", "doubt"), [(LEAST_NEAR - 1, 1.5), (40, 5.0)])
def test_few_or_covered_frames_of_a_turned_head_tell_nothing(count, doubt):
    """A hand that is before the mouth in all frames of a turned head is still seen as one."""
    doubts, yaws = [SURE] * 200 + [doubt * SURE] * count, [0.0] * 200 + [30.0] * count
    of_person = UsualDoubt.of(np.array(doubts), np.array(yaws))
    assert float(of_person.uncovered(COVERED_WHOLLY * MOST_TURNED * SURE, 30.0)) == 0
    assert max(of_person.doubts) <= MOST_TURNED * SURE * 1.001


def test_of_nothing_nothing_is_known():
    assert set(UsualDoubt.of(np.empty(0), np.empty(0)).doubts) == {0.0}
