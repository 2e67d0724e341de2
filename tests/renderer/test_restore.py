"""The stage that restores: where it looks, what it leaves to the bit, what of its changes is seen."""

from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from media.clips import Clip
from media.faces import FaceBox
from media.orientation import ORIENTATIONS, UPRIGHT
from media.source_video import scan_video
from renderer.clip_frames import ClipFrames, FrameInFlight
from renderer.compositor import Compositor, Pads
from renderer.face_stages.base import DrawnFace, FaceCrop, StageSettings, apply_stages, build_stages
from renderer.face_stages.restore import FACE
from renderer.networks.base import WAV2LIP_SPEC
from renderer.restoration.restorers import RestorerFile
from renderer.template import BOX_HEIGHT, BOX_MIDDLE, template_affine
from tests.support.onnx_graphs import write_restorer
from tests.support.synthetic import make_video, planes, stamped_frame

SIZE = (360, 300)
BOX = FaceBox(100, 60, 240, 240)


@pytest.mark.parametrize("roll_degrees", [0.0, 20.0])
@pytest.mark.parametrize("px", [256, 512])
def test_the_template_holds_the_box_where_faces_of_training_have_theirs(px, roll_degrees):
    crop = FaceCrop(np.zeros((96, 96, 3), np.uint8), np.zeros((2, 3)), (0, 0, 0, 0), BOX, roll_degrees)
    affine = template_affine(crop.box, crop.roll_degrees, px)
    turn = np.radians(roll_degrees)
    upright = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([170.0, 150.0])
    chin = (BOX_MIDDLE[0], BOX_MIDDLE[1] + BOX_HEIGHT / 2)
    # Both are told by edges of pixels, which lie half a pixel before the centres that the map counts.
    for at, place in ((BOX_MIDDLE, middle), (chin, middle + upright @ (0, 90))):
        found = affine @ (*(np.array(at) * px / 512 - 0.5), 1) + 0.5
        assert found == pytest.approx(place, abs=1e-6)


def blended(path, pixel_format="yuv420p", *, orientation=UPRIGHT, box=BOX, roll=0.0, strength=1.0, area="mouth"):
    """Return a frame, what becomes of it without and with a restorer, and the patch; a grainy face is drawn into it."""
    frame, compositor, face, settings = drawn_face(path, pixel_format, orientation, box, roll)
    settings = replace(settings, restorer=replace(settings.restorer, strength=strength, area=area))
    without = apply_stages(build_stages(["blend_mask"], settings), face)
    patch = apply_stages(build_stages(["blend_mask", "restore"], settings), face)
    restored = compositor.blend(frame, patch)
    if patch.around:
        restored = compositor.add(restored, patch.around, 1.0, None)
    return frame, compositor.blend(frame, without), restored, patch


def drawn_face(path, pixel_format="yuv420p", orientation=UPRIGHT, box=BOX, roll=0.0):
    """Return a frame, its compositor, a grainy face drawn for it, and settings with a restorer."""
    frame = stamped_frame(5, SIZE, pixel_format)
    compositor = Compositor(orientation, pads=Pads(0, 0, 0, 0))
    crop = compositor.crop(frame, box, roll)
    grain = np.random.default_rng(0).integers(40, 80, crop.face.shape)
    drawn = (crop.face // 2 + grain).astype(np.uint8)  # no level is near 0 or 255, where a tint would be cut off
    face = DrawnFace(crop, drawn, 1.0, 5, 5, Fraction(0), partial(compositor.sample, frame))
    settings = StageSettings(WAV2LIP_SPEC, 0.1, RestorerFile(str(path), path.name, 1.0, 0.5, "cpu", "cpu"))
    return frame, compositor, face, settings


@pytest.mark.parametrize("area", ["mouth", "face"])
@pytest.mark.parametrize("kind", ["same", "tint"])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "yuv444p"])
def test_what_restores_nothing_or_only_tints_changes_no_bit(tmp_path, kind, pixel_format, area):
    path = write_restorer(tmp_path / "net.onnx", kind)
    _, without, restored, patch = blended(path, pixel_format, roll=10, area=area)
    assert patch.detail is not None
    assert all(map(np.array_equal, planes(without), planes(restored)))


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
def test_only_what_the_mask_lets_through_changes(tmp_path, orientation, pixel_format):
    path = write_restorer(tmp_path / "net.onnx", "sharpen")
    frame, without, restored, _ = blended(path, pixel_format, orientation=orientation, box=FaceBox(80, 50, 200, 210))
    for old, drawn, finer in zip(*map(planes, (frame, without, restored)), strict=True):
        assert not (finer != old)[drawn == old].mean() > 0.02, "where nothing was drawn, nothing is restored"
    assert (planes(without)[0] != planes(restored)[0]).sum() > 500


def test_a_restorer_that_sharpens_sharpens(tmp_path):
    _, without, restored, _ = blended(write_restorer(tmp_path / "net.onnx", "sharpen"))
    rows, columns = np.nonzero(planes(without)[0] != planes(restored)[0])
    mouth = np.s_[rows.min() : rows.max(), columns.min() : columns.max()]
    lumas = (planes(each)[0][mouth].astype(float) for each in (without, restored))
    before, after = (np.abs(np.diff(luma, axis=1)).mean() for luma in lumas)
    assert after > 1.05 * before


@pytest.mark.parametrize("orientation", [UPRIGHT, ORIENTATIONS[3]], ids=str)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le"])
def test_a_whole_face_is_restored_and_nothing_beside_it(tmp_path, orientation, pixel_format):
    path = write_restorer(tmp_path / "net.onnx", "sharpen")
    box = FaceBox(80, 50, 200, 210)
    frame, _, mouth, _ = blended(path, pixel_format, orientation=orientation, box=box)
    _, _, whole, _ = blended(path, pixel_format, orientation=orientation, box=box, area="face")
    old, some, all_of_it = (orientation.turn(planes(each)[0]) for each in (frame, mouth, whole))
    rows, columns = np.nonzero(all_of_it != some)
    assert rows.min() < 90, "the forehead is restored as well"
    affine = template_affine(box, 0.0, 512)
    middle, axes = np.array(FACE[0]) @ affine[:, :2].T + affine[:, 2], np.array(FACE[1]) * affine[0, 0]
    distance = np.hypot((columns - middle[0]) / (axes[0] + 2), (rows - middle[1]) / (axes[1] + 2))
    assert distance.max() <= 1
    assert np.array_equal(old[:40], all_of_it[:40])


def test_a_face_whose_own_closed_mouth_stays_is_restored_all_the_same(tmp_path):
    """Otherwise the whole face would change whenever its mouth comes to rest."""
    path = write_restorer(tmp_path / "net.onnx", "sharpen")
    frame, compositor, face, settings = drawn_face(path)
    settings = replace(settings, restorer=replace(settings.restorer, area="face"))
    stages = build_stages(["blend_mask", "restore"], settings)
    source = scan_video(make_video(tmp_path / "talk.mp4", 10, size=SIZE))
    forehead = np.s_[80:130, 120:220]
    seen = []
    for strength in (0.0, 1.0):
        clip = Clip(0, 5, 6, "render", "", range(5, 6), (), ((5, 6),), ())
        frames = ClipFrames(clip, source, wants_hashes=False)
        flight = FrameInFlight(5, 5, frame)
        frames.blend(flight, replace(face, strength=strength), compositor, stages)
        seen.append(planes(flight.frame)[0][forehead])
    still, talking = seen
    before = planes(frame)[0][forehead]
    assert (still != before).mean() > 0.1
    assert np.abs(still.astype(int) - talking).mean() < np.abs(still.astype(int) - before).mean() / 4
    assert [stage.reaches_around for stage in stages] == [False, True]


def test_half_the_strength_is_half_the_change(tmp_path):
    path = write_restorer(tmp_path / "net.onnx", "sharpen")
    whole, half = (blended(path, strength=strength)[3].detail.levels for strength in (1.0, 0.5))
    assert half == pytest.approx(whole / 2, abs=1e-4)
    assert blended(path, strength=0.0)[3].detail is None


def test_a_face_that_is_too_small_to_show_it_is_left_alone(tmp_path):
    path = write_restorer(tmp_path / "net.onnx", "sharpen")
    assert blended(path, box=FaceBox(100, 60, 160, 130))[3].detail is None
    assert blended(path, box=FaceBox(100, 60, 190, 160))[3].detail is not None


@pytest.mark.parametrize("px", [128, 512])
def test_a_face_at_the_edge_of_the_frame_is_restored(tmp_path, px):
    path = write_restorer(tmp_path / "net.onnx", "sharpen", px)
    _, without, restored, _ = blended(path, box=FaceBox(250, 150, 380, 310), roll=15)
    assert (planes(without)[0] != planes(restored)[0]).any()
