"""What a change redoes, line by line of docs/content-keys.md: whole jobs with a canned scan and unchanged mouths."""

import os
import re
import shutil
from fractions import Fraction

import numpy as np
import pytest
import soundfile
from PIL import Image

import lipstitch.execution.clips
import lipstitch.execution.seals
import lipstitch.execution.sound
import lipstitch.source.scan
from demo.make_material import DUB_FILE
from lipstitch.job_file.config import JobConfig, load_job
from tests.support.commands import ROOT
from tests.support.doubles import SIZE
from tests.support.jobs import write_job
from tests.support.quick_jobs import FIRST, SECOND, make_talk, run_quick

NOTHING = set()


class Job:
    """A finished job in a folder of its own, and what happens when it is run again."""

    def __init__(self, folder):
        self.folder = folder
        self.content = {
            "input": {"video": "talk.mp4", "audio": "dub.wav", "length_policy": "cut"},
            "output": "out.mp4",
            "segmenter": {"detector": "cascade", "embedder": "none", "max_clip_seconds": 0.8},
            "renderer": {"checkpoint": "weights.bin", "device": "cpu"},
            "execution": {"backend": "serial", "keep": "all", "workspace": "work"},
        }

    def run(self, **changes):
        """Run the job with sections changed; return what was made."""
        content = dict(self.content)
        for key, value in changes.items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        return run_quick(load_job(write_job(self.folder, **content)), force=True)

    def again(self, **changes):
        """Run the job and return (scanned, clips, driving, sound)."""
        redone = self.run(**changes)
        return redone.scanned, redone.clips, redone.driving, redone.sound


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    make_talk(folder / "talk.mp4")
    dub, rate = soundfile.read(DUB_FILE)
    soundfile.write(folder / "dub.wav", dub[: 5 * rate], rate)
    (folder / "weights.bin").write_bytes(b"weights")
    redone = Job(folder).run()
    assert (redone.scanned, redone.driving, redone.sound) == (True, True, True)
    assert redone.clips == FIRST | SECOND
    return folder


@pytest.fixture
def job(base, tmp_path):
    """Return the finished job, moved elsewhere."""
    folder = tmp_path / "moved"
    shutil.copytree(base, folder)
    return Job(folder)


# Nothing


def test_nothing_and_another_folder(job):
    assert job.again() == (False, NOTHING, False, False)


def test_names_and_dates_of_inputs(job):
    for old, new in (("talk.mp4", "renamed.mp4"), ("dub.wav", "renamed.wav"), ("weights.bin", "renamed.bin")):
        (job.folder / old).rename(job.folder / new)
        os.utime(job.folder / new, (1, 1))
    inputs = {"video": "renamed.mp4", "audio": "renamed.wav"}
    assert job.again(input=inputs, renderer={"checkpoint": "renamed.bin"}) == (False, NOTHING, False, False)


def test_a_workspace_that_is_moved_along(job):
    (job.folder / "work").rename(job.folder / "elsewhere")
    assert job.again(execution={"workspace": "elsewhere"}) == (False, NOTHING, False, False)


@pytest.mark.parametrize("output", ["other.mp4", "other.mkv"])
def test_the_output(job, output):
    assert job.again(output=output) == (False, NOTHING, False, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"execution": {"backend": "threads", "workers": 2}},
        {"stitcher": {"verify": "none", "report": "json", "provenance": "none"}},
        {"stitcher": {"audio": {"language": "hin"}}},
        {"renderer": {"on_failure": "stop", "allow_torchscript": True}},
        {"renderer": {"batch_size": 4}},
        {"renderer": {"onnx": {"margins": [0.1, 0, 0, 0], "channels": "rgb", "provider": "coreml"}}},
        {"input": {"accept_damaged": True}},
    ],
)
def test_what_changes_no_sample_and_no_pixel(job, changes):
    assert job.again(**changes) == (False, NOTHING, False, False)


# Sound


@pytest.mark.parametrize("audio", [{"bit_rate": 64_000}, {"codec": "mp3"}])
def test_how_the_soundtrack_is_coded(job, audio):
    assert job.again(stitcher={"audio": audio}) == (False, NOTHING, False, True)


def test_fades(job):
    assert job.again(stitcher={"crossfade_seconds": 0.05}) == (False, NOTHING, False, True)


@pytest.mark.parametrize(("start", "stop", "hearing"), [(0.1, 0.5, {(7, 21)}), (3.5, 3.7, {(78, 96)})])
def test_one_sentence_of_the_dub(job, start, stop, hearing):
    dub, rate = soundfile.read(job.folder / "dub.wav")
    dub[int(start * rate) : int(stop * rate)] = 0.1 * np.sin(np.arange(int(stop * rate) - int(start * rate)) / 5)
    soundfile.write(job.folder / "dub.wav", dub, rate)
    assert job.again() == (False, hearing, True, True)


def test_what_is_heard_while_another_voice_drives(job):
    shutil.copy(job.folder / "dub.wav", job.folder / "voice.wav")
    dub, rate = soundfile.read(job.folder / "dub.wav")
    soundfile.write(job.folder / "dub.wav", dub / 2, rate)
    assert job.again(input={"drive_audio": "voice.wav"}) == (False, NOTHING, False, True)


# Rendering


@pytest.mark.parametrize(
    "renderer",
    [
        {"feather": 0.2},
        {"strength": 0.5},
        {"pads": [0, 20, 0, 0]},
        {"detect_every_frames": 1},
        {"smoothing_frames": 3},
        {"align": "box"},
        {"precision": "float16"},
        {"frame_hashes": True},
    ],
)
def test_how_mouths_are_drawn(job, renderer):
    assert job.again(renderer=renderer) == (False, FIRST | SECOND, False, False)


def test_what_mouths_do_in_silence(job):
    scanned, clips, _, sound = job.again(renderer={"silence": "render"})
    assert (scanned, clips, sound) == (False, FIRST | SECOND, False)
    assert job.again() == (False, NOTHING, False, False)


def test_how_long_mouths_take_to_come_and_go(job):
    """Spans that begin and end at cuts do not fade; where a range ends inside one, its clip does."""
    assert job.again(renderer={"fade_seconds": 0.3}) == (False, NOTHING, False, False)
    one = [{"start": 0, "end": 1.2}]
    job.again(ranges=one)
    assert job.again(ranges=one, renderer={"fade_seconds": 0.3})[1] == {(22, 36)}


def test_other_weights_under_the_same_name(job):
    (job.folder / "weights.bin").write_bytes(b"trained on")
    assert job.again() == (False, FIRST | SECOND, False, False)


@pytest.mark.parametrize("video", [{"crf": 10}, {"psnr": 42}, {"preset": "fast"}])
def test_how_clips_are_coded(job, video):
    assert job.again(stitcher={"video": video}) == (False, FIRST | SECOND, False, False)


# Where


def test_a_threshold_that_changes_one_span(job):
    scanned, clips, driving, sound = job.again(segmenter={"offset": 0.55})
    assert (scanned, driving, sound) == (False, False, False)
    assert clips
    assert min(clips)[0] >= 60


@pytest.mark.parametrize("segmenter", [{"min_on_seconds": 0.2}, {"min_off_seconds": 0.2}, {"max_yaw_degrees": 50}])
def test_a_threshold_that_changes_no_span(job, segmenter):
    assert job.again(segmenter=segmenter) == (False, NOTHING, False, False)


def test_the_length_of_clips(job):
    scanned, clips, driving, sound = job.again(segmenter={"max_clip_seconds": 1.5})
    assert (scanned, driving, sound) == (False, False, False)
    assert clips
    assert not clips & (FIRST | SECOND)


def test_a_strength_in_the_span_file_redoes_the_clips_of_its_row(job):
    table = "start,stop,kind,strength\n0.32,1.6,face,\n2.4,3.6,face,{}\n"
    strengths = ("", "0.5", "0.5")
    redone = []
    for strength in strengths:
        (job.folder / "spans.csv").write_text(table.format(strength))
        redone.append(job.again(segmenter={"spans": "spans.csv"})[1])
    assert redone[1:] == [SECOND, NOTHING]


@pytest.mark.parametrize("segmenter", [{"samples_per_second": 10}, {"min_face_px": 48}])
def test_how_faces_are_looked_for(job, segmenter):
    assert job.again(segmenter=segmenter) == (True, NOTHING, False, False)


def test_another_detector_and_its_weights(job):
    (job.folder / "faces.pth").write_bytes(b"faces")
    other = {"detector": "retinaface", "detector_checkpoint": "faces.pth"}
    assert job.again(segmenter=other) == (True, FIRST | SECOND, False, False)
    (job.folder / "faces.pth").rename(job.folder / "moved.pth")
    moved = {"detector": "retinaface", "detector_checkpoint": "moved.pth"}
    assert job.again(segmenter=moved) == (False, NOTHING, False, False)
    (job.folder / "moved.pth").write_bytes(b"other faces")
    assert job.again(segmenter=moved) == (True, FIRST | SECOND, False, False)


def test_a_policy_that_prolongs(job):
    scanned, clips, driving, sound = job.again(input={"length_policy": "freeze"})
    assert (scanned, driving, sound) == (False, True, True)
    assert {start for start, _ in clips} | {stop for _, stop in clips} == {100, 113, 125}


def test_another_start_of_the_dub(job):
    scanned, clips, driving, sound = job.again(input={"audio_start": 0.2})
    assert (scanned, driving, sound) == (False, True, True)
    assert clips
    assert job.again(input={"audio_start": 0.2}) == (False, NOTHING, False, False)


def test_another_offset_of_the_sound(job):
    scanned, clips, driving, sound = job.again(input={"audio_offset": 200})
    assert (scanned, driving, sound) == (False, True, True)
    assert clips
    assert job.again(input={"audio_offset": 200}) == (False, NOTHING, False, False)


def test_other_weights_of_what_tells_who_speaks(job, monkeypatch):
    """With the first ones every face speaks all the while, with the others no one does from 1.2 to 2.4 s."""

    def judge(_, passages, weights, *__):
        quiet = range(30, 60) if weights.read_bytes() == b"some" else ()
        return [
            [np.array([-9 if step in quiet else 3 for step in range(*face.steps)], np.float32) for face in each.faces]
            for each in passages
        ]

    monkeypatch.setattr("lipstitch.source.judge._judge_in_parts", judge)
    monkeypatch.setattr("lipstitch.plan.speakers._own_speech", lambda *_: [(Fraction(0), Fraction(4))])
    (job.folder / "judge.bin").write_bytes(b"all")
    job.again(segmenter={"target": "speaker", "speaking": "judge.bin"})
    (job.folder / "judge.bin").rename(job.folder / "moved.bin")
    moved = {"target": "speaker", "speaking": "moved.bin"}
    assert job.again(segmenter=moved) == (False, NOTHING, False, False)
    (job.folder / "moved.bin").write_bytes(b"some")
    scanned, clips, driving, sound = job.again(segmenter=moved)
    assert (scanned, driving, sound) == (False, False, False)
    assert clips
    assert max(stop for _, stop in clips) <= 48


def test_ranges(job):
    one = {"start": 0, "end": 1.92}
    assert job.again(ranges=[one])[0]
    two = {"start": 2.08, "end": 3.92}
    scanned, clips, driving, sound = job.again(ranges=[one, two])
    assert (scanned, driving, sound) == (True, True, True)
    assert clips <= SECOND


# Content and code


def test_another_video_under_the_same_name(job):
    make_talk(job.folder / "talk.mp4", crf=19)
    assert job.again() == (True, FIRST | SECOND, False, False)


@pytest.mark.parametrize(
    ("module", "version", "expected"),
    [
        (lipstitch.source.scan, "SCAN_VERSION", (True, NOTHING, False, False)),
        (lipstitch.execution.clips, "RENDER_VERSION", (False, FIRST | SECOND, False, False)),
        (lipstitch.execution.sound, "SOUND_VERSION", (False, NOTHING, True, True)),
    ],
)
def test_a_new_version_of_a_stage(job, monkeypatch, module, version, expected):
    monkeypatch.setattr(module, version, 1000)
    assert job.again() == expected


# Damage


@pytest.mark.parametrize("harm", ["bit", "cut", "empty", "gone", "unsealed"])
@pytest.mark.parametrize("stage", ["scan", "clip", "driving", "sound"])
def test_what_is_damaged_is_made_again(job, stage, harm):
    sealed = stage != "scan"
    path = sorted(path for path in (job.folder / "work").glob(f"{stage}-*") if not sealed or path.suffix != ".json")[0]
    damage(path, harm, sealed=sealed)
    scanned, clips, driving, sound = job.again()
    assert (scanned, len(clips), driving, sound) == (
        stage == "scan",
        int(stage == "clip"),
        stage == "driving",
        stage == "sound",
    )
    assert job.again() == (False, NOTHING, False, False)


def test_a_clip_of_a_version_that_noted_less_is_made_again(job, monkeypatch):
    monkeypatch.setattr("lipstitch.execution.seals.RECORDED", lipstitch.execution.seals.RECORDED[:-1])
    job.run(renderer={"feather": 0.3})
    monkeypatch.undo()
    assert job.again(renderer={"feather": 0.3}) == (False, FIRST | SECOND, False, False)


def damage(path, harm, *, sealed):
    content = bytearray(path.read_bytes())
    if harm == "bit":
        # In the middle of a number or a payload: what still parses must be found by its checksum.
        at = re.search(rb"0\.9", content).start() + 2 if not sealed else len(content) // 2
        content[at] ^= 1
        path.write_bytes(content)
    elif harm == "cut":
        path.write_bytes(content[:-20])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "gone" or not sealed:
        path.unlink()
    else:
        path.with_suffix(".json").unlink()


# A picture


def test_the_video_of_a_picture(job):
    Image.new("RGB", SIZE, "gray").save(job.folder / "still.png")
    job.content["input"]["video"] = "still.png"
    first = job.again()
    assert first[0]
    assert first[1]
    (job.folder / "still.png").rename(job.folder / "renamed.png")
    assert job.again(input={"video": "renamed.png"}) == (False, NOTHING, False, False)
    (job.folder / "renamed.png").rename(job.folder / "still.png")
    scanned, clips, driving, sound = job.again(input={"still_fps": 30})
    assert (scanned, driving, sound) == (True, False, False)
    assert clips


# The table itself


def test_every_setting_stands_in_the_table():
    text = (ROOT / "docs" / "content-keys.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:[a-z_]+\.)*([a-z_]+)`", text))
    missing = [key for key in leaves(JobConfig) if key.split(".")[-1] not in named and key.split(".")[0] not in named]
    assert missing == []


def leaves(model, prefix=""):
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and hasattr(kind, "model_fields"):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
