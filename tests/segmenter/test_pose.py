"""How a face is tilted: turned faces and the boxes around them."""

from math import cos, hypot, radians, sin

import pytest

from media.faces import Face, FaceBox
from segmenter.pose import ASPECT, estimate_roll, upright_box

CENTRE = (200.0, 150.0)
POINTS = [(-20, -18), (20, -18), (0, 3), (-15, 25), (15, 25)]
TILTS = [-170, -90, -60, -45, -31, -10, 0, 5, 22.5, 45, 60, 90, 135]


def turned(x, y, degrees):
    """Turn a place around the face's centre, clockwise as seen (y points down)."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return CENTRE[0] + c * x - s * y, CENTRE[1] + s * x + c * y


def ellipse_box(a, b, degrees):
    """Return the box around an ellipse with half axes a (across the upright face) and b, tilted."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    w, h = hypot(a * c, b * s), hypot(a * s, b * c)
    return FaceBox(CENTRE[0] - w, CENTRE[1] - h, CENTRE[0] + w, CENTRE[1] + h)


@pytest.mark.parametrize("degrees", TILTS)
def test_the_tilt_is_that_of_eyes_and_mouth(degrees):
    face = Face(FaceBox(0, 0, 1, 1), 1.0, tuple(turned(*point, degrees) for point in POINTS))
    assert estimate_roll(face) == pytest.approx(degrees)


def test_the_nose_plays_no_part():
    points = [turned(*point, 12) for point in POINTS]
    points[2] = turned(18, 5, 12)
    assert estimate_roll(Face(FaceBox(0, 0, 1, 1), 1.0, tuple(points))) == pytest.approx(12)


def test_without_landmarks_there_is_no_tilt():
    assert estimate_roll(Face(FaceBox(0, 0, 1, 1), 1.0)) is None


@pytest.mark.parametrize("degrees", TILTS)
def test_the_box_of_a_usual_face_is_that_of_the_face_turned_back(degrees):
    box = upright_box(ellipse_box(100 * ASPECT, 100, degrees), degrees)
    assert (box.width, box.height) == pytest.approx((200 * ASPECT, 200))
    assert ((box.left + box.right) / 2, (box.top + box.bottom) / 2) == pytest.approx(CENTRE)


@pytest.mark.parametrize("aspect", [0.6, 0.8])
def test_an_unusual_face_keeps_its_shape_where_it_can_be_told(aspect):
    assert upright_box(ellipse_box(100 * aspect, 100, 0), 0).width == pytest.approx(200 * aspect)
    assert upright_box(ellipse_box(100 * aspect, 100, 20), 20).width == pytest.approx(200 * aspect, rel=0.1)
    assert upright_box(ellipse_box(100 * aspect, 100, 45), 45).width == pytest.approx(200 * aspect, rel=0.2)


@pytest.mark.parametrize("box", [(0, 0, 100, 1), (0, 0, 1, 100), (5, 5, 5, 5)])
@pytest.mark.parametrize("degrees", TILTS)
def test_a_sliver_has_a_box_too(box, degrees):
    found = upright_box(FaceBox(*box), degrees)
    assert found.width >= 0
    assert found.height >= 0
