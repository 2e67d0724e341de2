"""The training file: what is wrong is named with its key, and what may stand there."""

from pathlib import Path

import pytest

from lipstitch.training.config import load_training
from lipstitch.training.mesh.config import load_mesh_training
from lipstitch.training.shapes.config import load_shapes_training
from media.base.errors import ConfigError
from tests.support.commands import ROOT

FLAT_OVERRIDES = (
    "threads=3",
    "generator.save_every=5",
    "generator.decay_share=0.5",
    "generator.augmentation.face_strength=0.1",
)


@pytest.mark.parametrize(("name", "load_labelled"), [("mesh", load_mesh_training), ("shapes", load_shapes_training)])
def test_what_ships_for_labelled_videos_is_sound(name, load_labelled):
    config = load_labelled(ROOT / "configs" / f"train_{name}.yaml")
    assert config.labels == ROOT / "build" / "labels"
    assert set(config.held_out) == set(config.people.values())
    with pytest.raises(ConfigError, match="stepz"):
        load_labelled(ROOT / "configs" / f"train_{name}.yaml", ["stepz=3"])


def load(tmp_path, text, *overrides):
    path = tmp_path / "train.yaml"
    path.write_text(text)
    return load_training(path, overrides)


def test_what_ships_is_sound():
    for path in sorted((ROOT / "configs").glob("train_compact*.yaml")):
        config = load_training(path)
        assert config.data == ROOT / "build" / "dataset"
        assert config.held_out == ("head_13", "head_14", "interview_4", "speaker_b")
        assert config.generator.adversarial_from < config.generator.steps


def test_paths_are_relative_to_the_file_and_keys_can_be_set(tmp_path):
    config = load(tmp_path, "data: a\nout: b/../c\nexpert:\n", "expert.steps=7", "generator.windows=4", "held_out=[x]")
    assert (config.data, config.out) == (tmp_path / "a", tmp_path / "c")
    assert (config.expert.steps, config.generator.windows, config.held_out) == (7, 4, ("x",))
    assert config.init is None


def test_keys_of_a_group_may_stand_outside_of_it_as_they_did_before_there_were_groups(tmp_path):
    flat = (
        "data: a\nout: b\nthreads: 3\nlicence: none\ngenerator: {save_every: 5, decay_share: 0.5, face_strength: 0.1}"
    )
    grouped = (
        "data: a\nout: b\narithmetic: {threads: 3}\nnote: {licence: none}\n"
        "generator: {pace: {save_every: 5, decay_share: 0.5}, augmentation: {face_strength: 0.1}}"
    )
    config = load(tmp_path, flat)
    assert config == load(tmp_path, grouped)
    assert config == load(tmp_path, "data: a\nout: b\nnote: {licence: none}", *FLAT_OVERRIDES)
    assert (config.generator.augmentation.sound_strength, config.expert.augmentation.sound_strength) == (0.5, 1.0)
    with pytest.raises(ConfigError, match=r"generator\.pace\.save_every \(now 0\)"):
        load(tmp_path, "data: a\nout: b\ngenerator: {save_every: 0}")
    with pytest.raises(ConfigError, match=r"generator\.pace \(now 3\)"):
        load(tmp_path, "data: a\nout: b\ngenerator: {save_every: 5, pace: 3}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: a", "out: this key is needed"),
        ("data: a\nout: b\ncolour: 1", "colour .now 1.: unknown key; the keys here are data, out, init"),
        ("data: a\nout: b\nexpert: {stpes: 3}", r"expert\.stpes .now 3.: unknown key; the keys here are .*steps"),
        ("data: a\nout: b\nexpert: {steps: 0}", r"expert\.steps \(now 0\): input should be greater than or equal to 1"),
        ("data: a\nout: b\ngenerator: {learning_rate: fast}", r"generator\.learning_rate \(now 'fast'\)"),
        ("data: a\nout: b\nprecision: float8", r"precision \(now 'float8'\): input should be 'auto'"),
        ("data: 3\nout: b", "data .now 3.: give a path"),
        ("- a\n- b", "a list of `key: value` lines"),
        ("data: [", "line 1: expected the node content, but found '<stream end>'"),
        ("data: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("", "a list of `key: value` lines"),
    ],
)
def test_a_fault_is_one_sentence_with_its_key(tmp_path, text, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "train.yaml"))
    assert "\n" not in str(caught.value)


def test_odd_overrides_and_files(tmp_path):
    for override in ("seed", "=3", "data.x=1"):
        with pytest.raises(ConfigError, match="--set"):
            load(tmp_path, "data: a\nout: b", override)
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError):
            load_training(Path(path))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        load_training(tmp_path / "binary.yaml")
