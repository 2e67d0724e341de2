"""A two-person interview with real faces and voices, from the video to the output: no turns given."""

import json

import pytest
import yaml

from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.report.contact_sheet import list_people
from lipstitch.side_files import SideFiles
from media.base.errors import CheckpointNotFound, ConfigError
from tests.support.crowd import watching_changes
from tests.support.doubles import Listening
from tests.support.interview import SIDE, Turn, make_interview
from tests.support.light import light_network, light_weights

LEFT, RIGHT = "head_04_512", "head_13_512"
TURNS = (Turn(LEFT, 60), Turn(RIGHT, 50), Turn("head_05_512", 50), Turn(LEFT, 40))
"""The third one speaks off screen."""


@pytest.fixture(scope="module", autouse=True)
def _light():
    with light_network():
        yield


@pytest.fixture(scope="module")
def interview(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("interview")
    return make_interview(folder / "talk.mp4", shared / "clips", (LEFT, RIGHT), TURNS)


@pytest.fixture
def write(shared, interview):
    """Return a function that writes the job of the interview."""
    folder = interview.path.parent

    def write_sections(**sections):
        weights = shared / "checkpoints"
        segmenter = {
            "detector_checkpoint": str(weights / "retinaface_mobilenet0.25.pth"),
            "embedder": str(weights / "mobilefacenet.onnx"),
            "speaking": str(weights / "light_asd" / "pretrain_AVA_CVPR.model"),
        }
        content = {
            "input": {"video": str(interview.path), **sections.pop("input", {})},
            "output": str(folder / "out.mp4"),
            "segmenter": segmenter | sections.pop("segmenter", {}),
            "renderer": {"method": "network", "checkpoint": str(light_weights(folder)), "silence": "render"},
            "execution": {"backend": "serial", "keep": "scan", "workspace": str(folder / "workspace")},
        }
        (folder / "job.yaml").write_text(yaml.safe_dump({**content, **sections}))
        return load_job(folder / "job.yaml")

    return write_sections


def test_each_face_is_rendered_while_it_speaks_and_never_while_it_listens(interview, write):
    halves = {LEFT: (0, SIDE), RIGHT: (SIDE, 2 * SIDE)}
    with watching_changes(interview.path, parts=halves) as found:
        assert run_job(write(input={"speakers": "auto"}), Silent(), force=True).exit_code == 0
        changed = {who: {frame for frame, part in found if part == who} for who in halves}
    for who, other in ((LEFT, RIGHT), (RIGHT, LEFT)):
        assert len(interview.spoken(who) & changed[who]) >= 0.95 * len(interview.spoken(who))
        assert not changed[who] & interview.spoken(other)
    off_screen = {number for number, who in enumerate(interview.heard) if who == "head_05_512"}
    assert not off_screen & (changed[LEFT] | changed[RIGHT])


def test_turns_are_proposed_and_what_the_user_corrects_counts(interview, write):
    folder = interview.path.parent
    turns = folder / "turns.csv"
    job = write(input={"speakers": "auto"})
    assert run_job(job, Silent(), plan_only=True, force=True, beside=SideFiles(turns=turns)).exit_code == 0
    rows = [line.split(",") for line in turns.read_text().splitlines()]
    assert rows[0] == ["start", "stop", "speaker"]
    assert [name for *_, name in rows[1:]] in (
        ["person 1", "person 2", "person 1"],
        ["person 2", "person 1", "person 2"],
    )
    expected = [(0, 2.4), (2.8, 4.8), (7.6, 9.2)]
    for (start, stop, _), (begin, end) in zip(rows[1:], expected, strict=True):
        assert abs(float(start) - begin) < 0.3
        assert abs(float(stop) - end) < 0.3
    proposed = spans_of(job)
    given = write(input={"speakers": {"turns": str(turns)}})
    assert spans_of(given) == proposed
    turns.write_text("start,stop,speaker\n0.4,2,person 1\n")
    corrected = spans_of(given)
    assert "10 - 49       face     person 1" in corrected
    assert "person 2  " not in corrected


def test_of_a_range_only_its_own_frames_are_judged(write):
    text = spans_of(write(segmenter={"target": "speaker"}, ranges=[{"start": 2.6, "end": 5.6}]))
    rows = [line.split() for line in text.splitlines()[1:]]
    assert (rows[0][0], rows[-1][2]) == ("65", "139")
    (face,) = (row for row in rows if row[3] == "face")
    assert abs(int(face[0]) - 70) < 8
    assert abs(int(face[2]) - 119) < 8


def test_another_dub_finds_what_was_judged(write, shared, monkeypatch):
    job = write(segmenter={"target": "speaker"})
    judged = spans_of(job)

    def judge_again(*arguments):
        raise AssertionError("the faces were judged again")

    monkeypatch.setattr("lipstitch.source.judge._judge_in_parts", judge_again)
    dub = {"audio": str(shared / "clips" / "dub_a.wav"), "length_policy": "cut"}
    assert spans_of(write(input=dub, segmenter={"target": "speaker"})) == judged


def spans_of(job):
    """Return the spans of a job's plan as text."""
    reporter = Listening()
    run_job(job, reporter, plan_only=True, force=True)
    text = next(text for text in reporter.said if "  spans (" in text)
    return text[text.index("  spans (") : text.index("  clips (")]


def test_target_speaker_says_who_speaks_and_why_others_are_left(write):
    reporter = Listening()
    run_job(write(segmenter={"target": "speaker"}), reporter, plan_only=True, force=True)
    text = next(text for text in reporter.said if "  spans (" in text)
    assert "target   speaker: who speaks at the time: person 1 " in text
    assert "does not speak" in text


def test_the_contact_sheet_tells_seconds_spoken(interview, write):
    out = interview.path.parent / "people.html"
    assert list_people(write(), out, Silent(), force=True) == 0
    people = json.loads(out.with_suffix(".json").read_text())["people"]
    assert sorted(round(person["spoken"]) for person in people) == [2, 4]


def test_what_is_missing_is_said_before_any_work(write, shared, interview, tmp_path):
    with pytest.raises(CheckpointNotFound, match=r"none\.model"):
        run_job(
            write(segmenter={"target": "speaker", "speaking": str(tmp_path / "none.model")}), Silent(), plan_only=True
        )
    silent = {"video": str(shared / "clips" / "speaker_c_576x768_noaudio.mp4")}
    silent["audio"] = str(shared / "clips" / "dub_c.wav")
    with pytest.raises(ConfigError, match=r"speaker needs the video's own sound, and .* has none"):
        run_job(write(input=silent, segmenter={"target": "speaker"}), Silent(), plan_only=True)
    with pytest.raises(ConfigError, match="turns auto names people by their numbers"):
        write(input={"speakers": {"turns": "auto", "cast": {"anna": {"person": 1}}}})
    with pytest.raises(ConfigError, match="--turns writes who is found to speak"):
        run_job(write(), Silent(), plan_only=True, beside=SideFiles(turns=tmp_path / "turns.csv"))
