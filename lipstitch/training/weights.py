"""The files that training leaves for others: float16 safetensors with what they are, as the renderer loads them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from media.base.content import KEY_BYTES
from media.base.errors import TrainingError, UnsupportedCheckpoint
from media.base.files import atomic_file
from renderer.networks.base import load_module
from renderer.networks.compact import CompactNetwork


def write_weights(network: nn.Module, path: Path, *, kind: str, version: str, licence: str) -> None:
    """Write a network's weights and buffers; see write_tensors."""
    write_tensors(network.state_dict(), path, kind=kind, version=version, licence=licence)


def write_tensors(values: Mapping[str, Tensor], path: Path, *, kind: str, version: str, licence: str) -> None:
    """Write what was learned in float16, with the metadata network, version and licence.

    Raises TrainingError if a value is not finite, or too large for float16.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in values.items():
        half = tensor.detach().cpu().to(torch.float16) if tensor.is_floating_point() else tensor.detach().cpu()
        if not half.isfinite().all():
            raise TrainingError(f"{path}: {name} is not finite in float16: training has diverged. Lower learning_rate.")
        tensors[name] = half.contiguous().clone()
    with atomic_file(path, makes_folders=True) as partial:
        save_file(tensors, partial, metadata={"network": kind, "version": version, "licence": licence})


def write_network(network: nn.Module, path: Path, *, version: str, licence: str) -> None:
    """Write a network of the renderer's so that `renderer.checkpoint: <path>` loads it."""
    kind = "compact" if isinstance(network, CompactNetwork) else "wav2lip"
    write_weights(network, path, kind=kind, version=version, licence=licence)


def hash_weights(network: nn.Module) -> str:
    """Return a hash of a network's names and values; files will not do, their metadata has no fixed order."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def exaggerate_sound(network: CompactNetwork, mels: Tensor, gain: float) -> None:
    """Let a sound move the mouth `gain` times as far away from what it does on average over `mels`, in place.

    mels: (N, 1, 80, 16), on the network's device. What is learned from an error is the mean of the mouths that a sound
    may belong to, and that moves less than any of them. The sound's vector comes from a linear layer, so the weights of
    that layer alone change: no frame takes longer. The network has to be in eval mode.
    """
    mean = torch.cat([network.a(part) for part in torch.split(mels, 256)]).mean(dim=0)
    network.a.fc.weight.mul_(gain)
    network.a.fc.bias.sub_(mean).mul_(gain).add_(mean)


def load_trainable(path: Path) -> nn.Module:
    """Load weights to go on from. Raises what load_module does."""
    network = load_module(path)
    if not all(parameter.isfinite().all() for parameter in network.parameters()):
        raise UnsupportedCheckpoint(f"{path}: these weights are not finite. Give others.")
    return network
