"""Jobs without a job file: what `sync`, --save-job and `init` make of names of files."""

import re
import shlex
from pathlib import Path

import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from demo.make_material import DUB_FILE
from lipstitch.cli import app
from lipstitch.commands import exits
from lipstitch.commands.job_files import FilesOfJob, build_job_of
from lipstitch.job_file.config import JobConfig, load_job
from media.base.settings import check_settings, override_settings
from tests.support.commands import run_command
from tests.support.jobs import NoSignals, load_report
from tests.support.quick_jobs import make_talk
from tests.support.web import serve

QUICK = ["segmenter.detector=cascade", "segmenter.embedder=none", "renderer.method=network", "renderer.device=cpu"]
SETTINGS = [word for setting in QUICK for word in ("--set", setting)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Be in a folder with a video and its dub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exits, "StopSignals", NoSignals)
    make_talk(tmp_path / "talk.mp4")
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(tmp_path / "talk.hi.wav", dub[: 4 * rate], rate)
    return tmp_path


def invoke(line):
    return CliRunner().invoke(app, shlex.split(line))


def test_two_files_and_an_output_are_a_job(folder):
    done = run_command("talk.mp4", "talk.hi.wav", "-o", "talk.hi.mp4", "--range", "0:01-0:02.5", *SETTINGS, quick=True)
    assert (done.returncode, done.stderr) == (0, "")
    rendered = [part for clip in load_report(folder / "talk.hi.mp4")["clips"] for part in clip["rendered"]]
    assert rendered
    assert all(25 <= start < stop <= 63 for start, stop in rendered)


def test_the_saved_job_is_the_same_job_from_wherever_it_lies(folder):
    (folder / "jobs").mkdir()
    line = "talk.mp4 talk.hi.wav -o out/talk.mp4 --range 1-2 --set renderer.batch_size=8 --save-job"
    (folder / "out").mkdir()
    for place in ("job.yaml", "jobs/job.yaml"):
        result = invoke(f"{line} {place} --plan {shlex.join(SETTINGS)}")
        assert result.exit_code == 0, result.output
    assert yaml.safe_load((folder / "job.yaml").read_text())["input"] == {"video": "talk.mp4", "audio": "talk.hi.wav"}
    near, far = (load_job(folder / place) for place in ("job.yaml", "jobs/job.yaml"))
    assert near == far
    assert (near.output, near.renderer.batch_size, len(near.ranges)) == (folder / "out" / "talk.mp4", 8, 1)


@pytest.mark.parametrize(
    "setting",
    [
        "segmenter.spans=my spans.csv",
        "segmenter.target={reference: ana.jpg}",
        "renderer.checkpoint=./weights.bin",
        "ranges=cut.otio",
        "ranges_from={file: cut.otio, marker: sync}",
        "input.footage=[more.mp4, ../other.mp4]",
        "input.speakers={turns: turns.csv, cast: {ana: {stem: ana.wav}, ben: {}}}",
        "input.audio=null",
        "renderer.checkpoint=wav2lip_gan",
    ],
)
def test_files_that_settings_name_are_found_from_there_as_well(folder, setting):
    jobs = [folder / "here.yaml", folder / "jobs" / "there.yaml"]
    jobs[1].parent.mkdir()
    files = FilesOfJob("talk.mp4", "talk.hi.wav", Path("out.mp4"))
    content = files.content()
    override_settings(content, [setting])
    for job in jobs:
        build_job_of(files, [setting], job, force=False)
        assert load_job(job) == check_settings(JobConfig, content, folder=folder)


def test_an_address_is_as_good_as_a_file(folder):
    (folder / "jobs").mkdir()
    with serve() as site:
        site.add("/v/talk", (folder / "talk.mp4").read_bytes(), "video/mp4")
        address = f"{site.address}/v/talk"
        keys = shlex.join(SETTINGS)
        result = invoke(f"{address} talk.hi.wav -o out.mp4 --plan --save-job jobs/job.yaml {keys}")
        assert result.exit_code == 0, result.output
        assert [path for path, _ in site.asked] == ["/v/talk"]
    assert str(load_job(folder / "jobs" / "job.yaml").input.video) == address


@pytest.mark.parametrize(
    ("line", "code", "expected"),
    [
        ("talk.mp4 talk.hi.wav -o out.mp4 --range 5", 2, "--range 5: write it as start-end"),
        ("talk.mp4 talk.hi.wav -o out.mp4 --range 2-1", 2, "must lie after start"),
        ("talk.mp4 talk.hi.wav -o out.mp4 --set renderer.metod=x", 2, "renderer.metod"),
        ("talk.mp4 nothing.wav -o out.mp4", 3, "nothing.wav: no such file"),
        ("nothing.mp4 talk.hi.wav -o out.mp4", 3, "nothing.mp4: no such file"),
        ("talk.mp4 talk.hi.wav -o talk.mp4 --force", 2, "talk.mp4"),
        ("talk.mp4 talk.hi.wav -o out.mp4 --save-job talk.mp4", 2, "talk.mp4 exists already"),
        ("talk.mp4 talk.hi.wav -o out.mp4 --save-job nowhere/job.yaml", 2, "its folder does not exist"),
        ("init talk.hi.wav.txt", 3, "no such file"),
        ("init talk.mp4 --out nowhere/job.yaml", 2, "its folder does not exist"),
    ],
)
def test_wrong_names_are_refused_in_one_sentence(folder, line, code, expected):
    before = sorted(folder.rglob("*"))
    result = invoke(line)
    assert result.exit_code == code, result.output
    assert re.fullmatch(r"Error: [^\n]+\.\n", result.stderr), result.stderr
    assert expected in result.stderr
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("talk.mp4 talk.hi.wav", "Missing option '-o'"),
        ("--plan talk.mp4 talk.hi.wav -o out.mp4", "Put --plan after the files"),
        ("--set a=b talk.mp4", "Put --set after the files"),
        ("peple --out x.html", "No such command 'peple'"),
    ],
)
def test_a_line_that_cannot_be_meant_points_to_help(folder, line, expected):
    result = invoke(line)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_init_writes_a_commented_job_that_loads(folder):
    assert invoke("init talk.mp4 talk.hi.wav").stdout == "Job file: talk.yaml\n"
    job = load_job(folder / "talk.yaml")
    assert (job.input.video, job.input.audio) == (folder / "talk.mp4", folder / "talk.hi.wav")
    assert job.output == folder / "talk.hi.mp4"
    text = (folder / "talk.yaml").read_text()
    assert "lipstitch --config talk.yaml" in text
    assert "# method: auto" in text or "method: auto" in text
    assert invoke("init talk.mp4 talk.hi.wav").exit_code == 2
    assert invoke("init talk.mp4 talk.hi.wav --force").exit_code == 0


def test_init_of_odd_names_and_without_a_dub(folder):
    odd = folder / "it's: a #1 talk.mp4"
    (folder / "talk.mp4").rename(odd)
    assert invoke(f"init {shlex.quote(odd.name)} --out job.yaml").exit_code == 0
    job = load_job(folder / "job.yaml")
    assert (job.input.video, job.input.audio) == (odd, None)
    assert job.output == folder / "it's: a #1 talk.synced.mp4"


def test_the_version_is_printed():
    assert re.fullmatch(r"lipstitch \d+\.\d+\.\d+\n", invoke("--version").stdout)
