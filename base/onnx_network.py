"""Run networks that are stored as graphs of ONNX. Such a file holds no code: an unknown operation is refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from base.errors import CheckpointNotFound, UnsupportedCheckpoint

CPU = ("CPUExecutionProvider",)
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


class OnnxNetwork:
    """A network of ONNX Runtime. Thread-safe; on a CPU it computes on the calling thread alone."""

    def __init__(self, path: Path, *, providers: Sequence[Any] = CPU) -> None:
        """Load a network.

        providers: names of execution providers, or pairs of a name and its options; the first that can is used.
        Raises CheckpointNotFound, or UnsupportedCheckpoint (its text without path) for a file that holds no network.
        """
        if not (path.is_file() and os.access(path, os.R_OK)):
            raise CheckpointNotFound(f"{path}: the file does not exist or cannot be read.")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # bits may depend on their number
        options.log_severity_level = FATAL
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # it parses unknown bytes here, and has errors of its own for each way to fail
            raise UnsupportedCheckpoint("this is not a network of ONNX that can be run here") from error
        self.inputs = tuple(map(_info, self._session.get_inputs()))
        self.outputs = tuple(map(_info, self._session.get_outputs()))

    @property
    def providers(self) -> tuple[str, ...]:
        """Return the names of the execution providers in use, the preferred one first."""
        return tuple(self._session.get_providers())

    def run(self, *values: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the outputs for values of the inputs, in the order of the graph."""
        feeds = {tensor.name: value for tensor, value in zip(self.inputs, values, strict=True)}
        return [np.asarray(output) for output in self._session.run(None, feeds)]


def _info(argument: Any) -> TensorInfo:
    sides = tuple(side if isinstance(side, int) and side > 0 else None for side in argument.shape)
    return TensorInfo(argument.name, sides, argument.type)
