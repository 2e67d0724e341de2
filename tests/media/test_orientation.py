"""Turned and mirrored pictures: the eight orientations, what files say of them, and what is refused."""

import io
import shlex
from fractions import Fraction
from math import cos, radians, sin

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from media.base.errors import UnsupportedMedia
from media.coding.output_codec import choose_stream
from media.orientation import ORIENTATIONS, UPRIGHT, Orientation
from media.packets.scan import scan_packets
from media.probe import probe
from media.source_video import SourceVideo
from tests.support.display import message, patch_matrix, with_message
from tests.support.synthetic import make_video

QUARTERS = {
    (1, 0, 0, 1): UPRIGHT,
    (0, 1, -1, 0): Orientation(90),
    (-1, 0, 0, -1): Orientation(180),
    (0, -1, 1, 0): Orientation(270),
    (-1, 0, 0, 1): Orientation(0, is_mirrored=True),
    (0, -1, -1, 0): Orientation(90, is_mirrored=True),
    (1, 0, 0, -1): Orientation(180, is_mirrored=True),
    (0, 1, 1, 0): Orientation(270, is_mirrored=True),
}
"""Display matrices (a, b, c, d) and what they say."""
MIRROR = (-1, 0, 0, 1)


def turned(degrees, scale=1):
    cosine, sine = scale * cos(radians(degrees)), scale * sin(radians(degrees))
    return cosine, sine, -sine, cosine


# The eight orientations


def shown(picture, matrix):
    """Return a picture as its display matrix (a, b, c, d) says: pixel (p, q) is shown at (a p + c q, b p + d q)."""
    a, b, c, d = matrix
    q, p = np.indices(picture.shape[:2])
    x, y = a * p + c * q, b * p + d * q
    x, y = x - x.min(), y - y.min()
    upright = np.empty((y.max() + 1, x.max() + 1, *picture.shape[2:]), picture.dtype)
    upright[y, x] = picture
    return upright


def test_there_are_eight():
    assert set(QUARTERS.values()) == set(ORIENTATIONS)
    assert len(ORIENTATIONS) == 8


@pytest.mark.parametrize("matrix", QUARTERS)
@pytest.mark.parametrize("shape", [(2, 3), (5, 4, 3)])
def test_pictures_are_turned_as_the_matrix_says(matrix, shape):
    picture = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    orientation = QUARTERS[matrix]
    upright = orientation.turn(picture)
    assert np.array_equal(upright, shown(picture, matrix))
    assert orientation.upright_size(shape[1], shape[0]) == (upright.shape[1], upright.shape[0])
    assert np.array_equal(orientation.turn_back(upright), picture)
    a, b, _, c, d, *_ = orientation.display_matrix
    assert (a, b, c, d) == tuple(number << 16 for number in matrix)


@given(st.data(), st.tuples(st.integers(4, 40), st.integers(4, 40)), st.sampled_from(ORIENTATIONS))
def test_a_turned_rectangle_is_where_its_pixels_go(data, size, orientation):
    width, height = size
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    stored = (left, top, data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height)))
    picture = np.zeros((height, width), np.uint8)
    picture[stored[1] : stored[3], stored[0] : stored[2]] = 1
    upright = orientation.to_upright(stored, width, height)
    left, top, right, bottom = upright
    assert orientation.turn(picture)[top:bottom, left:right].all()
    assert (right - left) * (bottom - top) == picture.sum()
    assert orientation.to_stored(upright, width, height) == stored


def test_orientations_in_words():
    assert [str(each) for each in (UPRIGHT, Orientation(90), Orientation(180, is_mirrored=True))] == [
        "upright",
        "turned by 90 degrees",
        "mirrored and turned by 180 degrees",
    ]


# What containers say


@pytest.fixture
def video(tmp_path):
    return make_video(tmp_path / "a.mp4", 3)


@pytest.mark.parametrize("matrix", QUARTERS)
def test_a_track_says_how_its_picture_is_shown(video, matrix):
    found = probe(patch_matrix(video, matrix)).require_video()
    assert found.orientation == QUARTERS[matrix]
    assert found.upright_size == ((108, 192) if matrix[0] == 0 else (192, 108))


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_containers_that_say_it(tmp_path, name, orientation):
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    path = make_video(tmp_path / name, 3, codec=codec, orientation=orientation)
    assert probe(path).require_video().orientation == orientation


@pytest.mark.parametrize(
    ("matrix", "found"),
    [
        ((*MIRROR, 192, 0), "mirrored"),  # shifted back to where it was: what QuickTime wants
        ((0, 2.5, -2.5, 0, 7, 7), "turned by 90 degrees"),  # enlarged as a whole
        ((0.999, 0.004, -0.004, 1.001), "upright"),
        ((0, 0, 0, 0), "upright"),
    ],
)
def test_matrices_that_say_nothing_else(video, matrix, found):
    assert str(probe(patch_matrix(video, matrix)).require_video().orientation) == found


@pytest.mark.parametrize("movie", [(0, 1, -1, 0), MIRROR])
def test_the_matrix_of_the_movie_follows_that_of_the_track(video, movie):
    patch_matrix(patch_matrix(video, movie, b"mvhd"), (0, 1, 1, 0))
    pixels = np.arange(6).reshape(2, 3)
    seen = probe(video).require_video().orientation.turn(pixels)
    assert np.array_equal(seen, shown(shown(pixels, (0, 1, 1, 0)), movie))


ODD = {
    "turns the picture by 45 degrees": turned(45),
    "turns the picture by 359 degrees": turned(-1),
    "mirrors the picture and turns it by 30 degrees": (-turned(30)[0], -turned(30)[1], *turned(30)[2:]),
    r"stretches or distorts the picture \(2 0 0; 0 1 0\)": (2, 0, 0, 1),
    r"stretches or distorts the picture \(1 0 0; 0.5 1 0\)": (1, 0, 0.5, 1),
    r"stretches or distorts the picture \(1 0 0; 0 0 0\)": (1, 0, 0, 0),
    r"stretches or distorts the picture \(1 0 0.25; 0 1 0\)": (1, 0, 0, 1, 0, 0, 0.25, 0),
}


@pytest.mark.parametrize("words", ODD)
def test_other_matrices_are_refused(tmp_path, words):
    path = patch_matrix(make_video(tmp_path / "it's.mp4", 3), ODD[words])
    info = probe(path)
    with pytest.raises(UnsupportedMedia, match=f"{words}, which players show in different ways") as caught:
        info.require_video()
    said = str(caught.value)
    assert said.startswith(f"{path}: its display matrix ")
    assert "\n" not in said
    command = shlex.split(said.partition("Convert it first: ")[2])
    assert command == [
        "ffmpeg", "-i", str(path), "-c:a", "copy", "-c:v", "libx264", "-crf", "16", str(tmp_path / "it's.upright.mp4"),
    ]  # fmt: skip


def test_of_a_dub_the_picture_does_not_matter(tmp_path):
    """Sound may come from a video whose picture would be refused."""
    info = probe(patch_matrix(make_video(tmp_path / "a.mp4", 3), turned(45)))
    assert info.video.clock.start_seconds == 0


# What pictures say: display orientation, an SEI message of H.264 and HEVC


ASKED = {
    (90, 0, 0): Orientation(270),
    (270, 0, 0): Orientation(90),
    (180, 0, 0): Orientation(180),
    (0, 1, 0): Orientation(0, is_mirrored=True),
    (0, 0, 1): Orientation(180, is_mirrored=True),
    (0, 1, 1): Orientation(180),
    (90, 1, 0): Orientation(270, is_mirrored=True),
    (90, 0, 1): Orientation(90, is_mirrored=True),
}
"""(degrees anticlockwise, whether sides and whether top and bottom are swapped before) and what that is."""


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("asked", ASKED)
def test_pictures_say_how_they_are_shown_where_the_container_does_not(tmp_path, codec, asked):
    degrees, sides, top = asked
    plain = make_video(tmp_path / "a.mp4", 3, codec=codec)
    path = with_message(plain, message(degrees, sides=sides, top=top), tmp_path / "b.mp4")
    assert probe(path).require_video().orientation == ASKED[asked]
    with av.open(str(path)) as container:  # the decoder's own opinion
        (matrix,) = [next(container.decode(video=0)).side_data["DISPLAYMATRIX"]]
    assert np.frombuffer(matrix, np.int32).tolist() == [*ASKED[asked].display_matrix]
    cancelled = with_message(plain, message(degrees, sides=sides, top=top, ends=1), tmp_path / "c.mp4")
    assert probe(cancelled).require_video().orientation == UPRIGHT


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_the_container_overrules_the_pictures_as_in_players(tmp_path, codec):
    plain = make_video(tmp_path / "a.mp4", 3, codec=codec, orientation=Orientation(90))
    path = with_message(plain, message(0, sides=1), tmp_path / "b.mp4")
    assert probe(path).require_video().orientation == Orientation(90)


def test_pictures_that_ask_to_be_askew_are_refused(tmp_path):
    path = with_message(make_video(tmp_path / "a.mp4", 3), message(30), tmp_path / "b.mp4")
    with pytest.raises(UnsupportedMedia, match="turns the picture by 330 degrees"):
        probe(path).require_video()


def test_side_data_that_pyav_has_no_name_for_is_no_hindrance(tmp_path):
    """The Exif of JPEG, of which FFmpeg reads how the picture is turned, too."""
    exif, picture = Image.Exif(), io.BytesIO()
    exif[0x112] = 6
    Image.new("RGB", (96, 64)).save(picture, "JPEG", exif=exif)
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_mux_stream("mjpeg", rate=25, width=96, height=64)
        packet = av.Packet(picture.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 25)
        container.mux_one(packet)
    assert probe(tmp_path / "a.mov").require_video().orientation == Orientation(90)


# Outputs that cannot say it


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), MIRROR])
def test_an_output_that_cannot_say_it_is_refused(video, matrix):
    info = probe(patch_matrix(video, matrix))
    words = f"output: mpegts files cannot say that the picture of {video} is {QUARTERS[matrix]}. Use .mp4, .mov or .mkv"
    with pytest.raises(UnsupportedMedia, match=words):
        choose_stream(SourceVideo(info, scan_packets(info)), crf=13, preset="auto", muxer="mpegts")


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_points_are_stored_where_their_pixels_are(orientation):
    upright = np.zeros(orientation.upright_size(9, 6)[::-1], np.uint8)
    points = np.array([[1.0, 2.0, 7.0], [4.0, 0.0, -1.0]])
    for number, (x, y, _) in enumerate(points, 1):
        upright[int(y), int(x)] = number
    stored = orientation.points_to_stored(points, 9, 6)
    for number, (x, y, z) in enumerate(stored, 1):
        assert orientation.turn_back(upright)[int(y), int(x)] == number
        assert z == points[number - 1, 2]
