"""What travels beside the pictures is there behind every frame of the output: where it was copied and where not."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from lipstitch.plan.output_timeline import concat_ranges, extend_timeline, identity_timeline
from media.base.errors import ContractBroken, UnsupportedMedia
from media.bitstream.units import join_units, length_prefix_size, split_av1_units, split_units
from media.probe import probe
from stitcher.verify.provenance import FrameProvenance
from stitcher.verify.streams import take_inventory, verify_copies
from tests.support.synthetic import independent_packets, make_video, stamped_frame, stamps
from tests.support.zoo import produce

FACES = [(16, 20)]
ALPHA = "matroska_block_additional"


def make_transparent(path, codec="libvpx-vp9"):
    """Write a video of 40 frames over which a hole wanders; it can begin at every twelfth frame."""
    with av.open(str(path), "w") as container:
        options = {"auto-alt-ref": "0", "lag-in-frames": "0", "deadline": "realtime", "cpu-used": "8", "b": "2M"}
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 192, 108, "yuva420p"
        stream.codec_context.gop_size = 12
        stream.metadata["alpha_mode"] = "1"
        for number in range(40):
            frame = av.VideoFrame(192, 108, "yuva420p")
            for plane, given in zip(frame.planes, stamped_frame(number).planes, strict=False):
                plane.update(bytes(given))
            alpha = np.full((108, frame.planes[3].line_size), 255, np.uint8)
            alpha[30:60, 3 * number : 3 * number + 40] = 0
            frame.planes[3].update(alpha.tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def alphas(path, decoder):
    """Return what a decoder that knows transparency makes of it in every frame."""
    with av.open(str(path)) as container:
        context = av.CodecContext.create(decoder, "r")
        frames = [
            frame
            for packet in container.demux(container.streams.video[0])
            if packet.size
            for frame in context.decode(packet)
        ]
        assert {frame.format.name for frame in frames} == {"yuva420p"}
        return [bytes(frame.planes[3]) for frame in frames]


def seekable(path):
    """Return the times in ms to which a player can seek."""
    found = set()
    for ms in range(0, 1600, 40):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            container.seek(ms, stream=stream)
            found.add(next(container.demux(stream)).pts)
    return found


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
@pytest.mark.parametrize("ending", [".webm", ".mkv"])
def test_transparency_is_kept(tmp_path, ending, codec):
    source = make_transparent(tmp_path / f"a{ending}", codec)
    assert probe(source).require_video().beside == ("transparency",)
    output = produce(source, tmp_path / f"out{ending}", FACES)
    assert bool(output.copied) == (codec == "libvpx-vp9")
    assert stamps(output.path) == list(range(40))
    before = alphas(source, codec)
    assert len(set(before)) > 20
    assert alphas(output.path, codec) == before
    # The coded picture at 640 ms begins anew, its transparency does not.
    assert seekable(output.path) <= {0, 480, 960, 1440}
    assert b"\x53\xc0\x81\x01" in output.path.read_bytes()[:2000]  # AlphaMode, by which browsers know


def test_transparency_of_a_range(tmp_path):
    source = make_transparent(tmp_path / "a.webm")
    output = produce(
        source, tmp_path / "out.webm", FACES, lay_out=lambda table: concat_ranges(table, [(24, 30), (12, 20)])
    )
    assert len(alphas(output.path, "libvpx-vp9")) == 14
    whole = alphas(source, "libvpx-vp9")
    assert alphas(output.path, "libvpx-vp9") == whole[24:30] + whole[12:20]
    with pytest.raises(UnsupportedMedia, match=r"cannot begin at 0\.520 s. Begin the range at 0\.480 s or 0\.960 s"):
        produce(source, tmp_path / "no.webm", FACES, lay_out=lambda table: concat_ranges(table, [(13, 20)]))


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".ts"])
def test_transparency_that_cannot_be_held_is_refused(tmp_path, ending):
    source = make_transparent(tmp_path / "a.webm")
    with pytest.raises(UnsupportedMedia, match="the video is transparent"):
        produce(source, tmp_path / f"out{ending}", FACES)


def test_appended_frames_are_refused_where_there_is_transparency(tmp_path):
    source = make_transparent(tmp_path / "a.webm")
    with pytest.raises(UnsupportedMedia, match="length policy to cut"):
        produce(
            source,
            tmp_path / "out.webm",
            lay_out=lambda table: extend_timeline(identity_timeline(table), Fraction(2), "loop"),
        )


# Messages and units of H.264, HEVC and AV1


def message(codec, number, size):
    """Return captions (GA94) and HDR10+ of a frame: the first in 0 bytes more than its size tells, for the escapes."""
    header = {"h264": b"\6", "hevc": b"\x4e\1"}[codec]
    payload = b"\xb5\x00\x31GA94" + bytes([number + 1]) * size
    length = b"\xff" * (len(payload) // 255) + bytes([len(payload) % 255])
    return header + b"\4" + length + payload + b"\x80"


def dolby_vision(number):
    return b"\x7c\1\x19" + bytes([number + 1]) * 20 + b"\x80"


def metadata(number):
    payload = b"\4\xb5\x00\x77\x00\x01" + bytes([number + 1]) * 9 + b"\x80"
    return bytes([5 << 3 | 2, len(payload)]) + payload


def annotate(source, path, size=30):
    """Copy a video, every packet of which gets something of its own beside its picture."""
    info = probe(source).require_video()
    prefix = length_prefix_size(info.codec, info.coded.extradata)
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        target = writer.add_stream_from_template(reader.streams.video[0], opaque=True)
        if info.coded.tag and path.suffix in (".mp4", ".mov"):
            target.codec_context.codec_tag = info.coded.tag
        number = 0
        for packet in reader.demux(reader.streams.video[0]):
            if not packet.size:
                continue
            if info.codec == "av1":
                units = [head + payload for _, head, payload in split_av1_units(bytes(packet))]
                payload = b"".join([*units[:-1], metadata(number), units[-1]])
            else:
                units = [message(info.codec, number, size), *split_units(bytes(packet), prefix)]
                units += [dolby_vision(number)] * (info.codec == "hevc")
                payload = join_units(units, prefix)
            changed = av.Packet(payload)
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.duration, changed.is_keyframe, changed.stream = packet.duration, packet.is_keyframe, target
            writer.mux(changed)
            number += 1
    return path


def beside(path, stop=None):
    """Return the annotations of every frame, in order of presentation."""
    info = probe(path).require_video()
    prefix = length_prefix_size(info.codec, info.coded.extradata)
    found = []
    for packet in sorted(independent_packets(path), key=lambda packet: packet.pts)[:stop]:
        if info.codec == "av1":
            found.append([head + data for kind, head, data in split_av1_units(packet.payload) if kind == 5])
            continue
        header = {"h264": b"\6\4", "hevc": b"\x4e\1\4"}[info.codec]
        units = list(split_units(packet.payload, prefix))
        found.append([unit for unit in units if unit.startswith((header, b"\x7c\1"))])
        assert info.codec != "hevc" or units[-1].startswith(b"\x7c\1")
    return found


@pytest.mark.parametrize("size", [30, 300])
@pytest.mark.parametrize("name", ["a.mp4", "b.ts", "c.mkv", "d.mov"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_messages_of_every_frame_are_kept(tmp_path, name, codec, size):
    options = {"tag": "hvc1"} if codec == "libx265" and name == "d.mov" else {}
    plain = make_video(tmp_path / f"plain_{name}", 40, codec=codec, **options)
    source = annotate(plain, tmp_path / name, size)
    output = produce(source, tmp_path / f"out_{name}", FACES)
    before = beside(source)
    assert len({tuple(units) for units in before}) == 40
    assert beside(output.path) == before
    assert stamps(output.path) == list(range(40))
    assert output.copied


def test_metadata_of_av1_is_kept(tmp_path):
    plain = make_video(
        tmp_path / "plain.mkv",
        30,
        codec="libsvtav1",
        options={"preset": "12", "svtav1-params": "keyint=12:pred-struct=1:scd=0"},
    )
    source = annotate(plain, tmp_path / "a.mkv")
    output = produce(source, tmp_path / "out.mkv", FACES)
    assert beside(output.path) == beside(source)
    assert stamps(output.path) == list(range(30))


def test_what_is_transcoded_or_appended_loses_it_and_says_so(tmp_path):
    source = annotate(make_video(tmp_path / "plain.mp4", 30, codec="libx265"), tmp_path / "a.mp4")
    assert probe(source).require_video().beside == ("Dolby Vision", "captions")
    output = produce(source, tmp_path / "out.webm", FACES)
    assert [text.split(" of ")[0] for text in output.losses] == ["Dolby Vision", "captions"]
    longer = produce(
        source,
        tmp_path / "b.mp4",
        FACES,
        lay_out=lambda t: extend_timeline(identity_timeline(t), Fraction(2), "bounce"),
    )
    assert "captions of frames that are appended" in longer.losses
    assert beside(longer.path, 30) == beside(source)


def test_the_check_sees_what_is_gone(tmp_path):
    source = annotate(make_video(tmp_path / "plain.mkv", 20), tmp_path / "a.mkv")
    output = produce(source, tmp_path / "out.mkv", [(3, 6)])
    before, after = (take_inventory(probe(path), without=None) for path in (source, output.path))
    marks = FrameProvenance((((0, 20), None),), (), ())
    verify_copies(before, output.table, output.timeline, after, marks)
    after.beside[sorted(after.beside)[4]] ^= 1
    with pytest.raises(ContractBroken, match="frame 4 lost what source frame 4 has beside its picture"):
        verify_copies(before, output.table, output.timeline, after, marks)


# What stands in the header


def with_dolby_vision_record(path):
    """Put a configuration record (profile 8.4) into the sample entry of a file whose header is its end."""
    data = bytearray(path.read_bytes())
    record = struct.pack(">I4s", 32, b"dvvC") + bytes([1, 0, 8 << 1, 9 << 3 | 0b101, 4 << 4]) + bytes(19)
    at = data.index(b"moov")
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1"):
        at = data.index(name, at)
        size = struct.unpack_from(">I", data, at - 4)[0]
        struct.pack_into(">I", data, at - 4, size + len(record))
    end = at - 4 + size
    assert data.index(b"mdat") < data.index(b"moov")
    data[end:end] = record
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_the_record_of_dolby_vision_is_kept_or_said_to_be_lost(tmp_path, ending):
    plain = make_video(tmp_path / f"plain{ending}", 30, codec="libx265", tag="hvc1")
    source = with_dolby_vision_record(annotate(plain, tmp_path / f"a{ending}"))
    output = produce(source, tmp_path / f"out{ending}", FACES)
    record = source.read_bytes()
    at = record.index(b"dvvC")
    assert (record[at : at + 28] in output.path.read_bytes()) == (ending == ".mp4")
    said = ["the announcement of Dolby Vision: mov cannot hold it"]
    assert output.losses == said * (ending == ".mov")
