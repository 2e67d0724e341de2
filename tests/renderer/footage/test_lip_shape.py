"""The lip reader: a mouth's shape does not depend on how its head is turned, how large or where it is."""

import numpy as np
import pytest

from media.mesh import steady
from renderer.footage.lip_shape import SHAPES, Normal, measure, upright
from tests.support.heads import seen, talking

OPENINGS = np.concatenate([np.linspace(0, 0.25, 12), np.linspace(0.25, 0.05, 8)])


def turning(number):
    return {"yaw": 18 * np.sin(number), "pitch": 8 * np.cos(1.3 * number), "roll": 6 * np.sin(0.7 * number)}


def test_an_opening_is_measured_in_eye_distances_whatever_the_pose():
    still = measure(np.stack([seen(talking(opening)) for opening in OPENINGS]))
    moving = np.stack(
        [
            seen(talking(opening), **turning(number), unit=60 + 3 * number, middle=(100 + 5 * number, 90))
            for number, opening in enumerate(OPENINGS)
        ]
    )
    turned = measure(moving)
    gap, jaw = SHAPES.index("gap"), SHAPES.index("jaw")
    assert still[:, gap] - still[0, gap] == pytest.approx(OPENINGS, abs=0.01)
    assert turned[:, gap] == pytest.approx(still[:, gap], abs=0.01)
    assert turned[:, jaw] - turned[0, jaw] == pytest.approx(OPENINGS, abs=0.01)
    assert turned[:, SHAPES.index("upper")] == pytest.approx(turned[0, SHAPES.index("upper")], abs=0.01)


def test_all_faces_come_into_one_pose():
    meshes = np.stack([seen(talking(0.1), **turning(number)) for number in range(9)])
    faces, reference = upright(meshes)
    assert faces == pytest.approx(np.broadcast_to(faces[0], faces.shape), abs=0.01)
    again, same = upright(meshes[3:5], reference)
    assert same is reference
    assert again == pytest.approx(faces[3:5], abs=1e-6)


def test_shapes_are_normal_over_their_own_footage():
    shapes = measure(np.stack([seen(talking(opening)) for opening in OPENINGS]))
    normal = Normal.of(shapes)
    assert normal.normalise(shapes).mean(axis=0) == pytest.approx(0, abs=5e-3)
    assert normal.normalise(shapes)[:, 0].std() == pytest.approx(1, abs=1e-3)
    assert np.isfinite(Normal.of(shapes[:1]).normalise(shapes)).all()


def test_a_steady_mesh_does_not_run_ahead():
    line = np.arange(20, dtype=np.float32)[:, None, None] * np.ones((1, 3, 3), np.float32)
    assert steady(line) == pytest.approx(line, abs=1e-4)
    noisy = line + np.random.default_rng(0).normal(0, 1, line.shape).astype(np.float32)
    assert np.abs(steady(noisy) - line).mean() < 0.6 * np.abs(noisy - line).mean()
    assert steady(line[:1]) == pytest.approx(line[:1])
