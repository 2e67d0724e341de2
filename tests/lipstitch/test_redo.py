"""--redo, and rows inside rows of a span file: the clips that are meant are made again, and no others.

Whole jobs with a canned scan, and mouths that only become darker.
"""

import csv
import json
import shutil
from dataclasses import replace

import pytest
import soundfile

from demo.make_material import DUB_FILE
from lipstitch.job_file.config import load_job
from lipstitch.redo import read_redo
from lipstitch.report.report import report_path
from media.base.errors import ConfigError
from tests.support.commands import run_command
from tests.support.doubles import QUICK_TOOLS, Listening
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import FIRST, SECOND, make_talk, run_quick

NOTHING = set()


class Job:
    """A job in a folder of its own."""

    def __init__(self, folder):
        self.folder, self.tools, self.reporter = folder, QUICK_TOOLS, Listening()
        self.output = folder / "out.mp4"
        self.content = {
            "input": {"video": "talk.mp4", "audio": "dub.wav", "length_policy": "cut"},
            "output": "out.mp4",
            "segmenter": {"detector": "cascade", "embedder": "none", "max_clip_seconds": 0.8},
            "renderer": {"checkpoint": "weights.bin", "device": "cpu", "method": "network", "frame_hashes": True},
            "execution": {"backend": "serial", "workspace": "work"},
        }

    def run(self, *, redo=None, **changes):
        """Run the job, with what changes of its sections; return the frames of the clips that were made."""
        content = {
            key: {**value, **changes.get(key, {})} if isinstance(value, dict) else changes.get(key, value)
            for key, value in {**changes, **self.content}.items()
        }
        config = load_job(write_job(self.folder, **content))
        run_quick(config, self.reporter, force=redo is None, tools=self.tools, redo=redo)
        made = [clip for clip in self.clips() if not clip["reused"]]
        return {(clip["start_frame"], clip["stop_frame"]) for clip in made if clip["outcome"] != "copied"}

    def redo(self, clips, *settings, **changes):
        wanted, others = read_redo(clips, settings)
        assert not others
        return self.run(redo=wanted, **changes)

    def clips(self):
        return load_report(self.output)["clips"]

    def number(self, frames):
        """Return the number of the clip that shows some frames."""
        return str(next(clip["index"] for clip in self.clips() if (clip["start_frame"], clip["stop_frame"]) == frames))

    def hashes(self):
        """Return the hash of each frame that was coded."""
        return {
            frame: value
            for clip in self.clips()
            for frame, value in enumerate(clip.get("frame_hashes", ()), clip["start_frame"])
        }

    def write_spans(self, *lines, name="spans.csv"):
        (self.folder / name).write_text("start,stop,kind,method,strength,quality\n" + "\n".join(lines) + "\n")
        return {"segmenter": {"spans": name}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("redo"))
    make_talk(job.folder / "talk.mp4")
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(job.folder / "dub.wav", dub[: 5 * rate], rate)
    (job.folder / "weights.bin").write_bytes(b"weights")
    assert job.run() == FIRST | SECOND
    return job.folder


@pytest.fixture
def job(finished, tmp_path, monkeypatch):
    """Return the finished job, in the folder where it was made: reports name whole paths."""
    shutil.copytree(finished, tmp_path / "kept")
    yield Job(finished)
    shutil.rmtree(finished)
    shutil.copytree(tmp_path / "kept", finished)


def test_one_clip_is_made_again_at_a_strength_of_its_own(job):
    """The default keeps finished clips; the mouths of this network hear nothing, so no frame changes."""
    before = job.hashes()
    assert job.redo(job.number((21, 35)), "renderer.strength=1.4") == {(21, 35)}
    assert job.hashes() == before
    told = [span for span in load_report(job.output)["spans"] if "strength" in span]
    assert [(span["start_frame"], span["stop_frame"], span["strength"]) for span in told] == [(21, 35, 1.4)]


def test_a_second_redo_builds_on_the_first_and_a_run_without_it_does_not(job):
    first = job.number((21, 35))
    job.redo(first, "renderer.strength=1.4")
    assert job.redo(job.number((60, 78)), "renderer.strength=0.5") == {(60, 78)}
    assert [each["strength"] for each in load_report(job.output)["redone"]] == [1.4, 0.5]
    assert job.redo(first, "renderer.quality=fast") == {(21, 35)}
    told = {span["start_frame"]: span for span in load_report(job.output)["spans"] if "strength" in span}
    assert (told[21]["strength"], told[21]["quality"]) == (1.4, "fast"), "what it leaves open is as the first one said"
    assert job.run() == {(21, 35), (60, 78)}
    assert "redone" not in load_report(job.output) or not load_report(job.output)["redone"]


def test_without_settings_clips_are_made_again_as_they_were(job):
    before, number = job.hashes(), job.number((35, 48))
    for _ in range(2):
        assert job.redo(number) == {(35, 48)}
        assert not load_report(job.output)["redone"]
    assert job.hashes() == before
    assert job.redo(f"{number}, {job.number((7, 21))}") == {(35, 48), (7, 21)}


def test_a_job_that_kept_no_clips_renders_the_others_again(job):
    job.run(execution={"keep": "scan"})
    made = job.redo(job.number((21, 35)), "renderer.strength=1.4", execution={"keep": "scan"})
    assert made == FIRST | SECOND


def test_only_what_the_last_run_used_is_kept(job):
    files = {path.name for path in (job.folder / "work").iterdir() if path.name.startswith("clip-")}
    job.redo(job.number((21, 35)), "renderer.strength=1.4")
    now = {path.name for path in (job.folder / "work").iterdir() if path.name.startswith("clip-")}
    assert len(now) == len(files)
    assert len(now - files) == 2, "the clip and its seal"


def test_frames_that_are_kept_are_copied_and_no_other_clip_is_made(job):
    """Mouths fade inside the clip, and what lies between the fades and can be copied is."""
    before = job.hashes()
    number = job.number((21, 35))
    made = job.redo(number, "renderer.method=keep", renderer={})
    assert made
    assert all(start >= 21 and stop <= 35 for start, stop in made)
    rendered = [part for clip in job.clips() for part in clip["rendered"]]
    shown = {frame for start, stop in rendered for frame in range(start, stop)}
    assert not shown & {*range(25, 31)}, "four frames at either end are the fades"
    after = job.hashes()
    assert all(after[frame] == before[frame] for frame in before if not 21 <= frame < 35)
    reasons = {(span["start_frame"], span["stop_frame"]): span["reason"] for span in load_report(job.output)["spans"]}
    assert reasons[21, 35] == "kept by the user"
    fading = [clip for clip in job.clips() if clip["rendered"] and 21 <= clip["start_frame"] < 35]
    again = ",".join(str(clip["index"]) for clip in fading)
    assert job.redo(again, "renderer.method=network")


def test_frames_that_are_kept_may_be_drawn_after_all(job):
    before = job.hashes()
    job.redo(job.number((60, 78)), "renderer.method=keep")
    inside = [str(clip["index"]) for clip in job.clips() if clip["start_frame"] < 78 and clip["stop_frame"] > 60]
    made = job.redo(",".join(inside), "renderer.method=network")
    assert all(start >= 60 and stop <= 78 for start, stop in made)
    assert job.hashes() == before


def test_a_kept_stretch_between_clean_entries_leaves_the_borders_of_others(job):
    """Packets inside it can be copied: that must not move where other clips of the span begin."""
    longer = {"segmenter": {"max_clip_seconds": 0.4}}
    job.run(**longer)
    before = [(clip["start_frame"], clip["stop_frame"]) for clip in job.clips()]
    middle = next(frames for frames in before if 66 <= frames[0] < 80)
    made = job.redo(job.number(middle), "renderer.method=keep", renderer={"fade_seconds": 0.16}, **longer)
    assert all(middle[0] <= start and stop <= middle[1] for start, stop in made)
    after = {(clip["start_frame"], clip["stop_frame"]) for clip in job.clips()}
    assert {*before} - {middle} <= after


def test_a_quality_of_its_own_gives_way_to_keys_that_the_job_gives(job):
    """The clip is made with what the word means, but for what the job says itself."""
    every = []

    def build(detector, orientation, settings):
        every.append((settings.detect_every_frames, settings.align))
        return QUICK_TOOLS.build_tracker(detector, orientation, settings)

    job.tools = replace(QUICK_TOOLS, build_tracker=build)
    assert job.redo(job.number((21, 35)), "renderer.quality=fast") == {(21, 35)}
    assert every == [(4, "box")]
    given = {"renderer": {"detect_every_frames": 2, "align": "similarity"}}
    assert job.run(**given) == {(21, 35)}
    assert job.redo(job.number((21, 35)), "renderer.quality=fast", **given) == NOTHING


def test_rows_inside_a_row_change_their_clips_alone(job):
    outer = ["0,0.32,no_face,,,", "0.32,1.6,face,,,", "1.6,2.4,no_face,,,", "2.4,3.6,face,,,", "3.6,4,no_face,,,"]
    plain = job.write_spans(*outer, name="plain.csv")
    assert job.run(**plain) == NOTHING, "the rows say what the job does by itself"
    changed = job.write_spans(*outer, "0.84,1.4,face,,0.5,")
    assert job.run(**changed) == {(21, 35)}
    finer = job.write_spans("0.84,1.4,face,,0.5,", *outer, "1.0,1.2,face,,,fast")
    assert job.run(**finer) == {(21, 25), (25, 30), (30, 35)}, "no clip shows two ways to make mouths"


def test_spans_that_a_redo_writes_say_the_same(job, tmp_path):
    number = job.number((21, 35))
    wanted, _ = read_redo(number, ["renderer.strength=1.4"])
    config = load_job(write_job(job.folder, **job.content))
    path = job.folder / "kept.csv"
    run_quick(config, redo=wanted, spans=path)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    inner = [row for row in rows if row["strength"]]
    assert [(row["kind"], row["start"], row["stop"], row["strength"]) for row in inner] == [
        ("face", "0.84", "1.4", "1.4")
    ]
    assert job.run(segmenter={"spans": "kept.csv"}) == NOTHING


@pytest.mark.parametrize(
    ("clips", "settings", "problem"),
    [
        ("99", [], r"has clips 0 to \d+"),
        ("one", [], "give the numbers of clips"),
        ("1,", [], "give the numbers of clips"),
        ("other.mp4:1", [], r"the job writes out\.mp4"),
        ("0", [], r"this clip shows no new mouth \(no face to render\)"),
        ("1", ["renderer.strength=3"], "a number from 0 to 2"),
        ("1", ["renderer.strength=nan"], "a number from 0 to 2"),
        ("1", ["renderer.quality=best"], "fast, improved or enhanced"),
        ("1", ["renderer.method=some"], "auto, footage, network or keep"),
        ("1", ["renderer.method=keep", "renderer.strength=1"], "have neither strength nor quality"),
        ("1", ["renderer.method=footage"], r"since renderer\.method is network"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(job, clips, settings, problem):
    before = job.output.stat()
    with pytest.raises(ConfigError, match=problem) as caught:
        job.redo(clips, *settings)
    assert str(caught.value).count("\n") == 0
    assert job.output.stat().st_mtime_ns == before.st_mtime_ns


def test_without_a_report_of_this_job_there_is_nothing_to_redo(job):
    path = report_path(job.output)
    report = json.loads(path.read_text())
    for wrong, problem in (
        ({**report, "hashes": {**report["hashes"], "source": "another"}}, "is of another video"),
        ({**report, "hashes": {**report["hashes"], "job": ""}}, "is of other settings"),
        ({"no": "report"}, "is not a report of lipstitch"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ConfigError, match=problem):
            job.redo("1")
    path.write_text(json.dumps(report))
    with pytest.raises(ConfigError, match="is of other settings than the job has now"):
        job.redo("1", renderer={"feather": 0.2})
    path.unlink()
    with pytest.raises(ConfigError, match=r"cannot be read .*Run the job itself first"):
        job.redo("1")


def test_the_command_line_says_it_with_exit_code_2(job):
    config = write_job(job.folder, **job.content)
    for flags, problem in (
        (["--redo", "99"], "has clips 0 to"),
        (["--redo", "1", "--set", "renderer.feather=0.3"], "is of other settings"),
        (["--redo", "1", "--set", "renderer.strength=many"], "a number from 0 to 2"),
    ):
        done = run_command("--config", config, *flags)
        assert done.returncode == 2
        assert problem in done.stderr


def test_settings_of_clips_are_told_from_those_of_the_job():
    wanted, others = read_redo("2, out.mp4:3", ["renderer.strength=1,2", "output=x.mp4", "renderer.quality=fast"])
    assert (wanted.clips, wanted.method, wanted.strength, wanted.quality) == (
        (("", 2), ("out.mp4", 3)),
        None,
        1.2,
        "fast",
    )
    assert others == ["output=x.mp4"]


def test_a_setting_without_a_value_is_refused_as_without_redo(job):
    _, others = read_redo("2", ["renderer.strength"])
    with pytest.raises(ConfigError, match=r"--set renderer\.strength"):
        load_job(write_job(job.folder, **job.content), others)
