"""Run networks that are stored as graphs of ONNX. Such a file holds no code: an unknown operation is refused."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from media.base.errors import CheckpointNotFound, ConfigError, OutOfMemory, RenderError, UnsupportedCheckpoint

Provider = Literal["cpu", "cuda", "coreml", "directml", "openvino"]

PROVIDERS: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""What ONNX Runtime computes with. Its usual package offers cpu, on macOS coreml as well; the others come with packages
that take its place: onnxruntime-gpu, onnxruntime-directml, onnxruntime-openvino."""
EXTERNAL_DATA = b"\n\x08location\x12"
"""Begins where a tensor is said to lie in another file: the key of that entry, and the tag of its value."""
FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
"""What networks take pictures as, by ONNX Runtime's word for it."""
FATAL = 4
"""The level at which ONNX Runtime logs nothing: what goes wrong is raised as well."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or an output of a network."""

    name: str
    shape: tuple[int | None, ...]
    """None for a side that is not fixed."""
    kind: str
    """As ONNX Runtime writes it: tensor(float)."""

    def fits(self, *sides: int | None) -> bool:
        """Tell whether it may have such sides; None: whatever that one is."""
        return len(self.shape) == len(sides) and all(
            None in (own, wanted) or own == wanted for own, wanted in zip(self.shape, sides, strict=True)
        )


class OnnxNetwork:
    """A network of ONNX Runtime. Thread-safe; on a CPU it computes on the calling thread alone."""

    def __init__(self, path: Path, *, provider: Provider = "cpu") -> None:
        """Load a network.

        Raises CheckpointNotFound, UnsupportedCheckpoint (its text without path) for a file that holds no network or one
        that the provider cannot run, and ConfigError for a provider that does not start.
        """
        if not (path.is_file() and os.access(path, os.R_OK)):
            raise CheckpointNotFound(f"{path}: the file does not exist or cannot be read.")
        import onnxruntime

        graph = path.read_bytes()
        if EXTERNAL_DATA in graph:  # a hash of this file would not tell what it draws
            raise UnsupportedCheckpoint("the weights of this network of ONNX lie in another file: save it as one file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # bits may depend on their number
        options.log_severity_level = FATAL
        options.enable_mem_pattern = provider != "directml"  # which can neither use it nor run twice at a time
        self._turns = Lock() if provider == "directml" else nullcontext()
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=[PROVIDERS[provider]], enable_fallback=0
            )
        except Exception as error:  # it parses unknown bytes here, and has errors of its own for each way to fail
            raise UnsupportedCheckpoint("this is not a network of ONNX that can be run here") from error
        if PROVIDERS[provider] not in self._session.get_providers():
            raise ConfigError(f"ONNX Runtime offers {provider} but cannot start it on this machine; choose cpu.")
        self.inputs = tuple(map(_info, self._session.get_inputs()))
        self.outputs = tuple(map(_info, self._session.get_outputs()))

    def run(self, *values: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the outputs for values of the inputs, in the order of the graph.

        Raises OutOfMemory, or RenderError for what ONNX Runtime cannot compute with such values.
        """
        feeds = {tensor.name: value for tensor, value in zip(self.inputs, values, strict=True)}
        try:
            with self._turns:
                return [np.asarray(output) for output in self._session.run(None, feeds)]
        except Exception as error:  # its errors have no base class of their own
            first_line = str(error).partition("\n")[0]
            if "alloc" in first_line.lower() or "memory" in first_line.lower():
                raise OutOfMemory(f"out of memory in a network of ONNX ({first_line}).") from error
            raise RenderError(f"a network of ONNX failed ({first_line}).") from error


def choose_provider(wanted: Provider | Literal["auto"] = "auto") -> Provider:
    """Return what to compute with; auto: cuda where it is offered, else cpu.

    Raises ConfigError for one that ONNX Runtime does not offer here.
    """
    import onnxruntime

    offered = onnxruntime.get_available_providers()
    if wanted == "auto":
        return "cuda" if PROVIDERS["cuda"] in offered else "cpu"
    if PROVIDERS[wanted] not in offered:
        here = ", ".join(name for name, full in PROVIDERS.items() if full in offered)
        raise ConfigError(
            f"ONNX Runtime offers no {wanted} on this machine, only {here}. Choose one of these, or install the package"
            f" of ONNX Runtime that has it."
        )
    return wanted


def _info(argument: Any) -> TensorInfo:
    sides = tuple(side if isinstance(side, int) and side > 0 else None for side in argument.shape)
    return TensorInfo(argument.name, sides, argument.type)
