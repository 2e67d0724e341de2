"""What is shown around jumps: pictures that add up, lips that are led from one mouth to the other."""

from dataclasses import replace

import numpy as np
import pytest

from media.mesh import points_at
from renderer.footage.lip_shape import upright
from renderer.footage.transitions import LED_FRAMES, MOST_LED, count_jumps, goes_on, smooth_transitions
from tests.renderer.footage.test_choice import footage
from tests.support.heads import seen, talking

LIP = points_at((14,))[0]


@pytest.fixture(scope="module")
def mouths():
    """Return candidates, and their points in one pose: each opens wider than the one before it."""
    candidates = footage(60)
    openings = np.linspace(0, 0.3, 60)
    faces, _ = upright(np.stack([seen(talking(opening)) for opening in openings]))
    return candidates, faces


def test_without_a_jump_mouths_are_shown_as_they_are(mouths):
    candidates, faces = mouths
    shown = smooth_transitions(np.arange(10, 30), candidates, faces)
    assert all(each.weights == (1.0,) and each.goal is None for each in shown)
    assert [each.mouths for each in shown] == [(number,) for number in range(10, 30)]
    held = smooth_transitions(np.array([5, 5, 6, 8, 7]), candidates, faces)
    assert all(each.goal is None for each in held)


def test_lips_are_led_over_a_jump_and_pictures_dissolve(mouths):
    candidates, faces = mouths
    way = np.concatenate([np.arange(10, 20), np.arange(30, 40)])
    shown = smooth_transitions(way, candidates, faces)
    assert [number for number, each in enumerate(shown) if each.goal is not None] == list(range(7, 13))
    places = [faces[each.mouths[0]][LIP, 1] if each.goal is None else each.goal[LIP, 1] for each in shown]
    own = faces[way][:, LIP, 1]
    assert np.abs(np.diff(places)).max() < np.abs(np.diff(own)).max()
    assert all(sum(each.weights) == pytest.approx(1) for each in shown)
    assert [number for number, each in enumerate(shown) if len(each.mouths) > 1] == list(range(7, 13))
    assert [each.mouths for each in shown[8:12]] == [(18, 28), (19, 29), (30, 20), (31, 21)]
    steps = [each.weights[1] if number < 10 else each.weights[0] for number, each in enumerate(shown[7:13], 7)]
    assert np.diff(steps) == pytest.approx(1 / 6), "as much in each frame"


def test_far_lips_are_not_stretched(mouths):
    candidates, faces = mouths
    shown = smooth_transitions(np.array([0, 1, 2, 58, 59, 59]), candidates, faces)
    for each in shown:
        if each.goal is not None:
            assert np.abs(each.goal[LIP] - faces[each.mouths[0]][LIP]).max() <= MOST_LED / 2 + 1e-6


def test_a_run_shorter_than_the_lead_is_led_as_far_as_it_goes(mouths):
    candidates, faces = mouths
    shown = smooth_transitions(np.array([0, 1, 2, 3, 20, 40, 41, 42, 43]), candidates, faces)
    assert LED_FRAMES == 3
    assert all(sum(each.weights) == pytest.approx(1) for each in shown)


def test_over_a_gap_in_the_footage_is_a_jump(mouths):
    candidates, _ = mouths
    frames = candidates.frames.copy()
    frames[30:] += 1
    gappy = replace(candidates, frames=frames)
    assert goes_on(10, 11, gappy)
    assert goes_on(11, 10, gappy)
    assert goes_on(10, 12, gappy)
    assert not goes_on(29, 30, gappy)
    assert not goes_on(10, 14, gappy)
    assert count_jumps(np.array([10, 11, 12, 29, 30, 31]), gappy) == 2
