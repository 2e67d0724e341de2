import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from renderer.networks.base import WAV2LIP_SPEC, load_module, load_network, read_spec
from renderer.networks.compact import CompactNetwork
from renderer.networks.wav2lip import Wav2Lip
from renderer.weight_files import NO_OPTIONS, NetworkOptions, open_weights


@pytest.fixture(scope="module")
def compact():
    torch.manual_seed(0)
    return CompactNetwork().eval()


TRUSTED = NetworkOptions(allow_torchscript=True)


def assert_loads(path, network, options=NO_OPTIONS):
    loaded = load_network(path, options).module
    assert not loaded.training
    assert torch.equal(loaded.ap.weight, network.ap.weight)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("prefix", [None, "", "module."])
def test_pickled_formats_load(tmp_path, compact, new_format, prefix):
    weights = compact.state_dict()
    if prefix is not None:
        named = {prefix + name: tensor for name, tensor in weights.items()}
        weights = {"state_dict": named, "optimizer": None, "global_step": 3}
    torch.save(weights, tmp_path / "net.pth", _use_new_zipfile_serialization=new_format)
    assert_loads(tmp_path / "net.pth", compact)


def test_safetensors_load_under_any_name(tmp_path, compact):
    save_file(compact.state_dict(), tmp_path / "net.pth")
    assert_loads(tmp_path / "net.pth", compact)


def test_published_format_loads(parity_checkpoint):
    assert isinstance(load_module(parity_checkpoint), Wav2Lip)


def test_other_network_is_refused(syncnet_parity_checkpoint):
    with pytest.raises(UnsupportedCheckpoint, match=r"syncnet_parity\.model: these are not the weights of a lip"):
        load_module(syncnet_parity_checkpoint)


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("new_format", [True, False])
def test_malicious_pickle_is_refused(tmp_path, new_format):
    marker = tmp_path / "executed"
    path = tmp_path / "net.pth"
    torch.save({"state_dict": Malicious(marker)}, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(UnsupportedCheckpoint, match="would have to execute code"):
        load_module(path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the trap works


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_files_are_refused(tmp_path, compact, kind):
    whole, cut = tmp_path / "whole", tmp_path / "cut.pth"
    if kind == "safetensors":
        save_file(compact.state_dict(), whole)
    else:
        torch.save(compact.state_dict(), whole, _use_new_zipfile_serialization=kind == "zip")
    content = whole.read_bytes()
    for length in (0, 1, 9, 300, 5_000, 40_000, len(content) // 2, len(content) - 1_000, len(content) - 1):
        cut.write_bytes(content[:length])
        with pytest.raises(UnsupportedCheckpoint, match=r"cut\.pth: this") as caught:
            load_module(cut)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"<html>Sign in</html>", b"\0" * 1000, b"PK\x03\x04 and no more"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(UnsupportedCheckpoint, match=r"net\.pth: this"):
        load_module(tmp_path / "net.pth")


def test_something_else_than_a_state_dict_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "net.pth")
    with pytest.raises(UnsupportedCheckpoint, match="no state dict but a list"):
        load_module(tmp_path / "net.pth")


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointNotFound, match=r"net\.pth: no such file"):
        load_module(tmp_path / "net.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_torchscript_only_when_allowed(tmp_path, compact):
    inputs = (torch.zeros(1, 1, 80, 16), torch.zeros(1, 6, 96, 96))
    torch.jit.trace(compact, inputs, check_trace=False).save(str(tmp_path / "net.pt"))
    with pytest.raises(UnsupportedCheckpoint, match=r"TorchScript archive.*renderer\.allow_torchscript"):
        load_module(tmp_path / "net.pt")
    assert_loads(tmp_path / "net.pt", compact, TRUSTED)
    assert type(load_network(tmp_path / "net.pt", TRUSTED).module) is CompactNetwork


# Headers


@pytest.mark.parametrize("kind", ["zip", "safetensors"])
def test_a_header_reads_no_tensor(tmp_path, compact, kind, monkeypatch):
    path = tmp_path / "net.pth"
    if kind == "safetensors":
        save_file(compact.state_dict(), path)
    else:
        torch.save({"state_dict": compact.state_dict()}, path)
    mapped = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **keys: mapped.append(keys["mmap"]) or load(*args, **keys))
    monkeypatch.setattr("safetensors.torch.load_file", lambda _: pytest.fail("the tensors were read"))
    header = open_weights(path).header
    assert mapped == ([True] if kind == "zip" else [])
    assert header.problem == ""
    assert header.shapes == {name: tuple(tensor.shape) for name, tensor in compact.state_dict().items()}


def test_the_header_of_another_format_says_why_it_is_empty(tmp_path):
    """An architecture of another format may know the file all the same."""
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07a graph")
    header = open_weights(tmp_path / "net.onnx").header
    assert (header.path, header.shapes) == (tmp_path / "net.onnx", {})
    assert header.problem.startswith("this ")


def test_the_spec_of_a_file_is_read_without_its_tensors(compact, tmp_path, monkeypatch):
    save_file(compact.state_dict(), tmp_path / "net.pth")
    monkeypatch.setattr("safetensors.torch.load_file", lambda _: pytest.fail("the tensors were read"))
    assert read_spec(tmp_path / "net.pth") == WAV2LIP_SPEC
    (tmp_path / "other").write_bytes(b"nothing")
    with pytest.raises(UnsupportedCheckpoint, match=r"other: this is"):
        read_spec(tmp_path / "other")
