"""Read files of network weights, and execute nothing that such a file may bring along.

    path --open_weights--> WeightFile: a header (names and shapes), and the tensors when they are asked for

What a file is, is seen from its content, not from its name.
"""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from media.base.onnx_network import Provider

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = ("state_dict", "params_ema", "params")
"""Under which names training scripts store weights beside other things, the better ones first."""
ONNX_FIRST_TAG, MOST_ONNX_VERSION = 0x08, 31
"""Versions are counted up, about one a year; 13 was the latest in 2026."""
DATA_PARALLEL = "module."
"""What data-parallel training leaves in front of every tensor's name."""


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """What a job says of its network's file, beside where it lies."""

    allow_torchscript: bool = False
    """Whether an archive that can hold code may be opened."""
    margins: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Of a graph of ONNX: how much of a crop lies outside the face box at top, bottom, left and right, as shares."""
    channels: Literal["bgr", "rgb"] = "bgr"
    """Of a graph of ONNX: the order of its colours."""
    provider: Provider | Literal["auto"] = "auto"
    """Of a graph of ONNX: what computes it."""


NO_OPTIONS = NetworkOptions()


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a file says of itself before its tensors are read, and what the job says of it."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    """Names and shapes of its tensors; empty for a file that holds none that can be read here."""
    problem: str = ""
    """Why it holds none. An architecture of another format (a graph of ONNX) looks into the file itself."""
    options: NetworkOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A file of weights, read as far as its header."""

    header: FileHeader
    read_tensors: Callable[[], dict[str, Tensor]]
    """Returns the tensors, on the CPU, by the names of the header. Raises UnsupportedCheckpoint if one is damaged."""


def open_weights(path: Path, options: NetworkOptions = NO_OPTIONS) -> WeightFile:
    """Open safetensors, a published checkpoint ({"state_dict": {"module.…": tensor}}) or a plain state dict.

    A TorchScript archive brings code along; if options allow it, it is opened, and its weights alone are taken.
    Where the format allows it (all but torch's old one), no tensor is read. A file that is nothing of this kind has a
    header with a problem. Raises CheckpointNotFound if there is no such file.
    """
    if not (path.is_file() and os.access(path, os.R_OK)):
        raise CheckpointNotFound(f"{path}: no such file, or it cannot be read.")
    try:
        with _failures_translated():
            if _is_safetensors(path):
                header = FileHeader(path, _safetensors_shapes(path), options=options)
                return WeightFile(header, lambda: _read_safetensors(path))
            if _is_torchscript(path):
                tensors = _read_torchscript(path, allowed=options.allow_torchscript)
            else:
                tensors = _read_torch(path)
    except UnsupportedCheckpoint as error:
        return WeightFile(FileHeader(path, {}, str(error), options), dict)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return WeightFile(FileHeader(path, shapes, options=options), lambda: tensors)


def is_onnx(path: Path) -> bool:
    """Tell whether a file begins as a graph of ONNX does: with the tag of its first field, the format's version."""
    with path.open("rb") as file:
        start = file.read(2)
    return len(start) == 2 and start[0] == ONNX_FIRST_TAG and 0 < start[1] <= MOST_ONNX_VERSION


def _is_torchscript(path: Path) -> bool:
    """Tell whether a file is an archive with TorchScript code, by its list of members alone."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())


def _is_safetensors(path: Path) -> bool:
    """Tell whether a file begins as safetensors do: the length of a JSON header in eight bytes, then the header."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < os.path.getsize(path)


def _safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        names = [*file.keys()]
        return {name.removeprefix(DATA_PARALLEL): tuple(file.get_slice(name).get_shape()) for name in names}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    with _failures_translated():
        return {name.removeprefix(DATA_PARALLEL): tensor for name, tensor in load_file(path).items()}


def _read_torchscript(path: Path, *, allowed: bool) -> dict[str, Tensor]:
    import torch

    if not allowed:
        raise UnsupportedCheckpoint(
            "this is a TorchScript archive, which can hold code; set renderer.allow_torchscript if you trust its source"
        )
    return tensors_of(torch.jit.load(str(path), map_location="cpu").state_dict())  # type: ignore[no-untyped-call]


def _read_torch(path: Path) -> dict[str, Tensor]:
    """Read a file of torch.save: an archive, whose tensors are read when they are used, or the old format."""
    import torch

    loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    wrappers = [name for name in WRAPPERS if isinstance(loaded, dict) and name in loaded]
    return tensors_of(loaded[wrappers[0]] if wrappers else loaded)


def tensors_of(state_dict: object) -> dict[str, Tensor]:
    """Return the tensors of a state dict without the prefix of data-parallel training; what is no tensor is left out.

    Raises UnsupportedCheckpoint for anything but a mapping.
    """
    from torch import Tensor

    if not isinstance(state_dict, Mapping):
        raise UnsupportedCheckpoint(f"this file holds no state dict but a {type(state_dict).__name__}")
    return {name.removeprefix(DATA_PARALLEL): value for name, value in state_dict.items() if isinstance(value, Tensor)}


@contextmanager
def _failures_translated() -> Iterator[None]:
    """Raise UnsupportedCheckpoint for whatever a library raises over a file's bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls TorchScript deprecated, and warns about unexpected bytes
            yield
    except UnsupportedCheckpoint:
        raise
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):  # the pickle names a function or class that is not one of torch's containers
            raise UnsupportedCheckpoint("this file would have to execute code to load, so it is refused") from error
        raise UnsupportedCheckpoint("this is not a file of network weights") from error
    except Exception as error:  # these parse foreign bytes, and may fail on them in any way
        raise UnsupportedCheckpoint("this file is damaged, cut short or not one of network weights") from error
