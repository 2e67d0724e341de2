"""The command score on real faces: sound that comes late, a finished job, and what cannot be measured."""

import json
import re

import av
import numpy as np
import pytest
import soundfile

from media.audio.driving import DRIVING_RATE
from tests.support.commands import run_command
from tests.support.footage import make_footage
from tests.support.jobs import load_report, run_job, write_job
from tests.support.synthetic import Sound, make_video

LATE_FRAMES = 4
FACE_FRAMES = 60


@pytest.fixture(scope="module")
def weights(shared):
    return shared / "checkpoints" / "retinaface_mobilenet0.25.pth"


@pytest.fixture(scope="module")
def detector(weights):
    return "--detector", "retinaface", "--detector-weights", weights


def own_sound(path):
    """Return the sound of a video, mono, at DRIVING_RATE."""
    resampler = av.AudioResampler("s16", "mono", DRIVING_RATE)
    with av.open(str(path)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def scored(folder, *arguments):
    """Return what a run writes, and what it prints."""
    done = run_command("score", *arguments, "--json", folder / "scores.json", "--syncnet", "none")
    assert done.returncode == 0, done.stderr
    (video,) = json.loads((folder / "scores.json").read_text())["videos"]
    return video, done.stdout + done.stderr


def test_sound_that_comes_so_many_frames_late_shifts_the_offset_by_as_many(shared, detector, tmp_path):
    clip, gap = shared / "clips" / "head_05_512.mp4", 5
    talk = make_footage(tmp_path / "talk.mp4", clip, codec="h264", scale=0.5, face_frames=(85,), gaps=(gap, gap))
    sound, offsets = own_sound(clip), {}
    for frames in (0, LATE_FRAMES):
        late = np.pad(sound, ((gap + frames) * DRIVING_RATE // 25, 0))
        soundfile.write(tmp_path / "late.wav", late, DRIVING_RATE)
        video, said = scored(tmp_path, talk.path, "--audio", tmp_path / "late.wav", *detector)
        offsets[frames] = video["figures"]["sync_offset_frames"]
        assert video["figures"]["sync_confidence"] > 0.3
        assert "the project's own expert" in said
        assert "lse_d" not in video["figures"]
    # Lips come before a sound that is late.
    assert offsets[LATE_FRAMES] == offsets[0] - LATE_FRAMES
    assert abs(offsets[0]) <= 1


@pytest.fixture(scope="module")
def finished(shared, weights, tmp_path_factory):
    """Return the file of a finished job and its output."""
    folder = tmp_path_factory.mktemp("scored")
    talk = make_footage(
        folder / "talk.mp4",
        shared / "clips" / "head_12_512.mp4",
        codec="h264",
        scale=0.5,
        face_frames=(FACE_FRAMES,),
        gaps=(5, 5),
    )
    job = write_job(
        folder,
        input={"video": talk.path, "audio": shared / "clips" / "dub_a.wav", "length_policy": "cut"},
        output=folder / "out.mp4",
        segmenter={
            "detector": "retinaface",
            "detector_checkpoint": weights,
            "embedder": "none",
            "min_sharpness": 0,
            "max_clip_seconds": 1.6,
        },
        renderer={"method": "network"},
    )
    run_job(job)
    return job, folder / "out.mp4"


def test_the_figures_of_a_job_stand_in_its_report_and_page(finished, tmp_path):
    job, output = finished
    before = load_report(output)
    video, said = scored(tmp_path, "--config", job)
    report = load_report(output)
    whole, *clips = report["measures"]
    rendered = [clip["index"] for clip in report["clips"] if clip["outcome"] == "rendered"]
    assert whole == {"clip": None, "figures": video["figures"]}
    assert [each["clip"] for each in clips] == rendered
    assert whole["figures"]["psnr_untouched"] > 44
    assert 0.3 < whole["figures"]["flicker_ratio"] < 1.5
    assert whole["figures"]["face_seconds"] == pytest.approx(FACE_FRAMES / 25, abs=0.3)
    assert {**report, "measures": []} == {**before, "measures": []}
    assert f"clip {rendered[0]}" in said
    page = output.with_name("out.mp4.report.html").read_text()
    shown = f"{whole['figures']['psnr_untouched']:.4g}"
    assert re.search(rf"psnr_untouched\D*{re.escape(shown)}\D", page)


def test_a_reference_is_what_pictures_are_compared_with(shared, finished, tmp_path):
    _, output = finished
    video, _ = scored(tmp_path, output, "--reference", output.with_name("talk.mp4"))
    assert 25 < video["figures"]["psnr"] < 60
    assert 0.8 < video["figures"]["ssim"] < 1
    same, _ = scored(tmp_path, output, "--reference", output)
    assert (same["figures"]["psnr"], same["figures"]["ssim"]) == (99, 1)
    assert same["figures"]["sharpness_ratio"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("gone.mp4",), 3, "gone.mp4"),
        (("mute.mp4",), 3, "Give the sound with --audio"),
        (("stamps.mp4", "--audio", "mute.mp4"), 3, "Give --audio with one that has"),
        (("stamps.mp4", "--reference", "small.mp4"), 2, "--reference: "),
        (("stamps.mp4", "--syncnet", "gone.model"), 4, "gone.model"),
        (("stamps.mp4", "--json", "nowhere/scores.json"), 2, "is not a folder"),
        (("--config", "job.yaml"), 2, "there is no report"),
        ((), 2, "give a video or --config"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_sentence(tmp_path, monkeypatch, arguments, code, expected):
    make_video(tmp_path / "mute.mp4", 25)
    make_video(tmp_path / "stamps.mp4", 25, sounds=[Sound()])
    make_video(tmp_path / "small.mp4", 25, size=(96, 64))
    write_job(tmp_path, input={"video": "stamps.mp4"}, output="out.mp4")
    monkeypatch.chdir(tmp_path)
    given = [
        tmp_path / each if str(each).endswith((".mp4", ".json", ".yaml", ".model")) else each for each in arguments
    ]
    done = run_command("score", *given)
    assert done.returncode == code
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
