"""Lips that are led: the law is found in other people's faces, and no mouth is asked for what it cannot do."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from lipstitch.training.config import WeightsNote
from lipstitch.training.shapes.motion import write_motion
from media.base.errors import UnsupportedCheckpoint
from media.mesh import points_at
from renderer.footage.lip_motion import LEAST_SHARE, choose_and_lead, fit, lead, load_lip_motion
from renderer.footage.lip_shape import Normal, measure, upright
from tests.renderer.footage.test_choice import footage, wanting
from tests.support.heads import seen, talking

UPPER, LOWER = points_at((13, 14))


def speech(yaw, frames=80, most=0.25):
    """Return the upright points and the measures of someone who talks, at whatever angle they are filmed."""
    random = np.random.default_rng(int(10 * most) + frames)
    meshes = np.stack([seen(talking(opening), yaw=yaw) for opening in random.uniform(0, most, frames)])
    points, reference = upright(meshes)
    return points, measure(meshes, reference)


def opening_and_closing(motion, frames):
    """Return frames that want a mouth to open and close, with all that goes with it."""
    gap = np.sin(np.arange(frames) / 4)[:, None]
    together = motion.with_gap * motion.spread[0] / motion.spread
    return replace(wanting(footage(seed=5), np.arange(frames)), shapes=(gap * together).astype(np.float32))


@pytest.fixture(scope="module")
def motion():
    return load_lip_motion()


def test_a_law_of_some_people_holds_for_another():
    found = fit([speech(1), speech(-3), speech(5)])
    points, measures = speech(7)
    moved = points[0] + np.tensordot(measures[1:] - measures[0], found.motion, axes=1)
    off = np.linalg.norm(moved - points[1:], axis=2)[:, [UPPER, LOWER]]
    away = np.linalg.norm(points[1:] - points[0], axis=2)[:, [UPPER, LOWER]]
    assert off.max() < 0.1 * away.max()


def test_who_is_seen_longer_does_not_count_more():
    brief, long_ = speech(1, 40, most=0.1), speech(2, 400)
    once, twice = fit([brief, long_]), fit([brief, tuple(np.concatenate([each, each]) for each in long_)])
    assert np.allclose(once.motion, twice.motion, atol=1e-4)
    assert np.allclose(once.spread, twice.spread, atol=1e-6)


def test_a_motion_is_read_back_as_it_was_written(tmp_path):
    found = fit([speech(1), speech(2)])
    write_motion(found, tmp_path / "motion.safetensors", WeightsNote())
    read = load_lip_motion(tmp_path / "motion.safetensors")
    assert np.allclose(read.motion, found.motion, atol=1e-3)
    assert np.allclose(read.with_gap, found.with_gap, atol=1e-3)
    save_file({"other": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(UnsupportedCheckpoint, match=r"other\.safetensors"):
        load_lip_motion(tmp_path / "other.safetensors")


def test_in_silence_lips_touch_and_never_cross(motion):
    heard = np.random.default_rng(0).normal(0, 1, (200, 6)).astype(np.float32)
    silent = np.zeros(200, bool)
    silent[80:120] = True
    own = Normal(motion.usual, motion.spread)
    wanted = motion.wanted(heard, silent, own)
    assert wanted[82:118, 0] == pytest.approx(0, abs=1e-6)
    assert wanted[:, 0].min() >= -1e-6
    assert wanted[~silent, 0].mean() == pytest.approx(own.mean[0], abs=0.5 * float(own.spread[0]))
    assert np.ptp(wanted[82:118], axis=0).max() < 1e-5, "a closed mouth rests"


def test_strength_leads_lips_from_a_closed_mouth_to_what_is_heard_and_beyond(motion):
    heard = np.random.default_rng(0).normal(0, 1, (200, 6)).astype(np.float32)
    silent = np.zeros(200, bool)
    silent[80:120] = True
    own = Normal(motion.usual, motion.spread)
    none, less, usual, more = (motion.wanted(heard, silent, own, strength) for strength in (0.0, 0.5, 1.0, 2.0))
    assert np.array_equal(usual, motion.wanted(heard, silent, own))
    assert none[:, 0] == pytest.approx(0, abs=1e-6)
    assert np.ptp(none, axis=0).max() < 1e-5
    opens = ~silent & (usual[:, 0] > 0.02)
    assert less[opens, 0].mean() == pytest.approx(0.5 * usual[opens, 0].mean(), rel=0.1)
    assert 1.3 * usual[opens, 0].mean() < more[opens, 0].mean() < 2 * usual[opens, 0].mean()
    assert more[:, 0].max() < 1.25 * usual[:, 0].max(), "no grimace"
    assert np.ptp(more[opens, 1]) < 1.5 * np.ptp(usual[opens, 1])
    assert np.allclose(more[82:118], usual[82:118], atol=1e-6), "a pause is a pause"


@pytest.mark.parametrize("own_gap", [0.0, 0.06])
def test_a_mouth_that_hardly_moves_in_the_footage_speaks_as_others_do(motion, own_gap):
    """A portrait, or someone who listens: neither tells how far the mouth opens in speech."""
    heard = np.random.default_rng(0).normal(0, 1, (300, 6)).astype(np.float32)
    still = Normal(motion.usual.copy(), np.full(6, 1e-4, np.float32))
    still.mean[0] = own_gap
    wanted = motion.wanted(heard, np.zeros(300, bool), still)
    assert wanted[:, 0].mean() == pytest.approx(float(motion.usual[0]), rel=0.3)
    assert wanted[:, 0].std() > 0.5 * LEAST_SHARE * motion.spread[0]
    lively = Normal(motion.usual, 2 * motion.spread)
    assert motion.wanted(heard, np.zeros(300, bool), lively)[:, 1].std() > 1.8 * wanted[:, 1].std()


def test_the_shipped_motion_opens_the_mouth(motion):
    """By as much as is asked for, the lower lip mostly, and the nose stays."""
    moved = motion.motion[0] * 0.1
    assert moved[LOWER, 1] - moved[UPPER, 1] > 0.04
    whole = np.tensordot(0.1 * motion.with_gap, motion.motion, axes=1)
    assert whole[LOWER, 1] - whole[UPPER, 1] == pytest.approx(0.1, rel=0.1)
    assert whole[LOWER, 1] > 3 * abs(whole[UPPER, 1])
    assert np.abs(whole[points_at((1, 2, 4, 168))]).max() < 0.01


@pytest.mark.parametrize("count", [1, 3, 400])
def test_lips_are_led_to_what_is_wanted_from_whatever_there_is(motion, count):
    """The points of what is shown have the measures that were asked for, at jumps, too."""
    points, filmed = speech(3, count)
    candidates = replace(footage(count), shapes=Normal.of(filmed).normalise(filmed))
    wanted = replace(opening_and_closing(motion, 90), silent=np.arange(90) >= 70)
    way, measures = choose_and_lead(wanted, candidates, filmed, motion)
    assert len(way) == len(measures) == 90
    shown = lead(way, candidates, points, filmed, measures, motion)
    gaps = np.array([each.goal[LOWER, 1] - each.goal[UPPER, 1] for each in shown])
    assert np.corrcoef(gaps[:70], measures[:70, 0])[0, 1] > 0.95
    assert np.abs(gaps[73:]).max() < 0.02


def test_a_mouth_that_is_held_long_is_one_that_suits(motion):
    _, filmed = speech(3, 300)
    candidates = replace(footage(300), shapes=Normal.of(filmed).normalise(filmed))
    wanted = opening_and_closing(motion, 150)
    way, measures = choose_and_lead(wanted, candidates, filmed, motion)
    assert np.abs(filmed[way, 0] - measures[:, 0]).mean() < 0.6 * np.abs(filmed[:, 0].mean() - measures[:, 0]).mean()
