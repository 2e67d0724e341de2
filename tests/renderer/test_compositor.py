"""Mouths into frames: only inside the mask, in the frame's own planes, whatever the rotation and position."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.picture import chroma_step, to_stored, to_upright
from media.timeline import FaceBox
from renderer.compositor import FACE_SIZE, MASK_TOP, Compositor, Pads, blend_plane, build_mask
from tests.synthetic import planes, stamped_frame

NO_PADS = Pads(0, 0, 0, 0)
FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"]
ROTATIONS = [0, 90, 180, 270]
SIZE = (190, 134)


def upright_size(rotation, size=SIZE):
    return size[::-1] if rotation in (90, 270) else size


def changed_samples(before, after):
    """Return for each plane where samples differ."""
    return [old != new for old, new in zip(planes(before), planes(after), strict=True)]


def composed(rotation, pixel_format, box, *, pads=NO_PADS, feather=0.1, mouth=None, size=SIZE, full=False):
    frame = stamped_frame(5, size, pixel_format)
    frame.colorspace, frame.color_range = 1, 2 if full else 1
    compositor = Compositor(rotation, pads=pads, feather=feather)
    crop = compositor.crop(frame, FaceBox(*box))
    mouth = np.full((FACE_SIZE, FACE_SIZE, 3), (30, 60, 220), np.uint8) if mouth is None else mouth
    return frame, crop, compositor.blend(frame, crop, mouth)


def stored_lower_face(box, rotation, size=SIZE):
    """Return the stored rectangle below MASK_TOP of an upright box."""
    left, top, right, bottom = box
    return to_stored((left, top + int((bottom - top) * MASK_TOP) - 1, right, bottom), rotation, *size)


# What may change


@pytest.mark.parametrize("box", [(40, 30, 100, 104), (41, 31, 98, 101), (13, 17, 60, 78), (55, 45, 64, 54)])
@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_outside_the_lower_face_not_one_sample_changes(pixel_format, rotation, box):
    frame, crop, blended = composed(rotation, pixel_format, box)
    left, top, right, bottom = stored_lower_face(box, rotation)
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


@pytest.mark.parametrize("box", [(41, 31, 101, 105), (5, 4, 125, 131), (60, 60, 80, 79)])
@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_the_edge_of_the_box_does_not_change(pixel_format, rotation, box):
    """So that there is no step between what is blended and what is around it. (In a tiny box, none that is seen.)"""
    frame, _, blended = composed(rotation, pixel_format, box)
    allowed = 0 if box[2] - box[0] > 40 else 2 if "10" in pixel_format else 0.5
    luma = np.abs(planes(frame)[0].astype(int) - planes(blended)[0])
    left, top, right, bottom = to_stored(box, rotation, *SIZE)
    for edge in (
        luma[top, left:right],
        luma[bottom - 1, left:right],
        luma[top:bottom, left],
        luma[top:bottom, right - 1],
    ):
        assert edge.max() <= allowed


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(FORMATS), st.sampled_from(ROTATIONS))
def test_boxes_anywhere(data, pixel_format, rotation):
    """Also odd ones, tiny ones, and such as reach beyond the frame, in frames of odd size."""
    size = data.draw(st.tuples(st.integers(192, 200), st.integers(40, 60)))
    width, height = upright_size(rotation, size)
    left, top = data.draw(st.integers(-30, width)), data.draw(st.integers(-30, height))
    box = (left, top, left + data.draw(st.integers(1, 90)), top + data.draw(st.integers(1, 90)))
    frame = stamped_frame(5, size, pixel_format)
    compositor = Compositor(rotation, pads=NO_PADS, feather=0.12)
    crop = compositor.crop(frame, FaceBox(*box))
    seen = (max(left, 0), max(top, 0), min(box[2], width), min(box[3], height))
    assert (crop is None) == (seen[2] - seen[0] < 8 or seen[3] - seen[1] < 8)
    if crop is None:
        return
    blended = compositor.blend(frame, crop, np.zeros((FACE_SIZE, FACE_SIZE, 3), np.uint8))
    left, top, right, bottom = stored_lower_face(seen, rotation, size)
    step_x, step_y = chroma_step(frame.format)
    for index, changed in enumerate(changed_samples(frame, blended)):
        x, y = (step_x, step_y) if index else (1, 1)
        changed[top // y : -(-bottom // y), left // x : -(-right // x)] = False
        assert not changed.any()


def test_the_frame_given_stays_as_it_is():
    frame, _, blended = composed(0, "yuv420p", (40, 30, 100, 104))
    assert [plane.tobytes() for plane in planes(frame)] == [plane.tobytes() for plane in planes(stamped_frame(5, SIZE))]
    assert planes(blended)[0].tobytes() != planes(frame)[0].tobytes()
    assert (int(blended.colorspace), int(blended.color_range)) == (1, 1)


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_an_unchanged_mouth_changes_next_to_nothing(pixel_format, rotation):
    """At 96 pixels there is no scaling, and what is left is the trip through BGR: one level at most."""
    box = (31, 20, 127, 116)
    frame = stamped_frame(5, SIZE, pixel_format)
    compositor = Compositor(rotation, pads=NO_PADS, feather=0.1)
    crop = compositor.crop(frame, FaceBox(*box))
    blended = compositor.blend(frame, crop, crop.face)
    scale = 4 if "10" in pixel_format else 1
    for old, new in zip(planes(frame), planes(blended), strict=True):
        assert np.abs(old.astype(int) - new).max() <= 1.25 * scale


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_the_mouth_has_the_colour_that_was_drawn(pixel_format, rotation, full):
    """BT.709: the middle of the mouth is the colour given, in the stream's own range and depth."""
    box = (30, 20, 110, 120)
    frame, _, blended = composed(rotation, pixel_format, box, full=full)
    left, top, right, bottom = to_stored((65, 85, 75, 95), rotation, *SIZE)
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


# Crops


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_the_crop_is_upright(rotation):
    """A white bar is painted into the upper half of the upright box; the face shows it there."""
    frame = stamped_frame(5, SIZE)
    box = (31, 21, 91, 101)
    left, top, right, bottom = to_stored((31, 21, 91, 41), rotation, *SIZE)
    for plane in frame.planes[:1]:
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
        rows[:] = 60
        rows[top:bottom, left:right] = 235
    crop = Compositor(rotation, pads=NO_PADS, feather=0.1).crop(frame, FaceBox(*box))
    assert crop.face.shape == (FACE_SIZE, FACE_SIZE, 3)
    brightness = crop.face.mean(axis=(1, 2))
    assert brightness[:22].min() > 180
    assert brightness[27:].max() < 110
    corner = to_upright(crop.region, rotation, *SIZE)
    inside = [
        corner[0] + crop.inside[0],
        corner[1] + crop.inside[1],
        corner[0] + crop.inside[2],
        corner[1] + crop.inside[3],
    ]
    assert inside == list(box)


def test_pads_grow_the_box_and_edges_are_rounded():
    frame = stamped_frame(5, SIZE)
    crop = Compositor(0, pads=Pads(top=3, bottom=10, left=5, right=-4), feather=0.1).crop(
        frame, FaceBox(40.4, 30.6, 99.6, 90.4)
    )
    corner = crop.region[:2]
    inside = [
        crop.inside[0] + corner[0],
        crop.inside[1] + corner[1],
        crop.inside[2] + corner[0],
        crop.inside[3] + corner[1],
    ]
    assert inside == [35, 28, 96, 100]


def test_pads_are_cut_at_the_frame():
    width, height = SIZE
    crop = Compositor(0, pads=Pads(50, 50, 50, 50), feather=0.1).crop(stamped_frame(5, SIZE), FaceBox(10, 10, 180, 130))
    assert crop.region == (0, 0, width, height)


# Masks


@pytest.mark.parametrize("feather", [0.01, 0.05, 0.12, 0.25, 0.4])
def test_the_mask_is_a_soft_lower_face(feather):
    mask = build_mask(feather)
    assert mask.shape == (FACE_SIZE, FACE_SIZE)
    assert mask.dtype == np.float32
    assert (mask.min(), mask[0].max(), mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) == (0, 0, 0, 0, 0)
    assert not mask[: int(MASK_TOP * FACE_SIZE)].any()
    assert np.allclose(mask, mask[:, ::-1], atol=1e-3)
    assert 0.3 < mask.max() <= 1
    if feather < 0.2:
        assert mask.max() == 1
    steps = max(np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1))
    assert steps <= 2.2 / (feather * FACE_SIZE)


def test_a_narrow_feather_covers_more():
    covered = [build_mask(feather).mean() for feather in (0.02, 0.1, 0.2, 0.4)]
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
    frame, compositor = stamped_frame(5, SIZE, "yuv420p"), Compositor(0, pads=NO_PADS, feather=0.1)
    crop = compositor.crop(frame, FaceBox(40, 30, 100, 104))
    mouth = np.full((96, 96, 3), 255, np.uint8)
    old, none, half, whole = (
        planes(shown)[0].astype(int)
        for shown in (frame, *(compositor.blend(frame, crop, mouth, strength) for strength in (0.0, 0.5, 1.0)))
    )
    assert np.array_equal(none, old)
    assert np.abs(half - (old + whole) / 2).max() <= 1
    assert np.abs(whole - old).max() > 40
