"""Where training runs, and in which arithmetic."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from media.base.errors import ConfigError
from renderer.engine import choose_device, choose_precision

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Machine:
    """A device and the arithmetic of its convolutions; weights stay in float32."""

    device: torch.device
    dtype: torch.dtype

    def place(self, network: Network) -> Network:
        """Move a network there, in the layout that convolutions are fastest in, and return it."""
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def cast(self, network: nn.Module) -> nn.Module:
        """Return a network that runs another one in this arithmetic, wherever it is called."""
        return _Cast(network, self)


class _Cast(nn.Module):
    def __init__(self, network: nn.Module, machine: Machine) -> None:
        super().__init__()
        self._network, self._machine = network, machine

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        with self._machine.autocast():
            drawn: Tensor = self._network(mel, faces)
        return drawn


def choose_machine(
    device: str = "auto", precision: Literal["auto", "float32", "bfloat16"] = "auto", threads: int | None = None
) -> Machine:
    """Choose as the renderer does, with bfloat16 where that takes float16, which would need its losses scaled.

    threads: of torch on the CPU, for the whole process. Raises ConfigError for a device that is not there.
    """
    try:
        place = choose_device(device)
    except ConfigError as exc:
        raise ConfigError(f"device: {device!r} cannot be used on this machine; try auto or cpu.") from exc
    dtype = choose_precision(precision, place)
    if threads is not None:
        torch.set_num_threads(threads)
    if place.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    return Machine(place, torch.float32 if dtype == torch.float32 else torch.bfloat16)
