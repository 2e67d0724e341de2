"""Lists of jobs: tables and folders, and what is said of those that are faulty."""

import json

import pytest

from lipstitch.intake.job_list import load_jobs
from lipstitch.job_file.config import JobConfig
from media.base.errors import ConfigError


@pytest.fixture
def table(tmp_path):
    """Return a function that reads a table with a text."""

    def load(text, *overrides):
        (tmp_path / "list.csv").write_text(text)
        return load_jobs(tmp_path / "list.csv", overrides)

    return load


def faults(jobs):
    return {listed.where: str(listed.job) for listed in jobs if isinstance(listed.job, ConfigError)}


def test_rows_are_jobs_and_columns_are_keys(table, tmp_path):
    text = """video,audio,output,renderer.method,renderer.pads,ranges
talk.mp4,talk.hi.wav,talk.hi.mp4,,,
show.mp4,,out/show.mp4,network,"[0, 20, 0, 0]","[{start: 1, end: '0:03'}]"
"""
    first, second = table(text)
    assert (first.where, second.where) == ("line 2", "line 3")
    assert first.job.input.video == tmp_path / "talk.mp4"
    assert first.job.input.audio == tmp_path / "talk.hi.wav"
    assert first.job.renderer == JobConfig(input={"video": "a"}, output="b").renderer
    assert second.job.output == tmp_path / "out" / "show.mp4"
    assert second.job.input.audio is None
    assert (second.job.renderer.method, second.job.renderer.pads) == ("network", (0, 20, 0, 0))
    assert (second.job.ranges[0].start, second.job.ranges[0].end) == (1, 3)


def test_settings_hold_for_all_jobs_and_go_before_cells(table):
    jobs = table("video,output,renderer.strength\na.mp4,b.mp4,0.5\nc.mp4,d.mp4,\n", "renderer.strength=1.5")
    assert [listed.job.renderer.strength for listed in jobs] == [1.5, 1.5]


def test_a_spreadsheet_may_use_semicolons_and_names_of_files_are_not_yaml(table, tmp_path):
    (listed,) = table('sep=;\ninput.video;output\n"{a: b}.mp4";[x] 1,5.mp4\n')
    assert listed.where == "line 3"
    assert listed.job.input.video == tmp_path / "{a: b}.mp4"
    assert listed.job.output == tmp_path / "[x] 1,5.mp4"


def test_a_faulty_row_is_one_sentence_and_leaves_the_others(table):
    jobs = table(
        "video,output,renderer.method\na.mp4,b.mp4,magic\n,c.mp4,\ne.mp4,f.mp4,network\ng.mp4,h.mp4,'\ni.mp4,f.mp4,\n"
    )
    assert [isinstance(listed.job, JobConfig) for listed in jobs] == [False, False, True, False, False]
    said = faults(jobs)
    assert "renderer.method (now 'magic')" in said["line 2"]
    assert "input" in said["line 3"]
    assert said["line 5"].startswith("renderer.method: line 1")
    assert said["line 6"].endswith("f.mp4 is what line 4 writes. Choose another name.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("video,output,colour\na.mp4,b.mp4,red\n", "line 1: 'colour' is neither video, audio, output nor a key"),
        ("video,output,renderer.metod\n", "'renderer.metod' is neither"),
        ("video,audio\na.mp4,b.wav\n", "line 1: the column output is missing"),
        ("video,input.video,output\n", "line 1: input.video is named twice"),
        ("video,output\na.mp4,b.mp4,c\n", "line 2: there are 3 cells here, and 2 columns"),
        ("video,output\n", "no row stands below the names"),
        ("", "no row stands below the names"),
        ('video,output\n"a.mp4,b.mp4\n', "line 2: this is not CSV"),
    ],
)
def test_a_table_that_is_none(table, text, expected):
    with pytest.raises(ConfigError) as caught:
        table(text)
    assert str(caught.value).startswith("--jobs: ")
    assert expected in str(caught.value)


def test_a_folder_holds_job_files_and_what_else_lies_there_is_left(tmp_path):
    (tmp_path / "b.yaml").write_text("input: {video: b.mp4}\noutput: b.out.mp4\n")
    (tmp_path / "a.json").write_text(json.dumps({"input": {"video": "a.mp4"}, "output": "a.out.mp4"}))
    (tmp_path / "c.yml").write_text("input: {video: c.mp4}\n")
    (tmp_path / "a.out.mp4.report.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("not a job")
    (tmp_path / "a.out.mp4.lipstitch").mkdir()
    jobs = load_jobs(tmp_path)
    assert [listed.where for listed in jobs] == ["a.json", "b.yaml", "c.yml"]
    assert jobs[1].job.input.video == tmp_path / "b.mp4"
    assert "output: this key is needed" in faults(jobs)["c.yml"]


def test_a_folder_without_jobs_and_a_list_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="holds no job file"):
        load_jobs(tmp_path)
    with pytest.raises(ConfigError, match=r"nowhere\.csv cannot be read"):
        load_jobs(tmp_path / "nowhere.csv")


def test_a_job_is_the_same_from_wherever_the_list_is_named(table, tmp_path, monkeypatch):
    (named,) = table("video,output\na.mp4,b.mp4\n")
    monkeypatch.chdir(tmp_path)
    (beside,) = load_jobs((tmp_path / "list.csv").relative_to(tmp_path))
    assert beside == named
