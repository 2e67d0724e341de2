"""Lip networks of ONNX: the pixels of a graph in any size, order of colours and number of faces."""

import copy

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from media.base.errors import ConfigError, UnsupportedCheckpoint
from renderer.engine import LipSyncEngine
from renderer.networks.base import Margins, load_module, load_network, read_spec
from renderer.networks.compact import CompactNetwork
from renderer.weight_files import NetworkOptions
from tests.support.onnx_graphs import write_graph, write_painter

NUM_FACES = 11


def given(px, num_faces=NUM_FACES):
    """Return faces, mel windows and references."""
    random = np.random.default_rng(px)
    faces, references = random.integers(0, 256, (2, num_faces, px, px, 3), dtype=np.uint8)
    return faces, random.uniform(-4, 4, (num_faces, 80, 16)).astype(np.float32), references


def painted(faces, mel_windows, references, *, is_rgb):
    """Return what write_painter's network draws, in the order of colours in which it is given faces."""
    order = slice(None, None, -1 if is_rgb else 1)
    masked, shown = (pictures[..., order].astype(float) for pictures in (faces, references))
    masked[:, faces.shape[1] // 2 :] = 0
    loudness = (mel_windows.astype(float).mean(axis=(1, 2)) + 4) / 8
    drawn = np.stack((shown[..., 0], shown[..., 1] * loudness[:, None, None], masked[..., 2]), axis=-1)
    return drawn[..., order]


@pytest.mark.parametrize("px", [96, 192, 256, 288, 384])
@pytest.mark.parametrize(("channels", "mel_first"), [("bgr", True), ("rgb", False)])
def test_a_graph_is_given_what_wav2lip_is_and_its_pixels_come_back(tmp_path, px, channels, mel_first):
    path = write_painter(tmp_path / "net.onnx", px, mel_first=mel_first)
    options = NetworkOptions(channels=channels, margins=(0.1, 0.2, 0.05, 0.0))
    network = load_network(path, options)
    assert network.spec == read_spec(path, options)
    assert (network.spec.face_px, network.spec.margins) == (px, Margins(0.1, 0.2, 0.05, 0.0))
    faces = given(px)
    drawn = LipSyncEngine(network, device="cpu", batch_size=4, num_threads=2).render(*faces)
    assert np.abs(drawn - painted(*faces, is_rgb=channels == "rgb")).max() < 0.51


@pytest.mark.parametrize("num_faces", [1, 3, 8])
def test_a_graph_for_a_fixed_number_of_faces_draws_the_same(tmp_path, num_faces):
    free = load_network(write_painter(tmp_path / "free.onnx", 96))
    fixed = load_network(write_painter(tmp_path / "fixed.onnx", 96, num_faces=num_faces))
    one, two = (LipSyncEngine(network, device="cpu", batch_size=4).render(*given(96)) for network in (free, fixed))
    assert np.array_equal(one, two)


def test_a_graph_of_half_precision_is_given_half_precision(tmp_path):
    faces = given(96)
    network = load_network(write_painter(tmp_path / "half.onnx", 96, kind=np.float16))
    drawn = LipSyncEngine(network, device="cpu", batch_size=4).render(*faces)
    assert np.abs(drawn - painted(*faces, is_rgb=False)).max() < 1


def test_a_face_depends_on_itself_alone_whatever_the_threads(tmp_path):
    network = load_network(write_painter(tmp_path / "net.onnx", 96))
    faces = given(96)
    whole = LipSyncEngine(network, device="cpu", batch_size=16, num_threads=2).render(*faces)
    part = LipSyncEngine(copy.deepcopy(network), device="cpu", batch_size=1, num_threads=1)
    assert np.array_equal(part.render(*(values[4:7] for values in faces)), whole[4:7])


class TwoInputs(torch.nn.Module):
    """The compact network without the choice of rows, which a graph would take as an input."""

    def __init__(self):
        super().__init__()
        self.network = CompactNetwork()

    def forward(self, mel, faces):
        return self.network(mel, faces)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_exported_network_draws_what_its_module_does(tmp_path):
    torch.manual_seed(0)
    module = TwoInputs().eval()
    names = {"input_names": ["mel", "faces"], "dynamic_axes": {"mel": {0: "n"}, "faces": {0: "n"}}}
    inputs = (torch.zeros(2, 1, 80, 16), torch.zeros(2, 6, 96, 96))
    torch.onnx.export(module, inputs, tmp_path / "net.onnx", dynamo=False, **names)
    faces, mel_windows, references = (torch.from_numpy(values) for values in given(96, 4))
    drawn = load_network(tmp_path / "net.onnx").run(faces, mel_windows, references)
    masked = faces / 255
    masked[:, 48:] = 0
    with torch.inference_mode():
        wanted = module(mel_windows[:, None], torch.cat((masked, references / 255), dim=3).permute(0, 3, 1, 2))
    assert (drawn.permute(0, 3, 1, 2) - wanted * 255).abs().max() < 0.6


@pytest.mark.parametrize(
    ("inputs", "drawn"),
    [
        ({"faces": ["n", 6, 96, 96]}, ["n", 6, 96, 96]),
        ({"faces": ["n", 6, 96, 128], "mel": ["n", 1, 80, 16]}, ["n", 6, 96, 128]),
        ({"faces": ["n", 6, "h", "w"], "mel": ["n", 1, 80, 16]}, ["n", 6, "h", "w"]),
        ({"faces": ["n", 6, 96, 96], "mel": ["n", 1, 40, 16]}, ["n", 6, 96, 96]),
        ({"faces": [2, 6, 96, 96], "mel": [1, 1, 80, 16]}, [2, 6, 96, 96]),
        ({"faces": ["n", 6, 96, 96], "mel": ["n", 1, 80, 16]}, ["n", 6, 96, 96]),
    ],
)
def test_a_graph_of_another_kind_is_refused_with_what_it_takes(tmp_path, inputs, drawn):
    node = helper.make_node("Identity", ["faces"], ["drawn"])
    path = write_graph(tmp_path / "other.onnx", node, inputs=inputs, outputs={"drawn": drawn})
    for read in (read_spec, load_network):
        with pytest.raises(UnsupportedCheckpoint, match=r"other\.onnx: lip networks of ONNX take .*faces \(\?|2, 6"):
            read(path)


def test_a_graph_that_gives_other_faces_than_it_says_is_refused_before_any_work(tmp_path):
    """Twice as wide; a graph says of such sides that they may have any length."""
    nodes = [
        helper.make_node("ReduceMax", ["mel"], ["level"], keepdims=0),
        helper.make_node("Cast", ["level"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["whole", "once"], ["times"]),
        helper.make_node("Slice", ["faces", "three", "six", "one"], ["seen"]),
        helper.make_node("Tile", ["seen", "times"], ["drawn"]),
    ]
    inputs = {"mel": ["n", 1, 80, 16], "faces": ["n", 6, 96, 96]}
    path = tmp_path / "odd.onnx"
    numbers = {"once": [1, 1, 1, 2], "three": [3], "six": [6], "one": [1]}
    write_graph(path, *nodes, inputs=inputs, outputs={"drawn": ["n", 3, "h", "w"]}, **numbers)
    assert read_spec(path).face_px == 96
    with pytest.raises(UnsupportedCheckpoint, match=r"odd\.onnx: lip networks of ONNX take .*; this one fails"):
        load_network(path)


def test_its_tensors_stay_on_the_cpu_whatever_torch_has(tmp_path):
    network = load_network(write_painter(tmp_path / "net.onnx", 96))
    assert network.place(torch.device("cuda"), torch.float16) == torch.device("cpu")


def test_a_file_that_only_begins_as_a_graph_does_is_refused(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07a graph")
    with pytest.raises(UnsupportedCheckpoint, match=r"net\.onnx: this is not a network of ONNX"):
        load_network(tmp_path / "net.onnx")


def test_it_cannot_be_trained_and_says_so(tmp_path):
    with pytest.raises(UnsupportedCheckpoint, match="cannot be used outside the renderer"):
        load_module(write_painter(tmp_path / "net.onnx", 96))


def test_a_provider_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no openvino on this machine"):
        load_network(write_painter(tmp_path / "net.onnx", 96), NetworkOptions(provider="openvino"))


def test_what_its_pixels_depend_on_is_in_its_key(tmp_path):
    path = write_painter(tmp_path / "net.onnx", 96)
    keys = [
        read_spec(path, NetworkOptions(margins=margins, channels=channels)).key
        for margins in ((0, 0, 0, 0), (0.1, 0, 0, 0))
        for channels in ("bgr", "rgb")
    ]
    assert len({*keys}) == 4
