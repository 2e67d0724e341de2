"""Lets jobs name a network that costs nothing: in this process, and in the commands that are forked (commands.py)."""

from pathlib import Path

import renderer.networks

FOLDER = Path(__file__).parent / "networks"
if str(FOLDER) not in renderer.networks.__path__:
    renderer.networks.__path__.append(str(FOLDER))


def light_weights(folder):
    """Write the weights of the network of tests/support/networks/light.py into a folder; return the file."""
    import torch
    from safetensors.torch import save_file

    path = Path(folder) / "light.safetensors"
    save_file({"light.depth": torch.tensor(0.4)}, path)
    return path
