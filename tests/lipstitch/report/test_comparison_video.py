"""The comparison video: which clips it shows, the right frames side by side, the sound of the result in step."""

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lipstitch.plan.output_timeline import concat_ranges, identity_timeline
from lipstitch.plan.outputs.spec import DriveAudio, OutputSpec
from lipstitch.report import comparison_video
from lipstitch.report.comparison_video import Excerpt, choose_excerpts, write_comparison_video
from media.base.errors import StitchError, WorkspaceError
from media.clips import Clip, RenderedClip
from media.orientation import UPRIGHT, Orientation
from media.source_video import scan_video
from stitcher.audio.mix import SoundPlan
from tests.support.synthetic import Sound, click_times, make_video, read_stamp

RATE = 25
CAPTION_PX = comparison_video.CAPTION_HEIGHT_PX


def _edit(output, timeline):
    silence = SoundPlan((), Fraction(1))
    return OutputSpec(output, "mp4", timeline, (), (), silence, (), DriveAudio(silence, ()))


def _clip(timeline, index, start, stop, rendered, outcome="rendered"):
    """Return a finished clip of output frames [start, stop) with new mouths in some of them."""
    shown = [frame for run in timeline.runs for frame in run.source_frames(run.start_frame, run.stop_frame)]
    action = "copy" if outcome == "copied" else "render"
    clip = Clip(index, start, stop, action, "", tuple(shown[start:stop]), (), tuple(rendered))
    return RenderedClip(clip, None, outcome, "", sum(b - a for a, b in rendered), 0.0)


class Case:
    """A source of 6 s, and a result that is its seconds 2 to 6: result frame i shows source frame i + 50."""

    def __init__(self, folder, *, orientation=UPRIGHT, is_mute=False):
        talk = make_video(folder / "talk.mp4", 150, orientation=orientation, sounds=[Sound(hertz=300)])
        sounds = [] if is_mute else [Sound()]
        self.output = make_video(folder / "out.mp4", 100, orientation=orientation, sounds=sounds)
        self.source = scan_video(talk)
        self.timeline = concat_ranges(self.source.table, [(50, 150)])
        self.edit = _edit(self.output, self.timeline)

    def clip(self, *args, **kwargs):
        return _clip(self.timeline, *args, **kwargs)

    def write(self, path, *clips):
        return write_comparison_video(path, self.source, [(self.edit, clips)])


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Case(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def made(case, tmp_path_factory):
    """Return a comparison of two excerpts: result frames 20 to 49, and 60 to 99 of a clip rendered in two parts."""
    path = tmp_path_factory.mktemp("made") / "compared.mp4"
    clips = [
        case.clip(0, 0, 10, [], outcome="copied"),
        case.clip(1, 10, 55, [(20, 50)]),
        case.clip(2, 55, 60, [(55, 60)], outcome="fell_back"),
        case.clip(3, 60, 100, [(60, 70), (80, 100)]),
    ]
    assert case.write(path, *clips)
    return path


def _frames(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _stamp(panel):
    """Return the number in the stamp of an upright picture."""
    return read_stamp(av.VideoFrame.from_ndarray(np.ascontiguousarray(panel), format="rgb24").reformat(format="gray"))


def _panels(picture):
    """Return the two pictures below the caption."""
    return np.split(picture[CAPTION_PX:], 2, axis=1)


def test_source_and_result_stand_side_by_side_frame_by_frame(made):
    pairs = [tuple(_stamp(panel) for panel in _panels(picture)) for picture in _frames(made)]
    assert pairs == [(frame + 50, frame) for frame in [*range(20, 50), *range(60, 100)]]


def test_the_video_is_1280_wide_and_plays_everywhere(made):
    with av.open(str(made)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height) == (1280, 360 + CAPTION_PX)
        assert (video.codec_context.name, video.codec_context.pix_fmt, audio.codec_context.name) == (
            "h264",
            "yuv420p",
            "aac",
        )
        assert video.average_rate == RATE


def test_the_sound_of_the_result_is_in_step(made):
    # Clicks are heard at whole seconds of the result. Excerpts begin at 0.8 s and 2.4 s; the second begins at the
    # video's 1.2 s, so 1 s comes at 0.2 s, and 3 s at 1.8 s.
    assert click_times(made) == pytest.approx([0.2, 1.8], abs=0.003)


def test_captions_are_written_above_and_change_with_the_time(made):
    pictures = _frames(made)
    strips = [picture[:CAPTION_PX] for picture in pictures]
    left, right = np.split(strips[0], 2, axis=1)
    assert (left > 200).sum() > 3 * (right > 200).sum() > 100
    assert np.abs(strips[0].astype(int) - strips[1]).max() > 100


def test_a_caption_says_clip_and_time(case, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(comparison_video, "_captioned", lambda panel, text: said.append(text) or panel)
    case.write(tmp_path / "compared.mp4", case.clip(12, 20, 30, [(25, 27)]))
    assert said[:4] == ["source   clip 12   00:00:01.000", "result", "source   clip 12   00:00:01.040", "result"]


def test_where_nothing_was_rendered_no_video_is_written(case, tmp_path):
    clips = [case.clip(0, 0, 50, [], outcome="copied"), case.clip(1, 50, 100, [(50, 60)], outcome="fell_back")]
    assert not case.write(tmp_path / "compared.mp4", *clips)
    assert os.listdir(tmp_path) == []


def test_outputs_follow_each_other_under_their_names(case, tmp_path, monkeypatch):
    said = []
    original = comparison_video._captioned
    monkeypatch.setattr(comparison_video, "_captioned", lambda panel, text: said.append(text) or original(panel, text))
    other = replace(case.edit, output=tmp_path / "other.mp4")
    other.output.symlink_to(case.output)
    finished = [(case.edit, [case.clip(1, 20, 40, [(20, 22)])]), (other, [case.clip(1, 60, 80, [(60, 62)])])]
    assert write_comparison_video(tmp_path / "compared.mp4", case.source, finished)
    assert [_stamp(_panels(picture)[1]) for picture in _frames(tmp_path / "compared.mp4")] == [20, 21, 60, 61]
    assert said[0].endswith("   out.mp4")
    assert said[4].endswith("   other.mp4")


def test_a_mute_result_gives_a_mute_comparison(tmp_path):
    case = Case(tmp_path, is_mute=True)
    assert case.write(tmp_path / "compared.mp4", case.clip(0, 0, 5, [(0, 5)]))
    with av.open(str(tmp_path / "compared.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("orientation", [Orientation(90), Orientation(270, is_mirrored=True)], ids=str)
def test_a_portrait_stands_upright(tmp_path, orientation):
    case = Case(tmp_path, orientation=orientation)
    assert case.write(tmp_path / "compared.mp4", case.clip(0, 10, 15, [(10, 15)]))
    pictures = _frames(tmp_path / "compared.mp4")
    assert pictures[0].shape == (720 + CAPTION_PX, 2 * 404, 3)
    assert [[_stamp(orientation.turn_back(panel)) for panel in _panels(picture)] for picture in pictures] == [
        [frame + 50, frame] for frame in range(10, 15)
    ]


def test_frames_of_a_variable_rate_are_held_as_long_as_they_are_shown(tmp_path):
    # 20 frames 40 ms apart, then 10 frames 120 ms apart: on average 18.75 frames a second.
    pts = [40 * number for number in range(20)] + [800 + 120 * number for number in range(10)]
    videos = [
        make_video(tmp_path / name, 30, pts=pts, time_base=Fraction(1, 1000), b_frames=0) for name in ("a.mp4", "b.mp4")
    ]
    source = scan_video(videos[0])
    timeline = identity_timeline(source.table)
    edit = _edit(videos[1], timeline)
    assert write_comparison_video(tmp_path / "compared.mkv", source, [(edit, [_clip(timeline, 0, 0, 30, [(10, 25)])])])
    with av.open(str(tmp_path / "compared.mkv")) as container:
        rate = container.streams.video[0].average_rate
    shown = [_stamp(_panels(picture)[0]) for picture in _frames(tmp_path / "compared.mkv")]
    starts = [Fraction(ticks, 1000) for ticks in pts]
    expected = []
    for tick in range(len(shown)):
        middle = starts[10] + (Fraction(tick) + Fraction(1, 2)) / rate
        expected.append(max(frame for frame in range(10, 25) if starts[frame] < middle))
    assert shown == expected
    assert len(shown) == pytest.approx(float((starts[25] - starts[10]) * rate), abs=1)


# Errors


def test_a_folder_that_is_not_there_is_one_sentence(case, tmp_path):
    with pytest.raises(WorkspaceError, match=r"compared\.mp4.*cannot be written.*No such file") as caught:
        case.write(tmp_path / "none" / "compared.mp4", case.clip(0, 0, 100, [(0, 100)]))
    assert "\n" not in str(caught.value)


def test_a_video_that_came_out_short_never_gets_its_name(case, tmp_path, monkeypatch):
    original = comparison_video.VideoClip.write_videofile

    def cut_off(movie, name, **options):
        original(movie, name, **options)
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) // 3])

    monkeypatch.setattr(comparison_video.VideoClip, "write_videofile", cut_off)
    (tmp_path / "compared.mp4").write_text("old")
    with pytest.raises(StitchError, match="of 20 frames"):
        case.write(tmp_path / "compared.mp4", case.clip(0, 0, 20, [(0, 20)]))
    assert (tmp_path / "compared.mp4").read_text() == "old"
    assert os.listdir(tmp_path) == ["compared.mp4"]


# Which clips


def test_six_seconds_of_a_clip_are_shown(case):
    step = case.source.table.pts[1] - case.source.table.pts[0]  # 25 frames a second
    timeline = replace(case.timeline, pts=range(0, 1000 * step, step), end_pts=1000 * step)
    clip = Clip(0, 0, 1000, "render", "", tuple(range(1000)), (), ((100, 1000),))
    rendered = RenderedClip(clip, None, "rendered", "", 900, 0.0)
    excerpt = comparison_video._excerpt(_edit(case.output, timeline), rendered, 10)
    assert len(excerpt.ticks) == 60
    assert (excerpt.ticks[0], excerpt.ticks[-1], excerpt.start_seconds) == (101, 248, 4)


def _excerpts(*lengths):
    return [Excerpt(None, number, tuple(range(length)), Fraction(0)) for number, length in enumerate(lengths)]


@pytest.mark.parametrize(
    ("lengths", "chosen"),
    [
        ([], []),
        ([0, 0], []),
        ([10, 0, 20], [0, 2]),
        ([50, 50], [0, 1]),
        ([60] * 4, [0]),
        ([25] * 8, [0, 2, 4, 6]),
        ([10] * 1000, list(range(0, 1000, 100))),
    ],
)
def test_as_many_clips_as_fit_are_shown_at_even_distances(lengths, chosen):
    assert [excerpt.clip for excerpt in choose_excerpts(_excerpts(*lengths), max_frames=100)] == chosen
