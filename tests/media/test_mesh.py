"""The points of a mesh, their mirror, and what a head's pose is."""

from itertools import pairwise

import numpy as np
import pytest

from media.mesh import (
    DOUBT_AHEAD,
    DOUBT_REACH,
    DOUBT_SOFT,
    JAW,
    LIPS,
    MIRRORED,
    NUM_POINTS,
    POINT_NUMBERS,
    RIGID,
    eye_distance,
    head_pose,
    points_at,
    steady_doubt,
)
from tests.support.heads import HEAD, seen


def test_each_point_is_there_once_and_speech_moves_none_of_the_rigid_ones():
    assert len(set(POINT_NUMBERS)) == NUM_POINTS
    assert not set(RIGID) & {*LIPS, *JAW}
    assert points_at([POINT_NUMBERS[7]]) == [7]


def test_a_mirrored_face_is_a_face():
    mirror = HEAD[MIRRORED] * (-1, 1, 1)
    assert np.allclose(mirror[points_at((33, 263, 61, 291, 172))], HEAD[points_at((33, 263, 61, 291, 172))])
    assert [MIRRORED[place] for place in MIRRORED] == list(range(NUM_POINTS))


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (20, 0, 0), (-15, 0, 0), (0, 12, 0), (0, 0, -9)])
def test_a_turned_head_has_its_angles(yaw, pitch, roll):
    straight, turned = head_pose(seen(HEAD)), head_pose(seen(HEAD, yaw=yaw, pitch=pitch, roll=roll))
    assert turned[:3] - straight[:3] == pytest.approx((yaw, pitch, roll), abs=0.6)


def test_a_face_that_looks_to_the_right_of_the_picture_has_a_positive_yaw():
    straight, right = seen(HEAD), seen(HEAD, yaw=20)
    tip, ear = points_at((4, 454))
    assert right[tip, 0] > straight[tip, 0] + 3, "the tip of the nose, which is nearest, moves there"
    assert right[ear, 2] > straight[ear, 2], "and that side of the head away"
    assert head_pose(right)[0] > head_pose(straight)[0]
    clockwise = seen(HEAD, roll=10)
    assert clockwise[points_at((263,))[0], 1] > straight[points_at((263,))[0], 1]
    assert head_pose(clockwise)[2] > 5


def test_the_eyes_are_as_far_apart_however_the_head_is_turned():
    assert eye_distance(seen(HEAD, yaw=40, roll=10)) == pytest.approx(90, rel=1e-4)
    both = head_pose(np.stack([seen(HEAD), seen(HEAD, unit=180)]))
    assert both[1, 3] - both[0, 3] == pytest.approx(np.log(2), abs=1e-4)


def test_a_doubt_is_known_ahead_and_comes_and_goes_softly():
    doubts = [1.0] * 20 + [2.0] + [1.0] * 20
    windows = [(doubts[max(at - DOUBT_REACH, 0) : at + DOUBT_REACH + 1], min(at, DOUBT_REACH)) for at in range(41)]
    risen = [steady_doubt(*window) for window in windows]
    assert risen == [steady_doubt(doubts, at) for at in range(41)], "no frame depends on more than DOUBT_REACH others"
    assert [at for at, doubt in enumerate(risen) if doubt > 1] == list(range(20 - DOUBT_REACH, 21 + DOUBT_REACH))
    certain = [at for at, doubt in enumerate(risen) if doubt == 2]
    assert certain == list(range(20 - DOUBT_AHEAD + DOUBT_SOFT, 21 + DOUBT_AHEAD - DOUBT_SOFT))
    assert all(abs(a - b) < 0.25 for a, b in pairwise(risen))
