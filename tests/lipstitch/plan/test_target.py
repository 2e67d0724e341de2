"""Whose lips move, from the job file to plan and report: whole jobs with a canned scan of two people."""

import csv
import json
import os
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import main
from demo.make_material import DUB_FILE
from lipstitch.job_file.config import load_job
from lipstitch.report.contact_sheet import list_people
from media.base.errors import CheckpointNotFound, ConfigError, UnsupportedCheckpoint
from tests.support import two_people
from tests.support.doubles import Listening
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import make_talk, quick_commands, run_quick
from tests.support.two_people import TOOLS, OtherPhotos


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Return a folder with the inputs of all jobs and a workspace that holds their scan."""
    folder = tmp_path_factory.mktemp("target")
    make_talk(folder / "talk.mp4")
    dub, rate = soundfile.read(DUB_FILE)
    start, stop = int(1.2 * rate), int(3.2 * rate)
    speech = np.concatenate([0 * dub[:start], dub[: stop - start], 0 * dub[: 4 * rate - stop]])
    soundfile.write(folder / "dub.wav", speech, rate)
    for name in ("faces.pth", "who.onnx", "weights.bin"):
        (folder / name).write_bytes(b"weights")
    (folder / "broken.onnx").write_bytes(b"broken")
    for name, shade in (("a.png", 60), ("b.png", 200), ("black.png", 0)):
        cv2.imwrite(str(folder / name), np.full((108, 192, 3), shade, np.uint8))
    return folder


@pytest.fixture(scope="module", autouse=True)
def _scan_is_there(stock):
    assert run_quick(load_job(write_job(stock, **content_of({}))), tools=TOOLS, plan_only=True).scanned


def content_of(segmenter, workspace="work"):
    return {
        "input": {"video": "talk.mp4", "audio": "dub.wav"},
        "output": "out.mp4",
        "segmenter": {
            "detector": "retinaface",
            "detector_checkpoint": "faces.pth",
            "embedder": "who.onnx",
            "max_clip_seconds": 0.8,
            **segmenter,
        },
        "renderer": {"checkpoint": "weights.bin", "device": "cpu"},
        "execution": {"backend": "serial", "keep": "all", "workspace": workspace},
    }


@pytest.fixture
def work(stock):
    """Return a function that runs a job and returns what it redid, its report, and what it said.

    table: where a plan writes the span file.
    """

    def run(*, plan=False, table=None, force=True, workspace="work", tools=TOOLS, **segmenter):
        content = content_of(segmenter, workspace)
        said = Listening()
        job = load_job(write_job(stock, **content))
        redone = run_quick(job, said, tools=tools, plan_only=plan, force=force, spans=table)
        return redone, None if plan else load_report(stock / "out.mp4"), said

    return run


def faces_of(report):
    return [(s["start_frame"], s["stop_frame"], s["person"]) for s in report["spans"] if s["kind"] == "face"]


def rendered(report):
    return [tuple(span) for span in report["check"]["spans"]]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("main", [(30, 60, 2), (60, 80, 2)]),  # the dub speaks while B is there
        (1, [(0, 30, 1), (30, 60, 1), (80, 100, 1)]),
        (2, [(30, 60, 2), (60, 80, 2)]),
        ({"reference": "a.png"}, [(0, 30, 1), (30, 60, 1), (80, 100, 1)]),
        ({"reference": "b.png"}, [(30, 60, 2), (60, 80, 2)]),
        ({"at": "00:01.4", "point": [150, 50]}, [(30, 60, 2), (60, 80, 2)]),
        ("all", [(0, 30, 1), (30, 60, 1), (30, 60, 2), (60, 80, 2), (80, 100, 1)]),
    ],
    ids=str,
)
def test_the_target_decides_and_the_scan_stays(work, target, expected):
    redone, report, _ = work(target=target)
    assert redone.scanned is False
    assert faces_of(report) == expected


def test_changing_the_target_redoes_what_it_changes(work):
    assert work(target=1, workspace="fresh")[0].scanned
    redone, report, _ = work(target="all", workspace="fresh")
    assert (redone.scanned, redone.driving, redone.sound) == (False, False, False)
    assert redone.clips
    assert report["num_rendered_frames"] == 100


def test_the_number_of_a_person_plays_no_part(work, stock, monkeypatch):
    """Where the other person is seen for longer, the numbers are exchanged: the frames stay, so the clips do."""
    _, before, _ = work(target=1)
    shutil.copytree(stock / "work", stock / "exchanged")
    for path in (stock / "exchanged").glob("scan-*"):
        path.unlink()
    monkeypatch.setitem(two_people.SEEN, "B", [(0, 100)])
    redone, after, _ = work(target=2, workspace="exchanged")
    assert redone.scanned
    assert redone.clips == set()
    assert faces_of(after) == [(start, stop, 2) for start, stop, _ in faces_of(before)]


def test_the_report_says_who_was_meant(work):
    _, report, _ = work(target={"reference": "b.png"})
    assert report["target"] == {
        "target": "like b.png",
        "chosen": "like b.png: person 2 of 2",
        "people": [2],
        "num_people": 2,
        "note": "",
    }
    reasons = {(s["start_frame"], s["stop_frame"]): s["reason"] for s in report["spans"] if s["kind"] != "face"}
    assert reasons == {(0, 30): "no face like the reference", (80, 100): "no face like the reference"}


def test_the_plan_says_who_is_meant(work):
    _, _, said = work(plan=True, target=2)
    assert "  target   person 2: person 2 of 2" in said.lines
    assert "  align    similarity" in said.lines
    assert any(line.split()[:7] == ["30", "-", "59", "face", "person", "2", "network:"] for line in said.lines)
    assert any(line.endswith("no_face  another person") for line in said.lines)


def test_without_an_embedder_the_place_decides_and_it_is_said(work):
    _, report, said = work(embedder="none")
    assert all(person is None for _, _, person in faces_of(report))
    assert "not recognised" in report["target"]["note"]
    assert any("not recognised" in line for line in said.lines)
    assert said.warned == []
    assert [(a, b) for a, b, _ in faces_of(report)] == [(0, 30), (30, 60), (60, 80), (80, 100)]


@pytest.mark.parametrize(
    ("segmenter", "error", "expected"),
    [
        ({"target": 3}, ConfigError, "segmenter.target (now 3): there are 2 people in this video"),
        (
            {"target": {"at": 0.4, "point": [150, 50]}},
            ConfigError,
            "segmenter.target.at: no face was found at [150, 50]",
        ),
        ({"target": {"at": 99, "point": [150, 50]}}, ConfigError, "segmenter.target.at"),
        ({"target": {"reference": "gone.jpg"}}, ConfigError, "there is no photo"),
        ({"target": {"reference": "talk.mp4"}}, ConfigError, "is not a picture"),
        ({"target": {"reference": "black.png"}}, ConfigError, "no face was found in"),
        ({"embedder": "gone.onnx"}, CheckpointNotFound, "gone.onnx"),
        ({"embedder": "broken.onnx", "samples_per_second": 7}, UnsupportedCheckpoint, "not an ONNX network"),
        ({"target": 1, "embedder": "none"}, ConfigError, "segmenter: target names a person"),
        ({"target": 1, "detector": "cascade"}, ConfigError, "segmenter: target names a person"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(work, segmenter, error, expected):
    with pytest.raises(error) as caught:
        work(**segmenter)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_one_like_the_reference_renders_nothing(work):
    _, report, said = work(target={"reference": "a.png"}, tools=replace(TOOLS, load_embedder=OtherPhotos))
    assert rendered(report) == []
    assert any("no one in the video resembles" in warning for warning in said.warned)


def test_who_tells_people_apart_is_part_of_the_scan(work, stock):
    (stock / "other.onnx").write_bytes(b"other weights")
    assert work(plan=True, embedder="other.onnx")[0].scanned
    (stock / "other.onnx").rename(stock / "moved.onnx")
    assert not work(plan=True, embedder="moved.onnx")[0].scanned
    assert not work(plan=True)[0].scanned


# The span file


@pytest.mark.parametrize("target", ["all", {"reference": "b.png"}], ids=str)
def test_an_unchanged_span_file_changes_nothing(work, stock, target):
    _, report, _ = work(target=target)
    work(plan=True, target=target, table=stock / "same.csv")
    redone, again, _ = work(spans="same.csv")
    assert again["spans"] == report["spans"]
    assert (redone.scanned, redone.clips) == (False, set())
    assert again["target"]["chosen"] == "as the span file says"


def test_an_edited_span_file_does_exactly_what_it_says(work, stock):
    """A is rendered in part of a shot, B over a cut, both for a while; nothing else is."""
    (stock / "edited.csv").write_text(
        "start,stop,person,kind,reason\n0.4,0.8,1,face,\n0.8,1.2,,no_face,laughs\n1.6,2.8,2,face,\n2,2.2,1,face,\n"
    )
    _, report, _ = work(spans="edited.csv")
    assert [(s["start_frame"], s["stop_frame"], s["person"], s["reason"]) for s in report["spans"]] == [
        (0, 10, None, "not in the span file"),
        (10, 20, 1, ""),
        (20, 30, None, "laughs"),
        (30, 40, None, "not in the span file"),
        (40, 60, 2, ""),
        (50, 55, 1, ""),
        (60, 70, 2, ""),
        (70, 100, None, "not in the span file"),
    ]
    shown = {frame for start, stop in rendered(report) for frame in range(start, stop)}
    assert shown == {*range(10, 20), *range(40, 70)}


def test_an_edit_redoes_the_clips_that_it_touches(work, stock):
    work(plan=True, target=1, table=stock / "one.csv")
    work(spans="one.csv")
    (stock / "one.csv").write_text((stock / "one.csv").read_text().replace("3.2,4,1,face,", "3.4,4,1,face,"))
    redone, _, _ = work(spans="one.csv")
    assert redone.scanned is False
    assert redone.clips
    assert min(redone.clips)[0] >= 72


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1,2,3,face,", "line 2: person 3: there are 2 people, numbered from 1"),
        ("1,2,1,mouth,", "line 2: kind"),
        ("1,5,1,face,", "line 2: stop (now 5) lies beyond the end"),
    ],
)
def test_a_wrong_row_is_named_before_any_work(work, stock, line, expected):
    (stock / "wrong.csv").write_text(f"start,stop,person,kind,reason\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        work(spans="wrong.csv")
    assert expected in str(caught.value)


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_span_file_is_a_table(work, stock):
    work(plan=True, target=1, table=stock / "table.csv")
    assert rows(stock / "table.csv") == [
        ["start", "stop", "person", "kind", "method", "strength", "quality", "reason"],
        ["0", "1.2", "1", "face", "network", "", "", "no mouth in the footage is sharp, lit and sure enough"],
        ["1.2", "2.4", "1", "face", "network", "", "", "no mouth in the footage is sharp, lit and sure enough"],
        ["2.4", "3.2", "", "no_face", "", "", "", "another person"],
        ["3.2", "4", "1", "face", "network", "", "", "no mouth in the footage is sharp, lit and sure enough"],
    ]
    with pytest.raises(ConfigError, match=r"table\.csv exists. Use --force"):
        work(plan=True, force=False, target=1, table=stock / "table.csv")


# The contact sheet


def test_the_contact_sheet_shows_everyone(work, stock):
    job = load_job(write_job(stock, **content_of({})))
    said = Listening()
    assert list_people(job, stock / "faces.html", said, force=False, tools=TOOLS) == 0
    listed = json.loads((stock / "faces.json").read_text())["people"]
    assert [(p["person"], p["seconds"], p["first"], p["last"], p["num_shots"]) for p in listed] == [
        (1, 3.2, 0.0, 3.96, 3),
        (2, 2.0, 1.2, 3.16, 2),
    ]
    assert listed[1]["shots"] == [[1.2, 2.4], [2.4, 3.2]]
    assert listed[1]["best"]["point"] == [150, 54]
    page = (stock / "faces.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == 2
    assert "http" not in page
    assert "target: 2" in page
    with pytest.raises(ConfigError, match=r"faces\.html exists"):
        list_people(job, stock / "faces.html", said, force=False, tools=TOOLS)
    with pytest.raises(ConfigError, match=r"--out: the ending '\.txt'"):
        list_people(job, stock / "faces.txt", said, force=False)


@pytest.fixture
def sheet(stock, tmp_path):
    """Return a function that makes the contact sheet of a job from the command line and returns who is on it."""

    def make(expected=0, **sections):
        content = content_of({}, workspace=None)
        for key, value in sections.items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        job = write_job(tmp_path, **content)
        for path in ("talk.mp4", "faces.pth", "who.onnx"):
            if not (tmp_path / path).exists():
                (tmp_path / path).symlink_to(stock / path)
        arguments = ["people", "--config", job, "--out", tmp_path / "faces.html", "--force"]
        with quick_commands(TOOLS):
            result = CliRunner().invoke(main.app, [*map(str, arguments)])
        assert result.exit_code == expected, result.output
        if expected:
            assert result.stderr.count("\n") == 1
            return result.stderr
        assert result.stderr == ""
        found = json.loads((tmp_path / "faces.json").read_text())["people"]
        return [(person["person"], person["first"], person["last"]) for person in found]

    return make


EVERYONE = [(1, 0.0, 3.96), (2, 1.2, 3.16)]


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"input": {"audio": "nowhere.wav", "drive_audio": "nowhere.wav"}},
        {"input": {"audio": "long.wav"}},
        {"input": {"audio": "long.wav", "length_policy": "error"}},
        {"input": {"audio": "long.wav", "length_policy": "bounce"}},
        {"input": {"audio": None}},
        {"input": {"speakers": {"turns": "nowhere.rttm", "cast": {"anna": {"person": 7, "stem": "nowhere.wav"}}}}},
        {"segmenter": {"target": {"reference": "nowhere.png"}}},
        {"segmenter": {"target": 9, "spans": "nowhere.csv"}},
        {"renderer": {"checkpoint": "nowhere.pth"}},
        {"mode": "extract", "ranges": [{"start": 0, "end": 4, "audio": "nowhere.wav", "audio_start": 7}]},
        {"output": "nowhere/out.mp4"},
        {"output": "talk.mp4"},
        {"output": "out.avi", "stitcher": {"audio": {"codec": "opus"}}},
        {"output": None},
    ],
)
def test_the_contact_sheet_needs_the_video_alone(sheet, tmp_path, sections):
    soundfile.write(tmp_path / "long.wav", np.full(9 * 16_000, 0.5), 16_000)
    assert sheet(**sections) == EVERYONE
    assert not (tmp_path / "nowhere").exists()


def test_the_contact_sheet_of_a_video_without_sound(sheet, tmp_path):
    make_talk(tmp_path / "mute.mp4", has_sound=False)
    assert sheet(input={"video": "mute.mp4", "audio": None}) == EVERYONE


def test_the_contact_sheet_of_a_video_whose_name_is_not_utf_8(sheet, stock, tmp_path):
    name = os.fsdecode(b"latin-\xfc.mp4")
    (tmp_path / name).symlink_to(stock / "talk.mp4")
    assert sheet(input={"video": name}) == EVERYONE
    assert r"latin-\udcfc.mp4" in (tmp_path / "faces.html").read_text(encoding="utf-8")


def test_the_contact_sheet_of_ranges_shows_who_is_seen_in_them(sheet):
    ranges = [{"start": 2.4, "end": 3.2, "audio": "nowhere.wav"}]
    assert sheet(ranges=ranges) == [(1, 2.4, 3.16)]
    assert "ranges.0: 3 s to 9 s reaches beyond the video" in sheet(2, ranges=[{"start": 3, "end": 9}])


def test_a_job_finds_the_scan_of_its_contact_sheet(sheet, stock, tmp_path):
    sheet(input={"audio": "nowhere.wav"})
    (tmp_path / "dub.wav").symlink_to(stock / "dub.wav")
    (tmp_path / "weights.bin").symlink_to(stock / "weights.bin")
    job = load_job(write_job(tmp_path, **content_of({}, workspace=None)))
    assert list((tmp_path / "out.mp4.lipstitch").glob("scan-*"))
    assert not run_quick(job, tools=TOOLS, plan_only=True).scanned


def test_the_contact_sheet_needs_a_video(sheet):
    assert "nowhere.mp4: no such file" in sheet(3, input={"video": "nowhere.mp4"})
