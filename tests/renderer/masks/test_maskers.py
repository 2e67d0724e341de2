"""Networks that tell which pixels of a face may be replaced."""

import importlib.util

import numpy as np
import pytest
import torch

from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from renderer.checkpoints import hash_file
from renderer.masks.bisenet import BiSeNet
from renderer.masks.maskers import MaskerFile, load_masker
from tests.support.onnx_graphs import write_occluder, write_painter, write_parser


def masker(path):
    return load_masker(MaskerFile(str(path), hash_file(path), "cpu", "cpu"))


@pytest.fixture(scope="module")
def parity(shared, tmp_path_factory):
    """Return the path of weights in the published layout, whose outputs are known."""
    path = shared / "tools" / "make_parity_checkpoints.py"
    spec = importlib.util.spec_from_file_location("make_parity_checkpoints", path)
    tools = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tools)
    target = tmp_path_factory.mktemp("parity") / "79999_iter.pth"
    torch.save(tools.state_dict("bisenet_state_dict.json"), target)
    return target


def test_bisenet_computes_what_the_public_one_does(shared, parity):
    network = BiSeNet()
    network.load_state_dict(torch.load(parity, weights_only=True))
    golden = np.load(shared / "golden" / "bisenet.npz")
    pictures = golden["images_rgb"].astype(np.float32) / 255
    pictures = (pictures - np.float32((0.485, 0.456, 0.406))) / np.float32((0.229, 0.224, 0.225))
    with torch.inference_mode():
        classes = network.eval()(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.abs(classes[:, :, ::4, ::4] - golden["logits"]).max() < 1e-4
    assert np.array_equal(classes.argmax(axis=1), golden["labels"])


def test_published_weights_are_loaded_as_a_job_loads_them(shared, parity):
    picture = np.load(shared / "golden" / "bisenet.npz")["images_rgb"][0, :, :, ::-1]
    face = np.ascontiguousarray(picture.repeat(2, 0).repeat(2, 1))
    parser = masker(parity)
    assert parser.px == 512
    with_neck, without = (parser(face, with_neck=neck) for neck in (True, False))
    assert with_neck.shape == (512, 512)
    assert 0 <= without.min() <= without.max() <= 1
    assert (with_neck >= without - 1e-6).all()
    assert (with_neck > without + 0.01).any()


def test_a_parser_of_onnx_sees_the_colours_of_imagenet(tmp_path):
    parser = masker(write_parser(tmp_path / "parser.onnx", px=128))
    face = np.zeros((128, 128, 3), np.uint8)
    face[:64] = 255
    mask = parser(face, with_neck=False)
    assert parser.px == 128
    assert mask[:64].min() > 0.99
    assert mask[64:].max() < 0.01


def test_what_is_before_a_face_may_not_be_replaced(tmp_path):
    occluder = masker(write_occluder(tmp_path / "occluder.onnx", px=256))
    face = np.full((256, 256, 3), (120, 140, 200), np.uint8)
    face[100:150, 50:200] = (30, 220, 40)
    mask = occluder(face, with_neck=True)
    assert mask[100:150, 50:200].max() == 0
    assert np.delete(mask, np.s_[100:150], axis=0).min() == 1


@pytest.mark.parametrize("kind", ["painter", "classes", "text", "other weights", "fewer tensors"])
def test_other_files_are_refused(tmp_path, kind):
    path = tmp_path / "mask.bin"
    if kind == "painter":
        write_painter(path, 96)
    elif kind == "classes":
        write_parser(path, classes=11)
    elif kind == "text":
        path.write_text("no network")
    else:
        tensors = BiSeNet().state_dict()
        torch.save(dict(list(tensors.items())[:5]) if kind == "fewer tensors" else {"a": torch.zeros(3)}, path)
    with pytest.raises(UnsupportedCheckpoint, match=r"mask\.bin: .*Check renderer\.mask"):
        masker(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointNotFound, match=r"gone\.onnx.*Check renderer\.mask"):
        load_masker(MaskerFile(str(tmp_path / "gone.onnx"), "", "cpu", "cpu"))
