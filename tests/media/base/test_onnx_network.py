"""Networks of ONNX: what they say of themselves, what they compute on any thread, and files that hold none."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import helper

from media.base.errors import CheckpointNotFound, ConfigError, LipstitchError, RenderError, UnsupportedCheckpoint
from media.base.onnx_network import OnnxNetwork, choose_provider
from tests.support.onnx_graphs import write_graph

SLOPES = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def product(tmp_path):
    """Return a network that multiplies by SLOPES and adds."""
    nodes = [helper.make_node("MatMul", ["x", "slopes"], ["y"]), helper.make_node("Add", ["y", "z"], ["sum"])]
    path = tmp_path / "product.onnx"
    write_graph(
        path, *nodes, inputs={"x": ["n", 3], "z": [1, 4]}, outputs={"sum": ["n", 4], "y": ["n", 4]}, slopes=SLOPES
    )
    return OnnxNetwork(path)


def test_it_says_what_it_takes_and_gives(product):
    assert [(tensor.name, tensor.shape) for tensor in product.inputs] == [("x", (None, 3)), ("z", (1, 4))]
    assert [(tensor.name, tensor.shape) for tensor in product.outputs] == [("sum", (None, 4)), ("y", (None, 4))]
    assert {tensor.kind for tensor in product.inputs} == {"tensor(float)"}


def test_threads_may_share_it(product):
    values = [np.full((n, 3), n, np.float32) for n in range(1, 40)]
    added = np.ones((1, 4), np.float32)
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda x: product.run(x, added), values)
    for x, (total, y) in zip(values, found, strict=True):
        assert np.array_equal(y, x @ SLOPES)
        assert np.array_equal(total, y + 1)


@pytest.mark.parametrize("content", [b"", b"nothing that is a network", b"\x08\x07a graph"])
def test_what_is_no_network_is_refused_and_nothing_is_printed(tmp_path, content, capfd):
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    with pytest.raises(UnsupportedCheckpoint, match="not a network of ONNX"):
        OnnxNetwork(path)
    for missing in (tmp_path / "gone.onnx", tmp_path):
        with pytest.raises(CheckpointNotFound, match="does not exist"):
            OnnxNetwork(missing)
    assert capfd.readouterr() == ("", "")


def test_weights_in_another_file_are_refused(tmp_path, product):
    """A hash of the graph would not tell what it computes."""
    model = onnx.load(tmp_path / "product.onnx")
    onnx.save(model, tmp_path / "apart.onnx", save_as_external_data=True, location="apart.bin", size_threshold=0)
    with pytest.raises(UnsupportedCheckpoint, match="save it as one file"):
        OnnxNetwork(tmp_path / "apart.onnx")


def test_what_cannot_be_computed_is_an_error_of_rendering(product):
    with pytest.raises(RenderError, match="a network of ONNX failed"):
        product.run(np.zeros((2, 5), np.float32), np.zeros((1, 4), np.float32))


def test_a_provider_that_does_not_start_is_no_silent_cpu(tmp_path, product):
    with pytest.raises(LipstitchError, match=r"cannot start it|can be run here"):
        OnnxNetwork(tmp_path / "product.onnx", provider="cuda")


def test_an_unknown_operation_is_refused(tmp_path, capfd):
    node = helper.make_node("RunProgram", ["x"], ["y"], domain="somewhere")
    path = write_graph(tmp_path / "odd.onnx", node, inputs={"x": [1]}, outputs={"y": [1]})
    with pytest.raises(UnsupportedCheckpoint):
        OnnxNetwork(path)
    assert capfd.readouterr() == ("", "")


def test_a_provider_that_is_not_there_is_named_beside_those_that_are():
    assert choose_provider("cpu") == "cpu"
    with pytest.raises(ConfigError, match=r"no directml on this machine, only .*cpu"):
        choose_provider("directml")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["CPU"], "cpu"), (["CUDA", "CPU"], "cuda"), (["CoreML", "CPU"], "cpu"), (["Dml", "CPU"], "cpu")],
)
def test_what_is_chosen_where_none_is_named(monkeypatch, offered, chosen):
    names = [f"{name}ExecutionProvider" for name in offered]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: names)
    assert choose_provider() == chosen
