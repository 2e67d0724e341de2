"""Where the tests find what is not in the repository: the shared folder, and checkpoints made from it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

# Read when torch is first imported, here and in what the tests start. Each core has a worker of pytest-xdist, and
# threads that wait for one another on a busy core burn the other's time; the product sets its own numbers of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A deadline would measure how busy the machine is.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder."""
LONGEST = (
    "test_footage_job",
    "test_program_job",
    "test_real_job",
    "test_job",
    "test_crash",
    "test_service_jobs",
    "test_service_crash",
    "test_studio_page",
    "test_cluster",
    "test_mask_job",
    "test_train",
    "test_transcoding",
    "test_two_hours",
    "test_assemble",
    "test_score",
    "test_large_files",
    "test_speaker",
    "test_real_dialogue",
    "test_speakers",
    "test_added_files",
    "test_real_people",
    "test_shipped",
    "test_disk",
)
"""Files that take longest begin first, so that no worker is left with one of them at the end."""


def pytest_collection_modifyitems(items):
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def _find_shared() -> Path | None:
    place = Path(os.environ.get("LIPSTITCH_SHARED", ROOT.parent / "shared"))
    return place.resolve() if (place / "golden").is_dir() else None


SHARED = _find_shared()
"""The folder of golden data, clips and tools: $LIPSTITCH_SHARED, else `shared` beside the project; None elsewhere."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the shared folder, or skip."""
    if SHARED is None:
        pytest.skip("needs the shared folder: beside the project, or at $LIPSTITCH_SHARED")
    return SHARED


@pytest.fixture(scope="session")
def parity_checkpoint(shared: Path) -> Path:
    """Return a checkpoint in the published format, with the weights that the golden outputs were computed with.

    Made once and kept under build/, named after the script and the manifest that it is made from.
    """
    script = shared / "tools" / "make_parity_checkpoints.py"
    manifest = shared / "golden" / "wav2lip_state_dict.json"
    key = hashlib.sha256(script.read_bytes() + manifest.read_bytes()).hexdigest()[:12]
    folder = ROOT / "build" / f"parity-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):  # the workers of pytest-xdist all come here
        if not (folder / "complete").exists():
            subprocess.run([sys.executable, script, folder], check=True)
            (folder / "complete").touch()
    return folder / "wav2lip_parity.pth"


@pytest.fixture(scope="session")
def syncnet_parity_checkpoint(parity_checkpoint: Path) -> Path:
    """Return the SyncNet checkpoint that is made along with the other: weights of a network that cannot render."""
    return parity_checkpoint.parent / "syncnet_parity.model"
