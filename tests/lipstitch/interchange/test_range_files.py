"""Ranges read from timelines, as editing programs write them: EDL, OpenTimelineIO, markers."""

import re
from fractions import Fraction

import pytest

from lipstitch.interchange.clock import EditClock, constant_rate, exact_rate, load_otio
from lipstitch.interchange.read import with_ranges
from lipstitch.job_file.config import load_job
from media.base.errors import ConfigError
from media.source_video import scan_video
from tests.support.jobs import write_job
from tests.support.synthetic import make_video

otio = pytest.importorskip("opentimelineio", reason="opentimelineio is an optional extra")
NTSC = Fraction(30000, 1001)
NUM_FRAMES = 100
UNEVEN = [n * n + 3 * n for n in range(20)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Return videos by name: talk begins at 01:00:00:00 (25), dropped and counted at 29.97, plain tells no timecode."""
    folder = tmp_path_factory.mktemp("edited")
    made = {
        "talk": make_video(folder / "talk.mov", NUM_FRAMES, metadata={"timecode": "01:00:00:00"}),
        "dropped": make_video(folder / "dropped.mov", NUM_FRAMES, rate=NTSC, metadata={"timecode": "00:00:59;00"}),
        "counted": make_video(folder / "counted.mov", NUM_FRAMES, rate=NTSC, metadata={"timecode": "00:00:59:00"}),
        "plain": make_video(folder / "plain.mkv", NUM_FRAMES, rate=NTSC),
        "uneven": make_video(
            folder / "uneven.mp4", 20, pts=[n * n + 3 * n for n in range(20)], time_base=Fraction(1, 90)
        ),
    }
    return {name: scan_video(path) for name, path in made.items()}


def read(tmp_path, video, content, *, mode="patch", **section):
    """Return the ranges that a file tells of a video, in frames, and their names."""
    path = tmp_path / ("cut.otio" if isinstance(content, otio.schema.Timeline) else "cut.edl")
    path.write_text(content if isinstance(content, str) else content.to_json_string())
    job = {
        "input": {"video": video.info.path},
        "output": "out.mov",
        "mode": mode,
        "ranges_from": {"file": path, **section},
    }
    ranges = with_ranges(load_job(write_job(tmp_path, **job)), video).ranges
    for part in ranges:  # exactly the times of frames
        assert video.table.seconds(video.table.frame_at(part.start)) == part.start
    return [(video.table.frame_at(part.start), video.table.frame_at(part.end), part.name) for part in ranges]


def frames(found):
    return [part[:2] for part in found]


# EDL

PREMIERE = """TITLE: Sequence 01
FCM: NON-DROP FRAME

001  AX       V     C        01:00:00:10 01:00:01:00 00:00:00:00 00:00:00:15
* FROM CLIP NAME: talk.mov

002  AX       AA    C        01:00:00:10 01:00:01:00 00:00:00:00 00:00:00:15
* FROM CLIP NAME: talk.mov

003  AX       V     C        00:00:04:00 00:00:05:00 00:00:00:15 00:00:01:15
* FROM CLIP NAME: other.mov

004  AX       V     C        01:00:02:00 01:00:03:05 00:00:01:15 00:00:02:20
* FROM CLIP NAME: talk.mov
"""


def test_events_that_show_the_video_are_ranges(tmp_path, videos):
    assert read(tmp_path, videos["talk"], PREMIERE) == [(10, 25, None), (50, 80, None)]


def test_ranges_may_be_the_path_alone(tmp_path, videos):
    (tmp_path / "cut.edl").write_text(PREMIERE)
    job = {"input": {"video": videos["talk"].info.path}, "output": "out.mov", "ranges": "cut.edl"}
    config = with_ranges(load_job(write_job(tmp_path, **job)), videos["talk"])
    assert [(part.start, part.end) for part in config.ranges] == [
        (Fraction(10, 25), Fraction(1)),
        (Fraction(2), Fraction(80, 25)),
    ]


DISSOLVE = """TITLE: Avid
001  TALK     V     C        01:00:00:00 01:00:01:00 10:00:00:00 10:00:01:00
* FROM CLIP NAME:  TALK.MOV
002  TALK     V     C        01:00:01:00 01:00:01:00 10:00:01:00 10:00:01:00
002  TALK     V     D    010 01:00:02:00 01:00:03:00 10:00:01:00 10:00:02:00
* FROM CLIP NAME:  TALK.MOV
* TO CLIP NAME:  TALK.MOV
"""


def test_dissolves_and_upper_case_names(tmp_path, videos):
    assert frames(read(tmp_path, videos["talk"], DISSOLVE)) == [(0, 25), (50, 75)]


EVENT = "TITLE: x\nFCM: {fcm}\n\n001  AX       V     C        {start} {stop} {start} {stop}\n* FROM CLIP NAME: {name}\n"


@pytest.mark.parametrize(
    ("video", "fcm", "start", "stop", "expected"),
    [
        ("dropped", "DROP FRAME", "00:00:59;10", "00:01:00;02", (10, 30)),  # ;00 and ;01 do not exist
        ("dropped", "DROP FRAME", "00:00:59:10", "00:01:00:02", (10, 30)),  # as many write it
        ("counted", "NON-DROP FRAME", "00:00:59:10", "00:01:00:02", (10, 32)),
        ("plain", "NON-DROP FRAME", "00:00:01:00", "00:00:02:00", (30, 60)),  # Matroska's times are rounded
    ],
)
def test_drop_frame_and_non_drop_frame(tmp_path, videos, video, fcm, start, stop, expected):
    name = scan_name(videos[video])
    assert frames(read(tmp_path, videos[video], EVENT.format(fcm=fcm, start=start, stop=stop, name=name))) == [expected]


def scan_name(video):
    return video.info.path.rpartition("/")[2]


MARKERS = """TITLE: Timeline 1
FCM: NON-DROP FRAME

001  001      V     C        10:00:00:05 10:00:00:06 10:00:00:05 10:00:00:06
 |C:ResolveColorBlue |M:sync |D:20

002  001      V     C        10:00:01:00 10:00:01:01 10:00:01:00 10:00:01:01
 |C:ResolveColorRed |M:ask Anna |D:1

003  001      V     C        10:00:02:00 10:00:02:01 10:00:02:00 10:00:02:01
 |C:ResolveColorBlue |M:Sync |D:25
"""


def test_markers_of_resolve(tmp_path, videos):
    found = read(tmp_path, videos["talk"], MARKERS, marker="sync", start_timecode="10:00:00:00")
    assert frames(found) == [(5, 25), (50, 75)]


def test_a_timeline_with_another_start_is_refused_with_what_to_do(tmp_path, videos):
    with pytest.raises(ConfigError, match=r"after 01:00:00:00, the first frame, .* ranges_from.start_timecode"):
        read(tmp_path, videos["talk"], MARKERS, marker="sync")


# OpenTimelineIO


def time(value, rate=25):
    return otio.opentime.RationalTime(value, rate)


def span(start, length, rate=25):
    return otio.opentime.TimeRange(time(start, rate), time(length, rate))


def clip(start, length, name="talk.mov", *, rate=25, available=90000, url="file:///Volumes/My%20Disk/"):
    reference = otio.schema.ExternalReference(f"{url}{name}", span(available, NUM_FRAMES, rate))
    return otio.schema.Clip(name.partition(".")[0], reference, span(start, length, rate))


def timeline(*items, name="V1", **tracks):
    found = otio.schema.Timeline("cut")
    for track, held in {name: items, **tracks}.items():
        found.tracks.append(otio.schema.Track(track, held, kind=otio.schema.TrackKind.Video))
    return found


def gap(length, rate=25):
    return otio.schema.Gap(source_range=span(0, length, rate))


def test_clips_of_the_video_are_ranges(tmp_path, videos):
    content = timeline(gap(50), clip(90010, 10), clip(0, 9, "other.mov", available=0), clip(90050, 20))
    assert frames(read(tmp_path, videos["talk"], content)) == [(10, 20), (50, 70)]


def test_the_file_says_itself_what_its_first_frame_is_called(tmp_path, videos):
    content = timeline(clip(510, 10, available=500))
    assert frames(read(tmp_path, videos["talk"], content)) == [(10, 20)]


def test_a_patch_takes_each_frame_once_and_an_extraction_the_order_of_the_cut(tmp_path, videos):
    first, second = clip(90050, 20), clip(90040, 20)
    first.name, second.name = "answer", "question"
    content = timeline(first, second)
    assert frames(read(tmp_path, videos["talk"], content)) == [(40, 70)]
    assert read(tmp_path, videos["talk"], content, mode="extract") == [(50, 70, "answer"), (40, 60, "question")]


def test_names_that_are_not_unique_are_not_used(tmp_path, videos):
    content = timeline(clip(90050, 20), clip(90010, 20))
    assert read(tmp_path, videos["talk"], content, mode="extract") == [(50, 70, None), (10, 30, None)]


def test_one_track_alone(tmp_path, videos):
    content = timeline(clip(90000, 10), sync=[clip(90020, 10)])
    assert frames(read(tmp_path, videos["talk"], content, track="sync")) == [(20, 30)]
    with pytest.raises(ConfigError, match=r"video track 'synk': it is not there; there are V1, sync"):
        read(tmp_path, videos["talk"], content, track="synk")


def marker(name, start, length, rate=25):
    return otio.schema.Marker(name, span(start, length, rate))


def test_markers_of_timeline_track_and_clip(tmp_path, videos):
    """A marker of the timeline counts from its begin; one of a clip as the clip's file does."""
    shown = clip(90020, 60)
    shown.markers.append(marker("sync", 90070, 20))  # of which the clip shows ten frames
    content = timeline(gap(50), shown)
    content.tracks.markers.extend([marker("SYNC", 55, 5), marker("other", 80, 5), marker("sync", 0, 10)])
    content.tracks[0].markers.append(marker("sync", 65, 5))
    assert frames(read(tmp_path, videos["talk"], content, marker="sync")) == [(25, 30), (35, 40), (70, 80)]
    assert frames(read(tmp_path, videos["talk"], content, marker="*")) == [(25, 30), (35, 40), (50, 55), (70, 80)]
    with pytest.raises(ConfigError, match="there is no marker 'sing'"):
        read(tmp_path, videos["talk"], content, marker="sing")


def test_rates_are_exact_however_they_are_rounded(tmp_path, videos):
    for rate in (29.97, 30000 / 1001):
        content = timeline(clip(1770 + 33, 33, "counted.mov", rate=rate, available=1770))
        assert frames(read(tmp_path, videos["counted"], content)) == [(33, 66)]
    assert [exact_rate(rate) for rate in (23.976, 24, 59.94)] == [Fraction(24000, 1001), 24, Fraction(60000, 1001)]


def test_a_variable_frame_rate_is_read_by_time(tmp_path, videos):
    video = videos["uneven"]
    assert constant_rate(video.table) is None
    ticks = [video.table.pts[frame] - video.table.pts[0] for frame in (4, 9)]
    rate = int(1 / video.table.time_base)
    content = timeline(clip(ticks[0], ticks[1] - ticks[0], "uneven.mp4", rate=rate, available=0))
    assert frames(read(tmp_path, video, content)) == [(4, 9)]


def test_what_is_turned_off_does_not_count(tmp_path, videos):
    unused = clip(90000, 10)
    unused.enabled = False
    assert frames(read(tmp_path, videos["talk"], timeline(unused, clip(90020, 10)))) == [(20, 30)]


# What cannot be used


def retimed():
    found = clip(90000, 10)
    found.effects.append(otio.schema.LinearTimeWarp(time_scalar=2.0))
    return timeline(found)


def test_other_files_may_be_retimed(tmp_path, videos):
    other = clip(0, 5, "other.mov", available=0)
    other.effects.append(otio.schema.FreezeFrame())
    assert frames(read(tmp_path, videos["talk"], timeline(other, clip(90020, 10)))) == [(20, 30)]


def other_files():
    return timeline(clip(0, 5, "a.mov", available=0), clip(0, 5, "b.mov", available=0))


def pointlike():
    content = timeline(clip(90000, 50))
    content.tracks.markers.append(marker("sync", 5, 0))
    return content


@pytest.mark.parametrize(
    ("content", "section", "said"),
    [
        ("nothing", {}, "it is not a timeline"),
        ("001  AX       V     C        01:00:00:10\n", {}, "it is not a timeline"),
        (EVENT.format(fcm="DROP FRAME", start="01:00:00;00", stop="01:00:00;09", name="a"), {}, "25 frames a second"),
        ("TITLE: x\n", {}, "video track: it is not there"),
        (retimed, {}, "it is retimed"),
        (other_files, {}, "nothing in it shows talk.mov; it shows a.mov, b.mov"),
        (pointlike, {"marker": "sync"}, "it has no length"),
        (lambda: timeline(clip(90090, 20)), {}, "is not in the video, which lasts 4.000 s"),
        (lambda: timeline(clip(90000, 10)), {"start_timecode": "01:00:00:29"}, "there is no such timecode for 25"),
    ],
)
def test_one_sentence_says_what_is_wrong(tmp_path, videos, content, section, said):
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        read(tmp_path, videos["talk"], content() if callable(content) else content, **section)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("ranges_from")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{}", "[]", "{", '{"OTIO_SCHEMA": "Clip.2"}'])
def test_a_file_that_is_no_timeline(tmp_path, videos, text):
    (tmp_path / "cut.otio").write_text(text)
    job = {"input": {"video": videos["talk"].info.path}, "output": "out.mov", "ranges": "cut.otio"}
    with pytest.raises(ConfigError, match=r"^ranges_from\.file: .*cut\.otio, its content: "):
        with_ranges(load_job(write_job(tmp_path, **job)), videos["talk"])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"ranges": "cut.xml"}, "give a file that ends in .otio or .edl"),
        ({"ranges_from": {"file": "a.otio"}, "ranges": [{"start": 0, "end": 1}]}, "leave out one"),
        ({"ranges_from": {"file": "a.otio", "start_timecode": "1:00"}}, "start_timecode"),
    ],
)
def test_the_job_file_is_checked_at_once(tmp_path, keys, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_job(write_job(tmp_path, input={"video": "talk.mov"}, output="out.mov", **keys))


def test_without_the_library_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "opentimelineio", None)
    with pytest.raises(ConfigError, match=r"ranges_from: this needs OpenTimelineIO. Install it: pip install"):
        load_otio("ranges_from")


@pytest.mark.parametrize(
    ("name", "rate", "start", "is_drop"),
    [
        ("talk", 25, 90000, False),
        ("dropped", NTSC, 1770, True),
        ("counted", NTSC, 1770, False),
        ("plain", NTSC, 0, False),
    ],
)
def test_the_clock_of_a_video(videos, name, rate, start, is_drop):
    assert EditClock.of(videos[name], otio) == EditClock(Fraction(rate), True, start, is_drop)
