"""The recipes of the face mesh and of the network that hears shapes, from labelled videos to weights, in miniature."""

import json

import av
import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from lipstitch.cli import app
from lipstitch.progress import Silent
from lipstitch.training.mesh.augment import change, middle
from lipstitch.training.mesh.config import load_mesh_training
from lipstitch.training.mesh.faces import FACE_PX, RIM_PX, load_faces
from lipstitch.training.mesh.stage import errors
from lipstitch.training.mesh.train import train_mesh
from lipstitch.training.shapes.config import load_shapes_training
from lipstitch.training.shapes.people import own_sound, read_people
from lipstitch.training.shapes.stage import SoundShapeStage, correlations
from lipstitch.training.shapes.train import train_shapes
from media.base.errors import ConfigError, TrainingError
from media.mesh import LIPS, POINT_NUMBERS, points_at
from renderer.footage.lip_motion import load_lip_motion
from renderer.footage.sound_shape import load_sound_shape
from segmenter.mesh.mesher import OnnxMesh, find_in_square
from tests.support.heads import picture, seen, talking
from tests.support.jobs import NoSignals

RATE, SOUND_RATE, SECONDS = 25, 16_000, 4
NAMES = ("anna_1", "anna_2", "bert_1", "carl_1")


def openings(seed):
    """Return how far a mouth is open at each frame: it moves with the loudness of what is heard."""
    random = np.random.default_rng(seed)
    walk = np.convolve(random.normal(0, 1, SECONDS * RATE + 8), np.hanning(9), "valid")
    return 0.15 * (walk - walk.min()) / np.ptp(walk)


def write_talk(folder, name, seed):
    """Write a labelled video of a drawn head."""
    random = np.random.default_rng(seed)
    opening = openings(seed)
    meshes = [
        seen(talking(value), yaw=8 * np.sin(number / 9 + seed), roll=seed - 1, middle=(160 + seed, 130))
        for number, value in enumerate(opening)
    ]
    at = np.arange(SECONDS * SOUND_RATE) / SOUND_RATE
    loud = 10 ** (-2 + 10 * np.interp(at, np.arange(len(opening)) / RATE, opening))
    sound = loud * random.normal(0, 0.1, len(at))
    with av.open(str(folder / f"{name}.mkv"), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "18"})
        video.width = video.height = 320
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=SOUND_RATE, layout="mono")
        for mesh in meshes:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(mesh), format="bgr24")))
        container.mux(video.encode(None))
        samples = np.clip(sound * 20_000, -32_000, 32_000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SOUND_RATE
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    points = np.full((len(meshes), 478, 3), 0.0, np.float32)
    points[:, POINT_NUMBERS] = meshes
    points[3] = np.nan  # here the teacher saw no face
    np.savez(folder / "labels" / f"{name}.npz", points=points, seconds=np.arange(len(meshes)) / RATE)


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
    """Return a folder of labelled videos, and one without labels."""
    folder = tmp_path_factory.mktemp("talks")
    (folder / "labels").mkdir()
    for seed, name in enumerate(NAMES):
        write_talk(folder, name, seed)
    (folder / "unlabelled.mp4").write_bytes(b"")
    return folder


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_config(folder, talks, **changes):
    content = {
        "videos": [str(talks)],
        "labels": str(talks / "labels"),
        "out": "out",
        "held_out": ["carl"],
        "people": {name: name for name in ("anna", "bert", "carl")},
        "save_every": 2,
        **changes,
    }
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def trained(talks, tmp_path_factory):
    """Return the folder of a mesh that was trained for a moment."""
    folder = tmp_path_factory.mktemp("mesh")
    config = load_mesh_training(write_config(folder, talks, steps=30, faces=8, ema=0.8, learning_rate=0.003))
    assert train_mesh(config, Silent()) == folder / "out" / "face_mesh.onnx"
    return folder


def kept_faces(trained):
    return load_faces(next((trained / "out").glob("faces-*")))


def test_faces_are_cut_with_their_meshes_and_those_without_a_label_left_out(trained):
    data = kept_faces(trained)
    assert data.people == ("anna", "bert", "carl")
    assert [track.name for track in data.of(["anna"])] == ["anna_1", "anna_2"]
    held, other = data.of(["carl"])[0], data.of(["bert"])[0]
    assert held.stop - held.start == SECONDS * RATE - 1, "each frame but the one without a face"
    assert other.stop - other.start == SECONDS * RATE // 2, "each second one of those to train on"
    for row in (0, held.start + 5):
        face, mesh = np.asarray(data.faces[row]), data.meshes[row]
        # The lips are where the mesh says: red, among skin.
        x, y = mesh[LIPS[1], :2].round().astype(int)
        skin_x, skin_y = (mesh[LIPS[1], :2] + (0, 0.16 * 45)).round().astype(int)
        assert face[y - 1, x, 1] < face[skin_y + 4, skin_x, 1] - 15
        assert ((mesh[:, :2] > RIM_PX - 2) & (mesh[:, :2] < FACE_PX - RIM_PX + 2)).all()


def test_a_changed_face_takes_its_points_along(trained):
    """Dark is the inside of the mouth in every picture, however it is turned, mirrored and lit."""
    data = kept_faces(trained)
    row = int(np.argmax(np.linalg.norm(data.meshes[:, LIPS[20]] - data.meshes[:, LIPS[21]], axis=1)))
    inside = 0
    for seed in range(20):
        face, mesh = change(np.asarray(data.faces[row]), data.meshes[row], np.random.default_rng(seed))
        x, y = mesh[LIPS[20:22], :2].mean(axis=0).round().astype(int)
        inside += int(face[y, x].mean() < np.median(face.mean(axis=2)))
    assert inside >= 18
    plain, mesh = middle(np.asarray(data.faces[row]), data.meshes[row])
    assert plain.shape == (128, 128, 3)
    assert mesh[:, :2].min() > 0


def test_what_was_trained_is_written_measured_and_finds_faces(trained):
    entries = [json.loads(line) for line in (trained / "out" / "metrics.jsonl").read_text().splitlines()]
    figures = next(entry["held_out"] for entry in entries if "held_out" in entry)
    assert figures.keys() == {"lips", "jaw", "all", "gap"}
    weights = trained / "out" / "face_mesh.onnx"
    data = kept_faces(trained)
    face, taught = middle(np.asarray(data.faces[3]), data.meshes[3])
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])
    found = find_in_square(OnnxMesh(weights), face, identity)
    error, _ = errors(found.mesh[None], taught[None])
    assert np.median(error) < 0.5, "it has learned at least about where a face is"
    assert all(0 < doubt < 10 for doubt in found.doubts)


def test_a_mesh_training_that_was_stopped_goes_on(talks, trained, tmp_path):
    config = write_config(tmp_path, talks, steps=3, faces=4)

    class Stopped(Silent):
        def begin(self, stage, total, unit):
            if stage == "mesh":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_mesh(load_mesh_training(config), Stopped())
    assert not (tmp_path / "out" / "face_mesh.onnx").exists()
    result = CliRunner().invoke(app, ["train", "mesh", "--config", str(config), "--quiet"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "face_mesh.onnx").exists()


def test_without_labels_training_says_what_to_do(talks, tmp_path):
    config = load_mesh_training(write_config(tmp_path, talks, labels=str(tmp_path)))
    with pytest.raises(TrainingError, match="label_meshes"):
        train_mesh(config, Silent())
    with pytest.raises(ConfigError, match="stepz"):
        load_mesh_training(write_config(tmp_path, talks, stepz=3))


@pytest.mark.parametrize(("load", "train"), [(load_mesh_training, train_mesh), (load_shapes_training, train_shapes)])
@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"labels": "."}, TrainingError, "Label the videos with tools/label_meshes.py first"),
        ({"videos": ["gone"]}, ConfigError, r"gone: no such file or folder\."),
        ({"held_out": ["dora"]}, ConfigError, "no labelled video shows dora. The people are: anna, bert, carl"),
        ({"held_out": ["anna", "bert", "carl"]}, ConfigError, "all 3 people are held out"),
    ],
)
def test_what_cannot_be_trained_on_is_one_sentence(talks, tmp_path, load, train, changes, error, said):
    with pytest.raises(error, match=said):
        train(load(write_config(tmp_path, talks, **changes)), Silent())


def test_frames_and_sound_of_a_person_lie_on_one_clock(talks):
    people = read_people(
        [talks / "anna_1.mkv", talks / "anna_2.mkv"],
        talks / "labels",
        Silent(),
        people={"anna_1": "anna", "anna_2": "anna"},
        languages={"anna_1": "EN"},
        late={"anna_2": 0.1},
    )
    (anna,) = people
    first, second = anna.takes
    assert (anna.name, anna.language, anna.seconds) == ("anna", "EN", pytest.approx(2 * SECONDS, abs=0.03))
    assert first.columns[:4] == pytest.approx([0, 4, 8, 16]), "the fourth frame has no label"
    assert second.columns[0] - second.first_column == pytest.approx(10)
    assert np.concatenate([take.shapes for take in anna.takes]).mean(axis=0) == pytest.approx(0, abs=0.02)
    assert len(own_sound(talks / "anna_1.mkv")) == SECONDS * SOUND_RATE


def test_shapes_are_learned_from_sound(talks, tmp_path, monkeypatch):
    monkeypatch.setattr("lipstitch.commands.exits.StopSignals", NoSignals)
    config = write_config(tmp_path, talks, steps=40, windows=8, ema=0.8, check_every=20)
    result = CliRunner().invoke(app, ["train", "shapes", "--config", str(config), "--quiet"])
    assert result.exit_code == 0, result.output
    weights = tmp_path / "out" / "sound_shape.safetensors"
    assert weights.stat().st_size < 1_000_000
    motion = load_lip_motion(tmp_path / "out" / "lip_motion.safetensors")
    upper, lower = points_at((13, 14))
    opened = np.tensordot(motion.with_gap, motion.motion, axes=1)
    assert opened[lower, 1] - opened[upper, 1] == pytest.approx(1, rel=0.15)
    (carl,) = read_people([talks / "carl_1.mkv"], talks / "labels", Silent(), people={}, languages={}, late={})
    assert correlations(load_sound_shape(weights), carl)[0] > 0.6
    assert train_shapes(load_shapes_training(config), Silent()) == weights, "finished already"


def test_a_person_who_is_held_out_teaches_nothing(talks):
    people = read_people(
        [talks / f"{name}.mkv" for name in NAMES], talks / "labels", Silent(), people={}, languages={}, late={}
    )
    torch.manual_seed(0)
    stage = SoundShapeStage(people, ["carl_1"], windows=4, learning_rate=0.001, ema=0.9, seed=1)
    assert {person.name for person in stage._train} == {"anna_1", "anna_2", "bert_1"}
    assert set(stage.check()) >= {"gap", "width", "mean_gap"}
