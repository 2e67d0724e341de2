"""What a mouth looks like: the same in another light or pose, another if it opens."""

import numpy as np
import pytest

from media.mesh import NUM_LIGHTS, light_around
from renderer.footage import looks
from renderer.footage.lip_shape import upright
from tests.support.heads import picture, seen, talking


def look(opening, colour=(120, 150, 200), **pose):
    mesh = seen(talking(opening), **pose)
    _, reference = upright(seen(talking(0.0))[None])
    return looks.look(picture(mesh, colour=colour), mesh, reference)


def test_an_open_mouth_looks_otherwise_than_a_shut_one_and_a_dark_one_does_not():
    shut, open_ = look(0.0), look(0.2)
    dark = look(0.0, colour=(100, 125, 165))
    moved = look(0.0, middle=(140.0, 120.0))
    assert np.abs(shut).mean() == pytest.approx(np.abs(dark).mean(), rel=0.2)
    assert np.linalg.norm(open_ - shut) > 2 * np.linalg.norm(dark - shut)
    assert np.linalg.norm(open_ - shut) > 2 * np.linalg.norm(moved - shut)


def test_light_is_measured_around_the_mouth():
    mesh = seen(talking(0.0))
    light, less = (light_around(picture(mesh, colour=colour), mesh) for colour in ((120, 150, 200), (100, 125, 165)))
    assert light.shape == (NUM_LIGHTS,)
    assert light - less == pytest.approx(np.tile([20, 25, 35], NUM_LIGHTS // 3), abs=8)


@pytest.mark.parametrize("seed", range(4))
def test_components_are_as_large_as_the_first_whose_spread_is_one(seed):
    """Looks have a mean of zero, so a direction's numbers may add up to nothing at all."""
    random = np.random.default_rng(seed)
    basis = random.normal(0, 1, (3, 60))
    basis -= basis.mean(axis=1, keepdims=True)
    basis[0] = np.tile([1.0, -1.0], 30)
    seen_looks = (random.normal(0, [5, 2, 1], (80, 3)) @ basis).astype(np.float32)
    found = looks.principal(seen_looks)
    assert found.shape == (80, looks.COMPONENTS)
    assert found[:, 0].std() == pytest.approx(1, abs=1e-4)
    assert 0.05 < found[:, 1].std() < 1
    assert np.abs(found[:, 3:]).max() < 1e-3
    assert np.array_equal(looks.principal(seen_looks), found)
    far = np.linalg.norm(seen_looks[:, None] - seen_looks[None], axis=2)
    near = np.linalg.norm(found[:, None] - found[None], axis=2)
    assert np.corrcoef(far.ravel(), near.ravel())[0, 1] > 0.999


def test_a_direction_whose_numbers_add_up_to_nothing_is_one():
    one = np.random.default_rng(0).normal(0, 3, 50).astype(np.float32)
    found = looks.principal(np.column_stack([one, -one]))
    assert found[:, 0].std() == pytest.approx(1, abs=1e-4)
    assert abs(np.corrcoef(found[:, 0], one)[0, 1]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("num_mouths", [2, 5, 40])
def test_looks_do_not_depend_on_how_often_each_mouth_is_seen(num_mouths):
    """Few mouths and many are turned in different ways, to the same looks."""
    few = np.random.default_rng(num_mouths).normal(0, 1, (num_mouths, 60)).astype(np.float32)
    few *= np.linspace(3, 0.5, num_mouths)[:, None]
    found = looks.principal(few)
    assert found.shape == (num_mouths, looks.COMPONENTS)
    many = looks.principal(np.tile(few, (40, 1)))[:num_mouths]
    assert np.abs(found - many).max() < 1e-3
