"""What a program is given at once."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipstitch.programs.pieces import Piece, cut, region_around
from media.clips import FaceSpan
from media.faces import FaceBox, FacePath
from renderer.drawn_video import passing

BOX = FaceBox(40, 40, 80, 90)


@given(st.integers(1, 3000), st.integers(40, 600), st.integers(1, 10))
def test_pieces_cover_all_frames_and_overlap(num_frames, most, overlap):
    pieces = cut(num_frames, most, overlap)
    assert (pieces[0][0], pieces[-1][1]) == (0, num_frames)
    assert all(start < stop for start, stop in pieces)
    assert all(stop - start <= most for start, stop in pieces)
    longer = cut(num_frames + 7, most, overlap)
    assert longer[: len(pieces) - 1] == pieces[:-1]  # whatever follows
    for one, two in pairwise(pieces):
        assert one[1] - two[0] == overlap
        shares = [passing(one, two, frame) for frame in range(two[0], one[1])]
        assert shares == sorted(shares)
        assert all(0 <= share <= 1 for share in shares)
    for one, three in zip(pieces, pieces[2:], strict=False):
        assert one[1] <= three[0]  # never three at once


def piece(num_frames, rate, first=100):
    seconds = tuple(Fraction(number) / rate for number in range(first, first + num_frames + 1))
    span = FaceSpan(0, 1000, FacePath((0,), (BOX,)))
    return Piece(span, (first, first + num_frames), tuple(range(num_frames)), seconds, (0, 0, 128, 128), BOX)


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60)])
def test_at_its_own_rate_each_frame_is_given_once(rate):
    assert piece(77, rate).given(rate) == list(range(77))


@pytest.mark.parametrize(("rate", "wanted"), [(30, 25), (25, 30), (60, 25), (24, 25)])
def test_at_another_rate_frames_are_given_by_their_times(rate, wanted):
    frames = piece(90, Fraction(rate)).given(Fraction(wanted))
    assert frames == sorted(frames)
    assert len(frames) == pytest.approx(90 * wanted / rate, abs=1)
    for number, frame in enumerate(frames):
        assert abs(frame / rate - number / wanted) <= 1 / rate


@pytest.mark.parametrize("box", [BOX, FaceBox(0, 0, 300, 200), FaceBox(250, 150, 330, 260)])
def test_a_region_lies_in_the_picture_and_has_even_sides(box):
    left, top, right, bottom = region_around(box, box.height, (320, 241))
    assert 0 <= left < right <= 320
    assert 0 <= top < bottom <= 241
    assert (right - left) % 2 == (bottom - top) % 2 == 0
    assert left <= box.left
    assert top <= box.top
