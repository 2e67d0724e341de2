"""input.audio_offset: by a number to the sample, and by what real lips tell of their own sound."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile

import lipstitch.footage.own_sound
from lipstitch.evaluation import own_offset
from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.opened import open_job
from lipstitch.report.verify import verify_job
from lipstitch.source.judge import _coefficients
from lipstitch.source.offset import FoundOffset
from media.base.errors import ConfigError
from media.source_video import scan_video
from tests.support.doubles import Listening
from tests.support.jobs import load_report, write_job
from tests.support.quick_jobs import make_talk, run_quick
from tests.support.sound_material import read_all

RATE = 48000
LATE_MS = 120
NUM_FRAMES = 160


@pytest.fixture
def quick(tmp_path):
    """Return a function that writes a job of a second's work, whose dub is noise of as many seconds as the video."""
    make_talk(tmp_path / "talk.mp4")
    noise = 0.2 * np.random.default_rng(3).standard_normal(4 * RATE)
    soundfile.write(tmp_path / "dub.wav", noise, RATE, "PCM_16")
    (tmp_path / "weights.bin").write_bytes(b"weights")

    def write(segmenter=None, **given):
        job = write_job(
            tmp_path,
            input={"video": "talk.mp4", "audio": "dub.wav", "length_policy": "cut", **given},
            output="out.mkv",
            segmenter=segmenter or {"detector": "cascade", "embedder": "none"},
            renderer={"checkpoint": "weights.bin", "device": "cpu"},
            stitcher={"audio": {"codec": "pcm_s16le"}},
            execution={"backend": "serial"},
        )
        return load_job(job)

    return write


# By a number


@pytest.mark.parametrize(("offset", "samples"), [(83, 3984), (-83, -3984), (-41.703, -2002), (0.01, 0)])
def test_the_soundtrack_is_moved_to_the_nearest_sample_and_stays_whole(quick, tmp_path, offset, samples):
    config, said = quick(audio_offset=offset), Listening()
    run_quick(config, said)
    heard, dub = read_all(tmp_path / "out.mkv", RATE, "mono")[0], soundfile.read(tmp_path / "dub.wav")[0]
    assert len(heard) == 4 * RATE
    wanted = np.zeros(4 * RATE)
    wanted[max(samples, 0) : 4 * RATE + min(samples, 0)] = dub[max(-samples, 0) : 4 * RATE - max(samples, 0)]
    np.testing.assert_allclose(heard, wanted, atol=1e-4)
    report = load_report(config.output)
    assert report["audio_offset"]["moved_ms"] == offset
    assert any("as input.audio_offset says" in note for note in report["soundtrack"]["notes"])
    assert any("as input.audio_offset says" in text for text in said.said)
    assert verify_job(config, Listening()) == 0


def test_a_voice_that_drives_and_turns_go_along(quick, tmp_path):
    (tmp_path / "turns.csv").write_text("start,stop,speaker\n1,2,anna\n")
    sound, turns = {"drive_audio": "dub.wav"}, {"turns": "turns.csv", "cast": {"anna": {"stem": "dub.wav"}}}
    specs = []
    for offset in (0, -200):
        config = quick({"detector": "retinaface"}, audio_offset=offset, speakers=turns, **sound)
        job = open_job(config, Listening(), force=True)
        specs += job.specs
        assert job.turns_start == Fraction(offset, 1000)
    for before, after in zip(specs[0].drive_audio.voices, specs[1].drive_audio.voices, strict=True):
        assert after.pieces[0].zero - (before.pieces[0].zero or 0) == Fraction(1, 5)
    assert [spec.speakers[0].turns for spec in specs] == [((25, 50),), ((20, 45),)]


def test_there_must_be_a_dub_to_move(quick):
    with pytest.raises(ConfigError, match=r"input\.audio_offset \(now 80\): there is no dub"):
        run_quick(quick(audio=None, audio_offset=80))


def test_the_own_sound_named_as_the_dub_is_moved(quick, tmp_path):
    run_quick(quick(audio="talk.mp4", audio_offset=-200))
    own, moved = (read_all(tmp_path / name, RATE, "mono")[0] for name in ("talk.mp4", "out.mkv"))
    np.testing.assert_allclose(moved[: 3 * RATE], own[RATE // 5 :][: 3 * RATE], atol=1e-3)


# By what was found


@pytest.mark.parametrize(("lead", "moved"), [(0.1, -83), (0.02, 0)])
def test_what_is_certain_is_applied_and_what_is_not_is_said(quick, monkeypatch, lead, moved):
    monkeypatch.setattr(own_offset, "find_offset", lambda *_: FoundOffset(-83, lead, 10.0))
    config, said = quick(audio_offset="auto"), Listening()
    run_quick(config, said)
    report = load_report(config.output)
    assert report["audio_offset"]["moved_ms"] == moved
    assert report["audio_offset"]["found_ms"] == -83
    assert (report["audio_offset"]["certainty"] >= 1) == bool(moved)
    (text,) = (text for text in said.said if "fits its lips best if it is 83 ms late" in text)
    assert ("not certain, so nothing is moved" in text) == (not moved)
    assert verify_job(config, Listening()) == 0


def test_a_video_without_sound_or_faces_is_left_as_it_is(quick, tmp_path):
    make_talk(tmp_path / "talk.mp4", has_sound=False)
    config, said = quick(audio_offset="auto"), Listening()
    run_quick(config, said)
    assert load_report(config.output)["audio_offset"]["moved_ms"] == 0
    assert any("found no face with the video's own sound to measure" in text for text in said.said)


# Real lips


def copy_with_sound(path, picture, sound, late_ms):
    """Write the packets of one file's picture and another's sound, which comes so much later."""
    stop = Fraction(NUM_FRAMES, 25)
    with av.open(str(picture)) as eyes, av.open(str(sound)) as ears, av.open(str(path), "w") as writer:
        streams = [(eyes.streams.video[0], Fraction(0)), (ears.streams.audio[0], Fraction(late_ms, 1000))]
        copies = [(writer.add_stream_from_template(stream), stream, late) for stream, late in streams]
        for copy, stream, late in copies:
            for packet in stream.container.demux(stream):
                if packet.dts is not None and packet.pts * packet.time_base < stop:
                    shift = round(late / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = copy
                    writer.mux(packet)
    return path


@pytest.fixture(scope="module")
def talks(shared, tmp_path_factory):
    """Return videos of one who speaks: in time, late, and with the voice of another."""
    folder, heads = tmp_path_factory.mktemp("talks"), shared / "clips"
    own, other = heads / "head_13_512.mp4", heads / "head_04_512.mp4"
    return {
        "in time": copy_with_sound(folder / "own.mkv", own, own, 0),
        "late": copy_with_sound(folder / "late.mkv", own, own, LATE_MS),
        "foreign": copy_with_sound(folder / "foreign.mkv", own, other, 0),
    }


def planned(folder, video, shared, **segmenter):
    job = write_job(
        folder,
        input={"video": video, "audio": shared / "clips" / "dub_a.wav", "length_policy": "cut", "audio_offset": "auto"},
        output="out.mp4",
        segmenter={"embedder": "none", **(segmenter or {"detector": "cascade"})},
        renderer={"method": "network"},
        execution={"workspace": "work"},
    )
    said = Listening()
    assert run_job(load_job(job), said, plan_only=True).exit_code == 0
    return next(line for line in said.lines if line.startswith("  sound    the video's own"))


def test_sound_that_is_late_by_so_much_is_found_moved_and_remembered(shared, talks, tmp_path, monkeypatch):
    line = planned(tmp_path, talks["late"], shared)
    assert abs(int(line.split("if it is ")[1].split()[0]) - LATE_MS) <= 15
    assert "ms late (certainty" in line
    assert "is taken" in line
    assert "ms earlier" in line

    def measure_again(*_):
        raise AssertionError("the offset was measured again")

    monkeypatch.setattr(own_offset, "measure_offset", measure_again)
    assert planned(tmp_path, talks["late"], shared) == line


def test_a_face_that_is_given_is_heard_as_well(shared, talks, tmp_path):
    line = planned(tmp_path, talks["late"], shared, box=[80, 430, 160, 410])
    assert abs(int(line.split("if it is ")[1].split()[0]) - LATE_MS) <= 15
    assert "ms earlier" in line


def test_the_voice_of_another_moves_nothing(shared, talks, tmp_path):
    assert "not certain, so nothing is moved" in planned(tmp_path, talks["foreign"], shared)


class Bank:
    """The frames of a bank, without their mouths."""

    candidates, shapes = SimpleNamespace(frames=np.arange(40, 90)), np.zeros((50, 6))

    def __len__(self):
        return len(self.shapes)


def test_late_sound_teaches_and_judges_as_if_it_were_in_time(talks, monkeypatch):
    """What the network that hears lip shapes is adapted by, and what tells who speaks."""
    columns = []
    monkeypatch.setattr(lipstitch.footage.own_sound, "adapt", lambda _, heard, *__: columns.append(heard))
    coefficients = []
    for name, late_ms in (("in time", 0), ("late", LATE_MS), ("late", 0)):
        source, offset = scan_video(talks[name]), Fraction(-late_ms, 1000)
        lipstitch.footage.own_sound.adapt_to(None, Bank(), source, offset)
        coefficients.append(_coefficients(source, 40, 90, offset))
    for in_time, moved, left in (columns, coefficients):
        spread = np.std(in_time)
        assert np.abs(moved - in_time).mean() < 0.02 * spread
        assert np.abs(left - in_time).mean() > 0.3 * spread
