"""Check that what was installed can be imported, and mend OpenCV on servers without a desktop.

    python tools/check_install.py

The usual OpenCV package brings windows and buttons, and those need libGL and glib from the system. Bare servers have
neither: there opencv-python-headless of the same version, which is the same library without windows, takes its place.
Standard library only, because nothing else can be trusted to work yet.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from enum import Enum

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MODULE_NAMES = {"opencv-python": "cv2", "pillow": "PIL", "pyyaml": "yaml"}
"""Import names of distributions, by their normalised names, that differ from these; elsewhere dashes become
underscores. Build backends write names in either way."""

SYSTEM_LIBRARY = re.compile(r"\blib[\w.+-]*\.so[\w.]*")
"""The loader's complaint about libGL.so.1, libgthread-2.0.so.0 and the like."""

DEBIAN_PACKAGES = "libgl1 libglib2.0-0"


class Remedy(Enum):
    """What to do about an import of cv2."""

    NONE = "it works"
    HEADLESS = "a system library is missing: the headless package does without it"
    REPORT = "another package would not help"


def main() -> int:
    """Return the exit status: 0 if everything can be imported, perhaps after OpenCV was exchanged."""
    problem = _mend_opencv()
    if problem is None:
        requirements = importlib.metadata.requires("lipstitch") or ()
        problem = find_broken_import(required_modules(requirements))
    if problem is not None:
        print(problem, file=sys.stderr)
        return 1
    print("Everything that was installed can be imported.")
    return 0


def required_modules(requirements: Iterable[str]) -> list[str]:
    """Return the import names of the requirements that no extra asks for and that this Python needs."""
    parsed = [Requirement(line) for line in requirements]
    names = [one.name for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return [MODULE_NAMES.get(canonicalize_name(name), canonicalize_name(name).replace("-", "_")) for name in names]


def find_broken_import(modules: Iterable[str]) -> str | None:
    """Return a sentence about the first module that cannot be imported, None if all can."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # A broken installation raises anything: OSError, AttributeError, ...
            return f"`import {module}` fails: {error}. Remove .venv and run `make setup` again."
    return None


def choose_remedy(import_error: str | None) -> Remedy:
    """Return what to do about the message with which `import cv2` failed; None means that it worked."""
    if import_error is None:
        return Remedy.NONE
    return Remedy.HEADLESS if SYSTEM_LIBRARY.search(import_error) else Remedy.REPORT


def _mend_opencv() -> str | None:
    """Exchange OpenCV if that helps; return a sentence about what is still wrong."""
    error = _opencv_import_error()
    remedy = choose_remedy(error)
    if remedy is Remedy.NONE:
        return None
    if remedy is Remedy.HEADLESS:
        print(f"`import cv2` fails ({error}): putting opencv-python-headless in its place.", flush=True)
        if _exchange_opencv() and _opencv_import_error() is None:
            return None
        return f"`import cv2` fails: {error}. On Debian, `apt install {DEBIAN_PACKAGES}` adds what is missing."
    return f"`import cv2` fails: {error}. Remove .venv and run `make setup` again."


def _opencv_import_error() -> str | None:
    # In a process of its own: a module that failed half-way cannot be imported again in the same one.
    trial = subprocess.run([sys.executable, "-c", "import cv2"], capture_output=True, text=True, check=False)
    if trial.returncode == 0:
        return None
    lines = trial.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {trial.returncode}"


def _exchange_opencv() -> bool:
    """Put the headless package of the same version in OpenCV's place; change nothing if it cannot be downloaded."""
    try:
        wanted = f"opencv-python-headless=={importlib.metadata.version('opencv-python')}"
    except importlib.metadata.PackageNotFoundError:
        return False
    with tempfile.TemporaryDirectory() as folder:
        # Both packages own the same folder: both must be gone before one comes back.
        return (
            _pip("download", "--no-deps", "--only-binary=:all:", "--dest", folder, wanted)
            and _pip("uninstall", "--yes", "opencv-python", "opencv-python-headless")
            and _pip("install", "--no-deps", "--no-index", "--find-links", folder, wanted)
        )


def _pip(*arguments: str) -> bool:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
