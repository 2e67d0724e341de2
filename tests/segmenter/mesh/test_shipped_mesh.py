"""The mesh network that ships, on a face it never saw: the demonstration's portrait."""

import cv2
import numpy as np
import pytest
from av import VideoFrame

from demo.talking import PORTRAIT_FILE
from media.mesh import JAW, LIPS, eye_distance, head_pose, points_at
from media.orientation import ORIENTATIONS, UPRIGHT
from media.picture import PictureConverter
from segmenter.detectors.cascade import CascadeDetector
from segmenter.mesh.crop import square_of_box, square_of_landmarks, square_of_mesh
from segmenter.mesh.mesher import SHIPPED, FaceMesher, OnnxMesh

PLACES = {33: (194, 101), 263: (257, 104), 61: (203, 141), 291: (245, 143), 152: (222, 175), 4: (225, 124)}
"""Outer corners of the eyes, corners of the mouth, chin and tip of the nose, read off the portrait by eye."""
SIZE = (480, 480)


@pytest.fixture(scope="module")
def portrait():
    return np.ascontiguousarray(cv2.imread(str(PORTRAIT_FILE))[: SIZE[1], : SIZE[0]])


def find(pixels, box_of, orientation=UPRIGHT):
    frame = VideoFrame.from_ndarray(orientation.turn_back(pixels), format="bgr24").reformat(format="yuv444p")
    return FaceMesher(OnnxMesh(), PictureConverter(orientation)).find(frame, box_of)


@pytest.fixture(scope="module")
def square(portrait):
    """Return the square that a detector's box gives."""
    return square_of_box(CascadeDetector(None).detect(portrait)[0].box)


def test_a_detectors_box_and_five_landmarks_give_the_square_that_the_mesh_gives(portrait, square):
    mesh = find(portrait, square).mesh
    exact = square_of_mesh(mesh)
    five = ((33, 133), (263, 362), (4,), (61,), (291,))
    landmarks = np.stack([mesh[points_at(numbers), :2].mean(axis=0) for numbers in five])
    for about in (square, square_of_landmarks(landmarks)):
        assert np.hypot(*about[:, 0]) == pytest.approx(np.hypot(*exact[:, 0]), rel=0.12)
        off = about @ (63.5, 63.5, 1) - exact @ (63.5, 63.5, 1)
        assert np.hypot(*off) < 0.08 * 128 * np.hypot(*exact[:, 0])


def test_the_points_are_where_the_eye_sees_them(portrait, square):
    found = find(portrait, square)
    unit = float(eye_distance(found.mesh))
    for number, place in PLACES.items():
        off = found.mesh[points_at([number])[0], :2] - place
        assert np.hypot(*off) < 0.06 * unit, number
    assert head_pose(found.mesh)[:3] == pytest.approx((0, -4, 3), abs=6)
    assert max(found.doubts) < 0.05
    # The mouth laughs: its corners are lit less than its teeth, which lie between the inner lips.
    teeth, corner = (
        found.mesh[points_at(numbers), :2].mean(axis=0).round().astype(int) for numbers in ((13, 14), (78,))
    )
    grey = portrait.mean(axis=2)
    assert grey[teeth[1], teeth[0]] > grey[corner[1], corner[0]] + 20


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_however_the_picture_is_stored_the_mesh_is_the_same(portrait, square, orientation):
    upright, turned = find(portrait, square), find(portrait, square, orientation)
    assert turned.mesh == pytest.approx(upright.mesh, abs=0.3)


@pytest.mark.parametrize("scale", [0.5, 2.0, 4.0])
def test_a_larger_picture_of_a_face_has_a_larger_mesh(portrait, square, scale):
    small = find(portrait, square).mesh
    large = cv2.resize(
        portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    wide = square * scale
    wide[:, 2] += (scale - 1) / 2
    found = find(large, wide).mesh / scale
    off = np.linalg.norm(found[[*LIPS, *JAW], :2] - small[[*LIPS, *JAW], :2] + (1 - 1 / scale) / 2, axis=1)
    assert np.median(off) < 0.03 * float(eye_distance(small))


def test_a_place_that_is_only_about_known_is_enough(portrait, square):
    exact = find(portrait, square).mesh
    away = square_of_mesh(exact + np.array([4, -4, 0], np.float32))
    away[:, :2] *= 1.12
    off = np.linalg.norm(find(portrait, away).mesh[LIPS, :2] - exact[LIPS, :2], axis=1)
    assert np.median(off) < 0.03 * float(eye_distance(exact))


def test_a_picture_without_a_face_is_doubtful(portrait, square):
    random = np.random.default_rng(0)
    nothing = cv2.GaussianBlur(random.integers(0, 255, (480, 480, 3)).astype(np.uint8), (0, 0), 4)
    assert find(nothing, square).doubts[2] > 2 * find(portrait, square).doubts[2]


def test_the_weights_are_small():
    assert SHIPPED.stat().st_size < 8_000_000
