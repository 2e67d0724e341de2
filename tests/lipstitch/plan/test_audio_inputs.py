"""Where a dub begins whose source's sound and picture begin apart, and what is said of sounds that cannot be meant."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from lipstitch.job_file.config import JobConfig
from lipstitch.opened import open_job
from lipstitch.plan.audio.inputs import open_audio_inputs
from lipstitch.plan.audio.notes import note_other_tracks
from lipstitch.plan.outputs.dialogue import open_dialogue
from lipstitch.plan.outputs.plan_outputs import plan_outputs
from lipstitch.source.source import open_source
from media.audio.reader import first_sample_time
from media.base.errors import ConfigError, UnreadableMedia, UnsupportedMedia
from media.packets.scan import scan_packets
from media.probe import probe
from stitcher.audio.mix import mix
from tests.support.doubles import SIZE
from tests.support.jobs import load_report
from tests.support.quick_jobs import make_talk, run_quick
from tests.support.sound_material import read_all, rms
from tests.support.synthetic import Sound, make_video

RATE = 48000
APART = Fraction(437, 1000)


class Heard:
    """What a reporter was told."""

    def __init__(self):
        self.said, self.warned = [], []

    def info(self, text):
        self.said.append(text)

    def warning(self, text):
        self.warned.append(text)

    def begin(self, *_):
        pass

    def advance(self, *_):
        pass

    def end(self):
        pass


def write_apart(path, codec, start, *, shown_from=0, size=(64, 48), **options):
    """Write a video of 4 s whose sound begins at `start` seconds of its clock and ends after some 3.2 s."""
    whole = path.with_name(f"whole.{path.name}")
    make_video(whole, 100, size=size, start=2500 * shown_from, sounds=[Sound(codec, start=start)], **options)
    with av.open(str(whole)) as reader, av.open(str(path), "w") as writer:
        streams = {stream.index: writer.add_stream_from_template(stream, opaque=True) for stream in reader.streams}
        for packet in reader.demux():
            if packet.size and not (packet.stream.type == "audio" and packet.pts * packet.time_base > start + 3.2):
                packet.stream = streams[packet.stream.index]
                writer.mux(packet)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of videos of 4 s: the sound begins APART after the picture, before it, and with it."""
    folder = tmp_path_factory.mktemp("voices")
    for suffix in ("mp4", "mov", "mkv"):
        write_apart(folder / f"late.{suffix}", "pcm_s16le" if suffix == "mov" else "aac", APART)
    write_apart(folder / "early.mov", "pcm_s16le", 1 - APART, shown_from=1)
    make_video(folder / "even.mov", 100, size=(64, 48), sounds=[Sound("pcm_s16le")])
    for name in ("late.mp4", "late.mov", "late.mkv", "early.mov"):
        # As `ffmpeg -i talk.mp4 -vn talk.wav` does: second 0 is the sound's first sample.
        soundfile.write(folder / f"{name}.wav", read_all(folder / name, RATE, "mono")[0], RATE)
    return folder


def parts(folder, video, **content):
    """Return (config, video) of a job."""
    given = {"input": {"video": video, **content.pop("input", {})}, "output": "out.mp4", **content}
    config = JobConfig.model_validate(given, context={"folder": folder})
    return config, open_source(config)


def plan(folder, video, **content):
    job = parts(folder, video, **content)
    return plan_outputs(*job, open_audio_inputs(*job))[0]


def lead_of(video):
    """Return by how much a video's sound begins after its first frame."""
    info = probe(video)
    table = scan_packets(info)
    return first_sample_time(video, info.audio[0].index) - table.pts[0] * table.time_base


def tone(path, seconds, rate=16000):
    soundfile.write(path, 0.5 * np.sin(np.arange(round(seconds * rate)) / 9), rate)
    return path.name


@pytest.mark.parametrize("video", ["late.mp4", "late.mov", "late.mkv", "early.mov"])
def test_a_dub_made_from_extracted_sound_begins_where_that_sound_began(folder, video):
    spec = plan(folder, video, input={"audio": f"{video}.wav", "length_policy": "cut"})
    own = plan(folder, video)
    heard, wanted = (
        np.concatenate([*mix(each, rate=RATE, layout="mono")], axis=1)[0]
        for each in (spec.soundtrack, own.drive_audio.main)
    )
    assert abs(lead_of(folder / video)) > Fraction(2, 5)
    np.testing.assert_allclose(heard, wanted, atol=1e-3)
    (note,) = spec.sound_notes
    assert not note.is_warning
    assert "it is as long as that sound" in note.text


@pytest.mark.parametrize("mode", ["patch", "extract"])
def test_ranges_take_such_a_dub_from_the_same_time(folder, mode):
    ranges = [{"start": 1, "end": 2}]
    (piece,) = (
        piece
        for piece in plan(
            folder, "late.mov", input={"audio": "late.mov.wav"}, ranges=ranges, mode=mode
        ).soundtrack.pieces
        if piece.path.endswith("wav")
    )
    assert (piece.start, piece.zero) == (1, -lead_of(folder / "late.mov"))


def test_drive_audio_begins_with_the_dub(folder):
    given = {"audio": "late.mov.wav", "drive_audio": "late.mov.wav"}
    spec = plan(folder, "late.mov", input=given)
    assert spec.drive_audio.main.pieces[0].zero == spec.soundtrack.pieces[0].zero == -lead_of(folder / "late.mov")
    alone = plan(folder, "late.mov", input={"drive_audio": "late.mov.wav"})
    assert alone.drive_audio.main.pieces[0].zero == -lead_of(folder / "late.mov")


def test_a_dub_as_long_as_the_picture_begins_with_it(folder):
    spec = plan(folder, "late.mov", input={"audio": tone(folder / "four.wav", 4)})
    assert spec.soundtrack.pieces[0].zero is None
    (note,) = spec.sound_notes
    assert not note.is_warning
    assert "begins with the first frame" in note.text


def test_a_length_that_tells_nothing_is_a_warning(folder):
    spec = plan(folder, "late.mov", input={"audio": tone(folder / "three.wav", 3)})
    (note,) = spec.sound_notes
    assert note.is_warning
    assert "begins with the first frame" in note.text
    assert "input.audio_start: sound" in note.text


def test_a_length_that_fits_both_is_taken_for_the_sound_and_a_warning(folder):
    given = {"audio": tone(folder / "four.wav", 4), "length_policy": "cut"}
    spec = plan(folder, "whole.late.mov", input=given)
    (note,) = spec.sound_notes
    assert note.is_warning
    assert "begins where the video's own sound begins" in note.text
    assert spec.soundtrack.pieces[0].zero == -APART


def test_nothing_is_said_where_sound_and_picture_begin_together(folder):
    spec = plan(folder, "even.mov", input={"audio": tone(folder / "three.wav", 3)})
    assert spec.sound_notes == ()
    assert spec.soundtrack.pieces[0].zero is None


def test_a_dub_with_a_picture_of_its_own_counts_from_that(folder):
    spec = plan(folder, "even.mov", input={"audio": "late.mov"})
    assert spec.soundtrack.pieces[0].zero == 0
    assert spec.sound_notes == ()


@pytest.mark.parametrize(
    ("setting", "start"), [("video", 0), ("sound", APART), (1.5, 1.5), (-0.25, -0.25), ("-00:00.5", -0.5)]
)
@pytest.mark.parametrize("audio", ["late.mov.wav", "late.mov"])
def test_the_setting_places_second_0(folder, setting, start, audio):
    given = {"audio": audio, "audio_start": setting, "length_policy": "cut"}
    dub = open_audio_inputs(*parts(folder, "late.mov", input=given)).dub
    is_second_0_its_picture = audio == "late.mov" and setting != "sound"
    first = Fraction(str(start)) if start != APART else lead_of(folder / "late.mov")
    assert dub.lead == first + (lead_of(folder / "late.mov") if is_second_0_its_picture else 0)


@pytest.mark.parametrize(("setting", "found"), [(9, "nothing of input.audio"), (-9, "nothing of input.audio")])
def test_a_start_at_which_nothing_is_heard_is_refused(folder, setting, found):
    with pytest.raises(ConfigError, match=rf"input\.audio_start .*{found}"):
        plan(folder, "late.mov", input={"audio": "late.mov.wav", "audio_start": setting})


def test_a_mute_video_has_no_sound_to_begin_with(folder):
    make_video(folder / "mute.mov", 100, size=(64, 48))
    with pytest.raises(ConfigError, match=r"input\.audio_start is sound, but the video has none"):
        plan(folder, "mute.mov", input={"audio": "late.mov.wav", "audio_start": "sound"})


@pytest.mark.parametrize("value", ["dub", True, None, "--1"])
def test_another_setting_is_refused(folder, value):
    with pytest.raises(ValueError, match="give auto, video, sound, or seconds"):
        parts(folder, "late.mov", input={"audio": "late.mov.wav", "audio_start": value})


def test_turns_are_times_of_the_dub(folder):
    (folder / "turns.csv").write_text("start,stop,speaker\n1,2,anna\n")
    speakers = {"turns": "turns.csv", "cast": {"anna": {"person": 1, "stem": "late.mov.wav"}}}
    config, video = parts(folder, "late.mov", input={"audio": "late.mov.wav", "speakers": speakers})
    inputs, table = open_audio_inputs(config, video), video.table
    (spec,) = plan_outputs(config, video, inputs, open_dialogue(config, video, inputs))
    lead = lead_of(folder / "late.mov")
    assert spec.speakers[0].turns == ((table.frame_at(1 + lead), table.frame_at(2 + lead)),)
    assert spec.drive_audio.stems[0].pieces[0].zero == spec.drive_audio.main.pieces[0].zero


# Whole jobs


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    """Return a folder with a quick job's video."""
    folder = tmp_path_factory.mktemp("talk")
    make_talk(folder / "talk.mp4")
    (folder / "weights.bin").write_bytes(b"weights")
    return folder


def run(folder, reporter, *, ranges=None, **given):
    content = {
        "ranges": ranges,
        "input": {"video": "talk.mp4", "length_policy": "cut", **given},
        "output": "out.mp4",
        "segmenter": {"detector": "cascade", "embedder": "none"},
        "renderer": {"method": "network", "checkpoint": "weights.bin", "device": "cpu"},
        "execution": {"backend": "serial"},
    }
    run_quick(JobConfig.model_validate(content, context={"folder": folder}), reporter, force=True)
    return load_report(folder / "out.mp4")


def test_a_video_whose_sound_begins_late_can_be_patched(tmp_path):
    write_apart(tmp_path / "talk.mp4", "aac", APART, size=SIZE, gop=12)
    (tmp_path / "weights.bin").write_bytes(b"weights")
    report = run(tmp_path, Heard(), audio=tone(tmp_path / "dub.wav", 3), ranges=[{"start": 1, "end": 2}])
    assert report["soundtrack"]["kind"] == "spliced"
    own, patched = (read_all(tmp_path / name, RATE, "mono", zero=Fraction(0))[0] for name in ("talk.mp4", "out.mp4"))
    np.testing.assert_array_equal(own[: RATE * 9 // 10], patched[: RATE * 9 // 10])
    assert rms(own[RATE * 3 // 2 : RATE * 2] - patched[RATE * 3 // 2 : RATE * 2]) > 0.01


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_no_numbers_are_silence_and_a_warning(talk, bad):
    sound = 0.3 * np.sin(np.arange(4 * 24000) / 9)
    sound[30000:30040] = bad
    soundfile.write(talk / "bad.wav", sound, 24000, subtype="FLOAT")
    reporter = Heard()
    report = run(talk, reporter, audio="bad.wav", drive_audio="bad.wav")
    for key in ("input.audio", "input.drive_audio"):
        text = f"{key}: 40 samples are not numbers (NaN or infinite), the first at 1.250 s"
        assert any(text in warning and "bad.wav" in warning for warning in reporter.warned)
        assert any(text in note for note in report["soundtrack"]["notes"])


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda sound: np.where(np.arange(len(sound)) % 3, sound, np.nan), UnreadableMedia, "33% of all"),
        (lambda sound: sound * 32767, UnsupportedMedia, r"volume=1/32768"),
    ],
)
@pytest.mark.parametrize("key", ["audio", "drive_audio", "range"])
def test_sounds_that_cannot_be_meant_are_refused(folder, change, error, text, key):
    soundfile.write(folder / "bad.wav", change(0.5 * np.sin(np.arange(4 * RATE) / 9)), RATE, subtype="FLOAT")
    content = {"input": {key: "bad.wav"}}
    if key == "range":
        content = {"ranges": [{"start": 1, "end": 2, "audio": "bad.wav", "audio_start": 1}]}
    with pytest.raises(error, match=rf"bad\.wav: .*{text}"):
        plan(folder, "even.mov", **content)


def test_what_will_be_clipped_is_a_warning(folder):
    soundfile.write(folder / "loud.wav", 8 * np.sin(np.arange(4 * RATE) / 9), RATE, subtype="FLOAT")
    (note,) = plan(folder, "even.mov", input={"audio": "loud.wav"}).sound_notes
    assert note.is_warning
    assert "18.1 dB beyond full scale" in note.text


def test_other_tracks_are_named(folder):
    make_video(folder / "four.mov", 100, size=(64, 48), sounds=[Sound("pcm_s16le")] * 4)
    spec = plan(folder, "four.mov", input={"audio": "late.mov.wav", "length_policy": "cut"})
    assert any("track 1 of 4 alone; tracks 2, 3 and 4 stay" in note.text for note in spec.sound_notes)
    assert plan(folder, "four.mov").sound_notes == ()


def test_tracks_that_play_together_are_a_warning(folder):
    info = probe(folder / "even.mov")
    on, off = (replace(info.audio[0], is_enabled=enabled) for enabled in (True, False))
    (note,) = note_other_tracks(replace(info, audio=(on, on)))
    assert note.is_warning
    (note,) = note_other_tracks(replace(info, audio=(on, off)))
    assert not note.is_warning
    assert note_other_tracks(info) == []


def test_a_plan_is_told_the_start(talk):
    content = {
        "input": {"video": "talk.mp4", "audio": tone(talk / "dub.wav", 4), "audio_start": 0.5, "length_policy": "cut"}
    }
    config = JobConfig.model_validate({**content, "output": "out.mp4"}, context={"folder": talk})
    reporter = Heard()
    (spec,) = open_job(config, reporter, force=True).specs
    assert "second 0 of input.audio lies 0.500 s after the first frame" in spec.sound_notes[0].text
