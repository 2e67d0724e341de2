"""Small graphs of ONNX, written node by node."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KINDS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}


def write_graph(path, *nodes, inputs, outputs, kind=np.float32, **values):
    """Write a graph of nodes, and return its path. inputs, outputs: {name: shape}; values: constants by name."""
    number = KINDS[np.dtype(kind)]
    graph = helper.make_graph(
        nodes,
        "graph",
        *(
            [helper.make_tensor_value_info(name, number, shape) for name, shape in some.items()]
            for some in (inputs, outputs)
        ),
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def write_painter(path, px, *, num_faces="n", kind=np.float32, mel_first=True):
    """Write a lip network that draws its reference, its second channel as dark as the sound is quiet (-4 to 4).

    What it is given to see first (the face with its lower half masked) is its third channel.
    """
    nodes = [
        helper.make_node("ReduceMean", ["mel"], ["level"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Add", ["level", "four"], ["above"]),
        helper.make_node("Div", ["above", "eight"], ["loudness"]),
        helper.make_node("Slice", ["faces", "three", "four_", "one"], ["first"]),
        helper.make_node("Slice", ["faces", "four_", "five", "one"], ["second"]),
        helper.make_node("Slice", ["faces", "two", "three", "one"], ["masked"]),
        helper.make_node("Mul", ["second", "loudness"], ["loud"]),
        helper.make_node("Concat", ["first", "loud", "masked"], ["drawn"], axis=1),
    ]
    shapes = {"mel": [num_faces, 1, 80, 16], "faces": [num_faces, 6, px, px]}
    return write_graph(
        path,
        *nodes,
        inputs=shapes if mel_first else dict(reversed(shapes.items())),
        outputs={"drawn": [num_faces, 3, px, px]},
        kind=kind,
        four=np.asarray(4, kind),
        eight=np.asarray(8, kind),
        one=[1],
        two=[2],
        three=[3],
        four_=[4],
        five=[5],
    )


def write_restorer(path, kind, px=512, *, kind_of=np.float32):
    """Write a restorer of ONNX that only filters: same, tint (a little brighter), sharpen, or weighted.

    weighted: takes a second value, as CodeFormer does, and multiplies the face by it. kind_of: of its numbers.
    """
    shape = [1, 3, px, px]
    kernel = np.float32([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
    values = {
        "tint": {"shift": np.float32([0.1, 0.05, -0.02]).reshape(1, 3, 1, 1)},
        "sharpen": {"kernel": np.stack([kernel[None]] * 3)},
    }
    node = {
        "same": helper.make_node("Identity", ["face"], ["restored"]),
        "tint": helper.make_node("Add", ["face", "shift"], ["restored"]),
        "sharpen": helper.make_node("Conv", ["face", "kernel"], ["restored"], group=3, pads=[1, 1, 1, 1]),
        "weighted": helper.make_node("Mul", ["face", "weight"], ["restored"]),
    }[kind]
    inputs = {"face": shape, **({"weight": [1]} if kind == "weighted" else {})}
    return write_graph(path, node, inputs=inputs, outputs={"restored": shape}, kind=kind_of, **values.get(kind, {}))


def write_enhancer(path, kind, px=None):
    """Write a network for whole pictures that only filters: same, sharpen, double (the same, twice as large) or frail.

    frail: fails for whatever is not black. px: the only size that it takes; None: any.
    """
    shape = [1, 3, px or "height", px or "width"]
    kernel = np.float32([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
    values = {
        "sharpen": {"kernel": np.stack([kernel[None]] * 3)},
        "double": {"scales": np.float32([1, 1, 2, 2])},
        "frail": {"rows": np.zeros((1, 1), np.float32), "many": np.float32(1000)},
    }
    nodes = {
        "same": [helper.make_node("Identity", ["seen"], ["finer"])],
        "sharpen": [helper.make_node("Conv", ["seen", "kernel"], ["finer"], group=3, pads=[1, 1, 1, 1])],
        "double": [helper.make_node("Resize", ["seen", "", "scales"], ["finer"], mode="nearest")],
        "frail": [
            helper.make_node("ReduceMax", ["seen"], ["most"], keepdims=0),
            helper.make_node("Mul", ["most", "many"], ["level"]),
            helper.make_node("Cast", ["level"], ["row"], to=TensorProto.INT64),
            helper.make_node("Gather", ["rows", "row"], ["nothing"]),
            helper.make_node("Add", ["seen", "nothing"], ["finer"]),
        ],
    }[kind]
    given = [1, 3, *(("up", "across") if kind == "double" and not px else shape[2:])]
    return write_graph(path, *nodes, inputs={"seen": shape}, outputs={"finer": given}, **values.get(kind, {}))


def write_occluder(path, px=256):
    """Write a network of XSeg's kind to which whatever is green is before a face."""
    nodes = [
        helper.make_node("Slice", ["picture", "zero", "one", "axis"], ["blue"]),
        helper.make_node("Slice", ["picture", "one", "two", "axis"], ["green"]),
        helper.make_node("Slice", ["picture", "two", "three", "axis"], ["red"]),
        helper.make_node("Max", ["blue", "red"], ["others"]),
        helper.make_node("Sub", ["others", "green"], ["without"]),
        helper.make_node("Mul", ["without", "steep"], ["steeply"]),
        helper.make_node("Add", ["steeply", "bias"], ["raised"]),
        helper.make_node("Clip", ["raised", "least", "most"], ["mask"]),
    ]
    return write_graph(
        path,
        *nodes,
        inputs={"picture": [1, px, px, 3]},
        outputs={"mask": [1, px, px, 1]},
        zero=[0],
        one=[1],
        two=[2],
        three=[3],
        axis=[3],
        steep=np.float32(10),
        bias=np.float32(1.5),
        least=np.float32(0),
        most=np.float32(1),
    )


def write_parser(path, px=128, classes=19):
    """Write a parser to which whatever is bright is skin, and the rest hair."""
    channel = np.zeros((classes, 3, 1, 1), np.float32)
    channel[1] = 10
    node = helper.make_node("Conv", ["picture", "kernel", "bias"], ["classes"])
    bias = np.full(classes, -50, np.float32)
    bias[[1, -2]] = 0
    return write_graph(
        path,
        node,
        inputs={"picture": [1, 3, px, px]},
        outputs={"classes": [1, classes, px, px]},
        kernel=channel,
        bias=bias,
    )
