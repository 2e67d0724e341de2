"""A network and a face stage that are added by adding a file: whole jobs with each."""

import shutil
import sys

import numpy as np
import pytest
import torch
from onnx import helper
from safetensors.torch import save_file

import renderer.face_stages
import renderer.networks
from demo.make_material import DUB_FILE, make_material
from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.tools import Tools
from media.base.plugins import load_plugin
from media.packets.scan import scan_packets
from media.picture import PictureConverter
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from renderer.face_stages.base import DEFAULT_STAGES
from renderer.networks import base
from tests.support.jobs import load_report, rendered_hashes, write_job
from tests.support.onnx_graphs import write_graph, write_restorer

NUM_FRAMES = 12
MAGENTA, GREEN = (255, 0, 255), (0, 255, 0)

NETWORK = '''
"""Paints the lower half of a face in the one colour that its weights hold."""

import torch

from renderer.mel import MelSpec
from renderer.networks.base import Margins, NetworkSpec

SPEC = NetworkSpec(face_px=128, margins=Margins(top=0.1, bottom=0.1), mel=MelSpec(bands=40), variant="painter 1")


class Painter:
    module = None

    def __init__(self, colour):
        self.spec, self._colour = SPEC, colour

    def place(self, device, dtype):
        self._colour = self._colour.to(device)

    def run(self, faces, mel_windows, references):
        assert faces.shape[1:] == references.shape[1:] == (128, 128, 3)
        assert mel_windows.shape[1:] == (40, 16)
        painted = faces.clone()
        painted[:, 64:] = self._colour
        return painted


class Architecture:
    def detects(self, header):
        return header.shapes == {"painter.colour": (3,)}

    def spec(self, header):
        return SPEC

    def load(self, weights):
        return Painter(weights.read_tensors()["painter.colour"])


ARCHITECTURE = Architecture()
'''

STAGE = '''
"""Puts the source face at twice the pixels in place of the drawn one, its lower half in one colour."""

import numpy as np

from renderer.face_stages.base import FacePatch

COLOUR = (0, 255, 0)


class Tint:
    name, reaches_around = "tint", False

    def __init__(self, settings):
        self.key = ("tint", COLOUR)

    def apply(self, patch, face):
        finer = patch.affine @ np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
        pixels = face.sample_source(finer, (192, 192))
        assert np.abs(pixels[::2, ::2].astype(int) - face.crop.face).mean() < 10
        pixels[96:] = COLOUR
        return FacePatch(pixels, finer, np.ones((192, 192), np.float32))


STAGE = Tint
'''


@pytest.fixture
def add_module(tmp_path, monkeypatch):
    """Return a function that adds a file to a package, from outside; afterwards it is as if it had never been there."""
    added = []

    def add(package, name, text):
        folder = tmp_path / "outside"
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        added.append((package, name))

    yield add
    for package, name in added:
        sys.modules.pop(f"{package.__name__}.{name}", None)
        if hasattr(package, name):
            delattr(package, name)


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Return the demonstration's video and a workspace with its scan."""
    folder = tmp_path_factory.mktemp("seams")
    material = make_material(folder, seconds_scale=0.1, size_px=(640, 360))
    job_of(material, folder, folder / "work")
    return material, folder / "work"


@pytest.fixture
def run(scanned, tmp_path):
    """Return a function that runs a job on a few frames with a face; returns (colours, names of its clips)."""
    material, workspace = scanned
    shutil.copytree(workspace, tmp_path / "work", ignore=shutil.ignore_patterns("clip-*"))

    def run(*, stages=DEFAULT_STAGES, **renderer):
        before = {path.name for path in (tmp_path / "work").glob("clip-*.nut")}
        out = job_of(material, tmp_path, tmp_path / "work", stages=stages, **renderer)
        names = {path.name for path in (tmp_path / "work").glob("clip-*.nut")} - before
        return out, names

    return run


def job_of(material, folder, workspace, *, stages=DEFAULT_STAGES, **renderer):
    """Run a job in this process and return the file that it made."""
    start = material.face_spans[0][0] / 25
    job = write_job(
        folder,
        input={"video": material.video, "audio": DUB_FILE, "length_policy": "cut"},
        output=folder / "out.mp4",
        mode="extract",
        ranges=[{"start": start, "end": start + NUM_FRAMES / 25, "name": "face"}],
        segmenter={"detector": "cascade", "embedder": "none"},
        renderer={"device": "cpu", "method": "network", **renderer},
        execution={"workers": 1, "backend": "serial", "keep": "all", "workspace": workspace},
    )
    assert run_job(load_job(job), Silent(), force=True, tools=Tools(face_stages=stages)).exit_code == 0
    return folder / "out.face.mp4"


def share_of(colour, video):
    """Return the least and greatest share of a colour in a frame of a video."""
    info = probe(video)
    table = scan_packets(info)
    converter = PictureConverter(info.require_video().orientation)
    with FrameReader(SourceVideo(info, table)) as reader:
        pictures = [converter.upright_bgr(frame).astype(int) for _, frame in reader.read(range(len(table)))]
    assert len(pictures) == NUM_FRAMES
    shares = [(np.abs(picture - colour).max(axis=2) < 60).mean() for picture in pictures]
    return min(shares), max(shares)


def test_a_network_is_one_file(run, add_module, tmp_path):
    add_module(renderer.networks, "painter", NETWORK)
    weights = tmp_path / "painter.safetensors"
    save_file({"painter.colour": torch.tensor(MAGENTA, dtype=torch.uint8)}, weights)
    out, names = run(checkpoint=str(weights))
    least, most = share_of(MAGENTA, out)
    assert 0.01 < least <= most < 0.25, "of every frame the lower face, and no more"
    assert len(names) == 1

    assert run(checkpoint=str(weights))[1] == set(), "the clip is still there"
    module = sys.modules["renderer.networks.painter"]
    module.SPEC = base.NetworkSpec(128, module.SPEC.margins, module.SPEC.mel, variant="painter 2")
    base._read_spec.cache_clear()
    assert len(run(checkpoint=str(weights))[1]) == 1, "it would draw otherwise now"


def test_a_network_of_onnx_is_one_file_of_weights(run, tmp_path):
    """It sees 256 pixels, and names its colours from red to blue."""
    nodes = [
        helper.make_node("Slice", ["faces", "three", "six", "one"], ["seen"]),
        helper.make_node("Mul", ["seen", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "colour"], ["drawn"]),
    ]
    weights = write_graph(
        tmp_path / "violet.onnx",
        *nodes,
        inputs={"mel": [1, 1, 80, 16], "faces": [1, 6, 256, 256]},
        outputs={"drawn": [1, 3, 256, 256]},
        one=[1],
        three=[3],
        six=[6],
        zero=np.float32(0),
        colour=np.float32([0.5, 0, 1]).reshape(1, 3, 1, 1),
    )
    out, names = run(checkpoint=str(weights), onnx={"channels": "rgb", "margins": [0.1, 0.1, 0, 0]})
    least, most = share_of((255, 0, 128), out)
    assert 0.01 < least <= most < 0.25, "of every frame the lower face, and no more"
    other, more_names = run(checkpoint=str(weights), onnx={"margins": [0.1, 0.1, 0, 0]})
    assert share_of((255, 0, 128), other)[1] == 0
    assert share_of((128, 0, 255), other)[0] > 0.01
    assert len(names) == len(more_names) == 1


def test_a_restorer_adds_to_what_is_drawn(run, tmp_path):
    """One that changes nothing leaves the coded frames as they are, to the bit; each is in the key of its clips."""
    frames, names = {}, {}
    for kind in (None, "same", "sharpen"):
        restore = {"model": str(write_restorer(tmp_path / f"{kind}.onnx", kind)), "strength": 1} if kind else None
        _, names[kind] = run(restore=restore, frame_hashes=True)
        report = load_report(tmp_path / "out.face.mp4")
        frames[kind] = rendered_hashes(report)
        assert report["restore"] == (f"{restore['model']}, 100% of what it changes" if kind else "")
    assert frames[None] == frames["same"]
    assert len(frames[None]) == NUM_FRAMES
    assert all(frames["sharpen"][frame] != value for frame, value in frames[None].items())
    assert [len(each) for each in names.values()] == [1, 1, 1]
    assert run(restore=restore, frame_hashes=True)[1] == set(), "the clip is still there"


def test_without_the_file_its_weights_are_unknown(run, tmp_path):
    weights = tmp_path / "painter.safetensors"
    save_file({"painter.colour": torch.tensor(MAGENTA, dtype=torch.uint8)}, weights)
    with pytest.raises(base.UnsupportedCheckpoint, match=r"not the weights .* known here \(compact, onnx, wav"):
        run(checkpoint=str(weights))


def test_a_face_stage_is_one_file(run, add_module, monkeypatch):
    add_module(renderer.face_stages, "tint", STAGE)
    out, usual = run()
    assert share_of(GREEN, out)[1] == 0
    stages = ("tint", "blend_mask")
    out, tinted = run(stages=stages)
    least, most = share_of(GREEN, out)
    assert 0.01 < least <= most < 0.25, "of every frame what the mask lets through, and no more"
    assert len(usual) == len(tinted) == 1, "another clip than without it"

    assert run(stages=stages)[1] == set(), "the clip is still there"
    load_plugin(renderer.face_stages, "tint", "STAGE")
    sys.modules["renderer.face_stages.tint"].COLOUR = MAGENTA
    assert len(run(stages=stages)[1]) == 1, "its key belongs to the clip's"
