"""The command line as a user meets it: every refusal is one sentence with the right exit code, and leaves nothing."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from demo.make_material import DUB_FILE, make_material
from lipstitch.cli import app
from lipstitch.commands import exits
from lipstitch.workspace import Workspace
from tests.support.commands import ROOT, run_command
from tests.support.jobs import NoSignals, load_report, run_job, start_job, write_job
from tests.support.synthetic import Sound, make_video, stamps

CONFIG, MEDIA, CHECKPOINT, WORKSPACE = 2, 3, 4, 7
CASCADE = {"detector": "cascade"}


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Return a folder of good files and bad ones, which no test changes."""
    folder = tmp_path_factory.mktemp("stock")
    talk = make_video(folder / "talk.mp4", 50, size=(96, 64), sounds=[Sound()])
    make_video(folder / "mute.mp4", 50, size=(96, 64))
    soundfile.write(folder / "dub.wav", 0.5 * np.sin(np.arange(32000) / 9), 16000)
    soundfile.write(folder / "long.wav", 0.5 * np.sin(np.arange(48000) / 9), 16000)
    (folder / "text.mp4").write_text("this is not a video\n" * 100)
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes(talk.read_bytes()[:3000])
    (folder / "folder.mp4").mkdir()
    (folder / "weights.pth").write_text("these are not weights")
    os.mkfifo(folder / "pipe.mp4")
    return folder


def _listing(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))


@pytest.fixture
def refused(stock, tmp_path, monkeypatch):
    """Return a function that runs a job, checks that it is refused as it should be, and gives the sentence.

    The job is the smallest that works, with keys replaced; relative names are files in stock. It runs in this process,
    which has imported everything already; `test_a_refusal_is_what_the_process_prints` starts one.
    """
    monkeypatch.setattr(exits, "StopSignals", NoSignals)

    def run(exit_code, *arguments, video="talk.mp4", output="out.mp4", audio=None, **keys):
        given = {"video": stock / video, **({"audio": stock / audio} if audio else {})}
        job = write_job(tmp_path, **{"input": given, "output": output, "segmenter": CASCADE, **keys})
        before = _listing(tmp_path)
        result = CliRunner().invoke(app, ["--config", str(job), *map(str, arguments)])
        assert result.exit_code == exit_code, result.output
        assert re.fullmatch(r"Error: [^\n]+\.\n", result.stderr), result.stderr
        assert result.stdout == ""
        assert _listing(tmp_path) == before
        return result.stderr

    return run


def test_a_refusal_is_what_the_process_prints(refused, stock, tmp_path):
    said = refused(MEDIA, video="text.mp4")
    assert run_job(tmp_path / "job.yaml", expected=MEDIA) == ("", said)


# What a user asks for first


def test_help_answers_at_once_and_names_every_option():
    done = subprocess.run([sys.executable, ROOT / "main.py", "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    options = (
        "--config",
        "--set",
        "--plan",
        "--spans",
        "--force",
        "--compare",
        "--progress",
        "--quiet",
        "--debug",
        "--help",
    )
    assert [option for option in options if option not in done.stdout] == []
    assert "10 done, but some clips fall back to the original frames" in " ".join(done.stdout.split())


def test_help_and_a_wrong_option_do_not_import_the_pipeline():
    code = "import sys, main; print([name for name in ('av', 'torch', 'cv2', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config", "x.yaml", "--colour"], "No such option: --colour"),
        ([], "Missing option '--config'"),
        (["--config", "x.yaml", "--progress", "xml"], "'auto', 'json'"),
        (["--config", "x.yaml", "--spans", "x.csv"], "--spans needs --plan"),
        (["people", "--config", "x.yaml"], "Missing option '--out'"),
        (["--config", "x.yaml", "people", "--out", "x.html"], "Put --config after people"),
        (["train", "--config", "x.yaml", "run"], "Put options after run"),
        (["train", "--set", "seed=2"], "Missing command: prepare, run, finetune, evaluate, mesh or shapes"),
    ],
)
def test_a_wrong_command_line_points_to_help(arguments, expected):
    done = run_command(*arguments, timeout=20)
    assert done.returncode == CONFIG
    assert expected in done.stderr
    assert "--help" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("former", "current", "options"),
    [
        (("faces",), "people", ("--config", "x.yaml", "--out", "x.html")),
        (("prepare",), "train prepare", ("--videos", "x.mp4", "--out", "x")),
        (("train", "--config", "x.yaml"), "train run --config", ()),
        (("finetune",), "train finetune", ("--checkpoint", "x.pth", "--videos", "x.mp4", "--out", "x.safetensors")),
        (("assess-network",), "train evaluate", ("--checkpoint", "x", "--against", "y", "--videos", "z.mp4")),
    ],
)
def test_a_former_name_does_the_same_and_says_what_it_is_called_today(monkeypatch, tmp_path, former, current, options):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exits, "StopSignals", lambda _words: SimpleNamespace(came=False))
    old = CliRunner().invoke(app, [*former, *options])
    new = CliRunner().invoke(app, [*current.split(), *former[2:], *options])
    note, _, error = old.stderr.partition("\n")
    assert note == f"Note: `{' '.join(former[:2])}` is now called `{current}`."
    assert re.fullmatch(r"Error: [^\n]+\.\n", error)
    assert (old.exit_code, old.stdout, error) == (new.exit_code, new.stdout, new.stderr)
    assert new.exit_code in (CONFIG, MEDIA, CHECKPOINT)


def test_help_lists_no_former_name():
    listed = run_command("--help").stdout
    commands = listed.partition("Commands:")[2].partition("Exit codes")[0]
    expected = ["people", "verify", "score", "from", "wav2lip", "sync", "init", "serve", "work", "studio", "train"]
    assert re.findall(r"^  ([\w-]+) ", commands, re.MULTILINE) == expected


@pytest.mark.parametrize(("program", "expected"), [("/venv/bin/lipstitch", "lipstitch"), ("main.py", "python main.py")])
def test_a_stopped_job_names_the_program_that_was_started(monkeypatch, program, expected):
    monkeypatch.setattr(sys, "argv", [program, "--config", "my job.yaml", "--force"])
    assert exits.same_command() == f"{expected} --config 'my job.yaml' --force"


# Input files


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        ("dub.wav", "dub.wav: no video stream"),
        ("text.mp4", "text.mp4: cannot be read as a media file"),
        ("cut.mp4", "cut.mp4: cannot be read as a media file"),
        ("empty.mp4", "empty.mp4: the file is empty"),
        ("folder.mp4", "folder.mp4: this is a folder"),
        ("pipe.mp4", "pipe.mp4: not a regular file"),
        ("nowhere.mp4", "nowhere.mp4: no such file"),
        ("mute.mp4", "Give input.audio"),
    ],
)
def test_a_video_that_cannot_be_used(refused, video, expected):
    assert expected in refused(MEDIA, video=video)


@pytest.mark.parametrize(
    ("audio", "expected"),
    [
        ("nowhere.wav", "nowhere.wav: no such file"),
        ("mute.mp4", "mute.mp4: no audio stream"),
        ("text.mp4", "text.mp4: cannot be read as a media file"),
    ],
)
def test_a_dub_that_cannot_be_used(refused, audio, expected):
    assert expected in refused(MEDIA, audio=audio)


def test_a_dub_that_is_longer(refused):
    said = refused(CONFIG, audio="long.wav")
    assert "3.000 s" in said
    assert "2.000 s" in said


def test_a_range_outside_the_video(refused):
    assert "ranges.0: 1 s to 5 s reaches beyond the video" in refused(CONFIG, ranges=[{"start": 1, "end": 5}])


# The output


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("none/out.mp4", "output: no such folder"),
        ("job.yaml/out.mp4", "output: no such folder"),
        ("/proc/out.mp4", "output: nothing can be written to the folder /proc"),
        ("out.txt", "output: the ending '.txt' of out.txt is unknown"),
        ("out", "output: out has no ending"),
    ],
)
def test_an_output_that_cannot_be_written(refused, output, expected):
    assert expected in refused(CONFIG, output=output)


def test_an_output_that_is_a_folder(refused, tmp_path):
    (tmp_path / "out.mp4").mkdir()
    assert "out.mp4 is a folder" in refused(CONFIG)


def test_an_output_that_exists(refused, tmp_path):
    (tmp_path / "out.mp4").write_text("precious")
    assert "--force" in refused(CONFIG)
    assert (tmp_path / "out.mp4").read_text() == "precious"


def test_an_extracted_file_that_exists(refused, tmp_path):
    (tmp_path / "out.a.mp4").write_text("precious")
    said = refused(CONFIG, mode="extract", ranges=[{"start": 0, "end": 1, "name": "a"}])
    assert "out.a.mp4 exists" in said


@pytest.mark.parametrize("link", [os.link, os.symlink])
@pytest.mark.parametrize(("key", "name"), [("video", "talk.mp4"), ("audio", "dub.wav")])
def test_an_output_that_is_an_input_even_with_force(refused, stock, tmp_path, link, key, name):
    own = shutil.copy(stock / name, tmp_path / name)
    link(own, tmp_path / "out.mp4")
    said = refused(CONFIG, "--force", **{key: own})
    assert f"is the same file as input.{key}" in said
    assert (tmp_path / "out.mp4").read_bytes() == (stock / name).read_bytes()


def test_a_container_that_cannot_hold_the_sound(refused):
    said = refused(CONFIG, audio="dub.wav", stitcher={"audio": {"codec": "opus"}}, output="out.avi")
    assert "stitcher.audio.codec" in said


# The job file


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"rendrer": {"batch_size": 3}}, "rendrer: unknown key"),
        ({"renderer": {"batchsize": 3}}, "renderer.batchsize (now 3): unknown key"),
        ({"mode": "extract"}, "mode extract needs ranges"),
        ({"ranges": [{"start": "1:75", "end": 99}]}, "ranges.0.start (now '1:75')"),
    ],
)
def test_a_job_that_asks_for_what_is_not_allowed(refused, keys, expected):
    assert expected in refused(CONFIG, **keys)


def test_a_bad_override(refused):
    assert "renderer.batch_size (now 0)" in refused(CONFIG, "--set", "renderer.batch_size=0")


def test_a_job_file_that_is_not_there(tmp_path):
    _, err = run_job(tmp_path / "job.yaml", expected=CONFIG)
    assert err == f"Error: {tmp_path}/job.yaml: cannot be read (No such file or directory)." + (
        " Check the path of the job file.\n"
    )


# Weights, workspace


@pytest.mark.parametrize("name", ["nowhere.pth", "wav2lip_gann"])
def test_weights_that_are_not_there(refused, name):
    assert name in refused(CHECKPOINT, renderer={"checkpoint": name})


def test_a_workspace_that_is_in_use(stock, tmp_path):
    job = write_job(tmp_path, input={"video": stock / "talk.mp4"}, output="out.mp4", segmenter=CASCADE)
    with Workspace(tmp_path / "out.mp4.lipstitch"):
        out, err = run_job(job, expected=WORKSPACE)
    assert err == (
        f"Error: {tmp_path}/out.mp4.lipstitch: process {os.getpid()} is working here."
        " Wait for it, or choose another execution.workspace.\n"
    )
    assert out == ""


# The comparison video


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("out.mp4", "--compare: {tmp}/out.mp4 is what the job itself writes"),
        ("none/compared.mp4", "--compare: no such folder: {tmp}/none"),
        ("compared.webm", "--compare: the ending '.webm' of compared.webm is unknown. Use one of .mkv .mov .mp4"),
        ("old.mp4", "--compare: {tmp}/old.mp4 exists. Use --force"),
    ],
)
def test_a_comparison_video_that_cannot_be_written_is_refused_before_the_work(refused, tmp_path, name, expected):
    (tmp_path / "old.mp4").touch()
    assert expected.format(tmp=tmp_path) in refused(CONFIG, "--compare", str(tmp_path / name))


def test_a_comparison_video_never_replaces_an_input(refused, stock):
    size = (stock / "talk.mp4").stat().st_size
    assert "same file as input.video" in refused(CONFIG, "--force", "--compare", str(stock / "talk.mp4"))
    assert (stock / "talk.mp4").stat().st_size == size


# Jobs that work


def _json_lines(out):
    events = [json.loads(line) for line in out.splitlines()]
    assert all(isinstance(event["event"], str) for event in events)
    return events


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Return (folder, stdout, stderr) of a job on a short demonstration, with a comparison video and JSON lines."""
    folder = tmp_path_factory.mktemp("done")
    material = make_material(folder, seconds_scale=0.04, size_px=(640, 360))
    job = write_job(
        folder,
        input={"video": material.video, "audio": DUB_FILE, "length_policy": "cut"},
        output="out.mp4",
        segmenter=CASCADE,
        execution={"backend": "serial"},
    )
    return folder, *run_job(job, "--progress", "json", "--compare", folder / "compared.mp4")


def test_machines_get_json_lines_and_nothing_else(done):
    folder, out, err = done
    events = _json_lines(out)
    begun = [event["stage"] for event in events if event["event"] == "begin"]
    assert [stage for stage in begun if stage in ("scan", "render", "assemble", "comparison")] == [
        "scan",
        "render",
        "assemble",
        "comparison",
    ]
    assert begun == [event["stage"] for event in events if event["event"] == "end"]
    for event in events:
        if event["event"] == "advance":
            assert 0 <= event["done"] <= event["total"]
    assert any(str(folder / "out.mp4") in event.get("text", "") for event in events)
    assert err == ""


def test_the_comparison_video_shows_what_was_rendered(done):
    folder, _, _ = done
    report = load_report(folder / "out.mp4")
    assert report["num_rendered_frames"] > 20
    assert (folder / "compared.mp4").stat().st_size > 10_000
    assert not [name for name in _listing(folder) if name.endswith(".part")]


def test_quiet_says_nothing_where_all_is_well(done):
    folder, _, _ = done
    assert run_job(folder / "job.yaml", "--quiet", "--plan") == ("", "")


def test_a_plan_is_shown_beside_an_existing_output_and_changes_nothing(done):
    folder, _, _ = done
    before = (folder / "out.mp4").stat().st_mtime_ns
    out, err = run_job(folder / "job.yaml", "--plan")
    assert f"Plan for {folder}/out.mp4" in out
    assert re.search(r"frames +72 \(2\.880 s\)", out)
    note = "box instead of similarity: the detector finds no eyes by which faces could be turned upright"
    assert f"  align    {note}" in out
    assert load_report(folder / "out.mp4")["align"] == note
    assert err == ""
    assert (folder / "out.mp4").stat().st_mtime_ns == before


def test_a_video_without_a_face_is_complete_and_has_no_comparison_video(stock, tmp_path):
    job = write_job(
        tmp_path, input={"video": stock / "talk.mp4", "audio": stock / "dub.wav"}, output="out.mp4", segmenter=CASCADE
    )
    out, err = run_job(job, "--compare", tmp_path / "compared.mp4")
    assert stamps(tmp_path / "out.mp4") == list(range(50))
    assert not (tmp_path / "compared.mp4").exists()
    assert "out.mp4: clips 1 copied" in out
    assert err == ""


def test_debug_shows_where_an_error_came_from_and_keeps_the_exit_code(stock, tmp_path):
    job = write_job(tmp_path, input={"video": stock / "text.mp4"}, output="out.mp4")
    process = start_job(job, "--debug")
    _, err = process.communicate(timeout=60)
    assert process.returncode == MEDIA
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("Error: ")


def test_an_interrupted_job_says_how_to_go_on_and_leaves_no_output(done):
    folder, _, _ = done
    job = write_job(
        folder,
        input={"video": folder / "talk.mp4", "audio": DUB_FILE, "length_policy": "cut"},
        output="stopped.mp4",
        segmenter=CASCADE,
        execution={"backend": "processes", "workers": 1},
    )
    process = start_job(job, "--progress", "json")
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "begin" and event["stage"] == "render":
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (
        err
        == f"Error: stopped. Finished clips are kept; to continue, run: python main.py --config {job} --progress json\n"
    )
    assert not (folder / "stopped.mp4").exists()
    assert not (folder / "stopped.mp4.part").exists()
