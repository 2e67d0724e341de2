"""What a frame is comes from what decodes: fields, parameter sets that change, packets that show nothing."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

import tests.support.zoo
from media.base.errors import ContractBroken, UnsupportedMedia
from media.packets.frame_table import FrameTable, ParameterChanges
from media.packets.scan import scan_packets
from media.picture import plane_views
from media.probe import probe
from media.reader import check_one_format
from media.source_video import SourceVideo
from segmenter.planner import FOREIGN_REASON
from stitcher.verify.contract import verify_full
from tests.support.mp4_boxes import trimmed, with_descriptions
from tests.support.paff import GOP, make_paff
from tests.support.synthetic import (
    decode_all,
    independent_packets,
    make_video,
    seek_and_decode,
    stamped_frame,
    with_payload,
)
from tests.support.zoo import produce


def check(source, output):
    """Compare an output with its source, both decoded by PyAV alone."""
    wanted, found = decode_all(source), decode_all(output.path)
    assert [stamp for _, stamp, _ in found] == [stamp for _, stamp, _ in wanted]
    tolerance = Fraction(1, 1000) if output.path.suffix == ".mkv" else 0
    pairs = zip(wanted, found, strict=True)
    assert all(abs((a[0] - wanted[0][0]) - (b[0] - found[0][0])) <= tolerance for a, b in pairs)
    assert all(wanted[frame][2] == found[frame][2] for frame in output.copied)
    output.verify()
    assert all(each.is_kept for each in verify_full(output.path, output.promised()))


def interlaced(path):
    with av.open(str(path)) as container:
        return [frame.interlaced_frame for frame in container.decode(video=0)]


# Fields


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("a.ts", "b.ts"),
        ("a.mts", "b.mp4"),
        ("a.mkv", "b.mkv"),
        ("a.mp4", "b.mov"),
        ("a.mp4", "b.mp4"),
        ("a.ts", "b.mkv"),
    ],
)
def test_frames_that_are_coded_field_by_field(tmp_path, name, result, together):
    source = make_paff(tmp_path / name, 3 * GOP, together=together)
    output = produce(source, tmp_path / result, [(GOP + 1, GOP + 3)])
    assert len(output.table) == 3 * GOP
    check(source, output)
    assert not output.damaged
    assert len(output.copied) == 2 * GOP + 1
    assert all(interlaced(output.path))
    assert probe(output.path).require_video().fields == "top field first"


@pytest.mark.parametrize("gone", [{0}, {2 * 3 * GOP - 1}, {8}, {9}, {0, 20, 35}])
@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4"])
def test_half_a_frame_is_none(tmp_path, name, gone):
    """A recording that begins, ends or has a hole between two fields: decoders show nothing of the one that is left."""
    whole = make_paff(tmp_path / f"whole{name[1:]}", 3 * GOP, together=False)
    source = tmp_path / name
    with av.open(str(whole)) as reader, av.open(str(source), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        for number, packet in enumerate(packet for packet in reader.demux(video=0) if packet.size):
            if number not in gone:
                packet.stream = stream
                writer.mux_one(packet)
    shown = [frame for frame in range(3 * GOP) if not {2 * frame, 2 * frame + 1} & gone]
    for faces in ([], [(GOP + 3, GOP + 5)]):
        output = produce(source, tmp_path / f"out{name[1:]}", faces)
        assert [stamp for _, stamp, _ in decode_all(output.path)] == shown
        check(source, output)
        assert not output.damaged


@pytest.mark.parametrize("start", [7, Fraction(15, 2), 9])
@pytest.mark.parametrize("together", [False, True])
def test_fields_that_were_trimmed(tmp_path, together, start):
    """At a frame, or between its fields; hidden fields stay hidden, or go."""
    whole = make_paff(tmp_path / "whole.mp4", 3 * GOP, together=together)
    source = trimmed(whole, tmp_path / "a.mp4", (start / Fraction(25), Fraction(3 * GOP, 25)))
    for name, faces in {"b.mp4": [], "c.mp4": [(0, 2)], "d.mkv": [], "e.ts": [(0, 2)]}.items():
        output = produce(source, tmp_path / name, faces)
        check(source, output)


def test_a_file_of_twice_the_frames_is_refused(tmp_path):
    """What was written before: a frame for each field."""
    source = make_video(tmp_path / "a.ts", GOP)
    output = produce(source, tmp_path / "b.ts", [])
    doubled = make_video(tmp_path / "c.ts", 2 * GOP, rate=50)
    with pytest.raises(ContractBroken, match=rf"^Same frames: the output has {2 * GOP} frames instead of {GOP}"):
        replace(output, path=doubled).verify()


def make_dv(path, num_frames=8):
    """Write PAL DV, whose frames alone tell that they are interlaced, bottom field first."""
    with av.open(str(path), "w", format="dv" if path.suffix == ".dv" else None) as container:
        stream = container.add_stream("dvvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        if path.suffix == ".dv":
            sound = container.add_stream("pcm_s16le", rate=48000, layout="stereo")
        for number in range(num_frames):
            frame = stamped_frame(number, (720, 576))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            if path.suffix == ".dv":
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 1920), np.int16), format="s16", layout="stereo")
                silence.sample_rate, silence.pts = 48000, 1920 * number
                container.mux(sound.encode(silence))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("names", [("a.dv", "b.mov"), ("a.dv", "b.mkv"), ("a.mov", "b.mp4"), ("a.avi", "b.avi")])
def test_fields_that_frames_alone_tell(tmp_path, names):
    name, result = names
    source = make_dv(tmp_path / name)
    output = produce(source, tmp_path / result, [(2, 5)])
    assert probe(source).require_video().fields == "bottom field first"
    assert probe(output.path).require_video().fields == "bottom field first"
    output.verify()
    assert len(interlaced(output.path)) == len(output.table) == 8
    assert all(interlaced(output.path))


def test_fields_that_are_lost_are_seen(tmp_path):
    source = make_paff(tmp_path / "a.mp4", GOP, together=True)
    output = produce(source, tmp_path / "b.mp4", [])
    flat = make_video(tmp_path / "flat.mp4", GOP, size=(192, 128), time_base=Fraction(1, 90000), gop=GOP)
    with pytest.raises(ContractBroken, match=r"^Tags: the video is progressive instead of top field first"):
        replace(output, path=flat).verify()


# Parameter sets that change


def make_two(folder, codec="libx264", ending=".mp4"):
    """Write 24 frames under one sample description and 24 under another, which no decoder can take for the other."""
    other = {"libx264": {"profile": "main", "coder": "vlc"}, "libx265": {"preset": "medium"}}[codec]
    one = make_video(folder / f"one{ending}", 24, codec=codec)
    two = make_video(folder / f"two{ending}", 24, codec=codec, options=other)
    return with_descriptions([one, two], folder / f"both{ending}")


@pytest.mark.parametrize(("codec", "ending"), [("libx264", ".mp4"), ("libx264", ".mov"), ("libx265", ".mp4")])
@pytest.mark.parametrize(
    ("faces", "copied"), [([(2, 5)], (24, 48)), ([(30, 33)], (0, 24)), ([(10, 28)], (36, 48)), ([], (0, 24))]
)
def test_two_sample_descriptions(tmp_path, codec, ending, faces, copied):
    """One stream of an output has one description: the frames of the other are re-encoded."""
    source = make_two(tmp_path, codec, ending)
    output = produce(source, tmp_path / f"out{ending}", faces)
    check(source, output)
    assert set(range(*copied)) <= output.copied
    assert FOREIGN_REASON in {clip.reason for clip in output.clips}
    for second, stamp, digest in decode_all(output.path)[::7]:
        assert seek_and_decode(output.path, second) == (stamp, digest)


def test_another_size_midway_is_refused(tmp_path):
    parts = [make_video(tmp_path / f"{width}.mp4", 24, size=(width, 108)) for width in (192, 320)]
    info = probe(with_descriptions(parts, tmp_path / "both.mp4"))
    with pytest.raises(UnsupportedMedia, match=r"at frame 24 .* the picture changes from 192x108 .* to 320x108"):
        check_one_format(SourceVideo(info, scan_packets(info)))
    info = probe(make_two(tmp_path))
    check_one_format(SourceVideo(info, scan_packets(info)))


def as_flv(path, output):
    """Write an MP4 of two descriptions as FLV; the muxer writes a second sequence header where the sets change."""
    with av.open(str(path)) as reader, av.open(str(output), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        for packet in reader.demux(video=0):
            if packet.size:
                packet.stream = stream
                writer.mux_one(packet)
    return output


@pytest.mark.parametrize("faces", [[(2, 5)], [(30, 33)]])
@pytest.mark.parametrize("result", ["out.flv", "out.mp4", "out.mkv", "out.ts"])
def test_a_second_sequence_header(tmp_path, faces, result):
    """FLV tells the sets when they change, and not again behind a seek."""
    source = as_flv(make_two(tmp_path), tmp_path / "both.flv")
    assert [each.frames for each in scan_packets(probe(source)).changes.descriptions] == [(24, 48)]
    output = produce(source, tmp_path / result, faces)
    check(source, output)
    assert output.copied


def test_the_check_sees_frames_that_were_copied_under_other_sets(tmp_path, monkeypatch):
    """What was written before: the container's word on new sets was not heard."""
    source = make_two(tmp_path)
    heard = scan_packets(probe(source))
    with monkeypatch.context() as patch:
        patch.setattr(
            tests.support.zoo, "scan_packets", lambda info: replace(scan_packets(info), changes=ParameterChanges())
        )
        output = produce(source, tmp_path / "out.mp4", [(2, 5)])
    output = replace(output, source=replace(output.source, table=heard))
    with pytest.raises(ContractBroken, match=r"^(Same frames|Untouched pixels): "):
        output.verify()
    assert {"untouched pixels"} <= {
        each.promise for each in verify_full(output.path, output.promised()) if not each.is_kept
    }


def join(parts, source):
    """Write videos of 24 frames one behind another as one stream, each with its parameter sets in front."""
    with av.open(str(parts[0])) as first, av.open(str(source), "w") as writer:
        stream = writer.add_stream_from_template(first.streams.video[0], opaque=True)
        for number, path in enumerate(parts):
            with av.open(str(path)) as reader:
                for packet in reader.demux(video=0):
                    if packet.size:
                        shift = number * 24 * 3600
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = stream
                        writer.mux_one(packet)
    return source


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_another_size_inside_the_stream_is_refused(tmp_path, codec):
    sizes = {192: (192, 112), 320: (320, 176)}
    parts = [make_video(tmp_path / f"{width}.ts", 24, size=size, codec=codec) for width, size in sizes.items()]
    info = probe(join(parts, tmp_path / "both.ts"))
    with pytest.raises(UnsupportedMedia, match=r"at frame 2\d .* the picture changes from 192x112 .* to 320x176"):
        check_one_format(SourceVideo(info, scan_packets(info)))


@pytest.mark.parametrize("ending", [".ts", ".mkv"])
def test_parameter_sets_that_change_inside_the_stream(tmp_path, ending):
    """A restarted encoder writes new sets with the old number in front of a picture; they are copied along."""
    parts = [
        make_video(tmp_path / f"{n}.ts", 24, options=options)
        for n, options in enumerate([{}, {"profile": "main", "coder": "vlc"}])
    ]
    source = join(parts, tmp_path / f"both{ending}")
    info = probe(source)
    check_one_format(SourceVideo(info, scan_packets(info)))
    output = produce(source, tmp_path / f"out{ending}", [(2, 5), (30, 33)])
    check(source, output)
    assert {12, 23, 40, 47} <= output.copied


# Packets that show nothing


def hide(path, output, numbers):
    """Write a VP8 file again in which some packets are alternate references: decoded, but not shown (RFC 6386 9.1)."""
    with av.open(str(path)) as reader, av.open(str(output), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        for number, packet in enumerate(packet for packet in reader.demux(video=0) if packet.size):
            payload = bytearray(bytes(packet))
            if number in numbers:
                payload[0] &= 0xEF
            packet = with_payload(packet, payload)
            packet.stream = stream
            writer.mux_one(packet)
    return output


@pytest.mark.parametrize("result", ["out.webm", "out.mkv", "out.mp4"])
def test_packets_that_show_nothing(tmp_path, result):
    shown = make_video(tmp_path / "a.webm", 40, codec="libvpx", gop=20)
    source = hide(shown, tmp_path / "b.webm", {7, 18, 33})
    assert len(independent_packets(source)) == 40
    table = scan_packets(probe(source))
    assert (len(table), table.packets_tell) == (37, "nothing")
    output = produce(source, tmp_path / result, [(10, 20)])
    check(source, output)
    assert not output.damaged
    untouched = produce(source, tmp_path / f"untouched.{result}", [])
    check(source, untouched)


def test_a_table_is_made_of_packets_where_they_tell(tmp_path):
    for name, options in {"a.mp4": {}, "b.webm": {"codec": "libvpx-vp9"}, "c.mkv": {"codec": "mpeg4"}}.items():
        table = scan_packets(probe(make_video(tmp_path / name, 24, **options)))
        assert isinstance(table, FrameTable)
        assert (len(table), table.packets_tell) == (24, "frames")
        assert all(a < b for a, b in pairwise(table.pts))
    assert len(plane_views(stamped_frame(0))) == 3
