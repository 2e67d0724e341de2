"""The notebook of the quick start, run by a kernel of its own on the demonstration's material."""

import shutil

import pytest
import soundfile

from demo.make_material import DUB_FILE, make_material
from media.probe import probe
from tests.support.commands import ROOT

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
PARAMETERS = """
video, dub, output = "talk.mp4", "dub.wav", "result.mp4"
settings = {"segmenter.detector": "cascade", "renderer.checkpoint": "compact", "renderer.method": "network"}
"""


def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    make_material(tmp_path, seconds_scale=0.05, size_px=(320, 180))
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(tmp_path / "dub.wav", dub[: round(3.6 * rate)], rate)
    shutil.copy(ROOT / "notebooks" / "lipstitch.ipynb", tmp_path)
    notebook = nbformat.read(tmp_path / "lipstitch.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "the notebook is kept without outputs"
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    parameters.source = PARAMETERS
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert probe(tmp_path / "result.mp4").video
    printed = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", ()))
    assert "frames have new mouths" in printed
    assert any("text/html" in out.get("data", {}) for out in notebook.cells[-1].outputs)
