"""The sync expert: do these five mouths and these 0.2 s of sound belong together?

Two encoders, one for what is seen and one for what is heard, give vectors of length 1; their cosine, scaled and
shifted, is the logit of "they belong together". The idea is that of Chung and Zisserman, "Out of Time"
(ACCV 2016 workshops), in the form that Prajwal et al. (2020) train Wav2Lip with.

    lips (N, 15, 48, 96) in [0, 1]  -> face encoder  --> (N, 256) --.
                                                                     cosine --> logit
    mel (N, 1, 80, 16) in [-4, 4]   -> sound encoder --> (N, 256) --'
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from lipstitch.training.dataset.dataset import WINDOW_ROWS
from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from renderer.networks.compact import FACE_PX, CompactBlock

EMBEDDING = 256
"""Length of the vectors."""
DROPOUT = 0.2


def _stage(inputs: int, outputs: int, stride: int | tuple[int, int]) -> list[nn.Module]:
    return [CompactBlock(inputs, outputs, stride=stride), CompactBlock(outputs, outputs, residual=True)]


class SyncExpert(nn.Module):
    """Judges whether lips and sound belong together; 2.3 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.lips = nn.Sequential(
            CompactBlock(3 * WINDOW_ROWS, 40, 5, 2),  # (24, 48)
            *_stage(40, 64, (1, 2)),  # (24, 24)
            *_stage(64, 80, 2),  # (12, 12)
            *_stage(80, 128, 2),  # (6, 6)
            *_stage(128, 192, 2),  # (3, 3)
            nn.Flatten(),
            nn.Dropout(DROPOUT),
            nn.Linear(192 * 3 * 3, EMBEDDING),
        )
        self.sound = nn.Sequential(
            *_stage(1, 24, 1),  # (80, 16)
            *_stage(24, 48, (3, 1)),  # (27, 16)
            *_stage(48, 96, 3),  # (9, 6)
            *_stage(96, 160, (3, 2)),  # (3, 3)
            nn.Flatten(),
            nn.Dropout(DROPOUT),
            nn.Linear(160 * 3 * 3, EMBEDDING),
        )
        self.scale = nn.Parameter(torch.tensor(8.0))
        self.shift = nn.Parameter(torch.tensor(0.0))

    def embed_lips(self, lips: Tensor) -> Tensor:
        """Return vectors (N, 256) of length 1 for lips (N, 15, 48, 96)."""
        return functional.normalize(self.lips(even_out(lips)).float(), dim=1)

    def embed_sound(self, mels: Tensor) -> Tensor:
        """Return vectors (N, 256) of length 1 for mel windows (N, 1, 80, 16)."""
        return functional.normalize(self.sound(mels).float(), dim=1)

    def logits(self, cosines: Tensor) -> Tensor:
        """Return the logits of belonging together for cosines of any shape."""
        return self.scale * cosines + self.shift

    def forward(self, lips: Tensor, mels: Tensor) -> Tensor:
        """Return the logit (N,) of each pair."""
        return self.logits((self.embed_lips(lips) * self.embed_sound(mels)).sum(dim=1))


def even_out(lips: Tensor) -> Tensor:
    """Return lips (N, 15, 48, 96) with mean 0 and spread 1 in each colour of a window: whose they are matters less."""
    colours = lips.reshape(len(lips), WINDOW_ROWS, 3, *lips.shape[2:])
    spread, mean = torch.std_mean(colours, dim=(1, 3, 4), keepdim=True)
    return ((colours - mean) / (spread + 0.02)).flatten(1, 2)


def lips_of(faces: Tensor) -> Tensor:
    """Return the lower halves of five faces each, (N, 5, 3, 96, 96), as (N, 15, 48, 96)."""
    return faces[..., FACE_PX // 2 :, :].flatten(1, 2)


def load_expert(path: Path) -> SyncExpert:
    """Load a sync expert, in eval mode on the CPU, without gradients for its weights; nothing is executed.

    Raises CheckpointNotFound, or UnsupportedCheckpoint if the file holds anything else.
    """
    if not path.is_file():
        raise CheckpointNotFound(
            f"{path}: there is no such file of a sync expert. `train run` writes expert.safetensors."
        )
    expert = SyncExpert()
    try:
        expert.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()}, strict=False)
        missing = expert.state_dict().keys() - load_file(path).keys()
    except (SafetensorError, OSError, RuntimeError) as exc:
        raise UnsupportedCheckpoint(f"{path}: these are not the weights of a sync expert.") from exc
    if missing:
        raise UnsupportedCheckpoint(f"{path}: these are not the weights of a sync expert ({min(missing)} is missing).")
    return expert.eval().requires_grad_(requires_grad=False)
