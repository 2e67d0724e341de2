"""Sources whose packets cannot stand in the output: the whole stream becomes another, once, with all that was in it."""

import re
import shutil
from array import array
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import av
import pytest

from lipstitch.plan.output_timeline import concat_ranges, extend_timeline, identity_timeline
from media.base.errors import UnsupportedMedia
from media.coding.encoder import least_psnr
from media.coding.output_codec import choose_stream
from media.info import VideoClock
from media.packets.frame_table import build_decoded_table
from media.packets.packet_index import PacketIndex
from media.packets.scan import scan_packets
from media.picture import plane_views, unranged
from media.probe import probe
from media.reader import FrameReader
from media.source_video import SourceVideo
from stitcher.container import check_container
from tests.media.test_zoo import decode, equal, make, outside_psnr, packets_of, properties
from tests.support.synthetic import read_stamp
from tests.support.zoo import FACES, KINDS, NUM_FRAMES, TRANSCODED, Kind, Zoo, produce

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg on PATH")

DECODING = ["reordered.avi", "open.avi", "packed.avi", "divx.avi", "late.avi"]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module", params=TRANSCODED)
def result(request, zoo, tmp_path_factory):
    """Return (name, source, output) of each kind, with two painted spans."""
    kind, ending, *_ = TRANSCODED[request.param]
    source = make(zoo, request.param, kind)
    return request.param, source, produce(source, tmp_path_factory.mktemp("out") / f"{request.param}{ending}")


def test_one_stream_with_all_of_the_source(result):
    """One test a kind, since making and decoding take the time; what is checked is in functions of their own."""
    name, source, output = result
    _, _, codec, reason = TRANSCODED[name]
    assert (codec_of(output.path), output.codec) == (codec, codec)
    assert not output.copied
    assert {clip.outcome for clip in output.clips} <= {"rendered", "reencoded"}
    for clip in output.clips:
        assert clip.clip.rendered == ((clip.clip.start_frame, clip.clip.stop_frame),) or clip.reason
    choice = choose_stream(SourceVideo(output.info, output.table), crf=13, preset="auto", muxer=muxer(output))
    assert re.search(reason, choice.reason)
    check_times(packets_of(source), packets_of(output.path))
    check_frames(decode(source), decode(output.path))
    assert facts(output.path) == facts(source)
    output.verify()


def muxer(output):
    return {".mkv": "matroska", ".ts": "mpegts"}.get(output.path.suffix, output.path.suffix[1:])


def codec_of(path):
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.codec.canonical_name


def facts(path):
    """Return what only the container or the codec's header tells."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        first_field = {2: "top", 4: "top", 3: "bottom", 5: "bottom"}.get(int(stream.codec_context.field_order))
        return stream.sample_aspect_ratio or 1, first_field


def check_times(before, after):
    """Every frame is shown when it was, to the clock of the coarser container, and packets are decoded in order."""
    most = Fraction(1, 2000)
    before, wanted = (sorted(packet.pts for packet in packets) for packets in (before, after))
    assert len(before) == len(wanted)
    assert all(abs(a - b) <= most for a, b in zip(before, wanted, strict=True))
    slots = [packet.dts for packet in after if packet.dts is not None]
    assert all(a < b for a, b in pairwise(slots))
    assert all(packet.dts is None or packet.dts <= packet.pts for packet in after)


def check_frames(old, new):
    """Frames stand in order and look as they did; painted ones do so outside the box; all are told alike."""
    assert len(old) == len(new)
    assert [read_stamp(frame) for frame in new] == [read_stamp(frame) for frame in old]
    painted = {frame for part in FACES for frame in range(*part)}
    for number, (a, b) in enumerate(zip(old, new, strict=True)):
        assert told(a) == told(b), number
        renamed = b if a.format.name == b.format.name else as_named(b, a)
        if number in painted:
            assert least_psnr(a, renamed) < 40, number
            assert outside_psnr(a, renamed) >= 38, number
        else:
            assert least_psnr(a, renamed) >= 45, number


def told(frame):
    """Return what a player is told with a frame; the limited range need not be told."""
    (width, height, pixel_format, *rest), (color_range, *colors), side_data = properties(frame)
    return width, height, unranged(pixel_format), *rest, color_range or 1, colors, side_data


def as_named(frame, like):
    """Return a frame with the samples of one in the format of another, whose name alone differs."""
    copy = av.VideoFrame(frame.width, frame.height, like.format.name)
    for target, source in zip(plane_views(copy), plane_views(frame), strict=True):
        target[:] = source
    return copy


@pytest.mark.parametrize("name", DECODING)
def test_frames_in_the_order_in_which_they_are_shown(zoo, name):
    """Nothing but stamps and a constant rate: what FFmpeg tells of the times of such files is in another order."""
    info = probe(make(zoo, name, TRANSCODED[name][0]))
    table = scan_packets(info)
    assert table.tells_decoding
    assert sorted(table.decode_order) == list(range(len(table)))
    assert list(table.decode_order) != sorted(table.decode_order)
    steps = [(table.seconds(frame) - table.seconds(frame - 1)) * 25 for frame in range(1, len(table))]
    # A pause is told where decoding pauses, as many frames late as pictures are reordered.
    assert steps == [6 if name == "late.avi" and frame == 22 else 1 for frame in range(1, len(table))]
    with FrameReader(SourceVideo(info, table), num_threads=1) as reader:
        for start in (0, 30, 13, 47, 25, 11):  # forwards and backwards, also where pictures lead a keyframe
            assert [(index, read_stamp(frame)) for index, frame in reader.read(range(start, start + 9))] == [
                (index, index) for index in range(start, start + 9)
            ]
        assert not reader.damaged
    keyframes = [frame for frame in range(len(table)) if table.keyframe[frame]]
    assert keyframes[0] == 0
    for frame in range(len(table)):
        assert table.frame_of(table.packet_pts(frame)) == frame


def test_a_packet_without_a_frame_stands_behind_what_came_before_it():
    """Packets 10:I 11:P 12:B 13:damaged 14:P 15:B 16:repeats the last picture; the decoder puts out what it has."""
    video = SimpleNamespace(clock=VideoClock(Fraction(1, 25), Fraction(25), Fraction(0)))
    pts, keys = array("q", range(10, 17)), bytearray([3, 0, 0, 0, 0, 0, 0])
    table = build_decoded_table(video, PacketIndex(pts, flags=keys, end_pts=17), pts, [10, 12, 11, 15, 14])
    assert list(table.decode_order) == [0, 2, 1, 3, 5, 4, 6]
    assert [table.frame_of(ticks) for ticks in range(9, 18)] == [None, 0, 2, 1, 3, 5, 4, 6, None]
    assert (table.pts, table.end_pts, table.tells_decoding) == (pts, 17, True)
    assert not any(table.clean.entry + table.clean.exit)


@pytest.mark.parametrize("name", ["packed.avi", "theora.ogv"])
def test_ranges_and_a_longer_end(zoo, tmp_path, name):
    source = make(zoo, name, TRANSCODED[name][0])
    stamps = [read_stamp(frame) for frame in decode(source)]
    ranges = produce(
        source, tmp_path / "ranges.mkv", [(5, 9)], lay_out=lambda table: concat_ranges(table, [(30, 40), (3, 12)])
    )
    assert [read_stamp(frame) for frame in decode(ranges.path)] == [*range(30, 40), *range(3, 12)]
    ranges.verify()
    longer = produce(
        source,
        tmp_path / "longer.mp4",
        [(5, 9)],
        lay_out=lambda table: extend_timeline(identity_timeline(table), Fraction(5, 2), "bounce"),
    )
    assert [read_stamp(frame) for frame in decode(longer.path)][: len(stamps) + 2] == [*stamps, *stamps[-2:-4:-1]]
    longer.verify()


def test_without_a_face_even_such_packets_are_copied(zoo, tmp_path):
    source = make(zoo, "theora.ogv", TRANSCODED["theora.ogv"][0])
    output = produce(source, tmp_path / "a.mkv", [])
    assert codec_of(output.path) == "theora"
    assert [packet.payload for packet in packets_of(output.path)] == [packet.payload for packet in packets_of(source)]
    assert all(equal(a, b) for a, b in zip(decode(source), decode(output.path), strict=True))
    output.verify()


LOST = {
    # name: (how it is made, ending of the output, what is said)
    "aspect.mp4": (
        Kind("-c:v mpeg2video -vf setsar=7/5"),
        ".ts",
        "the whole stream is re-encoded, but then the sample aspect .* instead of 7/5",
    ),
    "top_first.mp4": (KINDS["top_first.mp4"], ".webm", "h264 in interlaced yuv420p, .* to vp9 and av1, which does not"),
    "svq1.mov": (Kind("-c:v svq1 -pix_fmt yuv410p"), ".mov", "svq1 in yuv410p, .* to h264 and hevc and prores, which"),
    "plain.mp4": (KINDS["plain.mp4"], ".avi", "only a source of the same kind is put into avi files"),
}


@pytest.mark.parametrize("name", LOST)
def test_what_would_be_lost_is_refused_in_one_sentence(zoo, tmp_path, name):
    kind, ending, sentence = LOST[name]
    with pytest.raises(UnsupportedMedia, match=sentence) as caught:
        produce(make(zoo, name, kind), tmp_path / f"a{ending}")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_size_that_no_encoder_takes_is_refused(zoo):
    """A picture is coded before the long work; here of a source that is said to be larger than H.264 allows."""
    info = probe(make(zoo, "theora.ogv", TRANSCODED["theora.ogv"][0]))
    info = replace(info, video=replace(info.video, width=1 << 15, height=16))
    table = scan_packets(info)
    coding = choose_stream(SourceVideo(info, table), crf=13, preset="auto", muxer="matroska")
    with pytest.raises(UnsupportedMedia, match=r"32768x16 pixels, which cannot be coded as h264 here"):
        check_container(
            SourceVideo(info, table), identity_timeline(table), "matroska", replaces_sound=True, coding=coding
        )


def test_hdr_metadata_is_said_to_be_gone(zoo, tmp_path):
    output = produce(make(zoo, "hevc_hdr.mp4", KINDS["hevc_hdr.mp4"]), tmp_path / "a.webm", [(5, 9)])
    assert output.losses == ["HDR metadata of the video: a transcoded stream does not have it"]
    assert [told(frame)[-2] for frame in decode(output.path)] == [[9, 9, 16]] * NUM_FRAMES
