"""Adapt the network that hears shapes to a speaker whose own sound fits their picture.

    columns --network but its last layer--> features --last layer: ridge regression towards the old one--> shapes

Only the last layer changes, and only as far as the footage demands, so some seconds are enough. What comes of it is
judged on the last part of the footage, which it was not fitted to, and dropped unless it does better there. So a source
whose sound does not fit its picture teaches nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from renderer.footage.lip_shape import Shapes
from renderer.footage.log_mel import Columns, between_columns
from renderer.footage.sound_shape import SoundShapeNetwork

STIFFNESS: Final = 100.0
"""How many frames of unit features weigh as much as the last layer's own weights. Of 30 to 3,000, over sixteen
held-out people, 30 and 100 did best, much alike."""
JUDGED_SHARE: Final = 0.3
"""Of the footage, at its end."""
LEAST_FRAMES: Final = 75
"""To fit to, and a third of it to judge by: below that the network stays as it is."""
LEAST_GAIN: Final = 0.02
"""Of the mean correlation of gap and width, which are what is seen most."""
LEAST_AGREEMENT: Final = 0.3
"""Of the adapted network, below which the sound does not fit the picture: of five clips, two with foreign sound reach
0.0 and 0.11, the others 0.31 to 0.88."""
JUDGED_SHAPES: Final = (0, 1)


@dataclass(frozen=True, slots=True)
class Adapted:
    """A network for one speaker, or the one it would have been made from."""

    network: SoundShapeNetwork
    before: float
    """Mean correlation of gap and width on the footage that was held out, with the network as it ships; NaN if there
    was too little footage."""
    after: float
    """With the adapted one."""
    is_kept: bool


def adapt(network: SoundShapeNetwork, columns: Columns, places: NDArray[np.floating], shapes: Shapes) -> Adapted:
    """Return a network for the speaker of some footage.

    columns: the footage's own sound, normalised. places: where in them its frames lie, ascending. shapes: of its
    frames, normalised.
    """
    num_fitted = round(len(places) * (1 - JUDGED_SHARE))
    if num_fitted < LEAST_FRAMES:
        return Adapted(network, float("nan"), float("nan"), is_kept=False)
    features = _features(network, columns, places)
    old = _last_layer(network)
    fitted = _fit(features[:num_fitted], shapes[:num_fitted], old)
    before, after = (_agreement(features[num_fitted:] @ layer, shapes[num_fitted:]) for layer in (old, fitted))
    if not after >= max(before + LEAST_GAIN, LEAST_AGREEMENT):
        return Adapted(network, before, after, is_kept=False)
    return Adapted(_with_last_layer(network, _fit(features, shapes, old)), before, after, is_kept=True)


def _features(network: SoundShapeNetwork, columns: Columns, places: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return what the last layer sees at each place, and a 1 for its bias."""
    with torch.inference_mode():
        body: Tensor = network.layers[:-1](torch.from_numpy(columns).T[None])
    at_places = between_columns(body[0].T.numpy(), places)
    return np.column_stack([at_places, np.ones(len(at_places))])


def _last_layer(network: SoundShapeNetwork) -> NDArray[np.float64]:
    """Return the weights and, as the last row, the bias: (features + 1, shapes)."""
    weights, bias = (value.detach().numpy().astype(np.float64) for value in network.layers[-1].parameters())
    return np.vstack([weights[:, :, 0].T, bias])


def _fit(features: NDArray[np.float64], shapes: Shapes, old: NDArray[np.float64]) -> NDArray[np.float64]:
    gram = features.T @ features + STIFFNESS * np.eye(features.shape[1])
    return np.asarray(old + np.linalg.solve(gram, features.T @ (shapes - features @ old)))


def _agreement(told: NDArray[np.float64], shapes: Shapes) -> float:
    return float(np.mean([np.corrcoef(told[:, number], shapes[:, number])[0, 1] for number in JUDGED_SHAPES]))


def _with_last_layer(network: SoundShapeNetwork, layer: NDArray[np.float64]) -> SoundShapeNetwork:
    adapted = copy.deepcopy(network)
    with torch.no_grad():
        for value, new in zip(adapted.layers[-1].parameters(), (layer[:-1].T[:, :, None], layer[-1]), strict=True):
            value.copy_(torch.from_numpy(new.copy()))
    return adapted
