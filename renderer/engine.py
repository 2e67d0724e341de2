"""Device, precision and batch size: faces and mel windows in, faces with new lips out.

What a face becomes depends on that face and its mel window alone. The libraries below torch choose their order of
additions by the shape of a batch and by the number of threads (transposed convolutions on three threads and 1x1
convolutions on two give other last bits than on one), so neither is ever left to chance:

    CUDA    |  batch_size faces  |  batch_size faces  | rest, padded |      one pass after the other
    CPU     | 8 faces | 8 faces | 8 faces | 8 faces | 8 faces | rest, padded |  passes side by side, one thread each
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from media.base.errors import ConfigError, OutOfMemory, RenderError
from renderer.networks.base import LipNetwork, NetworkSpec, load_network
from renderer.weight_files import NO_OPTIONS, NetworkOptions

Precision: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

FACES_A_THREAD = 8
"""Faces per pass on the CPU. Fixed, because pixels may depend on it; from 4 to 32 the speed is the same."""


def choose_device(wanted: str = "auto", turn: int = 0) -> torch.device:
    """Choose the device: `auto` is CUDA, else MPS if there is such a GPU, else the CPU; or a torch name: `cuda:1`.

    If no GPU is named, several take turns, clip by clip. Raises ConfigError for a name that torch does not know, or a
    device that this machine lacks.
    """
    if wanted in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", turn % torch.cuda.device_count())
    if wanted == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"renderer.device: {wanted!r} cannot be used on this machine; try auto or cpu.") from error
    return device


def choose_precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """Choose the arithmetic: `auto` is the fastest that the device supports in hardware.

    float16 on CUDA; bfloat16 on a CPU with AVX512-BF16 or AMX (elsewhere it is emulated, slower than float32); else
    float32.
    """
    if wanted != "auto":
        return _DTYPES[wanted]
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return torch.bfloat16
    return torch.float32


class LipSyncEngine:
    """Renders lips with one network on one device: the same bits anywhere in a batch and on any number of threads."""

    def __init__(
        self,
        network: LipNetwork,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int,
        num_threads: int | None = None,
        takes_over: bool = False,
    ) -> None:
        """Take a network that is not placed yet; it is copied and left as it is, unless taken over.

        `num_threads` is how many passes may run side by side on the CPU, by default torch's number of threads.
        Raises OutOfMemory if the device has no room for the network, ConfigError for a device that is missing.
        """
        self.device = choose_device(device)
        """Where the network runs."""
        self.dtype = choose_precision(precision, self.device)
        """Arithmetic of the network; pixels are scaled in float32 before."""
        self.batch_size = batch_size
        """Faces to hand over at a time: those of a pass on CUDA; on the CPU, 8 per thread keep every thread busy."""
        with _failures_translated(batch_size):
            self._network = network if takes_over else copy.deepcopy(network)
            self.device = self._network.place(self.device, self.dtype) or self.device
        self._pool = self._passes_side_by_side(num_threads)
        self._stream = self._queue_of_its_own()
        with _failures_translated(batch_size):
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # other queues do not wait for the one that brings the weights

    @property
    def spec(self) -> NetworkSpec:
        """Return the spec of the network."""
        return self._network.spec

    def _passes_side_by_side(self, num_threads: int | None) -> ThreadPoolExecutor:
        num_passes = (num_threads or torch.get_num_threads()) if self.device.type == "cpu" else 1
        return ThreadPoolExecutor(num_passes, "mouths", initializer=_compute_on_one_thread)

    def _queue_of_its_own(self) -> torch.cuda.Stream | None:
        """Return a queue in which a GPU works beside those of other workers: one copies while another computes."""
        return torch.cuda.Stream(self.device) if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def for_worker(self, num_threads: int | None) -> LipSyncEngine:
        """Return an engine that shares this one's network, for one of several workers.

        num_threads: of its own; None: it shares those of this engine with the other workers.
        """
        engine = copy.copy(self)
        if num_threads is not None or self.device.type != "cpu":
            engine._pool = self._passes_side_by_side(num_threads)
        engine._stream = self._queue_of_its_own()
        return engine

    def with_batch_size(self, batch_size: int) -> LipSyncEngine:
        """Return an engine that shares this one's network and threads and has another batch size."""
        engine = copy.copy(self)
        engine.batch_size = batch_size
        return engine

    def render(
        self,
        faces: npt.NDArray[np.uint8],
        mel_windows: npt.NDArray[np.float32],
        references: npt.NDArray[np.uint8] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Return faces (n, face_px, face_px, 3), BGR, whose lips say what mel windows (n, bands, columns) sound like.

        references: faces of the same people, from which the network takes what their mouths look like; None: the faces
        themselves. Any n, 0 included. Raises OutOfMemory, with the batch size in the message.
        """
        references = faces if references is None else references
        pass_size = FACES_A_THREAD if self.device.type == "cpu" else self.batch_size
        passes = [slice(start, start + pass_size) for start in range(0, len(faces), pass_size)]

        def render_pass(part: slice) -> npt.NDArray[np.uint8]:
            return self._render_pass(faces[part], mel_windows[part], references[part], pass_size)

        mouths = np.empty_like(faces)
        with _failures_translated(self.batch_size):
            for part, rendered in zip(passes, self._pool.map(render_pass, passes), strict=True):
                mouths[part] = rendered
        return mouths

    @torch.inference_mode()
    def _render_pass(
        self,
        faces: npt.NDArray[np.uint8],
        mel_windows: npt.NDArray[np.float32],
        references: npt.NDArray[np.uint8],
        pass_size: int,
    ) -> npt.NDArray[np.uint8]:
        with torch.cuda.stream(self._stream) if self._stream else nullcontext():
            pixels = self._network.run(*(self._padded(each, pass_size) for each in (faces, mel_windows, references)))
            mouths: npt.NDArray[np.uint8] = pixels[: len(faces)].cpu().numpy()  # waits for this queue alone
        return mouths

    def _padded(self, values: npt.NDArray[np.generic], length: int) -> Tensor:
        """Return the values on the device, continued with zeros to a length."""
        batch = np.zeros((length, *values.shape[1:]), values.dtype)
        batch[: len(values)] = values
        tensor = torch.from_numpy(batch)
        # From pinned memory a GPU fetches by itself, without holding up this thread.
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor


def load_engine(
    checkpoint: Path,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    batch_size: int,
    num_threads: int | None = None,
    options: NetworkOptions = NO_OPTIONS,
) -> LipSyncEngine:
    """Load the weights in a file and make an engine of them. Raises what `load_network` and `LipSyncEngine` do."""
    network = load_network(checkpoint, options)
    return LipSyncEngine(
        network, device=device, precision=precision, batch_size=batch_size, num_threads=num_threads, takes_over=True
    )


class _ThreadsBefore:
    """The number of torch's threads before anyone of those who are inside has changed it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside, self._number = 0, 0

    def enter(self) -> None:
        """Note the number, or take it over if another one is inside."""
        with self._lock:
            if self._num_inside:
                torch.set_num_threads(self._number)
            else:
                self._number = torch.get_num_threads()
            self._num_inside += 1

    def leave(self) -> None:
        """Give the number back to the calling thread, and to those that have not computed yet."""
        with self._lock:
            self._num_inside -= 1
            torch.set_num_threads(self._number)


_BEFORE = _ThreadsBefore()


@contextmanager
def own_threads() -> Iterator[None]:
    """Give the caller back the number of torch's threads, which engines set for theirs and torch keeps for all.

    Also where jobs overlap: what the second one finds may be the number of the first one's engine.
    """
    _BEFORE.enter()
    try:
        yield
    finally:
        _BEFORE.leave()


def _compute_on_one_thread() -> None:
    """Keep torch's kernels on the calling thread; other threads that have computed before keep their number."""
    torch.set_num_threads(1)


_GPU_MEMORY = ("ALLOC_FAILED", "MPS backend out of memory")
_LIBRARY_FAILURES = ("CUDA", "CUBLAS", "CUDNN", "could not create a primitive")
"""What the messages of the libraries below torch contain; any other RuntimeError is a bug and stays one."""


@contextmanager
def _failures_translated(batch_size: int) -> Iterator[None]:
    """Raise OutOfMemory for each of the ways in which torch says so, RenderError for its other failures."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError) or any(mark in str(error) for mark in _GPU_MEMORY)
        if on_gpu or isinstance(error, MemoryError) or "allocate memory" in str(error):
            memory = "GPU memory" if on_gpu else "memory"
            remedy = f"Lower renderer.batch_size (now {batch_size})" if on_gpu else "Lower execution.workers"
            raise OutOfMemory(f"out of {memory}. {remedy}.") from error
        if not any(mark in str(error) for mark in _LIBRARY_FAILURES):
            raise
        raise RenderError(
            f"the network failed ({str(error).splitlines()[0]}). Try renderer.precision: float32."
        ) from error
