"""What is checked of the names that a job writes to."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lipstitch.job_file.config import load_job
from lipstitch.opened import open_job
from lipstitch.progress import Silent
from media.base.errors import ConfigError
from tests.support.jobs import write_job
from tests.support.synthetic import make_video


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    make_video(folder / "talk.mp4", 50, size=(96, 64))
    soundfile.write(folder / "dub.wav", 0.5 * np.sin(np.arange(32000) / 9), 16000)
    return folder


@pytest.fixture
def opened(stock, tmp_path):
    """Return a function that opens the source of an extraction into files named after `output`."""
    shutil.copytree(stock, tmp_path, dirs_exist_ok=True)

    def open_it(output, **keys):
        content = {"video": "talk.mp4", "audio": "dub.wav"}
        job = write_job(
            tmp_path, input=content, output=output, mode="extract", ranges=[{"start": 0, "end": 1, "name": "a"}], **keys
        )
        return [spec.output.name for spec in open_job(load_job(job), Silent(), force=False).specs]

    return open_it


def test_an_extraction_may_be_named_after_a_file_that_it_does_not_write(opened, tmp_path):
    (tmp_path / "out.mp4").write_text("precious")
    assert opened("out.mp4") == ["out.a.mp4"]
    assert opened("talk.mp4") == ["talk.a.mp4"]
    (tmp_path / "folder.mp4").mkdir()
    assert opened("folder.mp4") == ["folder.a.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "precious"


@pytest.mark.parametrize(
    ("output", "keys", "expected"),
    [
        ("out.mp4", {"extract": {"join": True}}, "out.mp4 exists"),
        ("other.mp4", {}, "other.a.mp4 exists"),
        ("nowhere/out.mp4", {}, "no such folder"),
        ("out.txt", {}, "the ending '.txt' of out.txt is unknown"),
        ("new.mp4", {"stitcher": {"audio": {"codec": "pcm_s16le"}}}, ".mp4 files cannot hold pcm_s16le"),
    ],
)
def test_an_extraction_that_cannot_be_written(opened, tmp_path, output, keys, expected):
    for name in ("out.mp4", "other.a.mp4"):
        Path(tmp_path, name).write_text("precious")
    with pytest.raises(ConfigError, match=expected.replace("(", r"\(")):
        opened(output, **keys)
