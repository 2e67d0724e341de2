"""The strip of pictures that a clip keeps: which frames, which part of them, and both as they were and became."""

import io

import numpy as np
import pytest
from PIL import Image

from media.clips import FaceSpan, TrackedFace
from media.faces import FaceBox, FacePath
from media.orientation import ORIENTATIONS, Orientation
from media.picture import VideoFrame
from renderer.strip import PICTURE_PX, FaceStrip, choose_frames, square_around


@pytest.mark.parametrize(
    ("rendered", "frames"),
    [
        ([], set()),
        ([(10, 11)], {10}),
        ([(10, 12)], {10, 11}),
        ([(10, 13)], {10, 11, 12}),
        ([(0, 60)], {10, 30, 50}),
        ([(0, 10), (40, 60)], {5, 45, 55}),
    ],
)
def test_frames_lie_at_even_distances_away_from_the_ends(rendered, frames):
    assert choose_frames(rendered) == frames


@pytest.mark.parametrize(
    ("box", "size"),
    [
        (FaceBox(100, 100, 200, 220), (640, 360)),
        (FaceBox(-30, -20, 60, 90), (640, 360)),
        (FaceBox(600, 300, 660, 380), (640, 360)),
        (FaceBox(-100, -100, 900, 900), (640, 360)),
    ],
)
def test_a_picture_is_a_square_inside_the_frame_that_shows_the_mouth(box, size):
    left, top, right, bottom = square_around(box, size)
    assert right - left == bottom - top > 0
    assert left >= 0 <= top
    assert right <= size[0]
    assert bottom <= size[1]
    mouth = (box.left + box.right) / 2, box.top + 0.75 * box.height
    if 0 <= mouth[0] < size[0] and mouth[1] < size[1]:
        assert left <= mouth[0] < right
        assert top <= mouth[1] < bottom


def frame_of(grey, *, spot, orientation):
    """Return a stored frame of one grey; spot: a rectangle of the upright picture that is white."""
    upright = np.full((360, 640, 3), grey, np.uint8)
    left, top, right, bottom = spot
    upright[top:bottom, left:right] = 255
    return VideoFrame.from_ndarray(orientation.turn_back(upright), format="bgr24").reformat(format="yuv420p")


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_source_stands_above_result_upright(orientation):
    box = FaceBox(300, 100, 400, 200)
    face = TrackedFace(FaceSpan(0, 60, FacePath((0,), (box,))), box)
    left, top, right, bottom = square_around(box, (640, 360))
    corner = (left, top, left + (right - left) // 2, top + (bottom - top) // 2)
    decoded = frame_of(60, spot=corner, orientation=orientation)
    strip = FaceStrip([(0, 60)], orientation)
    for number in range(60):
        if pictured := strip.look(number, decoded, (face,)):
            strip.add(pictured, frame_of(160, spot=corner, orientation=orientation))
    picture = Image.open(io.BytesIO(strip.jpeg())).convert("L")
    assert picture.size == (3 * PICTURE_PX, 2 * PICTURE_PX)
    at, far = PICTURE_PX // 4, 3 * PICTURE_PX // 4
    for column in range(3):
        for row, grey in enumerate((60, 160)):
            x, y = column * PICTURE_PX, row * PICTURE_PX
            assert picture.getpixel((x + at, y + at)) > 240
            for dx, dy in ((far, at), (at, far), (far, far)):
                assert abs(picture.getpixel((x + dx, y + dy)) - grey) < 8


def test_without_faces_there_is_no_strip():
    strip = FaceStrip([(0, 60)], Orientation())
    decoded = frame_of(60, spot=(0, 0, 1, 1), orientation=Orientation())
    assert [strip.look(number, decoded, ()) for number in range(60)] == [None] * 60
    assert strip.jpeg() == b""
