"""Restorers: their files, the order of colours and the range in which they are given faces, and what is refused."""

import inspect
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import helper
from safetensors.torch import save_file
from spandrel.architectures.GFPGAN import GFPGAN
from spandrel_extra_arches.architectures.CodeFormer import CodeFormer

from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.source.weights import check_licence, describe_restorer, find_rendering_weights
from media.base.errors import CheckpointNotFound, ConfigError, RenderError, UnsupportedCheckpoint
from renderer.checkpoints import hash_file, load_registry
from renderer.restoration.restorers import RestorerFile, load_restorer
from tests.support.jobs import write_job
from tests.support.onnx_graphs import write_graph, write_painter, write_restorer
from tests.support.quick_jobs import make_talk, run_quick


def file_of(path, **changes):
    return replace(RestorerFile(str(path), "hash", 1.0, 0.5, "cpu", "cpu"), **changes)


def face_of(px):
    return np.random.default_rng(px).integers(0, 256, (px, px, 3), dtype=np.uint8)


@pytest.mark.parametrize("px", [128, 512])
def test_a_face_comes_back_as_it_was_from_a_network_that_changes_nothing(tmp_path, px):
    restorer = load_restorer(file_of(write_restorer(tmp_path / f"same{px}.onnx", "same", px)))
    assert restorer.px == px
    assert np.abs(restorer(face_of(px)) - face_of(px)).max() < 1e-3


def test_colours_go_in_from_red_to_blue_between_minus_one_and_one(tmp_path):
    restorer = load_restorer(file_of(write_restorer(tmp_path / "tint.onnx", "tint", 128)))
    shift = np.float32([-0.02, 0.05, 0.1]) * 127.5  # blue first
    assert np.abs(restorer(face_of(128)) - np.clip(face_of(128) + shift, 0, 255)).max() < 1e-3


def test_a_network_with_a_second_value_is_given_the_fidelity(tmp_path):
    path = write_restorer(tmp_path / "weighted.onnx", "weighted", 128)
    restored = load_restorer(file_of(path, fidelity=0.25))(face_of(128))
    assert np.abs(restored - ((face_of(128) / 127.5 - 1) * 0.25 + 1) * 127.5).max() < 1e-3


def test_half_precision_is_given_half_precision(tmp_path):
    restorer = load_restorer(file_of(write_restorer(tmp_path / "half.onnx", "same", 128, kind_of=np.float16)))
    assert np.abs(restorer(face_of(128)) - face_of(128)).max() < 0.1


def refused_files(folder):
    shapes = {"twice": ([1, 3, 128, 128], [1, 3, 256, 256]), "grey": ([1, 1, 128, 128], [1, 1, 128, 128])}
    for name, (face, restored) in shapes.items():
        node = helper.make_node("Resize", ["face", "", "scales"], ["restored"])
        scales = np.float32(np.array(restored) / face)
        path = folder / f"{name}.onnx"
        yield write_graph(path, node, inputs={"face": face}, outputs={"restored": restored}, scales=scales)
    yield write_painter(folder / "lips.onnx", 128)
    (folder / "text.pth").write_bytes(b"no network")
    save_file({"weight": torch.zeros(3)}, folder / "other.safetensors")
    yield from (folder / "text.pth", folder / "other.safetensors")


def test_other_files_are_refused_in_one_sentence(tmp_path):
    for path in refused_files(tmp_path):
        with pytest.raises(UnsupportedCheckpoint, match=r"Check renderer\.restore\.model") as caught:
            load_restorer(file_of(path))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointNotFound, match="gone"):
        load_restorer(file_of(tmp_path / "gone.pth"))


def test_without_spandrel_a_torch_file_says_how_to_get_it(tmp_path, monkeypatch):
    save_file({"weight": torch.zeros(3)}, tmp_path / "net.safetensors")
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ConfigError, match=r"needs spandrel: pip install 'lipstitch\[restorers\]'"):
        load_restorer(file_of(tmp_path / "net.safetensors"))


# The published architectures, with random weights in their layout


def random_weights(kind):
    """Return a state dict of GFPGAN or CodeFormer, as large as the published one; its random values come again."""
    with torch.device("meta"):
        if kind == "codeformer":
            layout = CodeFormer().state_dict()
        else:
            settings = {"num_mlp": 8, "input_is_latent": True, "different_w": True, "narrow": 1, "sft_half": True}
            layout = GFPGAN(out_size=512, fix_decoder=False, **settings).state_dict()
    few = torch.randn(99_991, generator=torch.Generator().manual_seed(0)) / 20
    sizes = {name: (tensor.numel(), tensor.shape) for name, tensor in layout.items()}
    return {name: few.repeat(size // len(few) + 1)[:size].reshape(shape) for name, (size, shape) in sizes.items()}


def test_gfpgan_in_its_published_layout_restores_without_chance(tmp_path):
    torch.save({"params_ema": random_weights("gfpgan")}, tmp_path / "net.pth")
    restorer, given = load_restorer(file_of(tmp_path / "net.pth")), {}
    restorer._module.register_forward_pre_hook(lambda _module, _faces, keys: given.update(keys), with_kwargs=True)
    restored = restorer(face_of(512))
    assert restored.shape == (512, 512, 3)
    assert restored.std() > 0.1
    assert given["randomize_noise"] is False


def test_codeformer_in_its_published_layout_is_given_the_fidelity(tmp_path):
    """It is stopped where its work begins, which takes twenty seconds; what stops a restorer fails its clip alone."""
    torch.save({"params_ema": random_weights("codeformer")}, tmp_path / "net.pth")
    restorer, given = load_restorer(file_of(tmp_path / "net.pth", fidelity=0.25)), {}
    inspect.signature(restorer._module.forward).bind("face", weight=0.25, randomize_noise=False)

    def stop(_module, faces, keys):
        given.update(keys, shape=tuple(faces[0].shape), least=float(faces[0].min()), most=float(faces[0].max()))
        raise RuntimeError("no more room\nand much else")

    restorer._module.register_forward_pre_hook(stop, with_kwargs=True)
    with pytest.raises(RenderError, match=r"the restorer failed \(no more room\)"):
        restorer(face_of(512))
    expected = {"weight": 0.25, "randomize_noise": False, "shape": (1, 3, 512, 512), "least": -1.0, "most": 1.0}
    assert given == expected


def test_a_layout_that_lacks_a_tensor_is_refused(tmp_path):
    weights = random_weights("codeformer")
    del weights["feat_emb.bias"]
    save_file(weights, tmp_path / "cut.safetensors")
    with pytest.raises(UnsupportedCheckpoint, match="lack tensors"):
        load_restorer(file_of(tmp_path / "cut.safetensors"))


# In a job


def config_of(folder, method="network", **restore):
    renderer = {"method": method, "restore": restore}
    return load_job(write_job(folder, input={"video": "talk.mp4"}, output="out.mp4", renderer=renderer))


def test_weights_that_forbid_commercial_use_have_to_be_accepted(tmp_path):
    with pytest.raises(ConfigError, match=r"codeformer may not be used commercially .*accept_licence: true"):
        check_licence(config_of(tmp_path, model="codeformer"))
    check_licence(config_of(tmp_path, model="codeformer", accept_licence=True))
    said = describe_restorer(config_of(tmp_path, model="codeformer", accept_licence=True, strength=0.5))
    assert said == "codeformer, 50% of what it changes; S-Lab License 1.0: no commercial use."
    assert "Apache-2.0" in describe_restorer(config_of(tmp_path, model="gfpgan"))


def test_nor_may_they_be_used_under_another_name(tmp_path, monkeypatch):
    path = write_restorer(tmp_path / "mine.onnx", "same", 128)
    entry = replace(load_registry()["codeformer"], sha256=hash_file(path))
    monkeypatch.setattr("lipstitch.source.weights.load_registry", lambda: {"codeformer": entry})
    with pytest.raises(ConfigError, match="codeformer may not be used commercially"):
        find_rendering_weights(config_of(tmp_path, model=str(path)), Silent())
    assert find_rendering_weights(config_of(tmp_path, model=str(path), accept_licence=True), Silent()).restorer == path


def test_where_footage_alone_is_shown_no_restorer_is_looked_for(tmp_path):
    config = config_of(tmp_path, "auto", model=str(tmp_path / "missing.pth"))
    assert find_rendering_weights(config, Silent()).restorer is None
    with pytest.raises(CheckpointNotFound):
        find_rendering_weights(config_of(tmp_path, model=str(tmp_path / "missing.pth")), Silent())


def test_a_job_that_has_not_accepted_them_ends_before_it_downloads_or_scans(tmp_path):
    make_talk(tmp_path / "talk.mp4")
    with pytest.raises(ConfigError, match="accept_licence"):
        run_quick(config_of(tmp_path, model="codeformer"))
    assert not (tmp_path / "out.mp4.lipstitch").exists()
