"""The moving average of a network's weights, which is what a training keeps as its result."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

WARMUP = 10
"""How slowly an average comes to its decay, unless its stage says otherwise."""


def build_average(network: nn.Module, decay: float, warmup: int = WARMUP) -> AveragedModel:
    """Return the average of a network, buffers included, in eval mode; `update_parameters(network)` moves it on."""
    average = AveragedModel(network, multi_avg_fn=partial(_average, decay, warmup), use_buffers=True)
    return average.requires_grad_(requires_grad=False).eval()


@torch.no_grad()
def _average(decay: float, warmup: int, averages: list[Tensor], values: list[Tensor], num_averaged: Tensor) -> None:
    """Move the averages towards new values, at first faster than `decay` says, so that no random beginning lingers."""
    decay = min(decay, (1 + int(num_averaged)) / (warmup + int(num_averaged)))
    for average, value in zip(averages, values, strict=True):
        if average.is_floating_point():
            average.lerp_(value.to(average.dtype), 1 - decay)
        else:
            average.copy_(value)
