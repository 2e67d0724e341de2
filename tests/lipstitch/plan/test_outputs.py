"""What each output shows and hears: length policies, patched and extracted ranges, whose voice drives the lips."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lipstitch.job_file.config import JobConfig
from lipstitch.plan.audio.inputs import open_audio_inputs
from lipstitch.plan.outputs.plan_outputs import plan_outputs
from lipstitch.source.source import open_source
from media.base.errors import ConfigError, MissingStream, UnreadableMedia
from renderer.mel import MelTrack
from stitcher.audio.soundtrack import write_driving
from tests.support.synthetic import Sound, make_video

NUM_FRAMES, RATE = 100, 25
LENGTH = Fraction(NUM_FRAMES, RATE)
"""Seconds of the video: 4."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with talk.mp4 (with sound), mute.mp4 (without) and late.mp4, all of 4 s and 100 frames."""
    folder = tmp_path_factory.mktemp("edits")
    make_video(folder / "talk.mp4", NUM_FRAMES, size=(64, 48), sounds=[Sound()])
    make_video(folder / "mute.mp4", NUM_FRAMES, size=(64, 48))
    # The picture begins at 2 s of the file's clock.
    make_video(folder / "late.mp4", NUM_FRAMES, size=(64, 48), start=2 * 2500, sounds=[Sound(start=Fraction(2))])
    return folder


@pytest.fixture
def sound(folder):
    """Return a function that writes a voice of some seconds and, after it, a tail of a given peak."""

    def write(name, seconds, *, tail_seconds=0, peak=0.0):
        at = np.arange(round(seconds * 16000))
        tail = np.zeros(round(tail_seconds * 16000))
        tail[::7] = peak
        soundfile.write(folder / name, np.concatenate([0.5 * np.sin(at / 9), tail]), 16000, subtype="FLOAT")
        return name

    return write


@pytest.fixture
def plan(folder):
    """Return a function that plans a job, given as in a job file, on one of the videos."""

    def plan_job(video="talk.mp4", *, ranges=None, mode="patch", join=False, **given):
        content = {"input": {"video": video, **given}, "output": "out.mp4", "mode": mode, "extract": {"join": join}}
        if ranges is not None:
            content["ranges"] = ranges
        config = JobConfig.model_validate(content, context={"folder": folder})
        video = open_source(config)
        return plan_outputs(config, video, open_audio_inputs(config, video))

    return plan_job


def _pieces(plan):
    """Return (file name, second in the file, output start, output stop) of each piece of sound."""
    return [(Path(piece.path).name, piece.start, piece.output_start, piece.output_stop) for piece in plan.pieces]


# The whole video


def test_without_a_dub_the_own_sound_stays_and_drives(plan):
    (spec,) = plan()
    assert spec.soundtrack is None
    assert _pieces(spec.drive_audio.main) == [("talk.mp4", 0, 0, LENGTH)]
    assert (spec.scanned_frames, spec.driven_frames) == (((0, 100),), ((0, 100),))
    assert spec.drive_seconds(25) == 1
    assert spec.timeline.is_source
    assert len(spec.timeline) == NUM_FRAMES


def test_without_any_sound_the_message_says_what_to_give(plan):
    with pytest.raises(MissingStream, match=r"Give input\.audio"):
        plan("mute.mp4")


def test_a_dub_without_sound_is_refused(plan):
    with pytest.raises(MissingStream, match=r"mute\.mp4: no audio stream"):
        plan(audio="mute.mp4")


@pytest.mark.parametrize("key", ["audio", "drive_audio"])
def test_a_missing_file_is_named(plan, key):
    with pytest.raises(UnreadableMedia, match=r"nowhere\.wav: no such file"):
        plan(**{key: "nowhere.wav"})


def test_a_dub_as_long_as_the_video_is_heard_and_drives(plan, sound):
    (spec,) = plan("mute.mp4", audio=sound("dub4.wav", 4))
    assert _pieces(spec.soundtrack) == _pieces(spec.drive_audio.main) == [("dub4.wav", 0, 0, LENGTH)]
    assert spec.soundtrack.duration == LENGTH
    assert spec.driven_frames == ((0, 100),)
    assert spec.patched_seconds == ()


@pytest.mark.parametrize("policy", ["video", "cut", "freeze", "loop", "bounce"])
def test_a_shorter_dub_ends_in_silence_and_frames_after_it_keep_their_mouths(plan, sound, policy):
    (spec,) = plan(audio=sound("dub3.wav", 3), length_policy=policy)
    assert _pieces(spec.soundtrack) == [("dub3.wav", 0, 0, LENGTH)]
    assert spec.driven_frames == ((0, 75),)
    assert len(spec.timeline) == NUM_FRAMES


def test_sound_of_a_video_counts_from_its_first_frame(plan):
    (spec,) = plan("late.mp4", audio="late.mp4")
    (piece,) = spec.soundtrack.pieces
    assert (piece.zero, piece.start) == (2, 0)
    assert spec.driven_frames == ((0, 100),)


# Length policies


@pytest.mark.parametrize("peak", [0.0, 0.003])
def test_the_silent_end_of_a_longer_dub_is_trimmed(plan, sound, peak):
    (spec,) = plan(audio=sound("silent_end.wav", 4, tail_seconds=1, peak=peak))
    assert len(spec.timeline) == NUM_FRAMES
    assert _pieces(spec.soundtrack) == [("silent_end.wav", 0, 0, LENGTH)]


@pytest.mark.parametrize("peak", [0.0036, 0.5])
def test_a_longer_dub_that_would_lose_sound_is_refused(plan, sound, peak):
    with pytest.raises(ConfigError) as caught:
        plan(audio=sound("loud_end.wav", 4, tail_seconds=1, peak=peak))
    said = str(caught.value)
    assert "5.000 s" in said
    assert "4.000 s" in said
    assert all(policy in said for policy in ("cut", "freeze", "loop", "bounce"))
    assert "\n" not in said


def test_one_frame_more_is_no_difference(plan, sound):
    (spec,) = plan(audio=sound("frame_more.wav", 4.04))
    assert len(spec.timeline) == NUM_FRAMES


def test_cut_trims_whatever_it_is(plan, sound):
    (spec,) = plan(audio=sound("dub5.wav", 5), length_policy="cut")
    assert len(spec.timeline) == NUM_FRAMES
    assert spec.soundtrack.duration == LENGTH


@pytest.mark.parametrize("seconds", [3.9, 4.1])
def test_error_refuses_any_difference(plan, sound, seconds):
    with pytest.raises(ConfigError, match=rf"{seconds}00 s.*4\.000 s.*length_policy"):
        plan(audio=sound("dub_other.wav", seconds), length_policy="error")


@pytest.mark.parametrize("seconds", [3.96, 4.0, 4.04])
def test_error_takes_a_difference_of_one_frame(plan, sound, seconds):
    assert len(plan(audio=sound("dub_near.wav", seconds), length_policy="error")) == 1


@pytest.mark.parametrize(
    ("policy", "appended"),
    [
        ("freeze", [99] * 25),
        ("loop", list(range(25))),
        ("bounce", list(range(98, 73, -1))),
    ],
)
def test_policies_that_prolong_append_frames_as_long_as_there_is_sound(plan, sound, policy, appended):
    (spec,) = plan(audio=sound("dub5.wav", 5), length_policy=policy)
    timeline = spec.timeline
    shown = [frame for run in timeline.runs for frame in run.source_frames(run.start_frame, run.stop_frame)]
    assert shown == [*range(100), *appended]
    assert timeline.seconds(len(timeline)) == spec.soundtrack.duration == 5
    assert spec.driven_frames == ((0, 125),)


# What drives the lips


def test_a_clean_voice_drives_while_the_dub_is_heard(plan, sound):
    (spec,) = plan(audio=sound("mix.wav", 4), drive_audio=sound("voice.wav", 3.95))
    assert _pieces(spec.soundtrack) == [("mix.wav", 0, 0, LENGTH)]
    assert _pieces(spec.drive_audio.main) == [("voice.wav", 0, 0, LENGTH)]
    assert spec.driven_frames == ((0, 99),)


def test_a_clean_voice_can_stand_beside_the_own_sound(plan, sound):
    (spec,) = plan(drive_audio=sound("voice4.wav", 4))
    assert spec.soundtrack is None
    assert _pieces(spec.drive_audio.main) == [("voice4.wav", 0, 0, LENGTH)]


@pytest.mark.parametrize("seconds", [3.5, 4.5])
def test_a_voice_of_another_length_is_refused(plan, sound, seconds):
    with pytest.raises(ConfigError, match=rf"drive_audio lasts {seconds}00 s.*4\.000 s"):
        plan(audio=sound("mix.wav", 4), drive_audio=sound("voice_other.wav", seconds))


# Patched ranges

LINES = [{"start": 3, "end": 3.5}, {"start": "0:01", "end": 2, "audio": "line.wav", "audio_start": 0.5}]


def test_pieces_of_sound_tile_the_patched_video(plan, sound):
    sound("line.wav", 1.5)
    (spec,) = plan(audio=sound("dub4.wav", 4), ranges=LINES)
    half = Fraction(1, 2)
    assert _pieces(spec.soundtrack) == [
        ("talk.mp4", 0, 0, 1),
        ("line.wav", half, 1, 2),
        ("talk.mp4", 2, 2, 3),
        ("dub4.wav", 3, 3, 3 + half),
        ("talk.mp4", 3 + half, 3 + half, 4),
    ]
    assert spec.soundtrack.duration == LENGTH
    assert spec.patched_seconds == ((1, 2), (3, 3 + half))


def test_lips_move_inside_the_ranges_alone(plan, sound):
    sound("line.wav", 1.5)
    (spec,) = plan(audio=sound("dub4.wav", 4), ranges=LINES)
    assert spec.scanned_frames == spec.driven_frames == ((25, 50), (75, 88))
    half = Fraction(1, 2)
    # Half a second more on either side, as far as there is sound before.
    assert _pieces(spec.drive_audio.main) == [("line.wav", 0, 0, 2), ("dub4.wav", 2 + half, 2, 3 + half)]
    assert [spec.drive_seconds(frame) for frame in (25, 75)] == [half, 2 + half]
    assert (len(spec.timeline), spec.timeline.is_source) == (NUM_FRAMES, True)


def test_lips_stop_where_the_line_ends(plan, sound):
    (spec,) = plan(ranges=[{"start": 1, "end": 2, "audio": sound("short_line.wav", 0.6)}])
    assert spec.scanned_frames == ((25, 50),)
    assert spec.driven_frames == ((25, 40),)
    assert _pieces(spec.soundtrack)[1] == ("short_line.wav", 0, 1, 2)


def test_ranges_without_a_dub_leave_the_sound_as_it_is(plan):
    (spec,) = plan(ranges=[{"start": 1, "end": 2}])
    assert spec.soundtrack is None
    assert _pieces(spec.drive_audio.main) == [("talk.mp4", Fraction(1, 2), 0, 2)]
    assert spec.driven_frames == ((25, 50),)


@pytest.mark.parametrize("mode", ["patch", "extract"])
def test_mel_windows_of_ranges_are_those_of_the_whole_dub(plan, folder, mode, tmp_path):
    samples = np.random.default_rng(3).uniform(-0.5, 0.5, 4 * 16000)
    soundfile.write(folder / "noise.wav", samples, 16000, subtype="FLOAT")
    ranges = [{"start": 0.5, "end": 1.213}, {"start": 2.009, "end": 3.2}]
    (whole,) = plan(audio="noise.wav")
    (cut,) = plan(audio="noise.wav", ranges=ranges, mode=mode, join=True)
    for name, spec in (("whole", whole), ("cut", cut)):
        write_driving(spec.drive_audio.main, tmp_path / name)
    compared = 0
    with MelTrack(tmp_path / "whole") as whole_mel, MelTrack(tmp_path / "cut") as cut_mel:
        for run in cut.timeline.runs:
            for frame in range(run.start_frame, run.stop_frame):
                source = run.source_frame + frame - run.start_frame
                if any(start <= source < stop for start, stop in cut.scanned_frames):
                    expected = whole_mel.window(whole.drive_seconds(source))
                    np.testing.assert_allclose(cut_mel.window(cut.drive_seconds(frame)), expected, atol=1e-4)
                    compared += 1
    assert compared == 18 + 29


@pytest.mark.parametrize("ends", [[(0, 1), (3, 4)], [(0, 4)], [(0, 2), (2, 4)], [(0, 4.04)]])
def test_ranges_at_the_ends_leave_no_empty_piece(plan, sound, ends):
    (spec,) = plan(audio=sound("dub4.wav", 4), ranges=[{"start": start, "end": end} for start, end in ends])
    pieces = _pieces(spec.soundtrack)
    assert all(start < stop for _, _, start, stop in pieces)
    assert (pieces[0][2], pieces[-1][3]) == (0, LENGTH)
    assert all(left[3] == right[2] for left, right in pairwise(pieces))


def test_outside_the_ranges_of_a_mute_video_it_stays_silent(plan, sound):
    (spec,) = plan("mute.mp4", audio=sound("dub4.wav", 4), ranges=[{"start": 1, "end": 2}])
    assert _pieces(spec.soundtrack) == [("dub4.wav", 1, 1, 2)]
    assert spec.soundtrack.duration == LENGTH


def test_a_mute_video_can_be_patched_by_lines_alone(plan, sound):
    (spec,) = plan("mute.mp4", ranges=[{"start": 1, "end": 2, "audio": sound("line1.wav", 1)}])
    assert _pieces(spec.soundtrack) == [("line1.wav", 0, 1, 2)]


def test_a_mute_video_needs_a_dub_for_a_range_without_a_line(plan):
    with pytest.raises(MissingStream, match=r"Give input\.audio"):
        plan("mute.mp4", ranges=[{"start": 1, "end": 2}])


def test_a_range_holds_the_frames_that_begin_inside_it(plan):
    (spec,) = plan(ranges=[{"start": 1.01, "end": 1.12}])
    assert spec.scanned_frames == ((26, 28),)


@pytest.mark.parametrize(("start", "end"), [(5, 6), (3, 4.5), (4.1, 4.2)])
def test_a_range_outside_the_video_is_refused_with_its_length(plan, start, end):
    with pytest.raises(ConfigError, match=r"^ranges\.1: .*4\.000 s"):
        plan(ranges=[{"start": 0, "end": 1}, {"start": start, "end": end}])


def test_a_range_between_two_frames_is_refused(plan):
    with pytest.raises(ConfigError, match=r"ranges\.0: there is no frame"):
        plan(ranges=[{"start": 1.01, "end": 1.03}])


def test_a_line_that_is_over_before_it_begins_is_refused(plan, sound):
    with pytest.raises(ConfigError, match=r"ranges\.0\.audio_start"):
        plan(ranges=[{"start": 1, "end": 2, "audio": sound("line1.wav", 1), "audio_start": 1}])


def test_a_range_behind_the_end_of_the_dub_is_refused(plan, sound):
    with pytest.raises(ConfigError, match=r"ranges\.0: the sound of .*dub3\.wav has ended there \(3\.000 s\)"):
        plan(audio=sound("dub3.wav", 3), ranges=[{"start": 3.2, "end": 3.8}])


def test_a_line_longer_than_its_range_follows_the_length_policy(plan, sound):
    ranges = [{"start": 1, "end": 2, "audio": sound("long_line.wav", 1.5)}]
    with pytest.raises(ConfigError, match=r"ranges\.0\.audio lasts 1\.500 s.*1\.000 s"):
        plan(ranges=ranges)
    (spec,) = plan(ranges=ranges, length_policy="cut")
    assert _pieces(spec.soundtrack)[1] == ("long_line.wav", 0, 1, 2)
    ranges[0]["audio"] = sound("quiet_line.wav", 1, tail_seconds=0.5)
    assert len(plan(ranges=ranges)) == 1


# Extracted ranges


def test_each_range_becomes_a_file_named_after_it(plan, sound, folder):
    ranges = [{"start": 2, "end": "00:03.250"}, {"start": 1, "end": 2, "name": "answer"}]
    one, two = plan(mode="extract", audio=sound("dub4.wav", 4), ranges=ranges)
    assert one.output == folder / "out.00.00.02.000-00.00.03.250.mp4"
    assert two.output == folder / "out.answer.mp4"
    assert (one.scanned_frames, two.scanned_frames) == (((50, 82),), ((25, 50),))
    assert (one.driven_frames, two.driven_frames) == (((0, 32),), ((0, 25),))
    assert _pieces(two.soundtrack) == [("dub4.wav", 1, 0, 1)]
    assert two.drive_seconds(0) == Fraction(1, 2)  # half a second of the dub stands before it
    assert (two.timeline.pts[0], two.timeline.seconds(25), two.timeline.is_source) == (0, 1, False)


def test_joined_ranges_follow_each_other_in_their_order(plan, sound, folder):
    ranges = [{"start": 2, "end": 3}, {"start": 1, "end": 2, "audio": sound("line1.wav", 0.5)}]
    (spec,) = plan(mode="extract", join=True, ranges=ranges)
    assert spec.output == folder / "out.mp4"
    shown = [frame for run in spec.timeline.runs for frame in run.source_frames(run.start_frame, run.stop_frame)]
    assert shown == [*range(50, 75), *range(25, 50)]
    assert _pieces(spec.soundtrack) == [("talk.mp4", 2, 0, 1), ("line1.wav", 0, 1, 2)]
    assert spec.driven_frames == ((0, 38),)  # the line lasts half a second, in which 13 frames begin
    assert spec.scanned_frames == ((25, 75),)


def test_sound_of_an_extract_begins_with_its_first_frame(plan):
    (spec,) = plan(mode="extract", ranges=[{"start": 1.01, "end": 2}])
    assert _pieces(spec.soundtrack) == [("talk.mp4", Fraction("1.04"), 0, Fraction(24, 25))]


def test_two_ranges_of_one_name_are_refused(plan):
    ranges = [{"start": 1, "end": 2, "name": "a"}, {"start": 2, "end": 3, "name": "a"}]
    with pytest.raises(ConfigError, match="same file"):
        plan(mode="extract", ranges=ranges)
    assert len(plan(mode="extract", join=True, ranges=ranges)) == 1
