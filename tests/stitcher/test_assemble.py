"""Whole outputs without a network: frames with a face get a painted rectangle, the stamps tell what ended up where."""

import random
import shutil
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from lipstitch.plan.output_timeline import concat_ranges, extend_timeline, identity_timeline
from media.base.errors import StitchError, UnsupportedMedia
from media.bitstream.units import irap_type, length_prefix_size, split_units, unit_type
from media.coding.encoder_options import SPLICEABLE
from media.orientation import Orientation
from media.probe import probe
from stitcher.assemble import NewTags, assemble, muxer_of
from stitcher.audio.soundtrack import Soundtrack
from stitcher.packet_sources import OutputVideo
from tests.support import zoo
from tests.support.jobs import check_clips_from_outside
from tests.support.synthetic import (
    SOURCES,
    UNEVEN,
    Sound,
    click_times,
    decode_all,
    independent_packets,
    independent_times,
    make_video,
    seek_and_decode,
    stamps,
)
from tests.support.zoo import BOX, FACES, produce

NUM_FRAMES = 72


@pytest.fixture(scope="module", params=SOURCES)
def whole(request, tmp_path_factory):
    """Return each kind of video with two painted spans."""
    folder = tmp_path_factory.mktemp("whole")
    name = request.param
    source = dict(SOURCES[name])
    if "pts" in source:
        source["pts"] = [*UNEVEN, *(UNEVEN[-1] + 37 * at for at in range(1, NUM_FRAMES - 59))]
    path = make_video(folder / name, NUM_FRAMES, **source)
    return produce(path, folder / f"out{path.suffix}")


def slices(packet, info):
    """Return the coded slices of a packet, whatever parameter sets stand before them."""
    codec = info.require_video().codec
    prefix = length_prefix_size(codec, info.require_video().coded.extradata)
    kinds = {"h264": range(1, 6), "hevc": range(32)}[codec]
    return [unit for unit in split_units(packet.payload, prefix) if unit_type(codec, unit) in kinds]


# The whole video


def test_every_frame_in_order_at_its_time(whole):
    shown = decode_all(whole.path)
    source = decode_all(whole.info.path)
    assert [stamp for _, stamp, _ in shown] == [stamp for _, stamp, _ in source]
    assert [seconds for seconds, _, _ in shown] == [seconds for seconds, _, _ in source]
    assert len(shown) == (NUM_FRAMES - 3 if "hidden" in whole.info.path else NUM_FRAMES)
    packets = independent_packets(whole.path)
    assert independent_times(whole.path) == independent_times(whole.info.path)
    slots = [packet.dts for packet in packets if packet.dts is not None]
    assert all(a < b for a, b in pairwise(slots))
    assert all(packet.dts is None or packet.dts <= packet.pts for packet in packets)


def test_painted_frames_are_painted_and_copied_ones_untouched(whole):
    source, output = decode_all(whole.info.path), decode_all(whole.path)
    same = {frame for frame, (a, b) in enumerate(zip(source, output, strict=True)) if a == b}
    assert same >= whole.copied
    painted = {frame for clip in whole.clips for start, stop in clip.clip.rendered for frame in range(start, stop)}
    assert painted == {frame for start, stop in FACES for frame in range(start, stop)}
    assert not same & painted


COPIED = {
    # Keyframes every 12 frames; H.264 with an open GOP has IDR pictures at 0 and 36 only.
    "open.mkv": (15, [(36, 40)]),
    "open.ts": (15, [(36, 40)]),
    "hevc.mp4": (15, [(24, 37), (48, 72)]),
    "hevc.mkv": (15, [(24, 37), (48, 72)]),
    "hidden.mp4": (15, [(21, 38), (57, 69)]),
    "vp9.webm": (17, [(24, 40), (48, 72)]),
    "mpeg4.mp4": (0, []),
}


def test_as_much_is_copied_as_the_gops_allow(whole):
    head, others = COPIED.get(Path(whole.info.path).name, (15, [(24, 38), (48, 72)]))
    assert whole.copied >= {*range(head), *(frame for start, stop in others for frame in range(start, stop))}


def test_copied_packets_are_the_same_bytes(whole):
    if whole.info.require_video().codec not in SPLICEABLE:
        assert not whole.copied
    source = sorted(independent_packets(whole.info.path), key=lambda packet: packet.pts)
    output = sorted(independent_packets(whole.path), key=lambda packet: packet.pts)
    seams = {clip.clip.source_frames[0] for clip in whole.clips if clip.path is None}
    for frame in whole.copied:
        if whole.info.require_video().codec != "hevc":
            assert output[frame].payload == source[frame].payload
        elif frame not in seams:
            assert slices(output[frame], whole.info) == slices(source[frame], whole.info)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts"])
def test_hevc_seams_are_announced(tmp_path, ending):
    """A CRA behind coded frames becomes a BLA, other keyframes stay what they are; an MP4 allows sets in the stream."""
    source = make_video(tmp_path / f"a{ending}", NUM_FRAMES, codec="libx265", open_gop=True)
    output = produce(source, tmp_path / f"out{ending}")
    prefix = length_prefix_size("hevc", output.info.require_video().coded.extradata)
    before, after = (sorted(independent_packets(path), key=lambda packet: packet.pts) for path in (source, output.path))
    kinds = {frame: irap_type(after[frame].payload, prefix) for frame in output.copied if after[frame].is_keyframe}
    assert kinds == {0: irap_type(before[0].payload, prefix), 12: 21, 24: 18, 36: 21, 48: 18, 60: 21}
    for packet in after:
        if packet.is_keyframe:
            sets = [unit_type("hevc", unit) for unit in split_units(packet.payload, prefix)]
            assert {32, 33, 34} <= set(sets)


def tag_of(path):
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.codec_tag


@pytest.mark.parametrize("tag", ["hvc1", "hev1"])
@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_hevc_keeps_its_tag(tmp_path, ending, tag):
    """hvc1 forbids parameter sets inside the stream, so there both encoders' are found in the header alone."""
    source = make_video(tmp_path / f"a{ending}", 60, codec="libx265", tag=tag)
    assert tag_of(produce(source, tmp_path / f"copied{ending}", []).path) == tag
    output = produce(source, tmp_path / f"mixed{ending}", [(16, 20), (39, 41)])
    assert tag_of(output.path) == tag
    output.verify()
    before, after = independent_packets(source), independent_packets(output.path)
    if tag == "hvc1":
        kinds = {unit_type("hevc", unit) for packet in after for unit in split_units(packet.payload, 4)}
        assert not kinds & {32, 33, 34}
        same = sum(a.payload == b.payload for a, b in zip(before, after, strict=True))
        assert same == len(output.copied)
    shown = decode_all(output.path)
    assert [stamp for _, stamp, _ in shown] == list(range(60))
    for seconds, stamp, pixels in random.Random(7).sample(shown, 25):
        assert seek_and_decode(output.path, seconds) == (stamp, pixels)


def test_seeks_show_the_frame_asked_for(whole):
    """As a player does: go to the keyframe before a time, and decode from there with what the container says."""
    shown = decode_all(whole.path)
    margin = Fraction(3) if whole.path.suffix == ".ts" else Fraction(0)
    num_checked = 0
    for frame in [*random.Random(3).sample(range(len(shown)), 12), 17, 20, 24, 36, 40, 47, 48]:
        seconds, stamp, pixels = shown[frame]
        # Where a frame leads a keyframe, FFmpeg goes to that keyframe and misses it: in the source, too.
        if seek_and_decode(whole.info.path, seconds, margin=margin)[0] == stamp:
            assert seek_and_decode(whole.path, seconds, margin=margin) == (stamp, pixels)
            num_checked += 1
    assert num_checked >= 15


def test_the_check_of_the_contract_agrees(whole):
    wanted = {
        ".ts": ["same frames", "decode times"],
        ".mkv": ["same frames", "untouched packets"],
        ".webm": ["same frames", "untouched packets"],
        ".mp4": ["same frames", "decode times", "untouched packets"],
    }[whole.path.suffix]
    assert [check.promise for check in whole.verify()] == [*wanted, "streams and tags", "untouched pixels"]


def test_tags_of_the_picture_are_kept(tmp_path):
    """Colour, sample aspect and orientation."""
    orientation = Orientation(90, is_mirrored=True)
    source = make_video(
        tmp_path / "a.mp4", 48, codec="libx265", pixel_format="yuv420p10le", color=(9, 9, 16), orientation=orientation
    )
    produce(source, tmp_path / "out.mp4")
    before, after = probe(source).require_video(), probe(tmp_path / "out.mp4").require_video()
    for video in (before, after):
        assert (video.coded.profile, video.pixel_format) == ("Main 10", "yuv420p10le")
        assert (video.colour.matrix, video.colour.primaries, video.colour.transfer) == (9, 9, 16)
    assert after.colour == before.colour
    assert (after.orientation, after.display.sample_aspect, after.clock.average_rate) == (orientation, 1, 25)


def test_nothing_to_render_is_the_source(tmp_path):
    source = make_video(tmp_path / "a.mkv", 40, open_gop=True)
    output = produce(source, tmp_path / "out.mkv", [])
    assert [packet.payload for packet in independent_packets(output.path)] == [
        packet.payload for packet in independent_packets(source)
    ]


@pytest.mark.parametrize("faces", [[(0, 40)], [(0, 1)], [(39, 40)], [(0, 3), (12, 13), (13, 14), (24, 40)]])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_faces_anywhere(tmp_path, ending, codec, faces):
    source = make_video(tmp_path / f"a{ending}", 40, codec=codec, b_frames=3)
    output = produce(source, tmp_path / f"out{ending}", faces)
    assert stamps(output.path) == list(range(40))
    assert independent_times(output.path) == independent_times(source)
    output.verify()
    # Matroska stores no decode times, yet those that FFmpeg guesses must do, and so must the frame rate.
    packets = [packet for packet in independent_packets(output.path) if packet.dts is not None]
    assert all(a.dts < b.dts for a, b in pairwise(packets))
    assert all(packet.dts <= packet.pts for packet in packets)
    assert probe(output.path).require_video().clock.average_rate == 25


# Everything else of the source

TEXT = "1\n00:00:00,200 --> 00:00:00,900\nOne\n\n2\n00:00:01,000 --> 00:00:01,500\nTwo\n"


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return make_video(
        tmp_path_factory.mktemp("rich") / "rich.mkv",
        NUM_FRAMES,
        sounds=(Sound("aac", language="eng"), Sound("flac", 44100, "deu", hertz=330)),
        subtitles=TEXT,
        chapters=((0, 1, "First"), (1, 2.88, "Second")),
        metadata={"title": "A talk"},
    )


def test_other_streams_are_carried_over(rich, tmp_path):
    output = produce(rich, tmp_path / "out.mkv")
    assert output.losses == []
    for kind, number in (("audio", 0), ("audio", 1), ("subtitles", 0)):
        assert independent_packets(output.path, kind, number) == independent_packets(rich, kind, number)
    with av.open(str(output.path)) as container, av.open(str(rich)) as source:
        assert [stream.type for stream in container.streams] == [stream.type for stream in source.streams]
        assert [stream.language for stream in container.streams.audio] == ["eng", "deu"]
        assert container.metadata["title"] == "A talk"
        titles = [(c["start"] * c["time_base"], c["metadata"]["title"]) for c in container.chapters()]
        assert titles == [(0, "First"), (1, "Second")]


def test_chapters_and_tags_in_mp4(tmp_path):
    source = make_video(
        tmp_path / "a.mp4",
        NUM_FRAMES,
        sounds=(Sound(language="eng"), Sound(language="deu")),
        chapters=((0, 1, "First"), (1, 2.88, "Second")),
        metadata={"title": "A talk"},
    )
    output = produce(source, tmp_path / "out.mp4")
    assert output.losses == []
    with av.open(str(output.path)) as container, av.open(str(source)) as original:
        assert [c["metadata"] for c in container.chapters()] == [c["metadata"] for c in original.chapters()]
        assert container.metadata["title"] == "A talk"
        assert [stream.language for stream in container.streams.audio] == ["eng", "deu"]
    assert independent_packets(output.path, "audio", 1) == independent_packets(source, "audio", 1)


def test_what_a_container_cannot_hold_is_said(rich, tmp_path):
    output = produce(rich, tmp_path / "out.mp4")
    assert len(output.losses) == 1
    assert "subtitle" in output.losses[0]
    assert stamps(output.path) == list(range(NUM_FRAMES))


def test_the_soundtrack_replaces_the_first_track(rich, tmp_path):
    dub = make_video(tmp_path / "dub.mp4", NUM_FRAMES, sounds=(Sound("aac", 44100, hertz=550),))
    soundtrack = Soundtrack(str(dub), 1, Fraction(1, 4), "copied", "")
    output = produce(rich, tmp_path / "out.mkv", soundtrack=soundtrack, tags=NewTags(language="hin"))
    payloads = [packet.payload for packet in independent_packets(dub, "audio")]
    assert [packet.payload for packet in independent_packets(output.path, "audio", 0)][-len(payloads) :] == payloads
    assert click_times(output.path) == pytest.approx([at + 0.25 for at in click_times(dub)], abs=0.002)
    assert independent_packets(output.path, "audio", 1) == independent_packets(rich, "audio", 1)
    with av.open(str(output.path)) as container:
        assert [stream.language for stream in container.streams.audio] == ["hin", "deu"]
        assert [stream.type for stream in container.streams] == ["video", "audio", "audio", "subtitle"]


def test_a_silent_video_gets_a_soundtrack(tmp_path):
    source = make_video(tmp_path / "a.mp4", NUM_FRAMES)
    dub = make_video(tmp_path / "dub.mp4", NUM_FRAMES, sounds=(Sound("aac", 48000),))
    output = produce(source, tmp_path / "out.mp4", soundtrack=Soundtrack(str(dub), 1, Fraction(0), "copied", ""))
    assert click_times(output.path) == click_times(dub)
    assert click_times(output.path) == pytest.approx([0, 1, 2], abs=0.001)
    # Sound and pictures of one time stand together in the file, for players that read on.
    with av.open(str(output.path)) as container:
        clocks = {0: 0.0, 1: 0.0}
        for packet in container.demux():
            if packet.size:
                clocks[packet.stream_index] = float(packet.dts * packet.time_base)
                assert abs(clocks[0] - clocks[1]) < 1.1


# Ranges and prolonged videos


def kept(*ranges):
    return lambda table: concat_ranges(table, ranges)


RANGES = {
    "one": [(24, 48)],
    "not at a keyframe": [(15, 44)],
    "joined": [(3, 20), (40, 59), (12, 31)],
    "frames": [(5, 6), (41, 42), (71, 72)],
    "short of a keyframe": [(13, 22), (61, 71)],
}


@pytest.mark.parametrize("ranges", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize(
    "name", ["closed.mp4", "open.mkv", "closed.ts", "hevc.mp4", "ntsc.mp4", "late.mp4", "vp9.webm"]
)
def test_ranges_are_extracted(tmp_path, name, ranges):
    source = make_video(tmp_path / name, NUM_FRAMES, sounds=(), **SOURCES[name])
    output = produce(source, tmp_path / f"out{source.suffix}", lay_out=kept(*ranges))
    frames = [frame for start, stop in ranges for frame in range(start, stop)]
    shown = decode_all(output.path)
    assert [stamp for _, stamp, _ in shown] == frames
    # Each range keeps the distances of its frames; a range begins where the one before it ends.
    times = [*independent_times(source), output.table.end_pts * output.table.time_base]
    clock, wanted = Fraction(0), []
    for start, stop in ranges:
        wanted += [clock + times[frame] - times[start] for frame in range(start, stop)]
        clock += times[stop] - times[start]
    start = shown[0][0]
    assert [seconds - start for seconds, _, _ in shown] == wanted
    assert source.suffix == ".ts" or start == 0
    output.verify()


def test_an_extraction_copies_what_it_can(tmp_path):
    source = make_video(tmp_path / "a.mp4", NUM_FRAMES)
    output = produce(source, tmp_path / "out.mp4", [], lay_out=kept((5, 40), (60, 72)))
    assert output.copied >= {*range(12, 38), *range(60, 72)}
    truth = {stamp: pixels for _, stamp, pixels in decode_all(source)}
    assert all(pixels == truth[stamp] for _, stamp, pixels in decode_all(output.path) if stamp in output.copied)


def test_an_extraction_takes_the_other_streams_along(rich, tmp_path):
    output = produce(rich, tmp_path / "out.mkv", [], lay_out=kept((24, 60)))
    sound = independent_packets(output.path, "audio", 1)
    begin = Fraction(24, 25)
    wanted = {
        packet.digest for packet in independent_packets(rich, "audio", 1) if begin <= packet.pts < Fraction(60, 25)
    }
    assert {packet.digest for packet in sound} == wanted
    assert click_times(output.path, 1) == pytest.approx([float(2 - begin)], abs=0.002)
    (text,) = independent_packets(output.path, "subtitles")
    assert (text.payload.strip(), text.pts) == (b"Two", Fraction(1, 25))


def prolonged(seconds, how):
    return lambda table: extend_timeline(identity_timeline(table), seconds, how)


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("freeze", [*range(36), *[35] * 44]),
        ("loop", [*range(36), *range(36), *range(8)]),
        ("bounce", [*range(36), *range(34, -1, -1), *range(1, 10)]),
    ],
)
@pytest.mark.parametrize("name", ["closed.mp4", "open.mkv", "hevc.mp4", "closed.ts", "mpeg4.mp4"])
def test_prolonged_videos(tmp_path, name, how, wanted):
    source = make_video(tmp_path / name, 36, **{**SOURCES[name], "idr": ()})
    output = produce(
        source, tmp_path / f"out{source.suffix}", lay_out=prolonged(Fraction(80, 25), how), faces=[(17, 20)]
    )
    shown = decode_all(output.path)
    assert [stamp for _, stamp, _ in shown] == wanted
    first = shown[0][0]
    assert [seconds - first for seconds, _, _ in shown] == [Fraction(at, 25) for at in range(80)]
    output.verify()


# Refusals


def test_unknown_endings_are_refused():
    with pytest.raises(UnsupportedMedia, match=r"unknown kind of file '\.doc'\. Use one of \.avi"):
        muxer_of(Path("a.doc"))
    assert muxer_of(Path("A.MKV")) == "matroska"


def test_streams_that_a_container_refuses(tmp_path):
    made = produce(make_video(tmp_path / "a.mp4", 20), tmp_path / "out.mp4", [])
    with pytest.raises(StitchError, match=r"out\.webm: webm cannot hold these streams"):
        assemble(OutputVideo(made.source, made.timeline, made.clips), None, tmp_path / "out.webm", muxer="webm")


def test_a_clip_with_too_few_frames_is_noticed(tmp_path, monkeypatch):
    source = make_video(tmp_path / "a.mp4", 40)

    def short(video, clip, coding, path, damaged):
        finished = paint_all(video, clip, coding, path, damaged)
        if clip.action == "render":
            less = replace(clip, stop_frame=clip.start_frame + 2, source_frames=[17, 18])
            paint_all(video, less, coding, path, damaged)
        return finished

    paint_all = zoo.paint
    monkeypatch.setattr(zoo, "paint", short)
    with pytest.raises(StitchError, match="clip 1 holds 2 frames, not"):
        produce(source, tmp_path / "out.mp4", [(17, 22)])


def test_a_source_that_shrank_meanwhile_is_noticed(tmp_path, monkeypatch):
    source = make_video(tmp_path / "a.ts", 60)

    def cut(video, clip, coding, path, damaged):
        finished = paint_once(video, clip, coding, path, damaged)
        if clip.index == 1:
            content = source.read_bytes()
            source.write_bytes(content[: len(content) // 2 // 188 * 188])
        return finished

    paint_once = zoo.paint
    monkeypatch.setattr(zoo, "paint", cut)
    with pytest.raises(StitchError, match="is gone: the source changed meanwhile"):
        produce(source, tmp_path / "out.ts", [(14, 18)])


# The contract, checked from outside


@pytest.mark.parametrize(
    ("name", "faces"), [("closed.mp4", FACES), ("open.mkv", [(0, 5), *FACES]), ("hevc.mp4", FACES)]
)
def test_an_independent_checker_agrees(shared, tmp_path, name, faces):
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        pytest.skip("needs ffmpeg and ffprobe on PATH")
    source = make_video(tmp_path / name, NUM_FRAMES, size=(320, 180), **SOURCES[name])
    output = produce(source, tmp_path / f"out{source.suffix}", faces)
    check_clips_from_outside(shared, source, output.path, output.clips, BOX, "--seeks", "25")
