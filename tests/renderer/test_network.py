import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from media.base.errors import UnsupportedCheckpoint
from renderer.networks._torch import fold_normalisation
from renderer.networks.base import WAV2LIP_SPEC, find_architecture, load_module
from renderer.networks.compact import CompactNetwork
from renderer.networks.wav2lip import Wav2Lip
from renderer.weight_files import FileHeader, WeightFile, tensors_of


def build_network(state_dict):
    """Return the module of a state dict that some file held."""
    tensors = tensors_of(state_dict)
    header = FileHeader(Path("net.pth"), {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    return find_architecture(header).load(WeightFile(header, lambda: tensors)).module


def golden_inputs(shared: Path) -> tuple[torch.Tensor, torch.Tensor]:
    golden = np.load(shared / "golden" / "wav2lip.npz")
    full = torch.from_numpy(golden["faces_bgr"]).permute(0, 3, 1, 2).float() / 255
    masked = full.clone()
    masked[:, :, 48:] = 0
    return torch.from_numpy(golden["mel_windows"]), torch.cat((masked, full), dim=1)


@pytest.fixture(scope="module")
def compact_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return CompactNetwork().state_dict()


def test_wav2lip_has_the_published_tensors(shared):
    rows = json.loads((shared / "golden" / "wav2lip_state_dict.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in Wav2Lip().state_dict().items()} == {
        row["name"]: row["shape"] for row in rows
    }


def test_wav2lip_parity(shared, parity_checkpoint):
    mel, faces = golden_inputs(shared)
    golden = np.load(shared / "golden" / "wav2lip.npz")["output"]
    network = load_module(parity_checkpoint)
    assert isinstance(network, Wav2Lip)
    with torch.inference_mode():
        np.testing.assert_allclose(network(mel, faces).numpy(), golden, atol=1e-4, rtol=0)
        folded = fold_normalisation(network)(mel, faces).numpy()
    np.testing.assert_allclose(folded, golden, atol=1e-4, rtol=0)


def test_compact_parity(shared):
    mel, faces = golden_inputs(shared)
    network = load_module(shared / "compact" / "compact_v0.safetensors")
    assert isinstance(network, CompactNetwork)
    with torch.inference_mode():
        output = network(mel, faces).numpy()
    np.testing.assert_allclose(output, np.load(shared / "compact" / "golden.npz")["output"], atol=2e-3, rtol=0)


@pytest.mark.parametrize("first_row", [1, 20, WAV2LIP_SPEC.first_row, 50, 95])
@pytest.mark.parametrize("kind", [Wav2Lip, CompactNetwork, lambda: CompactNetwork(blends=False)])
def test_rows_that_are_drawn_alone_are_those_of_the_whole_face(kind, first_row):
    torch.manual_seed(3)
    network, mel, faces = kind().eval(), torch.randn(2, 1, 80, 16), torch.rand(2, 6, 96, 96)
    for parameter in network.parameters():
        parameter.requires_grad_(False).mul_(2)  # so that every row of the maps below shows
    whole, part = network(mel, faces), network(mel, faces, first_row)
    assert part.shape == (2, 3, 96 - first_row, 96)
    assert whole.std() > 0.02
    torch.testing.assert_close(part, whole[:, :, first_row:], atol=1e-5, rtol=0)


def test_compact_shows_the_reference_where_nothing_is_drawn(compact_weights):
    """In whatever arithmetic: half of what is drawn and half of the reference, and none of it at either end."""
    torch.manual_seed(2)
    mel, faces = torch.randn(2, 1, 80, 16), torch.rand(2, 6, 96, 96)
    weights = {**compact_weights, "out.1.weight": compact_weights["out.1.weight"].clone()}
    weights["out.1.weight"][3] = 0

    def rendered(bias, dtype=torch.float32):
        bias = torch.cat((compact_weights["out.1.bias"][:3], torch.tensor([bias])))
        with torch.inference_mode():
            return build_network({**weights, "out.1.bias": bias}).to(dtype)(mel.to(dtype), faces.to(dtype)).float()

    nothing, half, everything = (rendered(bias) for bias in (-100.0, 0.0, 100.0))
    assert torch.equal(nothing, faces[:, 3:])
    torch.testing.assert_close(half, (nothing + everything) / 2)
    assert (rendered(-100.0, torch.bfloat16) - faces[:, 3:]).abs().max() < 1 / 400, "the reference's own rounding"
    assert (everything - faces[:, 3:]).abs().mean() > 0.1
    without = {name: value[:3] if name.startswith("out.1.") else value for name, value in weights.items()}
    with torch.inference_mode():
        torch.testing.assert_close(build_network(without)(mel, faces), everything)


def test_build_network_takes_float32_copies_in_eval_mode(compact_weights):
    network = build_network({name: tensor.half() for name, tensor in compact_weights.items()})
    assert isinstance(network, CompactNetwork)
    assert not network.training
    weight = network.a.fc.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, compact_weights["a.fc.weight"].half().float())


def test_build_network_strips_module_and_needs_no_counters(compact_weights):
    named = {f"module.{name}": tensor for name, tensor in compact_weights.items() if "num_batches" not in name}
    assert torch.equal(build_network(named).mix[0].c.weight, compact_weights["mix.0.c.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("ap.weight"), r"CompactNetwork's but lack tensors: ap\.weight \(1 in all\)"),
        (lambda weights: weights.update(extra=torch.zeros(1)), r"does not have: extra \(1 in all\)"),
        (lambda weights: weights.update({"ap.bias": torch.zeros(65)}), r"another shape: ap\.bias \(1 in all\)"),
        (
            lambda weights: [weights.pop(name) for name in list(weights) if "inp" in name],
            r"net\.pth: these are not",
        ),
        (lambda weights: weights.update({"ap.bias": "not a tensor"}), r"lack tensors: ap\.bias"),
    ],
)
def test_build_network_refuses_other_tensors(compact_weights, change, message):
    weights = dict(compact_weights)
    change(weights)
    with pytest.raises(UnsupportedCheckpoint, match=message):
        build_network(weights)


def test_fold_normalisation_keeps_the_function():
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)),
        nn.Sequential(nn.ConvTranspose2d(8, 5, 3, stride=2), nn.BatchNorm2d(5)),
    ).eval()
    for norm in (network[0][1], network[1][1]):
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(values, 0.5, 2.0)
    maps = torch.randn(2, 3, 9, 9)
    folded = fold_normalisation(copy.deepcopy(network))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(maps), network(maps), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [Wav2Lip, CompactNetwork])
def test_fold_normalisation_leaves_none(kind):
    with torch.device("meta"):
        network = fold_normalisation(kind().eval())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
