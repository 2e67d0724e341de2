"""Squares around faces, and meshes found in them, in whichever way a picture is stored."""

from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch
from av import VideoFrame

from lipstitch.training.mesh.network import MeshNetwork, export
from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from media.base.onnx_network import OnnxNetwork
from media.faces import FaceBox
from media.mesh import EYE_CORNERS, NUM_POINTS
from media.orientation import ORIENTATIONS, UPRIGHT
from media.picture import PictureConverter
from segmenter.mesh import crop
from segmenter.mesh.crop import MESH_PX, square_of_box, square_of_landmarks, square_of_mesh
from segmenter.mesh.mesher import FaceMesher, OnnxMesh, find_in_square
from tests.support.heads import HEAD, picture, seen


def places_in(square, points):
    """Return where points of the picture lie in a square, as shares of its side."""
    linear = np.linalg.inv(square[:, :2])
    return ((np.asarray(points, float) - square[:, 2]) @ linear.T + 0.5) / MESH_PX


@pytest.mark.parametrize("pose", [{}, {"roll": 25}, {"yaw": 30}, {"unit": 40, "middle": (20.0, 300.0)}])
def test_a_square_holds_the_face_with_its_eyes_level(pose):
    mesh = seen(HEAD, **pose)
    inside = places_in(square_of_mesh(mesh), mesh[:, :2])
    assert inside.min() > 0.05
    assert inside.max() < 0.95
    left, right = inside[EYE_CORNERS]
    assert left[1] == pytest.approx(right[1], abs=1e-6)
    assert left[0] < right[0]


def test_a_square_that_follows_from_landmarks_is_turned_and_as_large_as_they_are():
    places = crop.LANDMARK_PLACES
    for scale, angle in ((1.0, 0.0), (2.5, 0.3), (0.7, -0.5)):
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        landmarks = (places * 100 * scale) @ turned.T + (30, 50)
        assert places_in(square_of_landmarks(landmarks), landmarks) == pytest.approx(places, abs=1e-6)


@pytest.mark.parametrize("roll_degrees", [0, 10, -30])
def test_a_square_that_follows_from_a_box_lies_a_little_below_its_middle(roll_degrees):
    square = square_of_box(FaceBox(100, 100, 200, 240), roll_degrees)
    assert places_in(square, [(150, 170)])[0] == pytest.approx((0.5, 0.5 - crop.BOX_LOWER / crop.BOX_ROOM))
    assert np.hypot(*square[:, 0]) * MESH_PX == pytest.approx(crop.BOX_ROOM * 140)


class BrightSpot:
    """Stands in for a network: finds what is bright in the square, and says that all points are in its middle."""

    def __init__(self):
        self.faces = []

    def __call__(self, faces):
        self.faces.append(faces[0])
        bright = faces[0].sum(axis=0) - 0.6
        y, x = np.argwhere(bright > bright.max() / 2).mean(axis=0) if faces.any() else (0, 0)
        place = (np.array([x, y, MESH_PX / 2]) + 0.5) / MESH_PX - 0.5
        return np.tile(place, (1, NUM_POINTS, 1)).astype(np.float32), np.log([[0.01, 0.02, 0.03]])


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_what_is_seen_in_a_square_is_where_it_is_in_the_picture(orientation, scale):
    """Also where the picture is finer than the square, where it is coarser, and where the square sticks out."""
    mark = np.array([150.0, 90.0])
    pixels = np.full((240, 320, 3), 40, np.uint8)
    cv2.circle(pixels, (150, 90), max(int(2 * scale), 1), (255, 255, 255), -1)
    frame = VideoFrame.from_ndarray(orientation.turn_back(pixels), format="bgr24").reformat(format="yuv444p")
    mesher = FaceMesher(BrightSpot(), PictureConverter(orientation))
    found = mesher.find(frame, crop.square(mark + 20 * scale, MESH_PX * scale, 0.2), passes=1)
    assert found.mesh[0, :2] == pytest.approx(mark, abs=1.2 * max(scale, 0.9))
    assert found.mesh[0, 2] == pytest.approx(scale / 2, abs=1e-3)
    assert found.doubts == pytest.approx((0.01, 0.02, 0.03))


def test_a_square_beyond_the_picture_is_black():
    model = BrightSpot()
    frame = VideoFrame.from_ndarray(np.full((100, 100, 3), 200, np.uint8), format="bgr24").reformat(format="yuv420p")
    FaceMesher(model, PictureConverter(UPRIGHT)).find(frame, crop.square(np.array([900.0, 50.0]), 100, 0), passes=1)
    assert not model.faces[0].any()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MeshNetwork().eval()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mesh.onnx"
    export(network, path)
    return path


def test_a_mesh_depends_on_its_face_alone(weights):
    faces = np.random.default_rng(0).random((3, 3, MESH_PX, MESH_PX)).astype(np.float32)
    together, _ = OnnxMesh(weights)(faces)
    alone, _ = OnnxMesh(weights)(faces[1:2])
    assert np.array_equal(together[1:2], alone)


def test_what_was_exported_finds_what_was_trained(network, weights):
    face = picture(seen(HEAD))[64:192, 96:224]
    with torch.inference_mode():
        points, doubts = network(torch.from_numpy(face).permute(2, 0, 1)[None].float() / 255)
    found = find_in_square(OnnxMesh(weights), face, np.array([[1.0, 0, 96], [0, 1, 64]]))
    expected = points[0].numpy() * MESH_PX + (96 + 63.5, 64 + 63.5, 0)
    assert found.mesh == pytest.approx(expected, abs=0.01)
    assert found.doubts == pytest.approx(np.exp(doubts[0].numpy()), rel=1e-3)


def test_a_file_is_loaded_once(weights):
    first = OnnxMesh(weights)
    with patch.object(OnnxNetwork, "__init__", side_effect=AssertionError("loaded again")):
        assert OnnxMesh(weights)._network is first._network


def test_a_network_of_other_points_is_refused(tmp_path):
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten())
    torch.onnx.export(other, (torch.rand(1, 3, MESH_PX, MESH_PX),), tmp_path / "other.onnx", dynamo=False)
    with pytest.raises(UnsupportedCheckpoint, match=r"other\.onnx: not an ONNX network that takes faces"):
        OnnxMesh(tmp_path / "other.onnx")


@pytest.mark.parametrize("content", [b"", b"nothing that is a network", b"\x08\x07a graph"])
def test_a_file_that_is_no_mesh_is_refused(tmp_path, content):
    (tmp_path / "mesh.onnx").write_bytes(content)
    with pytest.raises(UnsupportedCheckpoint, match=r"Check segmenter\.mesh\."):
        OnnxMesh(tmp_path / "mesh.onnx")
    with pytest.raises(CheckpointNotFound, match="does not exist"):
        OnnxMesh(tmp_path / "gone.onnx")


def test_the_network_is_small(network):
    assert sum(value.numel() for value in network.parameters()) < 2_000_000
    points, doubts = network(torch.rand(2, 3, MESH_PX, MESH_PX))
    assert points.shape == (2, NUM_POINTS, 3)
    assert doubts.shape == (2, 3)
