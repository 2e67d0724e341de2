"""Mouths drawn into frames: where nothing has to change nothing does, at every depth and subsampling."""

import cv2
import numpy as np
import pytest
from av import VideoFrame

from media.mesh import points_at
from media.orientation import ORIENTATIONS
from media.picture import plane_views
from renderer.footage.drawing.draw import Mouth, Part, draw, kept_region, led_in_frame
from renderer.footage.drawing.layers import INNER_LOWER, INNER_UPPER, LipLayers
from renderer.footage.drawing.mask import Pose, build_mask
from renderer.footage.drawing.warp import Nodes, turned_into
from renderer.footage.lip_shape import upright
from tests.support.heads import HEAD, picture, seen, talking

FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p10le"]


def frame_of(mesh, pixel_format="yuv420p", **look):
    return VideoFrame.from_ndarray(picture(mesh, **look), format="bgr24").reformat(format=pixel_format)


def mouth_of(mesh, pixel_format="yuv420p", **look):
    """Return a mouth with its surroundings, as a bank keeps it."""
    planes = [plane.copy() for plane in plane_views(frame_of(mesh, pixel_format, **look))]
    steps = [(planes[0].shape[1] // plane.shape[1], planes[0].shape[0] // plane.shape[0]) for plane in planes]
    left, top, right, bottom = kept_region(mesh, (320, 320), (2, 2))
    cut = [plane[top // y : bottom // y, left // x : right // x] for plane, (x, y) in zip(planes, steps, strict=True)]
    return Mouth(tuple(cut), (left, top), mesh, mesh)


def drawn(target, parts, pixel_format="yuv420p", **look):
    """Return (planes before, planes after, region) of a picture of a mesh into which mouths are drawn."""
    planes = [plane.copy() for plane in plane_views(frame_of(target, pixel_format, **look))]
    before = [plane.copy() for plane in planes]
    full_scale = 1023 if "10" in pixel_format else 255
    region = draw(planes, Pose(target, target), parts, full_scale=full_scale)
    return before, planes, region


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_frames_own_mouth_leaves_it_as_it_is(pixel_format):
    mesh = seen(talking(0.1), yaw=8, roll=-4)
    before, after, _ = drawn(mesh, [Part(mouth_of(mesh, pixel_format))], pixel_format)
    one_level = 4 if "10" in pixel_format else 1
    for old, new in zip(before, after, strict=True):
        off = np.abs(old.astype(int) - new)
        assert off.mean() < 0.1 * one_level
        assert off.max() < 15 * one_level, "a warp need not reach its points, so grain moves by parts of a pixel"
        assert new.dtype == old.dtype


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_where_the_jaw_stays_only_what_the_mask_covers_changes(pixel_format):
    target, source = seen(HEAD, yaw=-6), seen(HEAD, yaw=5)
    part = Part(mouth_of(source, pixel_format, colour=(100, 130, 180)))
    before, after, region = drawn(target, [part], pixel_format)
    mask = build_mask(Pose(target, target), turned_into(source, source, target), region)
    for old, new in zip(before, after, strict=True):
        whole = np.zeros(before[0].shape, np.float32)
        whole[region[1] : region[3], region[0] : region[2]] = mask
        covered = cv2.resize(whole, old.shape[::-1], interpolation=cv2.INTER_AREA) > 0
        assert np.array_equal(new[~covered], old[~covered])
    assert not np.array_equal(before[0], after[0])


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_nothing_changes_beyond_the_region_nor_above_the_nose(pixel_format):
    target, source = seen(HEAD, yaw=-6), seen(talking(0.2), yaw=5)
    before, after, region = drawn(target, [Part(mouth_of(source, pixel_format))], pixel_format)
    above = int(target[points_at((4,))[0], 1])
    for old, new in zip(before, after, strict=True):
        step_x, step_y = (320 // side for side in old.shape[::-1])
        left, top, right, bottom = region
        outside = np.ones(old.shape, bool)
        outside[max(top, above) // step_y : -(-bottom // step_y), left // step_x : -(-right // step_x)] = False
        assert np.array_equal(new[outside], old[outside])
    assert not np.array_equal(before[0], after[0])


@pytest.mark.parametrize(("own", "new"), [(0.3, 0.0), (0.0, 0.3)])
def test_the_frames_own_jaw_moves_along(own, new):
    """A line drawn along the frame's own jaw is seen where the new jaw is, and nowhere else."""
    target, source = seen(talking(own)), seen(talking(new))
    chin = points_at((152,))[0]

    def luma(mesh):
        # A dark neck makes the jaw an edge.
        jaw = cv2.convexHull(mesh[:, :2].astype(np.float32))
        plane = np.full((320, 320), 60, np.uint8)
        cv2.fillPoly(plane, [np.rint(jaw).astype(np.int32)], 180)
        return plane

    def edge_at(plane):
        column = plane[:, round(float(target[chin, 0]))].astype(int)
        steps = np.flatnonzero(np.abs(np.diff(column)) > 30)
        return steps[steps > 160]

    plane = luma(target)
    mouth = Mouth((luma(source),), (0, 0), source, source)
    draw([plane], Pose(target, target), [Part(mouth)], full_scale=255)
    edges = edge_at(plane)
    assert len(edges) > 0
    assert np.ptp(edges) <= 3, "one jaw, not two"
    assert abs(edges.mean() - float(source[chin, 1])) <= 4


@pytest.mark.parametrize("pose", [{}, {"yaw": 12}, {"roll": 10, "middle": (150, 120)}, {"unit": 70}])
def test_a_mouth_opens_where_the_frames_own_mouth_is(pose):
    source, target = seen(talking(0.25), yaw=-5), seen(HEAD, **pose)
    before, after, _ = drawn(target, [Part(mouth_of(source))])
    opened = seen(talking(0.25), **pose)
    inside = cv2.convexHull(opened[points_at((13, 82, 312, 14, 87, 317)), :2].astype(np.float32))
    hole = np.zeros(before[0].shape, np.uint8)
    cv2.fillPoly(hole, [np.rint(inside).astype(np.int32)], 1)
    hole = cv2.erode(hole, np.ones((3, 3), np.uint8)) > 0
    assert hole.sum() > 30
    assert np.median(before[0][hole]) > 80
    assert np.median(after[0][hole]) < 60


def test_the_colours_are_those_of_the_frame():
    source, target = seen(talking(0.1)), seen(talking(0.1), yaw=3)
    _, after, _ = drawn(target, [Part(mouth_of(source, colour=(100, 120, 160)))])
    before, same, _ = drawn(target, [Part(mouth_of(source))])
    chin = target[points_at((200,))[0], :2].round().astype(int)
    around = (slice(chin[1] - 4, chin[1] + 4), slice(chin[0] - 4, chin[0] + 4))
    assert after[0][around].mean() == pytest.approx(before[0][around].mean(), abs=8)
    assert same[0][around].mean() == pytest.approx(before[0][around].mean(), abs=8)


def test_two_mouths_are_mixed_by_their_weights():
    target = seen(HEAD)
    shut, open_ = (mouth_of(seen(talking(opening))) for opening in (0.0, 0.25))
    results = [
        drawn(target, parts)[1][0].astype(int)
        for parts in ([Part(shut)], [Part(shut, 0.5), Part(open_, 0.5)], [Part(open_)])
    ]
    inside = seen(talking(0.1))[points_at((14, 87, 317)), :2].round().astype(int)
    for x, y in inside:
        low, mixed, high = sorted(result[y - 2 : y + 3, x - 2 : x + 3].mean() for result in results)
        assert mixed == pytest.approx((low + high) / 2, abs=12)
        assert high - low > 40


def drawn_opening(filmed, led_to, own=0.1):
    """Return what is seen where lips are led: luma, and the mesh they are led to. Openings in eye distances."""
    target, source = seen(talking(own)), seen(talking(filmed))
    faces, reference = upright(np.stack([seen(talking(filmed)), seen(talking(led_to))]))
    led = led_in_frame(faces[1] - faces[0], reference, Pose(target, target))
    _, after, _ = drawn(target, [Part(mouth_of(source), led=led)])
    return after[0], seen(talking(led_to))


def between_lips(mesh):
    """Return a mask of what lies between the inner lips, without their edge."""
    hole = np.zeros((320, 320), np.uint8)
    outline = mesh[[*INNER_UPPER, *INNER_LOWER[-2:0:-1]], :2]
    cv2.fillPoly(hole, [np.rint(outline).astype(np.int32)], 1)
    return cv2.erode(hole, np.ones((3, 3), np.uint8)) > 0


@pytest.mark.parametrize("filmed", [0.0, 0.05, 0.2])
def test_a_mouth_opens_as_far_as_it_is_led(filmed):
    """However far it was open when it was filmed; what it uncovers then is dark."""
    after, mesh = drawn_opening(filmed, 0.25)
    hole = between_lips(mesh)
    assert hole.sum() > 60
    assert np.percentile(after[hole], 90) < 75
    lower = mesh[points_at((17, 84, 314)), :2].round().astype(int)
    assert min(after[y, x] for x, y in lower) > 75, "the lips around it are there"


@pytest.mark.parametrize("filmed", [0.05, 0.25])
def test_a_mouth_closes_over_what_was_seen_in_it(filmed):
    after, mesh = drawn_opening(filmed, 0.0)
    x, y = mesh[points_at((13, 14)), :2].mean(axis=0).round().astype(int)
    assert after[y - 3 : y + 4, x - 6 : x + 7].mean() > 75


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_lips_open_alike_however_a_picture_is_stored(orientation):
    """Turned by quarters, and mirrored: one that came out otherwise has its lips the wrong way round."""
    target, source = seen(talking(0.1)), seen(talking(0.05))
    faces, reference = upright(np.stack([source, seen(talking(0.25))]))
    away = led_in_frame(faces[1] - faces[0], reference, Pose(target, target))
    stored, filmed, led = (orientation.points_to_stored(mesh, 320, 320) for mesh in (target, source, target + away))
    mouth, frame = (np.ascontiguousarray(orientation.turn_back(picture(mesh)[..., 1])) for mesh in (source, target))
    part = Part(Mouth((mouth,), (0, 0), filmed, filmed), led=led - stored)
    draw([frame], Pose(stored, stored), [part], full_scale=255)
    plain = picture(target)[..., 1].copy()
    mouth = Mouth((picture(source)[..., 1].copy(),), (0, 0), source, source)
    draw([plain], Pose(target, target), [Part(mouth, led=away)], full_scale=255)
    off = np.abs(frame.astype(int) - np.ascontiguousarray(orientation.turn_back(plain)))
    assert off.mean() < 0.5
    assert (off > 40).mean() < 0.001


@pytest.mark.parametrize("step", [(1, 1), (2, 2), (2, 1)])
def test_skin_far_from_lips_is_taken_from_where_it_was(step):
    source, target = seen(talking(0.2)), seen(talking(0.2), yaw=4)
    nodes = Nodes((100, 100, 220, 260))
    where = turned_into(source, source, target)
    layers = LipLayers(source, where, nodes, (2, 2))
    places = layers.lips(step, (0, 0))
    for number in (203, 423, 216, 436):
        at = points_at((number,))[0]
        x, y = ((where[at, :2] - (100, 100)) / step).astype(int)
        assert places[y, x] * step == pytest.approx(source[at, :2], abs=3)


def test_between_lips_one_mouth_alone_is_seen():
    """While two dissolve: the teeth of both would make a grid."""
    target = seen(talking(0.2))
    own, other = mouth_of(target), mouth_of(target)
    left, top = other.corner
    luma = other.planes[0]
    luma[between_lips(target)[top : top + luma.shape[0], left : left + luma.shape[1]]] = 220
    bright = Mouth(other.planes, other.corner, target, target)
    alone, mixed, swapped = (
        drawn(target, parts)[1][0].astype(int)
        for parts in ([Part(own)], [Part(own, 0.6), Part(bright, 0.4)], [Part(bright, 0.4), Part(own, 0.6)])
    )
    hole = between_lips(target)
    assert np.abs(mixed - alone)[hole].mean() < 2
    assert np.abs(swapped - alone)[hole].mean() > 5


def test_a_face_at_the_edge_of_the_picture_is_drawn_as_far_as_it_goes():
    target = seen(HEAD, middle=(290.0, 250.0))
    _, after, region = drawn(target, [Part(mouth_of(seen(talking(0.2))))])
    assert region[2:] == (320, 320)
    assert after[0].shape == (320, 320)


@pytest.mark.parametrize("region", [(0, 0, 64, 64), (10, 22, 131, 99), (2, 4, 502, 46), (7, 3, 12, 5)])
@pytest.mark.parametrize("step", [(1, 1), (2, 2), (2, 1), (4, 1)])
def test_between_nodes_places_are_where_they_are(region, step):
    nodes = Nodes(region)
    found = nodes.spread(nodes.places, step)
    width, height = (-(-(region[side + 2] - region[side]) // step[side]) for side in (0, 1))
    assert found.shape == (height, width, 2)
    across = region[0] + (np.arange(width) + 0.5) * step[0] - 0.5
    down = region[1] + (np.arange(height) + 0.5) * step[1] - 0.5
    assert found[0, :, 0] == pytest.approx(across, abs=1e-3)
    assert found[:, 0, 1] == pytest.approx(down, abs=1e-3)
