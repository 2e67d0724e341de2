"""Material of the studio's tests."""

import pytest
import soundfile

from demo.make_material import DUB_FILE, make_material


@pytest.fixture(scope="session")
def talk(tmp_path_factory):
    """Return a folder with talk.mp4, 3.6 s of a face between scenes without, and dub.wav, which is as long."""
    folder = tmp_path_factory.mktemp("talk")
    make_material(folder, seconds_scale=0.05, size_px=(320, 180))
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(folder / "dub.wav", dub[: round(3.6 * rate)], rate)
    return folder
