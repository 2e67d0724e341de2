"""The commands of `train` as a user meets them: what is wrong is one sentence with its exit code."""

import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import main
from lipstitch.commands import exits
from tests.support.commands import ROOT
from tests.support.synthetic import Sound, make_video

CONFIG, CHECKPOINT, TRAINING = 2, 4, 8
COMPACT = ROOT / "checkpoints" / "compact.safetensors"


class NoSignals:
    """Stands in for StopSignals, which would change this process's handlers for good."""

    came = False

    def __init__(self, _words):
        pass


@pytest.fixture(autouse=True)
def _no_signals(monkeypatch):
    monkeypatch.setattr(exits, "StopSignals", NoSignals)


def refused(exit_code, *arguments):
    result = CliRunner().invoke(main.app, [str(argument) for argument in arguments])
    assert result.exit_code == exit_code, result.output
    error = result.stderr.splitlines()[-1]
    assert re.fullmatch(r"Error: [^\x00-\x1f]+\.", error), result.stderr
    return error


def test_commands_are_listed_and_answer_without_torch():
    code = (
        "import sys; from typer.testing import CliRunner; import main\n"
        "print(CliRunner().invoke(main.app, ['train', '--help']).output)\n"
        "for name in ('prepare', 'run', 'finetune', 'evaluate'):\n"
        "    result = CliRunner().invoke(main.app, ['train', name, '--help'])\n"
        "    assert result.exit_code == 0 and '--' in result.output, name\n"
        "unwanted = ('av', 'torch', 'cv2', 'numpy', 'lipstitch.training')\n"
        "print([name for name in unwanted if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    listed = done.stdout.partition("Commands:")[2]
    assert all(f"  {name} " in listed for name in ("prepare", "run", "finetune", "evaluate"))


def test_prepare(tmp_path):
    assert "no file or folder" in refused(
        CONFIG, "train", "prepare", "--videos", tmp_path / "x", "--out", tmp_path / "out"
    )
    mute = make_video(tmp_path / "mute.mp4", 30)
    heard = make_video(tmp_path / "heard.mp4", 30, sounds=[Sound()])
    arguments = ["train", "prepare", "--videos", mute, heard, "--out", tmp_path / "out", "--detector", "cascade"]
    result = CliRunner().invoke(main.app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "from 0 of 2 videos" in result.stdout
    assert (tmp_path / "out" / "prepare.json").exists()


def test_run(tmp_path):
    config = tmp_path / "train.yaml"
    assert "cannot be read" in refused(CONFIG, "train", "run", "--config", config)
    config.write_text(f"data: {tmp_path}/data\nout: {tmp_path}/out\n")
    assert "unknown key" in refused(CONFIG, "train", "run", "--config", config, "--set", "colour=1")
    assert "Run `train prepare`" in refused(TRAINING, "train", "run", "--config", config)
    assert "device: 'abacus'" in refused(CONFIG, "train", "run", "--config", config, "--set", "device=abacus")


def test_finetune_and_evaluate(tmp_path):
    video = make_video(tmp_path / "faceless.mp4", 30, sounds=[Sound()])
    common = ("--videos", video, "--detector", "cascade", "--quiet")
    out = tmp_path / "a.safetensors"
    assert "no usable footage" in refused(TRAINING, "train", "finetune", "--checkpoint", COMPACT, "--out", out, *common)
    assert "no such file" in refused(
        CHECKPOINT, "train", "finetune", "--checkpoint", tmp_path / "x", "--out", out, *common
    )
    assert not out.exists()
    both = ("--checkpoint", COMPACT, "--against", COMPACT, "--work", tmp_path / "work")
    assert "nothing to measure on" in refused(TRAINING, "train", "evaluate", *both, *common)
    assert "no such file of a sync expert" in refused(
        CHECKPOINT, "train", "evaluate", *both, *common, "--expert", tmp_path / "x"
    )
