"""Networks of pictures in the files that the community publishes, through spandrel: it knows them by their tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from media.base.errors import ConfigError, UnsupportedCheckpoint
from renderer.weight_files import WeightFile

EXTRA: Final = "pip install 'lipstitch[restorers]'"


def load_descriptor(weights: WeightFile, key: str, what: str, purposes: Collection[str]) -> Any:
    """Return spandrel's descriptor of the network in a file, its module in eval mode and without gradients.

    key: of the job file, for messages. what: a word for the networks that are wanted. purposes: theirs, as spandrel
    names them. Raises UnsupportedCheckpoint (its text without path), or ConfigError without spandrel.
    """
    if weights.header.problem:
        raise UnsupportedCheckpoint("this file holds no weights that can be read without executing code")
    descriptor: Any = _loader(weights.header.path, key, what)(weights.read_tensors())
    if descriptor.purpose not in purposes:
        raise UnsupportedCheckpoint(f"this is {descriptor.architecture.name}, which is no {what}")
    descriptor.model.eval().requires_grad_(requires_grad=False)
    return descriptor


def _loader(path: Path, key: str, what: str) -> Callable[[dict[str, Any]], Any]:
    """Return the function that makes a network of tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # what they import still uses torch.jit.script
        try:
            import spandrel
        except ImportError as error:
            raise ConfigError(f"{key}: {path.name} needs spandrel: {EXTRA}. ONNX files do not.") from error
        registry = spandrel.ArchRegistry()
        registry.add(*spandrel.MAIN_REGISTRY)
        lacks_extra = ""
        try:
            import spandrel_extra_arches
        except ImportError:  # CodeFormer's licence is another: who has no use for it need not install it
            lacks_extra = f"; CodeFormer needs spandrel-extra-arches: {EXTRA}"
        else:
            registry.add(*spandrel_extra_arches.EXTRA_REGISTRY)

    def load(tensors: dict[str, Any]) -> Any:
        try:
            return spandrel.ModelLoader(registry=registry).load_from_state_dict(tensors)
        except spandrel.UnsupportedModelError as error:
            raise UnsupportedCheckpoint(
                f"these are not the weights of a {what} known to spandrel{lacks_extra}"
            ) from error
        except Exception as error:  # it reads a network's settings off its tensors, and may fail in any way
            raise UnsupportedCheckpoint(
                f"these weights look like a {what}'s but lack tensors or have others"
            ) from error

    return load
