"""Light-ASD, of Liao et al., "A Light Weight Model for Active Speaker Detection" (CVPR 2023): does this mouth say that?

    faces (n, 112, 112) --see--> (n, 128) -\
                                            + --score--> (n,): above 0 speaks
    MFCC (4 n, 13) ------hear--> (n, 128) -/

25 faces and 100 rows of MFCC a second. Tensors are named as in the published files. Each of its blocks looks along two
paths, with kernels of 3 and of 5: across the picture (or the coefficients), then along time. Convolutions of three
dimensions that are 1 long in one or two of them are computed as those of two dimensions, twice as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from media.base.once import once_a_file

FACES_PER_SECOND: Final = 25
ROWS_A_FACE: Final = 4
"""Rows of MFCC for each face."""
FACE_PX: Final = 112
WIDTH: Final = 128
"""Numbers that stand for a face, or for what is heard with it."""
CONTEXT_FACES: Final = 6
"""Faces on either side that what a face becomes depends on: three blocks look two faces far."""
WINDOW_SECONDS: Final = (1, 2, 3, 4, 5, 6)
"""Lengths of the windows in which faces are judged, one behind the other; the scores are averaged, as by the public
program: a long window knows more, a short one notices sooner that the speaker changes."""
PIXEL_MEAN, PIXEL_DEVIATION = 0.4161, 0.1688
"""Of grey faces in [0, 1], as the network was trained."""
PASS_FACES: Final = 48
"""Faces of a pass, without those around it: more are slower, since a core's cache no longer holds their maps."""
_KERNELS: Final = (3, 5)
_EPSILON: Final = 1e-3
"""Of its normalisations."""

Face = NDArray[np.uint8]
Embeddings = NDArray[np.float32]
"""(n, 128)."""
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution with its normalisation folded in."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], block: str, name: str, *, shape: tuple[int, int]) -> _Layer:
        """shape: of its kernel, the dimension that is left out being 1."""
        norm = f"{block}.bn_{name}"
        scale = tensors[f"{norm}.weight"] / torch.sqrt(tensors[f"{norm}.running_var"] + _EPSILON)
        weight = tensors[f"{block}.{name}.weight"]
        folded = weight.flatten(2).mul(scale[:, None, None]).reshape(*weight.shape[:2], *shape)
        return cls(
            folded.contiguous(memory_format=torch.channels_last),
            tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale,
        )

    def converted(self, dtype: torch.dtype) -> _Layer:
        """Return the layer in another arithmetic."""
        return _Layer(self.weight.to(dtype), self.bias.to(dtype))

    def __call__(self, maps: Tensor, stride: int = 1) -> Tensor:
        """Return the layer's maps, as large as those that are given for a stride of 1."""
        padding = tuple(side // 2 for side in self.weight.shape[2:])
        return functional.relu_(functional.conv2d(maps, self.weight, self.bias, stride, padding))


class _Block:
    """Two paths that are added, and a layer that mixes their channels."""

    def __init__(
        self, tensors: Mapping[str, Tensor], name: str, *, sees: bool, dtype: torch.dtype = torch.float32
    ) -> None:
        """sees: pictures; else coefficients. dtype: its arithmetic."""
        across = "s" if sees else "m"

        def layer(part: str, *shape: int) -> _Layer:
            return _Layer.of(tensors, name, part, shape=(shape[0], shape[1])).converted(dtype)

        self._paths = [
            (
                layer(f"{across}_{size}", size, size if sees else 1),
                layer(f"t_{size}", *((size, 1) if sees else (1, size))),
            )
            for size in _KERNELS
        ]
        self._last = layer("last", 1, 1)

    def see(self, maps: Tensor, stride: int = 1) -> Tensor:
        """Take maps (faces, channels, height, width); stride: across the picture."""
        first, second = (_along_faces(across(maps, stride), along) for across, along in self._paths)
        return self._last(first.add_(second))

    def hear(self, maps: Tensor) -> Tensor:
        """Take maps (1, channels, coefficients, rows)."""
        first, second = (along(across(maps)) for across, along in self._paths)
        return self._last(first.add_(second))


def _along_faces(maps: Tensor, layer: _Layer) -> Tensor:
    """Apply a layer along the faces of maps (faces, channels, height, width), for each pixel by itself."""
    faces, channels, height, width = maps.shape
    maps = maps.contiguous(memory_format=torch.channels_last)  # so that pixels can be a side without a copy
    pixels_last = maps.permute(0, 2, 3, 1).reshape(1, faces, height * width, channels).permute(0, 3, 1, 2)
    return layer(pixels_last).permute(0, 2, 3, 1).reshape(faces, height, width, -1).permute(0, 3, 1, 2)


class SpeakerNetwork:
    """The network, 1.0 M parameters, on the CPU: the same scores on any number of threads."""

    def __init__(self, tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> None:
        """Take the tensors of a published file; raise KeyError or RuntimeError if they are not those.

        dtype: arithmetic of what looks at faces, nearly all of the work; all else is float32.
        """
        model, self._dtype = "model.", dtype
        self._eyes = [
            _Block(tensors, f"{model}visualEncoder.block{number}", sees=True, dtype=dtype) for number in (1, 2, 3)
        ]
        self._ears = [_Block(tensors, f"{model}audioEncoder.block{number}", sees=False) for number in (1, 2, 3)]
        self._forward, self._backward = (_gru(tensors, f"{model}GRU.gru_{way}.") for way in ("forward", "backward"))
        self._head = tensors["lossAV.FC.weight"][1], tensors["lossAV.FC.bias"][1]

    def see(self, faces: Iterable[Face]) -> Embeddings:
        """Return what is seen of consecutive faces (112, 112), grey; holds no more of them than a pass takes."""
        sight = self.watch()
        for face in faces:
            sight.push(face)
        return sight.finish()

    def watch(self) -> Sight:
        """Return what takes one face after the other."""
        return Sight(self._see_pass)

    def _see_pass(self, faces: Sequence[Face], before: int, behind: int) -> Embeddings:
        """Return what is seen of a pass but for its first and last faces, which only lend it their context."""
        with torch.inference_mode(), _one_thread():
            pixels = torch.from_numpy(np.stack(faces)).float()[:, None]
            maps = ((pixels / 255 - PIXEL_MEAN) / PIXEL_DEVIATION).to(self._dtype)
            for number, block in enumerate(self._eyes):
                maps = functional.max_pool2d(maps, 3, 2, 1) if number else maps
                maps = block.see(maps, 1 if number else 2)
            return np.asarray(maps.amax((2, 3)).float()[before : len(faces) - behind].numpy(), np.float32)

    def hear(self, mfcc: NDArray[np.float32]) -> Embeddings:
        """Return what is heard with each face. mfcc: (4 n, 13)."""
        with torch.inference_mode(), _one_thread():
            maps = torch.from_numpy(np.ascontiguousarray(mfcc.T))[None, None]
            for number, block in enumerate(self._ears):
                maps = functional.max_pool2d(maps, (1, 3), (1, 2), (0, 1)) if number else maps
                maps = block.hear(maps)
            return np.asarray(maps.mean(2)[0].T.numpy(), np.float32)

    def score(self, seen: Embeddings, heard: Embeddings) -> Scores:
        """Return how surely each face says what is heard, judged in one window: above 0 it rather does than not."""
        with torch.inference_mode(), _one_thread():
            return self._score((torch.from_numpy(seen) + torch.from_numpy(heard))[None])[0].numpy()

    def score_in_windows(self, seen: Embeddings, heard: Embeddings) -> Scores:
        """Return the mean of the scores in windows of each length in WINDOW_SECONDS, laid from the first face on."""
        total = np.zeros(len(seen), np.float32)
        with torch.inference_mode(), _one_thread():
            both = torch.from_numpy(seen) + torch.from_numpy(heard)
            for seconds in WINDOW_SECONDS:
                length = seconds * FACES_PER_SECOND
                whole = len(both) // length * length
                parts = [both[:whole].reshape(-1, length, WIDTH), both[whole:][None]]
                total += np.concatenate([self._score(part).ravel().numpy() for part in parts if part.numel()])
        return total / np.float32(len(WINDOW_SECONDS))

    def _score(self, both: Tensor) -> Tensor:
        """Return the scores (windows, faces) of windows (windows, faces, 128)."""
        forward, _ = self._forward(both)
        backward, _ = self._backward(functional.gelu(forward).flip(1))
        weight, bias = self._head
        return functional.gelu(backward.flip(1)) @ weight + bias


class Sight:
    """Takes one face after the other and passes them on with those around them.

    faces    |------------------------------------------|
    passes   |---------===|
                  ===|---------===|
                          ===|---------===| ...
    """

    def __init__(self, see_pass: Callable[[Sequence[Face], int, int], Embeddings]) -> None:
        """see_pass: faces, how many of them before and behind are context -> what is seen of the others."""
        self._see_pass = see_pass
        self._held: list[Face] = []
        self._before = 0
        self._seen = [np.zeros((0, WIDTH), np.float32)]

    def push(self, face: Face) -> None:
        """Take the next face."""
        self._held.append(face)
        if len(self._held) == self._before + PASS_FACES + CONTEXT_FACES:
            self._seen.append(self._see_pass(self._held, self._before, CONTEXT_FACES))
            self._held, self._before = self._held[-2 * CONTEXT_FACES :], CONTEXT_FACES

    def finish(self) -> Embeddings:
        """Return what was seen of all faces."""
        if len(self._held) > self._before:
            self._seen.append(self._see_pass(self._held, self._before, 0))
        return np.concatenate(self._seen)


def _gru(tensors: Mapping[str, Tensor], prefix: str) -> nn.GRU:
    gru = nn.GRU(WIDTH, WIDTH, batch_first=True)
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    gru.load_state_dict(own)
    return gru.eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch's kernels on the calling thread, so that others may work beside it, and always sum up alike."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fastest() -> torch.dtype:
    """Return bfloat16 on a CPU with AVX512-BF16 or AMX, three times as fast there; elsewhere it would be emulated."""
    has_bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has_bfloat16 else torch.float32


@once_a_file
def load_speaker_network(weights: Path) -> SpeakerNetwork:
    """Load a published file of Light-ASD; nothing in it is executed.

    Raises CheckpointNotFound if the file does not exist, UnsupportedCheckpoint if it holds anything else.
    """
    try:
        return SpeakerNetwork(torch.load(weights, map_location="cpu", weights_only=True), _fastest())
    except OSError as exc:
        raise CheckpointNotFound(f"{weights}: {exc.strerror}. Check segmenter.speaking.") from exc
    except Exception as exc:  # torch parses foreign bytes here, and may stumble over them in any way
        raise UnsupportedCheckpoint(f"{weights}: not the weights of Light-ASD. Check segmenter.speaking.") from exc
