"""The preview: the seconds in which most is said by faces that are rendered, as whole jobs with a canned scan."""

from fractions import Fraction

import numpy as np
import pytest
import soundfile

from lipstitch.job_file.config import load_job
from lipstitch.plan.preview import build_preview
from media.audio.reader import read_samples
from media.base.errors import ConfigError, MediaError
from media.probe import probe
from media.source_video import scan_video
from tests.support import two_people
from tests.support.commands import run_command
from tests.support.doubles import QUICK_TOOLS, Listening
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import make_talk, run_quick, written
from tests.support.two_people import DIALOGUE_TOOLS

RATE = 16_000
FPS = 25


@pytest.fixture(autouse=True)
def _levels_are_speech(monkeypatch):
    monkeypatch.setattr("lipstitch.plan.speech.find_speech", two_people.hear_levels)


def write_dub(path, *loud, seconds=4.0):
    """Write a dub that speaks in some seconds alone."""
    sound = np.zeros(round(seconds * RATE))
    for start, stop in loud:
        sound[round(start * RATE) : round(stop * RATE)] = 0.5
    soundfile.write(path, sound, RATE, subtype="FLOAT")


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the quick jobs' video, whose faces are at 0.32 to 1.6 s and 2.4 to 3.6 s, and a dub."""
    make_talk(tmp_path / "talk.mp4")
    (tmp_path / "weights.bin").write_bytes(b"weights")
    write_dub(tmp_path / "dub.wav", (0, 0.9), (1.7, 2.3), (2.5, 3.4))
    return tmp_path


def job_in(folder, **changes):
    content = {
        "input": {"video": "talk.mp4", "audio": "dub.wav"},
        "output": "out.mp4",
        "segmenter": {"detector": "cascade", "embedder": "none"},
        "renderer": {"checkpoint": "weights.bin", "device": "cpu", "method": "network"},
        "execution": {"backend": "serial", "keep": "all", "workspace": "work"},
    }
    for key, value in changes.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    return load_job(write_job(folder, **content))


def preview(folder, seconds, *, tools=QUICK_TOOLS, compares=False, **changes):
    """Preview a job; return the source frames that are shown, in runs, and what was said.

    compares: also write the comparison video, which takes seconds.
    """
    said, found = Listening(), []

    def building(config, table, *arguments):
        built = build_preview(config, table, *arguments)
        found.extend((table.frame_at(part.start), table.frame_at(part.end)) for part in built.ranges)
        return built

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lipstitch.job.build_preview", building)
        patch.setattr("tests.support.quick_jobs.load_report", lambda output: load_report(folder / "out.preview.mp4"))
        if not compares:
            patch.setattr("lipstitch.report.comparison_video.write_comparison_video", lambda *_, **__: False)
        run_quick(job_in(folder, **changes), said, tools=tools, preview=Fraction(str(seconds)))
    assert len(scan_video(folder / "out.preview.mp4").table) == sum(stop - start for start, stop in found)
    return found, said


def made(folder):
    """Return what lies in the workspace, without what every run writes anew."""
    found = written(job_in(folder))
    return {name: file for name, file in found.items() if name != "lock" and not name.startswith("output-")}


def test_the_second_in_which_most_is_said(folder):
    """Between 1.7 and 2.3 s there is speech, but no face."""
    ((start, stop),), said = preview(folder, 1, compares=True)
    assert stop - start == FPS
    assert start <= 2.5 * FPS
    assert stop >= 3.4 * FPS
    assert "Preview: 00:00:02." in "\n".join(said.lines)
    assert not (folder / "out.mp4").exists()
    report = load_report(folder / "out.preview.mp4")
    assert report["num_rendered_frames"] >= 0.9 * FPS
    assert len(scan_video(folder / "out.preview.compared.mp4").table) >= 0.9 * FPS
    info = probe(folder / "out.preview.mp4")
    heard = np.concatenate(
        [*read_samples(info.path, stream_index=info.audio[0].index, rate=RATE, layout="mono")], axis=1
    )[0]
    given, _ = soundfile.read(folder / "dub.wav", start=start * RATE // FPS, frames=RATE)
    assert np.abs(heard[1000:15000] - given[1000:15000]).mean() < 0.05


def test_the_real_run_has_everything_that_the_preview_found(folder):
    preview(folder, 1)
    there = made(folder)
    redone = run_quick(job_in(folder))
    assert not redone.scanned
    assert there.items() <= made(folder).items()
    assert any(name.startswith("speech-") for name in there)


def test_a_preview_leaves_what_an_unfinished_run_has_made(folder):
    run_quick(job_in(folder))
    before = made(folder)
    for keep in ("none", "scan"):
        preview(folder, 1, execution={"keep": keep})
        assert before.items() <= made(folder).items()


def test_a_long_video_is_shown_as_it_is_if_it_is_shorter(folder):
    assert preview(folder, 60)[0] == [(0, 100)]


def test_inside_ranges_with_their_own_sounds(folder):
    """Each range begins at its own second of its file; the range without a face says most."""
    write_dub(folder / "line.wav", (0, 10), seconds=10)
    ranges = [
        {"start": 0.4, "end": 1.2, "audio": "line.wav", "audio_start": 5},
        {"start": 1.64, "end": 2.36, "audio": "line.wav", "audio_start": 1},
        {"start": 2.8, "end": 3.2},
    ]
    found, _ = preview(folder, 0.5, ranges=ranges)
    assert len(found) == 1
    assert found[0] == (10, 22)
    found, _ = preview(folder, 30, ranges=ranges)
    assert found == [(10, 30), (70, 80)]


def test_of_an_extraction_into_several_files(folder):
    ranges = [{"start": 2.6, "end": 3.2, "name": "b"}, {"start": 0.4, "end": 1.2, "name": "a"}]
    found, _ = preview(folder, 1, mode="extract", ranges=ranges)
    assert found == [(65, 80)]  # what is left of the second, 0.4 s, is not worth a cut
    assert not (folder / "out.a.mp4").exists()
    found, _ = preview(folder, 1.7, mode="extract", ranges=ranges)
    assert found[0] == (65, 80)
    assert found[1][1] <= 30


def test_each_speaker_has_a_share(folder):
    """A is seen alone, both, B alone, A alone; B says more."""
    write_dub(folder / "dub.wav", (0, 4))
    for name in ("faces.pth", "who.onnx"):
        (folder / name).write_bytes(b"weights")
    (folder / "turns.csv").write_text("start,stop,speaker\n0,0.8,anna\n1.0,3.2,ben\n3.3,4,anna\n")
    people = {"detector": "retinaface", "detector_checkpoint": "faces.pth", "embedder": "who.onnx"}
    cast = {"anna": {"person": 1}, "ben": {"person": 2}}
    changes = {
        "input": {"speakers": {"turns": "turns.csv", "cast": cast}},
        "segmenter": people,
    }
    found, _ = preview(folder, 1, tools=DIALOGUE_TOOLS, **changes)
    assert found == [(30, 55)]  # a second is too short for both: ben is seen from frame 30 on
    found, _ = preview(folder, 2 * 2, tools=DIALOGUE_TOOLS, **changes)
    frames = {frame for part in found for frame in range(*part)}
    assert {*range(30, 80)} <= frames
    assert {*range(20)} <= frames


def test_music_alone_shows_what_is_seen(folder):
    write_dub(folder / "dub.wav")
    ((start, stop),), _ = preview(folder, 1)
    assert (start, stop) == (8, 33)


def test_nothing_to_show(folder):
    with pytest.raises(ConfigError, match="--preview: no output shows a face"):
        preview(folder, 1, ranges=[{"start": 1.64, "end": 2.36}])


def test_what_is_replaced(folder):
    (folder / "out.mp4").write_bytes(b"precious")
    preview(folder, 1)
    preview(folder, 1, renderer={"pads": [0, 20, 0, 0]})
    assert (folder / "out.mp4").read_bytes() == b"precious"
    (folder / "mine.mp4").write_bytes(b"precious")
    with pytest.raises(ConfigError, match=r"--compare: .*mine\.mp4 exists"):
        run_quick(job_in(folder), preview=Fraction(1), comparison=folder / "mine.mp4")
    with pytest.raises(ConfigError, match="is what the job itself writes"):
        run_quick(job_in(folder), preview=Fraction(1), comparison=folder / "out.mp4")
    (folder / "talk.mp4").rename(folder / "out.preview.mp4")
    with pytest.raises((ConfigError, MediaError), match=r"out\.preview\.mp4 is the same file as input\.video"):
        run_quick(job_in(folder, input={"video": "out.preview.mp4"}), preview=Fraction(1))


def test_a_preview_is_no_plan(folder):
    job_in(folder)
    done = run_command("--config", folder / "job.yaml", "--preview", "10", "--plan")
    assert done.returncode == 2
    assert "--preview renders" in done.stderr
