"""Pixels: planes, regions, orientation, and the trip to BGR and back."""

from dataclasses import replace

import av
import numpy as np
import pytest
from av import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

from media.orientation import ORIENTATIONS, UPRIGHT, Orientation
from media.picture import (
    FrameConformer,
    PictureConverter,
    chroma_step,
    copy_frame,
    crop,
    is_composable,
    plane_views,
    snap_to_chroma,
)
from media.source_video import scan_video
from tests.support.synthetic import make_video, planes, stamped_frame

FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"]
WEIGHTS = {5: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}
"""Kr and Kb of the matrices (ITU-T H.273): BT.601, BT.709, BT.2020."""


def tagged(frame, matrix, full):
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    return frame


def flat_frame(values, pixel_format, size=(32, 32)):
    """Return a frame of one colour; values: of the planes, 8-bit."""
    frame = VideoFrame(*size, pixel_format)
    scale = 4 if "10" in pixel_format else 1
    for view, value in zip(plane_views(frame), values, strict=True):
        view[:] = value * scale
    return frame


def expected_bgr(values, matrix, full):
    """Return what H.273 makes of Y', Cb, Cr, given as 8-bit samples."""
    y, cb, cr = (float(value) for value in values)
    luma, cb, cr = (
        (y, cb - 128, cr - 128) if full else ((y - 16) * 255 / 219, (cb - 128) * 255 / 224, (cr - 128) * 255 / 224)
    )
    red_weight, blue_weight = WEIGHTS[matrix]
    red, blue = luma + 2 * (1 - red_weight) * cr, luma + 2 * (1 - blue_weight) * cb
    green = (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return np.clip([blue, green, red], 0, 255)


# Frames made as if they were another video's


@pytest.mark.parametrize("pixel_format", [*FORMATS, "yuvj420p", "gbrp"])
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_a_conformed_frame_shows_what_it_showed(tmp_path, pixel_format, orientation):
    """However the other video turns its pictures, and whatever its matrix and range."""
    video = scan_video(make_video(tmp_path / "like.mp4", 2)).video
    colour = replace(video.colour, matrix=9 if "10" in pixel_format else 1, range=2 if "444" in pixel_format else 1)
    display = replace(video.display, matrix=orientation.display_matrix)
    like = replace(video, pixel_format=pixel_format, colour=colour, display=display)
    frame = tagged(flat_frame((90, 110, 170), "yuv420p", (64, 32)), 5, full=True)
    for view in plane_views(frame):
        view[view.shape[0] // 2 :, : view.shape[1] // 2] += 40
    made = FrameConformer(UPRIGHT, like, (64, 32)).conform(frame)
    assert (made.width, made.height) == orientation.upright_size(64, 32)
    assert made.format.name == pixel_format
    seen, there = PictureConverter(orientation).upright_bgr(made), PictureConverter(UPRIGHT).upright_bgr(frame)
    inner = np.abs(seen.astype(int) - there)[np.r_[2:14, 18:30]][:, np.r_[2:30, 34:62]]  # chroma is soft at edges
    assert inner.max() <= 6  # a level of chroma is two of blue, and two conversions round; a wrong range is 16 off


def test_a_frame_of_the_same_kind_is_conformed_without_loss(tmp_path):
    video = scan_video(make_video(tmp_path / "like.mp4", 2)).video
    frame = tagged(stamped_frame(3), video.colour.matrix, full=False)
    made = FrameConformer(UPRIGHT, video, (frame.width, frame.height)).conform(frame)
    assert all(np.array_equal(one, two) for one, two in zip(planes(made), planes(frame), strict=True))


# Planes


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_plane_views_are_the_samples_themselves(pixel_format):
    frame = stamped_frame(9, (191, 107), pixel_format)
    before = planes(frame)
    views = plane_views(frame)
    assert [view.shape for view in views] == [plane.shape for plane in before]
    assert all(np.array_equal(view, plane) for view, plane in zip(views, before, strict=True))
    views[1][-1, -1] += 1
    assert planes(frame)[1][-1, -1] == before[1][-1, -1] + 1


@pytest.mark.parametrize(
    ("pixel_format", "wanted"),
    [
        ("yuv420p", True),
        ("yuvj422p", True),
        ("yuv444p12le", True),
        ("gray", True),
        ("gbrp", True),
        ("yuv420p10be", False),
    ]
    + [(packed, False) for packed in ("nv12", "p010le", "rgb24", "yuyv422", "pal8")],
)
def test_which_formats_can_be_composed_in_place(pixel_format, wanted):
    assert is_composable(pixel_format) is wanted


def test_copies_have_memory_and_tags_of_their_own():
    frame = tagged(stamped_frame(3, (64, 48), "yuv422p10le"), 9, True)
    copy = copy_frame(frame)
    before = planes(frame)
    assert (int(copy.colorspace), int(copy.color_range), copy.format.name) == (9, 2, "yuv422p10le")
    assert all(np.array_equal(a, b) for a, b in zip(planes(copy), before, strict=True))
    for view in plane_views(copy):
        view[:] = 0
    assert all(np.array_equal(a, b) for a, b in zip(planes(frame), before, strict=True))


def test_copies_keep_what_an_encoder_writes_beside_the_picture(tmp_path):
    """The order of fields, rotation and time: they cannot be set on a new frame."""
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    path = make_video(tmp_path / "a.mp4", 3, b_frames=0, orientation=Orientation(90, is_mirrored=True), options=options)
    with av.open(str(path)) as container:
        frame = list(container.decode(video=0))[2]
        copy = copy_frame(frame)
    assert frame.interlaced_frame
    for name in ("interlaced_frame", "rotation", "pts", "pict_type", "width", "height"):
        assert getattr(copy, name) == getattr(frame, name)


# Regions

sizes = st.tuples(st.integers(16, 300), st.integers(16, 300))


@st.composite
def rectangles(draw, width, height, beyond=0):
    left, top = draw(st.integers(-beyond, width - 1)), draw(st.integers(-beyond, height - 1))
    return left, top, draw(st.integers(left + 1, width + beyond)), draw(st.integers(top + 1, height + beyond))


@given(st.data(), sizes, st.sampled_from(FORMATS))
def test_alignment_grows_to_whole_chroma_samples_inside_the_frame(data, size, pixel_format):
    width, height = size
    frame = VideoFrame(width, height, pixel_format)
    wanted = data.draw(rectangles(width, height, beyond=20))
    left, top, right, bottom = snap_to_chroma(wanted, frame)
    step_x, step_y = chroma_step(frame.format)
    assert (left % step_x, top % step_y) == (0, 0)
    assert right % step_x == 0 or right == width
    assert bottom % step_y == 0 or bottom == height
    inside = (max(wanted[0], 0), max(wanted[1], 0), min(wanted[2], width), min(wanted[3], height))
    assert left <= inside[0] < left + step_x
    assert top <= inside[1] < top + step_y
    assert inside[2] <= right < inside[2] + step_x
    assert inside[3] <= bottom < inside[3] + step_y


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("size", [(64, 48), (63, 47), (17, 31)])
def test_crops_are_the_samples_of_the_region(pixel_format, size):
    frame = tagged(stamped_frame(1, size, pixel_format), 1, False)
    step_x, step_y = chroma_step(frame.format)
    for rectangle in [(0, 0, *size), (3, 5, 12, 15), (size[0] - 3, size[1] - 9, size[0], size[1])]:
        left, top, right, bottom = snap_to_chroma(rectangle, frame)
        region = crop(frame, (left, top, right, bottom))
        assert (region.width, region.height) == (right - left, bottom - top)
        for index, (part, whole) in enumerate(zip(planes(region), planes(frame), strict=True)):
            x, y = (step_x, step_y) if index else (1, 1)
            assert np.array_equal(part, whole[top // y : -(-bottom // y), left // x : -(-right // x)])
        assert (int(region.colorspace), int(region.color_range)) == (1, 1)


# Colours

COLOURS = [(81, 90, 200), (145, 54, 110), (60, 180, 120), (210, 120, 140), (128, 128, 128)]
BT601, BT709, BT2020 = 5, 1, 9


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [BT601, BT709, BT2020])
def test_the_matrix_and_range_of_the_stream_are_used(matrix, full, pixel_format):
    converter = PictureConverter(UPRIGHT)
    for colour in COLOURS:
        frame = tagged(flat_frame(colour, pixel_format), matrix, full)
        pixel = converter.region_bgr(frame, (4, 4, 20, 20))[8, 8].astype(float)
        assert np.abs(pixel - expected_bgr(colour, matrix, full)).max() <= 2.0
        whole = converter.upright_bgr(frame)[8, 8].astype(float)
        assert np.abs(whole - expected_bgr(colour, matrix, full)).max() <= 2.5


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [BT601, BT709, BT2020])
def test_a_trip_to_bgr_and_back_stays_near(matrix, full, pixel_format):
    frame = tagged(stamped_frame(7, (96, 80), pixel_format), matrix, full)
    converter = PictureConverter(UPRIGHT)
    region = (16, 16, 80, 80)
    back = converter.native_planes(converter.region_bgr(frame, region), frame)
    scale = 4 if "10" in pixel_format else 1
    for new, old in zip(back, planes(crop(frame, region)), strict=True):
        assert new.dtype == old.dtype
        error = (new.astype(float) - old) / scale
        assert np.abs(error).max() <= 1
        # The scaler makes full range from limited range, and truncates there.
        assert abs(error.mean()) < (0.6 if full else 0.05)


def test_untagged_frames_are_taken_as_players_take_them():
    """Without tags: limited range, and the same matrix on both ways."""
    frame = stamped_frame(7, (64, 64))
    converter = PictureConverter(UPRIGHT)
    back = converter.native_planes(converter.region_bgr(frame, (0, 12, 64, 64)), frame)
    assert abs(float((back[0].astype(float) - planes(frame)[0][12:]).mean())) < 0.25
    black = flat_frame((16, 128, 128), "yuv420p")
    assert converter.region_bgr(black, (0, 0, 32, 32)).max() <= 1


def test_old_full_range_formats():
    frame = flat_frame((0, 128, 128), "yuvj420p")
    converter = PictureConverter(UPRIGHT)
    assert converter.region_bgr(frame, (0, 0, 32, 32)).max() <= 1
    back = converter.native_planes(np.zeros((32, 32, 3), np.uint8), frame)
    assert back[0].max() <= 1


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_regions_are_upright_and_go_back_as_stored(orientation):
    frame = flat_frame((60, 128, 128), "yuv420p", (48, 32))
    plane_views(frame)[0][:8, :8] = 200
    converter = PictureConverter(orientation)
    turned = {0: (0, 0), 90: (0, -1), 180: (-1, -1), 270: (-1, 0)}
    mirrored = {0: (0, -1), 90: (-1, -1), 180: (-1, 0), 270: (0, 0)}
    corner = (mirrored if orientation.is_mirrored else turned)[orientation.rotation]
    whole = converter.upright_bgr(frame)
    assert whole.shape == ((48, 32, 3) if orientation.is_sideways else (32, 48, 3))
    region = converter.region_bgr(frame, (0, 0, 24, 16))
    for picture in (whole, region):
        assert np.argwhere(picture[:, :, 0] > 120).shape[0] in range(40, 90)
        assert picture[corner][0] > 150
    back = converter.native_planes(region, frame)[0]
    assert back.shape == (16, 24)
    assert (back[:7, :7] > 180).all()
    assert (back[10:, 10:] < 70).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_a_size_is_that_of_the_upright_picture(orientation):
    picture = PictureConverter(orientation).upright_bgr(stamped_frame(0, (96, 54)), (40, 30))
    assert picture.shape == (30, 40, 3)
