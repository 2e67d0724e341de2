"""SyncNet v2 of Chung and Zisserman, "Out of Time: Automated Lip Sync in the Wild" (ACCV 2016 workshops).

Tensors are named as in its published checkpoint (syncnet_v2.model). Its first convolution of the lips spans all five
frames in time, the others one: so they are convolutions of pictures, the frames stacked as channels.

    lips (N, 5, 224, 224, 3) in [0, 255], BGR -> netcnnlip -> netfclip --> (N, 1024)
    MFCC (N, 20, 13)                          -> netcnnaud -> netfcaud --> (N, 1024)
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from torch import Tensor, nn

from media.base.errors import UnsupportedCheckpoint
from renderer.networks._torch import fold_normalisation
from renderer.weight_files import open_weights

FACE_PX: Final = 224
WINDOW_FRAMES: Final = 5
MFCC_A_FRAME: Final = 4
MFCC_A_WINDOW: Final = WINDOW_FRAMES * MFCC_A_FRAME
_STACKED: Final = 5
"""Dimensions of a kernel that spans time as well."""


def _convolved(inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int, padding: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs), nn.ReLU()]


def _vector() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


class SyncNet(nn.Module):
    """Embeds five mouths, and the 0.2 s of sound that belong to them, near each other; 13.6 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_convolved(1, 64, 3, 1, 1),  # (13, 20)
            nn.MaxPool2d(1),  # nothing, but a place in the names
            *_convolved(64, 192, 3, 1, 1),
            nn.MaxPool2d(3, (1, 2)),  # (11, 9)
            *_convolved(192, 384, 3, 1, 1),
            *_convolved(384, 256, 3, 1, 1),
            *_convolved(256, 256, 3, 1, 1),
            nn.MaxPool2d(3, 2),  # (5, 4)
            *_convolved(256, 512, (5, 4), 1, 0),  # (1, 1)
        )
        self.netfcaud = _vector()
        self.netcnnlip = nn.Sequential(
            *_convolved(3 * WINDOW_FRAMES, 96, 7, 2, 0),  # 109
            nn.MaxPool2d(3, 2),  # 54
            *_convolved(96, 256, 5, 2, 1),  # 26
            nn.MaxPool2d(3, 2, 1),  # 13
            *_convolved(256, 256, 3, 1, 1),
            *_convolved(256, 256, 3, 1, 1),
            *_convolved(256, 256, 3, 1, 1),
            nn.MaxPool2d(3, 2),  # 6
            *_convolved(256, 512, 6, 1, 0),  # 1
        )
        self.netfclip = _vector()

    def embed_lips(self, faces: Tensor) -> Tensor:
        """Return vectors (N, 1024) of windows of faces (N, 5, 224, 224, 3), BGR, 0 to 255."""
        stacked = faces.permute(0, 4, 1, 2, 3).flatten(1, 2).float()
        vectors: Tensor = self.netfclip(self.netcnnlip(stacked).flatten(1))
        return vectors

    def embed_sound(self, mfccs: Tensor) -> Tensor:
        """Return vectors (N, 1024) of windows of coefficients (N, 20, 13)."""
        vectors: Tensor = self.netfcaud(self.netcnnaud(mfccs.mT[:, None]).flatten(1))
        return vectors


def load_syncnet(path: Path) -> SyncNet:
    """Load SyncNet's published weights, in eval mode on the CPU, normalisations folded; nothing is executed.

    Raises CheckpointNotFound, or UnsupportedCheckpoint if the file holds anything else.
    """
    weights = open_weights(path)
    if weights.header.problem:
        raise UnsupportedCheckpoint(f"{path}: {weights.header.problem}.")
    network = SyncNet()
    tensors = {
        name: (tensor.flatten(1, 2) if tensor.ndim == _STACKED else tensor).float()
        for name, tensor in weights.read_tensors().items()
        if not name.endswith("num_batches_tracked")
    }
    wanted = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    try:
        network.load_state_dict(tensors, strict=False)
    except RuntimeError as exc:
        raise UnsupportedCheckpoint(f"{path}: these are not the weights of SyncNet v2.") from exc
    if different := wanted ^ tensors.keys():
        raise UnsupportedCheckpoint(f"{path}: these are not the weights of SyncNet v2 ({min(different)} differs).")
    network.eval().requires_grad_(requires_grad=False)
    fold_normalisation(network)  # those behind convolutions
    return network
