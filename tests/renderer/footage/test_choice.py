"""Which mouth is shown when: the ones that fit, in runs, closed in silence, never the frame's own."""

from dataclasses import replace

import numpy as np
import pytest

from renderer.footage import choice
from renderer.footage.choice import OWN_SECONDS, Candidates, Wanted, choose, transition_costs

RATE = 25.0


def footage(count=600, seed=0, first=10_000):
    """Return mouths that open and close as speech does."""
    random = np.random.default_rng(seed)
    walk = random.normal(0, 1, (count + 20, 6))
    smooth = np.stack([np.convolve(column, np.hanning(9), "same") for column in walk.T], axis=1)[10:-10]
    shapes = ((smooth - smooth.mean(axis=0)) / np.maximum(smooth.std(axis=0), 0.1)).astype(np.float32)
    looks = np.hstack([shapes, np.zeros((count, 6), np.float32)])
    return Candidates(
        shapes, looks, np.zeros((count, 4), np.float32), np.full((count, 15), 120, np.float32), first + np.arange(count)
    )


def wanting(candidates, rows, *, silent=False):
    """Return frames that want the shapes of some mouths, elsewhere in the video."""
    count = len(rows)
    return Wanted(
        candidates.shapes[rows],
        np.full(count, silent),
        candidates.pose[rows],
        candidates.light[rows],
        np.arange(count, dtype=np.int64),
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
    # What is enlarged depends on the whole stretch, so it is the same here.
    end = wanting(other, np.concatenate([np.arange(300), np.arange(399, 299, -1)]))
    assert np.array_equal(choose(end, candidates)[:225], whole[:225])


def test_in_silence_the_mouth_is_closed_and_moves_on_without_a_jump():
    candidates = footage()
    way = choose(wanting(candidates, np.arange(100, 180), silent=True), candidates)
    opening = candidates.shapes[:, 0] + 0.5 * candidates.shapes[:, 2]
    assert np.median(opening[way]) < np.percentile(opening, 15)
    assert (np.abs(np.diff(way)) > 2).mean() < 0.1


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


def test_a_frame_that_speaks_never_shows_its_own_mouth():
    candidates = footage(first=0)
    rows = np.arange(100, 200)
    wanted = replace(wanting(candidates, rows), frames=rows.astype(np.int64))
    way = choose(wanted, candidates)
    assert np.abs(candidates.frames[way] - wanted.frames).min() > OWN_SECONDS * RATE


def test_a_mouth_seen_from_elsewhere_or_in_another_light_is_not_shown():
    candidates = footage()
    pose, light = candidates.pose.copy(), candidates.light.copy()
    pose[:300, 0], light[300:450] = 25, 40
    wanted = wanting(footage(seed=3), np.arange(80))
    way = choose(wanted, replace(candidates, pose=pose, light=light))
    assert way.min() >= 450


def test_a_mouth_does_not_come_again_at_once_if_others_do_as_well():
    candidates = footage(1200)
    for values in (candidates.shapes, candidates.looks):
        values[695:715] = values[295:315]
    rows = np.tile(np.arange(300, 310), 8)
    way = choose(wanting(candidates, rows), candidates)
    first, second = ((way >= start) & (way < start + 20) for start in (295, 695))
    assert min(first.mean(), second.mean()) > 0.2


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
