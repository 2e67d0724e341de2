"""Mouths into frames: only inside the mask, in the frame's own planes, whatever the orientation and position."""

import cv2
import numpy as np
import pytest
from av import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from media.affine import shifted
from media.faces import FaceBox
from media.orientation import ORIENTATIONS, UPRIGHT
from media.picture import chroma_step, plane_views
from renderer.compositor import Compositor, Pads, blend_plane
from renderer.face_stages.base import FacePatch
from renderer.face_stages.blend_mask import MASK_TOP, build_mask
from renderer.networks.base import WAV2LIP_SPEC, Margins, NetworkSpec
from tests.support.synthetic import planes, stamped_frame

NO_PADS = Pads(0, 0, 0, 0)
FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"]
SIZE = (190, 134)


FACE_PX = WAV2LIP_SPEC.face_px


def masked(crop, mouth, feather=0.1):
    """Return a mouth as the default stages let it be seen."""
    return FacePatch(mouth, crop.affine, build_mask(feather, WAV2LIP_SPEC), WAV2LIP_SPEC.hidden_px)


def changed_samples(before, after):
    """Return for each plane where samples differ."""
    return [old != new for old, new in zip(planes(before), planes(after), strict=True)]


def composed(orientation, pixel_format, box, *, pads=NO_PADS, feather=0.1, mouth=None, size=SIZE, full=False, roll=0.0):
    frame = stamped_frame(5, size, pixel_format)
    frame.colorspace, frame.color_range = 1, 2 if full else 1
    compositor = Compositor(orientation, pads=pads)
    crop = compositor.crop(frame, FaceBox(*box), roll)
    mouth = np.full((FACE_PX, FACE_PX, 3), (30, 60, 220), np.uint8) if mouth is None else mouth
    return frame, crop, compositor.blend(frame, masked(crop, mouth, feather))


def stored_lower_face(box, orientation, size=SIZE):
    """Return the stored rectangle below MASK_TOP of an upright box."""
    left, top, right, bottom = box
    return orientation.to_stored((left, top + int((bottom - top) * MASK_TOP) - 1, right, bottom), *size)


# What may change


@pytest.mark.parametrize("box", [(40, 30, 100, 104), (41, 31, 98, 101), (13, 17, 60, 78), (55, 45, 64, 54)])
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_outside_the_lower_face_not_one_sample_changes(pixel_format, orientation, box):
    frame, crop, blended = composed(orientation, pixel_format, box)
    left, top, right, bottom = stored_lower_face(box, orientation)
    step_x, step_y = chroma_step(frame.format)
    assert blended.format.name == pixel_format
    for index, changed in enumerate(changed_samples(frame, blended)):
        x, y = (step_x, step_y) if index else (1, 1)
        inside = np.zeros_like(changed)
        inside[top // y : -(-bottom // y), left // x : -(-right // x)] = True
        assert not (changed & ~inside).any()
        assert changed.sum() > 0.25 * inside.sum() or box[2] - box[0] < 16
    region = crop.region
    assert region[0] <= left < right <= region[2]
    assert region[1] <= top < bottom <= region[3]


@pytest.mark.parametrize("roll", [0.0, 20.0])
@pytest.mark.parametrize(
    ("box", "size"), [((41, 31, 101, 105), SIZE), ((60, 41, 123, 105), SIZE), ((90, 70, 590, 620), (640, 640))]
)
@pytest.mark.parametrize("feather", [0.01, 0.1])
def test_what_lies_above_the_rows_that_networks_draw_is_not_seen(box, size, roll, feather):
    random = np.random.default_rng(1)
    one, other = random.integers(0, 256, (2, FACE_PX, FACE_PX, 3), np.uint8)
    other[WAV2LIP_SPEC.first_row :] = one[WAV2LIP_SPEC.first_row :]
    blended = [
        composed(UPRIGHT, "yuv420p", box, mouth=mouth, size=size, roll=roll, feather=feather)[2]
        for mouth in (one, other)
    ]
    assert not any(changed.any() for changed in changed_samples(*blended))


@pytest.mark.parametrize("box", [(41, 31, 101, 105), (5, 4, 125, 131), (60, 60, 80, 79)])
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_the_edge_of_the_box_does_not_change(pixel_format, orientation, box):
    """So that there is no step between what is blended and what is around it. (In a tiny box, none that is seen.)"""
    frame, _, blended = composed(orientation, pixel_format, box)
    allowed = 0 if box[2] - box[0] > 40 else 2 if "10" in pixel_format else 0.5
    luma = np.abs(planes(frame)[0].astype(int) - planes(blended)[0])
    left, top, right, bottom = orientation.to_stored(box, *SIZE)
    for edge in (
        luma[top, left:right],
        luma[bottom - 1, left:right],
        luma[top:bottom, left],
        luma[top:bottom, right - 1],
    ):
        assert edge.max() <= allowed


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(FORMATS), st.sampled_from(ORIENTATIONS))
def test_boxes_anywhere(data, pixel_format, orientation):
    """Also odd ones, tiny ones, and such as reach beyond the frame, in frames of odd size."""
    size = data.draw(st.tuples(st.integers(192, 200), st.integers(40, 60)))
    width, height = orientation.upright_size(*size)
    left, top = data.draw(st.integers(-30, width)), data.draw(st.integers(-30, height))
    box = (left, top, left + data.draw(st.integers(1, 90)), top + data.draw(st.integers(1, 90)))
    frame = stamped_frame(5, size, pixel_format)
    compositor = Compositor(orientation, pads=NO_PADS)
    crop = compositor.crop(frame, FaceBox(*box))
    seen = (max(left, 0), max(top, 0), min(box[2], width), min(box[3], height))
    assert (crop is None) == (seen[2] - seen[0] < 8 or seen[3] - seen[1] < 8)
    if crop is None:
        return
    blended = compositor.blend(frame, masked(crop, np.zeros((FACE_PX, FACE_PX, 3), np.uint8), feather=0.12))
    left, top, right, bottom = stored_lower_face(seen, orientation, size)
    step_x, step_y = chroma_step(frame.format)
    for index, changed in enumerate(changed_samples(frame, blended)):
        x, y = (step_x, step_y) if index else (1, 1)
        changed[top // y : -(-bottom // y), left // x : -(-right // x)] = False
        assert not changed.any()


def test_the_frame_given_stays_as_it_is():
    frame, _, blended = composed(UPRIGHT, "yuv420p", (40, 30, 100, 104))
    assert [plane.tobytes() for plane in planes(frame)] == [plane.tobytes() for plane in planes(stamped_frame(5, SIZE))]
    assert planes(blended)[0].tobytes() != planes(frame)[0].tobytes()
    assert (int(blended.colorspace), int(blended.color_range)) == (1, 1)


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_an_unchanged_mouth_changes_next_to_nothing(pixel_format, orientation):
    """At 96 pixels there is no scaling, and what is left is the trip through BGR: one level at most."""
    box = (31, 20, 127, 116)
    frame = stamped_frame(5, SIZE, pixel_format)
    compositor = Compositor(orientation, pads=NO_PADS)
    crop = compositor.crop(frame, FaceBox(*box))
    blended = compositor.blend(frame, masked(crop, crop.face))
    scale = 4 if "10" in pixel_format else 1
    for old, new in zip(planes(frame), planes(blended), strict=True):
        assert np.abs(old.astype(int) - new).max() <= 1.25 * scale


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_the_mouth_has_the_colour_that_was_drawn(pixel_format, orientation, full):
    """BT.709: the middle of the mouth is the colour given, in the stream's own range and depth."""
    box = (30, 20, 110, 120)
    frame, _, blended = composed(orientation, pixel_format, box, full=full)
    left, top, right, bottom = orientation.to_stored((65, 85, 75, 95), *SIZE)
    step_x, step_y = chroma_step(frame.format)
    blue, green, red = 30, 60, 220
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    chroma = ((blue - luma) / 1.8556, (red - luma) / 1.5748)
    wanted = [luma, *(128 + value for value in chroma)]
    if not full:
        wanted = [16 + luma * 219 / 255, *(128 + value * 224 / 255 for value in chroma)]
    scale = 4 if "10" in pixel_format else 1
    for index, plane in enumerate(planes(blended)):
        x, y = (step_x, step_y) if index else (1, 1)
        middle = plane[-(-top // y) : bottom // y, -(-left // x) : right // x]
        assert np.abs(middle / scale - wanted[index]).max() <= 1.6


# Tilted faces


def covered(frame, box, roll, orientation, size=SIZE):
    """Return for each plane which samples show some of the lower part of a turned box."""
    width, height = orientation.upright_size(*size)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    columns, rows = np.meshgrid(np.arange(width) + 0.5 - x, np.arange(height) + 0.5 - y)
    cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    across, down = cosine * columns + sine * rows, cosine * rows - sine * columns
    inside = (abs(across) < (box[2] - box[0]) / 2) & (abs(down) < (box[3] - box[1]) / 2)
    inside &= down > (MASK_TOP - 0.5) * (box[3] - box[1]) - 1
    stored = orientation.turn_back(inside)
    step_x, step_y = chroma_step(frame.format)
    wide = np.pad(stored, [(0, -stored.shape[0] % step_y), (0, -stored.shape[1] % step_x)])
    chroma = wide.reshape(wide.shape[0] // step_y, step_y, -1, step_x).any(axis=(1, 3))
    return [stored, chroma, chroma]


@pytest.mark.parametrize("roll", [45, -20, 0.3])
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_outside_a_tilted_lower_face_not_one_sample_changes(pixel_format, orientation, roll):
    box = (39.7, 30.2, 99.5, 104.9)
    frame, crop, blended = composed(orientation, pixel_format, box, roll=roll)
    for changed, inside in zip(changed_samples(frame, blended), covered(frame, box, roll, orientation), strict=True):
        assert not (changed & ~inside).any()
        assert changed.sum() > 0.5 * inside.sum()
    left, top, right, bottom = crop.region
    outside = np.ones(planes(frame)[0].shape, bool)
    outside[top:bottom, left:right] = False
    assert not (changed_samples(frame, blended)[0] & outside).any()


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_the_last_chroma_sample_of_an_odd_width_stands_for_one_column(orientation):
    size, box, roll = (193, 44), (0.0, 0.0, 8.0, 56.0), -3.0
    frame, compositor = stamped_frame(5, size, "yuv420p"), Compositor(orientation, pads=NO_PADS)
    crop = compositor.crop(frame, FaceBox(*box), roll)
    blended = compositor.blend(frame, masked(crop, np.zeros((FACE_PX, FACE_PX, 3), np.uint8), feather=0.12))
    for changed, inside in zip(
        changed_samples(frame, blended), covered(frame, box, roll, orientation, size), strict=True
    ):
        assert not (changed & ~inside).any()


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(FORMATS), st.sampled_from(ORIENTATIONS))
def test_tilted_boxes_anywhere(data, pixel_format, orientation):
    """Also such as reach beyond the frame: its last pixels are repeated there, and the box keeps its shape."""
    size = data.draw(st.tuples(st.integers(192, 200), st.integers(40, 60)))
    width, height = orientation.upright_size(*size)
    left, top = data.draw(st.floats(-60, width)), data.draw(st.floats(-60, height))
    box = (left, top, left + data.draw(st.floats(1, 90)), top + data.draw(st.floats(1, 90)))
    roll = data.draw(st.floats(-45, 45).filter(bool))
    frame = stamped_frame(5, size, pixel_format)
    compositor = Compositor(orientation, pads=NO_PADS)
    crop = compositor.crop(frame, FaceBox(*box), roll)
    if crop is None:
        return
    blended = compositor.blend(frame, masked(crop, np.zeros((FACE_PX, FACE_PX, 3), np.uint8), feather=0.12))
    for changed, inside in zip(
        changed_samples(frame, blended), covered(frame, box, roll, orientation, size), strict=True
    ):
        assert not (changed & ~inside).any()


def soft_picture(roll=0.0, centre=(95, 67), size=SIZE):
    """Return a picture without sharp edges, turned clockwise about a place."""
    columns, rows = np.meshgrid(np.arange(size[0]) + 0.5 - centre[0], np.arange(size[1]) + 0.5 - centre[1])
    cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    across, down = cosine * columns + sine * rows, cosine * rows - sine * columns
    waves = [np.sin(across / 9) + np.cos(down / 7), np.sin(down / 11), np.cos(across / 13 + down / 8)]
    return np.clip(128 + 50 * np.stack(waves, axis=2), 0, 255).astype(np.uint8)


def soft_frame(roll, pixel_format="yuv444p"):
    frame = VideoFrame.from_ndarray(soft_picture(roll), format="bgr24").reformat(
        format=pixel_format, dst_colorspace=1, dst_color_range=1
    )
    frame.colorspace, frame.color_range = 1, 1
    return frame


@pytest.mark.parametrize("roll", [-45, -17, 8, 30, 45])
def test_a_tilted_face_is_cropped_upright(roll):
    """The picture is turned about the middle of the box: the crop is that of the picture as it was."""
    box = FaceBox(60, 27, 130, 107)
    compositor = Compositor(UPRIGHT, pads=Pads(3, 10, 2, 1))
    upright = compositor.crop(soft_frame(0), box).face.astype(int)
    tilted = compositor.crop(soft_frame(roll), box, roll).face.astype(int)
    assert np.abs(upright - tilted).max() <= 6
    assert np.abs(upright - tilted).mean() < 1
    assert np.abs(upright - compositor.crop(soft_frame(roll), box).face).mean() > 5


@pytest.mark.parametrize("roll", [-45, -17, 8, 30, 45])
@pytest.mark.parametrize("box", [(60, 27, 130, 107), (20, -11, 150, 140)])
def test_an_unchanged_mouth_of_a_tilted_face_changes_next_to_nothing(roll, box):
    """What is left is one trip to 96 pixels and back, which a picture without sharp edges survives."""
    frame = soft_frame(roll)
    compositor = Compositor(UPRIGHT, pads=NO_PADS)
    crop = compositor.crop(frame, FaceBox(*box), roll)
    for old, new in zip(planes(frame), planes(compositor.blend(frame, masked(crop, crop.face))), strict=True):
        assert np.abs(old.astype(int) - new).max() <= 4


def test_a_little_tilt_moves_a_crop_a_little():
    """There is no step between a box that is not turned and one that hardly is."""
    box = FaceBox(60.4, 27.3, 129.8, 106.9)
    compositor = Compositor(UPRIGHT, pads=Pads())
    still, turned = (compositor.crop(soft_frame(0), box, roll).face.astype(int) for roll in (0.0, 0.01))
    assert np.abs(still - turned).max() <= 1


# Crops


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_the_crop_is_upright(orientation):
    """A white bar is painted into the upper half of the upright box; the face shows it there."""
    frame = stamped_frame(5, SIZE)
    box = (31, 21, 91, 101)
    left, top, right, bottom = orientation.to_stored((31, 21, 91, 41), *SIZE)
    for plane in frame.planes[:1]:
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
        rows[:] = 60
        rows[top:bottom, left:right] = 235
    crop = Compositor(orientation, pads=NO_PADS).crop(frame, FaceBox(*box))
    assert crop.face.shape == (FACE_PX, FACE_PX, 3)
    brightness = crop.face.mean(axis=(1, 2))
    assert brightness[:22].min() > 180
    assert brightness[27:].max() < 110
    assert edges_of(crop) == pytest.approx(box)


def stored_frame(upright, orientation):
    """Return a frame in 4:4:4 as it is stored, so that it looks like another one once it is turned."""
    width, height = orientation.upright_size(upright.width, upright.height)
    stored = VideoFrame(width, height, upright.format.name)
    for target, plane in zip(plane_views(stored), plane_views(upright), strict=True):
        target[:] = orientation.turn_back(plane)
    stored.colorspace, stored.color_range = upright.colorspace, upright.color_range
    return stored


@pytest.mark.parametrize("roll", [0.0, 17.0])
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_how_a_picture_is_stored_changes_neither_crop_nor_mouth(orientation, roll):
    upright, box = soft_frame(8), FaceBox(60.3, 27.8, 130.1, 107.4)
    mouth = np.ascontiguousarray(soft_picture(0, (30, 40))[:FACE_PX, :FACE_PX])
    usual, turned = (Compositor(each, pads=NO_PADS) for each in (UPRIGHT, orientation))
    stored = stored_frame(upright, orientation)
    expected, crop = usual.crop(upright, box, roll), turned.crop(stored, box, roll)
    assert np.array_equal(crop.face, expected.face)
    blended = turned.blend(stored, masked(crop, mouth))
    for seen, wanted in zip(planes(blended), planes(usual.blend(upright, masked(expected, mouth))), strict=True):
        assert np.abs(orientation.turn(seen).astype(int) - wanted).max() <= 1


def edges_of(crop):
    """Return the edges of a crop that is not turned, in upright pixels of the picture."""
    corners = crop.affine @ np.array([[-0.5, FACE_PX - 0.5], [-0.5, FACE_PX - 0.5], [1, 1]]) + 0.5
    return [*corners[:, 0], *corners[:, 1]]


def test_pads_grow_the_box_and_edges_are_fractions():
    frame = stamped_frame(5, SIZE)
    crop = Compositor(UPRIGHT, pads=Pads(top=3, bottom=10, left=5, right=-4)).crop(
        frame, FaceBox(40.4, 30.6, 99.6, 90.4)
    )
    assert edges_of(crop) == pytest.approx([35.4, 27.6, 95.6, 100.4])


def test_a_network_may_see_more_than_the_box():
    """Of a crop of 200 px with a quarter of margin on three sides, the box is the middle."""
    spec = NetworkSpec(face_px=200, margins=Margins(top=0.25, left=0.25, right=0.25))
    compositor = Compositor(UPRIGHT, pads=Pads(top=3, bottom=10), spec=spec)
    crop = compositor.crop(stamped_frame(5, SIZE), FaceBox(60, 40, 110, 90))
    assert crop.face.shape == (200, 200, 3)
    corners = crop.affine @ np.array([[-0.5, 199.5], [-0.5, 199.5], [1, 1]]) + 0.5
    assert [*corners[:, 0], *corners[:, 1]] == pytest.approx([35, 37 - 21, 135, 100])
    (left, top, right, bottom) = crop.region
    assert left <= 35 < 135 <= right
    assert top <= 16 < 100 <= bottom


@pytest.mark.parametrize("roll", [0.0, 17.0])
def test_a_finer_patch_is_seen_where_the_crop_was(roll):
    """What a restorer returns: the face at twice the pixels, on a grid that shows the same place."""
    frame, compositor = soft_frame(0), Compositor(UPRIGHT, pads=NO_PADS)
    crop = compositor.crop(frame, FaceBox(40.3, 30.2, 100.7, 104.4), roll)
    finer = crop.affine @ np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    coarse = masked(crop, compositor.sample(frame, crop.affine, (96, 96)))
    pixels = compositor.sample(frame, finer, (192, 192))
    fine = FacePatch(pixels, finer, cv2.resize(coarse.mask, (192, 192)))
    for patch in (coarse, fine):
        for old, new in zip(planes(frame), planes(compositor.blend(frame, patch)), strict=True):
            assert np.abs(old.astype(int) - new).max() <= 4
    black, white = (np.full((192, 192, 3), value, np.uint8) for value in (0, 255))
    for wanted in (black, white):
        a = compositor.blend(frame, FacePatch(wanted[:96, :96], crop.affine, coarse.mask, coarse.top_px))
        b = compositor.blend(frame, FacePatch(wanted, finer, fine.mask))
        assert np.abs(planes(a)[0].astype(int) - planes(b)[0]).max() <= 4


def test_a_patch_changes_nothing_outside_its_area():
    frame, compositor = stamped_frame(5, SIZE), Compositor(UPRIGHT, pads=NO_PADS)
    affine = np.array([[0.5, 0, 60.0], [0, 0.5, 40.0]])
    patch = FacePatch(np.zeros((40, 80, 3), np.uint8), affine, np.ones((40, 80), np.float32))
    left, top, right, bottom = compositor.area(frame, patch.affine, patch.size, patch.top_px)
    assert (left, top, right, bottom) == (60, 40, 102, 62)
    changed = changed_samples(frame, compositor.blend(frame, patch))[0]
    assert changed[top + 2 : bottom - 2, left + 2 : right - 2].mean() > 0.9
    changed[top:bottom, left:right] = False
    assert not changed.any()
    assert compositor.area(frame, shifted(affine, 500, 0), patch.size) is None


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_a_frame_can_be_looked_at_anywhere(orientation):
    frame, compositor = stored_frame(soft_frame(8), orientation), Compositor(orientation, pads=NO_PADS)
    crop = compositor.crop(frame, FaceBox(60.3, 27.8, 130.1, 107.4))
    wide = compositor.sample(frame, shifted(crop.affine, *(crop.affine[:, :2] @ (-10, -20))), (116, 136))
    assert wide.shape == (136, 116, 3)
    assert np.abs(wide[21:115, 11:105].astype(int) - crop.face[1:-1, 1:-1]).max() <= 1
    with pytest.raises(ValueError, match="nowhere"):
        compositor.sample(frame, shifted(crop.affine, 1000, 0), (10, 10))


def test_pads_are_cut_at_the_frame():
    width, height = SIZE
    crop = Compositor(UPRIGHT, pads=Pads(50, 50, 50, 50)).crop(stamped_frame(5, SIZE), FaceBox(10, 10, 180, 130))
    assert crop.region == (0, 0, width, height)


# Masks


@pytest.mark.parametrize("feather", [0.01, 0.05, 0.12, 0.25, 0.4])
def test_the_mask_is_a_soft_lower_face(feather):
    mask = build_mask(feather, WAV2LIP_SPEC)
    assert mask.shape == (FACE_PX, FACE_PX)
    assert mask.dtype == np.float32
    assert (mask.min(), mask[0].max(), mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) == (0, 0, 0, 0, 0)
    assert not mask[: int(MASK_TOP * FACE_PX)].any()
    assert np.allclose(mask, mask[:, ::-1], atol=1e-3)
    assert 0.3 < mask.max() <= 1
    if feather < 0.2:
        assert mask.max() == 1
    steps = max(np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1))
    assert steps <= 2.2 / (feather * FACE_PX)


def test_a_narrow_feather_covers_more():
    covered = [build_mask(feather, WAV2LIP_SPEC).mean() for feather in (0.02, 0.1, 0.2, 0.4)]
    assert covered == sorted(covered, reverse=True)


@given(st.integers(0, 1023), st.integers(0, 1023))
def test_blending_planes(old, new):
    target = np.full((4, 6), old, np.uint16)
    mask = np.zeros((4, 6), np.float32)
    mask[1], mask[2] = 0.5, 1
    blend_plane(target, np.full((4, 6), new, np.uint16), mask)
    assert (target[0] == old).all()
    assert (target[3] == old).all()
    assert np.abs(target[1] - (old + new) / 2).max() <= 0.5
    assert (target[2] == new).all()


def test_a_mouth_in_part_lies_between_the_old_and_the_new():
    frame, compositor = stamped_frame(5, SIZE, "yuv420p"), Compositor(UPRIGHT, pads=NO_PADS)
    crop = compositor.crop(frame, FaceBox(40, 30, 100, 104))
    mouth = np.full((96, 96, 3), 255, np.uint8)
    old, none, half, whole = (
        planes(shown)[0].astype(int)
        for shown in (frame, *(compositor.blend(frame, masked(crop, mouth), strength) for strength in (0.0, 0.5, 1.0)))
    )
    assert np.array_equal(none, old)
    assert np.abs(half - (old + whole) / 2).max() <= 1
    assert np.abs(whole - old).max() > 40
