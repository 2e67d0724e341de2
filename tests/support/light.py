"""Lets jobs name a network that costs nothing: in this process, and in the commands that are forked (commands.py)."""

from contextlib import contextmanager
from pathlib import Path

import renderer.networks

FOLDER = str(Path(__file__).parent / "networks")


@contextmanager
def light_network():
    """Let jobs of this process name it while the context lasts."""
    renderer.networks.__path__.append(FOLDER)
    try:
        yield
    finally:
        renderer.networks.__path__.remove(FOLDER)


def light_weights(folder):
    """Write the weights of the network of tests/support/networks/light.py into a folder; return the file."""
    import torch
    from safetensors.torch import save_file

    path = Path(folder) / "light.safetensors"
    save_file({"light.depth": torch.tensor(0.4)}, path)
    return path
