"""Many jobs in one process: what fails, what is skipped, what is loaded, and what programs and people are told."""

import json
import os
import shlex
import signal
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import soundfile
import yaml

import renderer.engine
import renderer.networks.base
from demo.make_material import DUB_FILE, make_material
from lipstitch.batch import run_jobs
from lipstitch.execution.worker import PROCESS_CACHE
from lipstitch.intake.job_list import load_jobs
from lipstitch.job import run_job
from media.base.errors import Cancelled
from media.base.onnx_network import OnnxNetwork
from tests.support.commands import run_command, start_command
from tests.support.doubles import QUICK_TOOLS, Listening
from tests.support.jobs import load_report
from tests.support.light import light_network, light_weights
from tests.support.quick_jobs import make_talk
from tests.support.web import serve

CONFIG, MEDIA = 2, 3
KEYS = ["segmenter.detector=cascade", "segmenter.embedder=none", "renderer.checkpoint=weights.bin"]
KEYS += ["execution.backend=serial", "input.length_policy=cut"]
QUICK = [part for key in KEYS for part in ("--set", key)]


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Return a folder with a video, a dub, and a file in place of weights."""
    folder = tmp_path_factory.mktemp("stock")
    make_talk(folder / "talk.mp4")
    soundfile.write(folder / "dub.wav", 0.5 * np.sin(np.arange(4 * 16000) / 9), 16000)
    (folder / "weights.bin").write_bytes(b"weights")
    (folder / "text.mp4").write_text("this is not a video\n" * 100)
    return folder


@pytest.fixture
def here(stock, tmp_path, monkeypatch):
    """Return a folder with copies of what the jobs read."""
    for path in stock.iterdir():
        os.link(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_list(folder, *rows, columns="video,audio,output"):
    path = folder / "list.csv"
    path.write_text("\n".join([columns, *rows, ""]))
    return path


def run(path, *arguments):
    return run_command("--jobs", path, *QUICK, *arguments, timeout=120, quick=True)


def events_of(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_one_failed_job_stops_no_other_and_a_table_tells_what_came_of_each(here):
    path = write_list(
        here, "talk.mp4,dub.wav,a.mp4", "text.mp4,dub.wav,b.mp4", "talk.mp4,nowhere.wav,c.mp4", "talk.mp4,,[d].mp4"
    )
    done = run(path)
    assert done.returncode == MEDIA
    assert (here / "a.mp4").exists()
    assert (here / "[d].mp4").exists()
    assert not (here / "b.mp4").exists()
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert [line.split(": ")[1] for line in errors] == ["line 3", "line 4"]
    assert "text.mp4: cannot be read as a media file" in errors[0]
    assert "Traceback" not in done.stderr
    table = done.stdout[done.stdout.index("Jobs") :]
    assert table.count("finished before") == 0
    assert table.count("failed: ") == 2
    assert "[d].mp4" in table
    assert "Job 4 of 4, line 5: " in done.stdout


def test_a_second_run_skips_what_is_finished_and_tells_programs(here):
    path = write_list(here, "talk.mp4,dub.wav,a.mp4", "talk.mp4,,b.mp4")
    assert run(path, "--quiet").returncode == 0
    written = (here / "a.mp4").stat().st_mtime_ns
    (here / "b.mp4").unlink()
    done = run(path, "--progress", "json")
    assert done.returncode == 0, done.stderr
    events = events_of(done)
    begun = [event for event in events if event["event"] == "job"]
    assert [(event["number"], event["total"], event["job"]) for event in begun] == [(1, 2, "line 2"), (2, 2, "line 3")]
    ended = [event for event in events if event["event"] == "job_end"]
    assert [event["status"] for event in ended] == ["finished_before", "done"]
    assert ended[1]["output"] == str(here / "b.mp4")
    assert events[-1] == {"event": "jobs_end", "exit_code": 0, "done": 1, "fell_back": 0} | {
        "finished_before": 1,
        "failed": 0,
    }
    assert (here / "a.mp4").stat().st_mtime_ns == written
    again = events_of(run(path, "--force", "--progress", "json"))
    assert [event["status"] for event in again if event["event"] == "job_end"] == ["done", "done"]
    assert (here / "a.mp4").stat().st_mtime_ns > written


EDL = """TITLE: cut
FCM: NON-DROP FRAME

001  AX       V     C        00:00:00:10 00:00:01:00 00:00:00:00 00:00:00:15
* FROM CLIP NAME: talk.mp4
"""


@pytest.mark.parametrize("mode", ["patch", "extract"])
def test_a_job_whose_ranges_a_timeline_tells_is_skipped_until_that_changes(here, mode):
    pytest.importorskip("opentimelineio", reason="opentimelineio is an optional extra")
    (here / "cut.edl").write_text(EDL)
    job = {"input": {"video": "talk.mp4", "audio": "dub.wav"}, "output": "a.mp4", "mode": mode, "ranges": "cut.edl"}
    (here / "job.yaml").write_text(yaml.safe_dump(job))
    assert statuses(here) == ["done"]
    assert statuses(here) == ["finished_before"]
    (here / "cut.edl").write_text(EDL.replace("00:00:01:00", "00:00:01:05"))
    assert statuses(here, force=True) == ["done"]
    assert statuses(here) == ["finished_before"]


def test_a_job_whose_video_is_elsewhere_is_skipped_and_nothing_is_fetched_again(here):
    with serve() as site:
        address = site.add("/talk.mp4", (here / "talk.mp4").read_bytes(), "video/mp4")
        path = write_list(here, f"{address},dub.wav,a.mp4")
        assert statuses(path) == ["done"]
        asked = len(site.asked)
        assert statuses(path) == ["finished_before"]
        assert len(site.asked) == asked


class Outcomes(Listening):
    """Keeps what came of each job."""

    def __init__(self):
        super().__init__()
        self.statuses = []

    def end_job(self, outcome):
        self.statuses.append(outcome.status)


def statuses(path, **options):
    """Run jobs and return what came of each."""
    told = Outcomes()
    run_jobs(load_jobs(path, KEYS), told, tools=QUICK_TOOLS, **options)
    return told.statuses


@pytest.mark.parametrize("change", ["key", "input", "output", "report"])
def test_what_is_no_longer_the_same_is_not_skipped(here, change):
    path = write_list(here, "talk.mp4,dub.wav,a.mp4", columns="video,audio,output")
    assert run(path, "--quiet").returncode == 0
    arguments = []
    if change == "key":
        arguments = ["--set", "renderer.feather=0.2"]
    elif change == "input":
        os.utime(here / "dub.wav")
    elif change == "output":
        with (here / "a.mp4").open("ab") as file:
            file.write(b"more")
    else:
        (here / "a.mp4.report.json").unlink()
    done = run(path, *arguments)
    assert done.returncode == CONFIG
    assert "a.mp4 exists. Use --force" in done.stderr


def test_names_of_extracted_ranges_are_known_before_they_are_made(here):
    path = write_list(
        here,
        'talk.mp4,dub.wav,a.mp4,extract,"[{start: 0, end: 1}, {start: 2, end: 3, name: x}]"',
        columns="video,audio,output,mode,ranges",
    )
    assert run(path, "--quiet").returncode == 0
    assert {one.name for one in here.glob("a.*.mp4")} == {"a.x.mp4", "a.00.00.00.000-00.00.01.000.mp4"}
    assert "finished before" in run(path).stdout


def test_clips_that_fell_back_make_ten_and_an_error_goes_before_it(here):
    path = write_list(here, "talk.mp4,dub.wav,a.mp4", "text.mp4,,b.mp4", "talk.mp4,,c.mp4")
    told = Listening()
    jobs = load_jobs(path)

    def fall_back(job, *_, **__):
        run_job(job, told, plan_only=True)
        return SimpleNamespace(exit_code=10)

    with patch("lipstitch.batch.run_job", fall_back):
        assert run_jobs(jobs, told) == MEDIA
        assert run_jobs((jobs[0], jobs[2]), told) == 10


def test_a_reporter_that_calls_off_ends_all_jobs(here):
    path = write_list(here, "talk.mp4,dub.wav,a.mp4", "talk.mp4,,b.mp4")
    jobs, told = load_jobs(path, KEYS), Listening()
    with patch.object(told, "begin", side_effect=Cancelled("called off.")), pytest.raises(Cancelled):
        run_jobs(jobs, told, tools=QUICK_TOOLS)
    assert not [*here.glob("?.mp4")]


def test_a_plan_of_many_jobs_makes_nothing(here):
    path = write_list(here, "talk.mp4,dub.wav,a.mp4", "talk.mp4,,b.mp4")
    done = run(path, "--plan")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Plan for ") == 2
    assert not [*here.glob("?.mp4")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config", "x.yaml"], "--jobs takes no --config"),
        (["--compare", "x.mp4"], "--jobs takes no --config, --spans, --turns, --compare, --redo"),
        (["--redo", "3"], "--timeline or --preview"),
        (["--timeline", "x.otio"], "--timeline or --preview"),
        (["--preview", "5"], "--timeline or --preview"),
    ],
)
def test_options_of_a_single_job_are_refused(here, arguments, expected):
    done = run(write_list(here, "talk.mp4,,b.mp4"), *arguments)
    assert done.returncode == CONFIG
    assert expected in " ".join(done.stderr.split())


def test_ctrl_c_ends_all_jobs(here):
    path = write_list(here, *(f"talk.mp4,dub.wav,{number}.mp4" for number in range(40)))
    process = start_command("--jobs", path, *QUICK, "--progress", "json", quick=True)
    for line in process.stdout:
        if json.loads(line)["event"] == "job_end":
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    again = ["python", "main.py", *map(str, ["--jobs", path, *QUICK, "--progress", "json"])]
    assert err.splitlines()[-1] == f"Error: stopped. What is finished is kept; to continue, run: {shlex.join(again)}"
    assert len([*here.glob("?.mp4"), *here.glob("??.mp4")]) < 30
    assert not [*here.glob("*.part")]


def test_each_network_is_loaded_once_for_all_jobs(tmp_path, shared):
    material = make_material(tmp_path, seconds_scale=0.04, size_px=(640, 360))
    retinaface = shared / "checkpoints" / "retinaface_mobilenet0.25.pth"
    embedder = shared / "checkpoints" / "mobilefacenet.onnx"
    light_weights(tmp_path)
    columns = "video,audio,output,renderer.method,renderer.checkpoint"
    methods = {"a": "footage", "b": "network", "c": "network"}
    rows = [f"{material.video},{DUB_FILE},{name}.mp4,{methods[name]},light.safetensors" for name in methods]
    settings = [f"segmenter.detector_checkpoint={retinaface}", f"segmenter.embedder={embedder}"]
    settings += ["input.length_policy=cut", "execution.workers=2"]
    jobs = load_jobs(write_list(tmp_path, *rows, columns=columns), settings)
    loaded, made = [], []
    original_load, original_init = renderer.engine.load_network, OnnxNetwork.__init__

    def load(path, *options):
        loaded.append(path.name)
        return original_load(path, *options)

    def init(self, path, **options):
        made.append(path.name)
        original_init(self, path, **options)

    PROCESS_CACHE.__init__()
    with (
        light_network(),
        patch("renderer.engine.load_network", load),
        patch("lipstitch.tools.load_network", load),
        patch.object(OnnxNetwork, "__init__", init),
    ):
        assert run_jobs(jobs, Listening()) == 0
    assert all(load_report(tmp_path / f"{name}.mp4")["num_rendered_frames"] for name in methods)
    assert loaded == ["light.safetensors", "light.safetensors"]  # once to check it, once to draw with it
    assert sorted(made) == sorted(set(made))
