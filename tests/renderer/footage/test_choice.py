"""Which mouth is shown when: the ones that fit, in runs, and at rest in silence."""

from dataclasses import replace

import numpy as np
import pytest

from renderer.footage import choice
from renderer.footage.choice import Candidates, Wanted, choose, transition_costs

RATE = 25.0


def footage(count=600, seed=0, first=10_000):
    """Return mouths that open and close as speech does."""
    random = np.random.default_rng(seed)
    walk = random.normal(0, 1, (count + 20, 6))
    smooth = np.stack([np.convolve(column, np.hanning(9), "same") for column in walk.T], axis=1)[10:-10]
    shapes = ((smooth - smooth.mean(axis=0)) / np.maximum(smooth.std(axis=0), 0.1)).astype(np.float32)
    looks = np.hstack([shapes, np.zeros((count, 6), np.float32)])
    return Candidates(
        shapes=shapes,
        looks=looks,
        pose=np.zeros((count, 4), np.float32),
        light=np.full((count, 15), 120, np.float32),
        sharpness=np.zeros(count, np.float32),
        frames=first + np.arange(count),
    )


def wanting(candidates, rows, *, silent=False):
    """Return frames that want the shapes of some mouths, elsewhere in the video."""
    count = len(rows)
    return Wanted(
        candidates.shapes[rows],
        np.full(count, silent),
        candidates.pose[rows],
        candidates.light[rows],
        RATE,
    )


def test_footage_that_does_what_is_wanted_is_shown_as_it_was_filmed():
    candidates = footage()
    rows = np.arange(200, 280)
    way = choose(wanting(candidates, rows), candidates)
    assert (way[2:] == rows[2:]).mean() > 0.9


def test_what_is_shown_fits_what_another_speaker_of_the_same_words_wants():
    candidates, other = footage(), footage(seed=7)
    wanted = wanting(other, np.arange(150))
    way = choose(wanted, candidates)
    told, shown = wanted.shapes[:, 0], candidates.shapes[way, 0]
    assert np.corrcoef(told, shown)[0, 1] > 0.6
    runs = np.diff(way) == 1
    assert runs.mean() > 0.3, "mouths are shown in runs"


def test_what_comes_much_later_changes_nothing():
    candidates, other = footage(), footage(seed=7)
    whole = choose(wanting(other, np.arange(400)), candidates)
    # The scale of misfits comes from the whole stretch, so its frames are the same here.
    end = wanting(other, np.concatenate([np.arange(300), np.arange(399, 299, -1)]))
    assert np.array_equal(choose(end, candidates)[:225], whole[:225])


def test_in_silence_a_mouth_rests_without_a_jump():
    candidates = footage()
    way = choose(wanting(candidates, np.full(80, 100), silent=True), candidates)
    assert (np.abs(np.diff(way)) > 2).sum() == 0
    assert (np.diff(way) == 0).mean() > 0.5


@pytest.mark.parametrize(("degrees", "jumps"), [(2, 0), (20, 1)])
def test_in_silence_a_mouth_is_held_until_the_head_has_turned(degrees, jumps):
    """Two takes of a closed mouth that look alike, one from each side."""
    candidates = footage()
    candidates.shapes[:] = candidates.looks[:] = 0.0
    candidates.frames[300:] += 1_000
    candidates.pose[300:, 0] = degrees
    wanted = wanting(candidates, np.full(60, 100), silent=True)
    wanted.pose[30:, 0] = degrees
    way = choose(wanted, candidates)
    assert (np.abs(np.diff(way)) > 2).sum() == jumps


def test_a_mouth_seen_from_elsewhere_or_in_another_light_is_not_shown():
    candidates = footage()
    pose, light = candidates.pose.copy(), candidates.light.copy()
    pose[:300, 0], light[300:450] = 25, 40
    wanted = wanting(footage(seed=3), np.arange(80))
    way = choose(wanted, replace(candidates, pose=pose, light=light))
    assert way.min() >= 450


def test_a_blurred_mouth_is_shown_only_where_none_else_fits():
    candidates = footage()
    candidates.sharpness[100:500] = np.log(0.6)
    wanted = wanting(footage(seed=3), np.arange(80))
    way = choose(wanted, candidates)
    blurred = (way >= 100) & (way < 500)
    even = choose(wanted, footage())
    assert blurred.mean() < 0.3 < ((even >= 100) & (even < 500)).mean()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_little_footage_is_enough_to_choose_from(count):
    candidates = footage(count)
    assert len(choose(wanting(footage(seed=2), np.arange(30)), candidates)) == 30


def test_going_on_costs_nothing_but_over_a_gap_in_the_footage():
    candidates = footage(40)
    frames = candidates.frames.copy()
    frames[20:] += 5
    cost = transition_costs(replace(candidates, frames=frames))
    assert cost[3, 4] == 0
    assert cost[19, 20] > choice.JUMP
    assert 0 < cost[5, 5] < choice.JUMP
