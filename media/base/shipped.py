"""Where the files that ship with the program are: weights, their registry, and job files to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

PACKAGES = Path(__file__).resolve().parents[2]
"""The folder that holds the packages: a checkout, or site-packages."""


def shipped_folder(name: Literal["checkpoints", "configs"]) -> Path:
    """Return a folder of the program: inside the package lipstitch once it is installed, beside it in a checkout."""
    installed = PACKAGES / "lipstitch" / name
    return installed if installed.is_dir() else PACKAGES / name


def is_checkout() -> bool:
    """Tell whether the program runs from a checkout, whose folders a user sees and may put files into."""
    return not (PACKAGES / "lipstitch" / "checkpoints").is_dir()
