"""Wav2Lip's command line: what its options become, and whole calls as programs make them."""

import re
import shutil
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

from demo.make_material import make_material
from lipstitch.cli import app
from lipstitch.commands import exits
from lipstitch.intake.wav2lip import FrameOptions, Wav2LipFiles, Wav2LipOptions, build_wav2lip_job, describe_ignored
from media.base.errors import ConfigError, UnreadableMedia
from tests.support.commands import ROOT
from tests.support.jobs import NoSignals
from tests.support.quick_jobs import make_talk, quick_commands
from tests.support.synthetic import stamps

CONFIG, MEDIA, CHECKPOINT = 2, 3, 4


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Return a folder with a video of 4 s, sounds of several lengths and a file in place of weights."""
    folder = tmp_path_factory.mktemp("stock")
    make_talk(folder / "talk.mp4")
    for name, seconds in (("short", 2.5), ("same", 4.0), ("long", 5.2)):
        sound = 0.5 * np.sin(np.arange(int(seconds * 16000)) / 9)
        soundfile.write(folder / f"{name}.wav", sound, 16000)
    (folder / "weights.bin").write_bytes(b"weights")
    Image.fromarray(np.full((108, 192, 3), 90, np.uint8)).save(folder / "still.png")
    return folder


def files(stock, sound="same.wav", face="talk.mp4", outfile="out.mp4"):
    return Wav2LipFiles(str(stock / "weights.bin"), stock / face, stock / sound, stock / outfile)


def test_options_become_keys_of_the_job(stock):
    options = Wav2LipOptions(pads=(1, 20, -3, 4), is_steadied=False, batch_size=64)
    job = build_wav2lip_job(files(stock), options)
    assert job.renderer.pads == (1, 20, -3, 4)
    assert job.renderer.smoothing_frames == 1
    assert job.renderer.batch_size == 64
    assert (job.renderer.method, job.segmenter.target) == ("network", "largest")
    assert job.renderer.checkpoint == str(stock / "weights.bin")
    assert (job.input.video, job.input.audio) == (stock / "talk.mp4", stock / "same.wav")


def test_without_options_the_defaults_are_those_of_wav2lip_or_else_a_jobs(stock):
    job = build_wav2lip_job(files(stock), Wav2LipOptions())
    assert job.renderer.pads == (0, 10, 0, 0)
    assert job.renderer.smoothing_frames is None
    assert job.renderer.batch_size == 16
    assert describe_ignored(Wav2LipOptions()) == []


def test_settings_go_before_options(stock):
    job = build_wav2lip_job(files(stock), Wav2LipOptions(), ["renderer.pads=[1, 2, 3, 4]", "segmenter.target=main"])
    assert (job.renderer.pads, job.segmenter.target) == ((1, 2, 3, 4), "main")


@pytest.mark.parametrize(
    ("sound", "mode", "policy", "stop"),
    [
        ("short.wav", "extract", "cut", Fraction(5, 2)),
        ("same.wav", "patch", "loop", None),
        ("long.wav", "patch", "loop", None),
    ],
)
def test_the_output_lasts_as_long_as_the_sound(stock, sound, mode, policy, stop):
    job = build_wav2lip_job(files(stock, sound), Wav2LipOptions())
    assert (job.mode, job.input.length_policy) == (mode, policy)
    assert [part.end for part in job.ranges or ()] == ([stop] if stop else [])


def test_a_box_is_where_the_face_is_and_takes_no_pads(stock):
    options = Wav2LipOptions(pads=(1, 2, 3, 4), frames=FrameOptions(box=(10, 50, 20, 60)))
    job = build_wav2lip_job(files(stock), options)
    assert job.segmenter.box == (10, 50, 20, 60)
    assert (job.segmenter.detector, job.segmenter.min_face_px) == ("given", 40)
    assert job.renderer.pads == (0, 0, 0, 0)


def test_what_means_nothing_here_is_named_once_each():
    options = Wav2LipOptions(
        detection_batch_size=16, frames=FrameOptions(2, (0, -1, 0, 640), (0, 90, 0, 90), rotate=True)
    )
    said = describe_ignored(options)
    assert [text.split(":")[1].strip() for text in said] == [
        "--crop",
        "--resize_factor",
        "--rotate",
        "--face_det_batch_size",
    ]


def test_a_picture_is_shown_at_its_frame_rate_for_as_long_as_the_sound(stock):
    still = files(stock, "long.wav", face="still.png")
    for is_static in (False, True):  # a picture is static anyway
        job = build_wav2lip_job(still, Wav2LipOptions(is_static=is_static, fps=30))
        assert (job.mode, job.ranges, job.input.still_fps) == ("patch", None, 30)


def test_a_single_frame_of_a_video_and_unusable_files_are_refused(stock):
    with pytest.raises(ConfigError, match="--static: no single frame"):
        build_wav2lip_job(files(stock), Wav2LipOptions(is_static=True))
    with pytest.raises(UnreadableMedia, match=r"nowhere\.mp4: no such file"):
        build_wav2lip_job(files(stock, face="nowhere.mp4"), Wav2LipOptions())
    with pytest.raises(ConfigError, match=r"renderer\.batch_size \(now 5000\)"):
        build_wav2lip_job(files(stock), Wav2LipOptions(batch_size=5000))


@pytest.fixture
def call(stock, tmp_path, monkeypatch):
    """Return a function that gives a command line to `lipstitch wav2lip`, whose jobs are quick ones."""
    monkeypatch.setattr(exits, "StopSignals", NoSignals)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, sound="same.wav", face="talk.mp4", checkpoint=stock / "weights.bin"):
        given = ["--checkpoint_path", checkpoint, "--face", stock / face, "--audio", stock / sound]
        quick = ["--set", "segmenter.detector=cascade", "--set", "execution.backend=serial"]
        with quick_commands():
            return CliRunner().invoke(app, ["wav2lip", *map(str, [*given, *quick, *arguments])])

    return run


def test_the_default_outfile_is_replaced_and_nothing_else_is_left(call, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "result_voice.mp4").write_text("an earlier result")
    result = call("--pads", 0, 20, 0, 0, "--box", -1, -1, -1, -1)
    assert result.exit_code == 0, result.output
    assert "Without effect" not in result.stdout
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["result_voice.mp4"]
    assert stamps(tmp_path / "results" / "result_voice.mp4") == list(range(100))


@pytest.mark.parametrize(
    ("sound", "shown"), [("short.wav", [*range(63)]), ("long.wav", [*range(100), *range(30)])], ids=["ends", "again"]
)
def test_the_video_ends_with_the_sound_or_begins_again(call, tmp_path, sound, shown):
    result = call("--outfile", "out.mp4", "--static", "False", "--fps", 25, sound=sound)
    assert result.exit_code == 0, result.output
    assert stamps(tmp_path / "out.mp4") == shown


def test_a_picture_becomes_a_video(call, tmp_path):
    result = call("--outfile", "out.mp4", "--fps", 20, sound="short.wav", face="still.png")
    assert result.exit_code == 0, result.output
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert (container.streams.video[0].frames, container.streams.video[0].average_rate) == (50, 20)


def test_what_means_nothing_is_said_and_does_not_stop_the_call(call, tmp_path):
    result = call("--outfile", "out.mp4", "--resize_factor", 2, "--rotate")
    assert result.exit_code == 0, result.output
    assert len(re.findall(r"^Without effect: --\w+: .*\.$", result.stdout, re.MULTILINE)) == 2
    assert stamps(tmp_path / "out.mp4") == list(range(100))


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("--outfile", "nowhere/out.mp4"), CONFIG, "output: no such folder: nowhere"),
        (("--static", "True"), CONFIG, "--static: no single frame"),
        (("--colour",), CONFIG, "No such option: --colour"),
        (("--pads", 1, 2), CONFIG, "--pads"),
    ],
)
def test_what_is_refused(call, tmp_path, arguments, code, expected):
    result = call(*arguments)
    assert result.exit_code == code
    assert expected in result.stderr
    assert not any(tmp_path.iterdir())


def test_a_file_in_place_of_the_default_folder_is_one_sentence(call, tmp_path):
    (tmp_path / "results").write_text("not a folder")
    result = call()
    assert result.exit_code == CONFIG
    assert result.stderr == "Error: output: no such folder: results. Create it, or choose another.\n"


def test_weights_that_are_missing_are_one_sentence(call, tmp_path):
    result = call(checkpoint="checkpoints/nowhere.pth")
    assert result.exit_code == CHECKPOINT
    assert re.fullmatch(r"Error: Checkpoint '.*nowhere\.pth' is neither a file nor one of .*\.\n", result.stderr)
    assert result.stdout == ""


def test_programs_that_start_inference_py_get_a_video_of_new_mouths(tmp_path):
    material = make_material(tmp_path, seconds_scale=0.04, size_px=(640, 360))
    shutil.copy(ROOT / "demo" / "speech.flac", tmp_path / "speech.flac")
    command = [sys.executable, ROOT / "inference.py", "--checkpoint_path", ROOT / "checkpoints" / "compact.safetensors"]
    command += ["--face", material.video.name, "--audio", "speech.flac", "--set", "segmenter.detector=cascade"]
    command += ["--set", "stitcher.report=json", "--set", "ranges=[{start: 0, end: 2}]", "--set", "mode=extract"]
    command += ["--set", "extract.join=true", "--set", "input.length_policy=cut"]
    done = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rendered" in done.stdout
    with av.open(str(tmp_path / "results" / "result_voice.mp4")) as container:
        assert container.streams.video[0].frames == 50
        assert container.streams.audio
