"""Material that tests of the service share."""

import shutil

import pytest

from demo.make_material import DUB_FILE, make_material


@pytest.fixture(scope="session")
def talk(tmp_path_factory):
    """Return a folder with talk.mp4, 2.9 s of a face between scenes without, and dub.flac, which is longer."""
    folder = tmp_path_factory.mktemp("talk")
    make_material(folder, seconds_scale=0.04, size_px=(320, 180))
    shutil.copy(DUB_FILE, folder / "dub.flac")
    return folder
