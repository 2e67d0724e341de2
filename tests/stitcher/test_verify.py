"""The check of the finished file: what is whole passes, what is broken is named."""

import struct
from array import array
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from lipstitch.plan.output_timeline import identity_timeline
from media.base.errors import ContractBroken, MissingStream
from media.clips import Clip, RenderedClip
from media.packets.scan import scan_packets
from media.probe import probe
from media.source_video import SourceVideo
from stitcher.assemble import Assembled, assemble, muxer_of
from stitcher.packet_sources import OutputVideo
from stitcher.verify.contract import Contract, _sound_ends, verify_packets
from stitcher.verify.provenance import FrameProvenance
from tests.support.synthetic import Sound, independent_packets, make_video, with_payload

NUM_FRAMES = 36
SOUND_SECONDS = Fraction(NUM_FRAMES, 25)


@pytest.mark.parametrize("expected", [Fraction(2), Fraction(15), Fraction(40)])
@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("late", [0.0, 2.5])
def test_the_end_of_a_long_sound_is_found_without_reading_it_all(tmp_path, ending, late, expected):
    """However long it should be."""
    path = tmp_path / f"sound{ending}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        for start in range(0, 15 * 48000, 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, start + round(late * 48000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        times = [(p.pts, p.pts + p.duration) for p in container.demux(audio=0) if p.size]
    assert _sound_ends(path, probe(path), expected) == (times[0][0], times[-1][1])


@pytest.fixture(scope="module", params=["whole.mp4", "whole.mkv", "whole.ts"])
def written(request, tmp_path_factory):
    """Return (output, source, timeline, assembled) of a video that is copied."""
    folder = tmp_path_factory.mktemp("verify")
    source = make_video(folder / request.param, NUM_FRAMES, sounds=(Sound(),))
    info = probe(source)
    table = scan_packets(info)
    timeline = identity_timeline(table)
    clip = Clip(0, 0, NUM_FRAMES, "copy", "", range(NUM_FRAMES), (), ())
    output = folder / f"out{source.suffix}"
    clips = [RenderedClip(clip, None, "copied", "", 0, 0.0)]
    assembled = assemble(OutputVideo(SourceVideo(info, table), timeline, clips), None, output, muxer=muxer_of(output))
    return output, info, timeline, assembled


def spoil(written, path, change):
    """Write an output again, each video packet as `change` of (number, packet) makes it; None drops it."""
    output, _, timeline, _ = written
    options = {"avoid_negative_ts": "disabled", "video_track_timescale": str(timeline.time_base.denominator)}
    with av.open(str(output)) as reader, av.open(str(path), "w", container_options=options) as writer:
        targets = [writer.add_stream_from_template(stream, opaque=True) for stream in reader.streams]
        number = 0
        for packet in reader.demux():
            if not packet.size:
                continue
            if packet.stream.type == "video":
                stream, packet = packet.stream_index, change(number, packet)
                number += 1
                if packet is None:
                    continue
                packet.stream = targets[stream]
            else:
                packet.stream = targets[packet.stream_index]
            writer.mux_one(packet)
    return path


def verify(path, written, sound_seconds=None):
    _, source, timeline, assembled = written
    return verify_packets(path, copied(source, timeline), assembled, sound_seconds)


def copied(source, timeline):
    """Return what is promised of a video whose packets are all copied."""
    return Contract(SourceVideo(source, scan_packets(source)), timeline, None, FrameProvenance((), ()), ())


def test_a_whole_file_passes(written):
    checks = verify(written[0], written, SOUND_SECONDS)
    promises = [check.promise for check in checks]
    assert promises[0] == "same frames"
    assert promises[-2:] == ["the dub is whole", "streams and tags"]
    assert checks[0].found == f"{NUM_FRAMES} frames, each at its time"
    # The muxer of transport streams rewrites what stands around the coded slices, so packets are not compared there.
    assert ("untouched packets" in promises) == (written[0].suffix != ".ts")
    assert ("decode times" in promises) == (written[0].suffix != ".mkv")


def test_a_copy_of_it_passes(written, tmp_path):
    """So that the tests below fail for the change alone."""
    verify(spoil(written, tmp_path / written[0].name, lambda number, packet: packet), written, SOUND_SECONDS)


def test_a_changed_packet(written, tmp_path):
    if written[0].suffix == ".ts":
        pytest.skip("packets of a transport stream are not compared")

    def flip(number, packet):
        payload = bytearray(bytes(packet))
        payload[-1] ^= number == 20
        return with_payload(packet, bytes(payload))

    with pytest.raises(ContractBroken, match=r"^Untouched: packet 20 is not the one that was written"):
        verify(spoil(written, tmp_path / written[0].name, flip), written)


def test_swapped_payloads(written, tmp_path):
    if written[0].suffix == ".ts":
        pytest.skip("packets of a transport stream are not compared")
    payloads = [packet.payload for packet in independent_packets(written[0])]
    payloads[7], payloads[8] = payloads[8], payloads[7]
    path = spoil(written, tmp_path / written[0].name, lambda number, packet: with_payload(packet, payloads[number]))
    with pytest.raises(ContractBroken, match=r"^Untouched: packet 7 "):
        verify(path, written)


@pytest.mark.parametrize("which", [5, 20, NUM_FRAMES - 1])
def test_a_dropped_packet(written, tmp_path, which):
    path = spoil(written, tmp_path / written[0].name, lambda number, packet: None if number == which else packet)
    with pytest.raises(ContractBroken, match=r"^Same frames: the output has 35 frames instead of 36"):
        verify(path, written)


def test_a_moved_packet(written, tmp_path):
    def late(number, packet):
        if number == 20:
            packet.pts += max(1, packet.duration // 3)
        return packet

    with pytest.raises(ContractBroken, match=r"^Same frames: frame \d+ is shown at \d\.\d+ s instead of \d\.\d+ s"):
        verify(spoil(written, tmp_path / written[0].name, late), written)


def test_a_moved_clock(written, tmp_path):
    def later(_, packet):
        ticks = round(Fraction(1, 25) / packet.time_base)
        packet.pts += ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
        return packet

    with pytest.raises(ContractBroken, match=r"^Same frames: frame 0 is shown at "):
        verify(spoil(written, tmp_path / written[0].name, later), written)


@pytest.mark.parametrize(("b_frames", "said"), [(2, "decode times do not increase at packet 5"), (0, "the same time")])
def test_times_that_stand_still(tmp_path, b_frames, said):
    """No muxer writes such a file: the table of an MP4 is patched, so that two packets are decoded at one time."""
    uneven = [41 * number + number * number for number in range(12)]
    source = make_video(tmp_path / "a.mp4", 12, b_frames=b_frames, pts=uneven, time_base=Fraction(1, 1000))
    info = probe(source)
    timeline = identity_timeline(scan_packets(info))
    content = bytearray(source.read_bytes())
    steps = content.index(b"stts") + 8
    # Each packet has an entry (1, ticks to the next one) of its own; what is shown moves with it.
    assert struct.unpack_from(">I", content, steps)[0] == 12
    struct.pack_into(">II", content, steps + 4 + 8 * 4, 1, 0)
    (tmp_path / "b.mp4").write_bytes(content)
    packets = independent_packets(tmp_path / "b.mp4")
    assert packets[4].dts == packets[5].dts
    shown = array("q", sorted(int(packet.pts * 1000) for packet in packets))
    with pytest.raises(ContractBroken, match=rf"^Same frames: .*{said}"):
        verify_packets(tmp_path / "b.mp4", copied(info, replace(timeline, pts=shown)), Assembled(), None)


@pytest.mark.parametrize("seconds", [Fraction(1), Fraction(2)])
def test_a_soundtrack_of_another_length(written, seconds):
    with pytest.raises(ContractBroken, match=r"^The dub is whole: the soundtrack lasts 1\.4\d\d s instead of"):
        verify(written[0], written, seconds)


def test_a_soundtrack_that_is_not_there(tmp_path):
    source = make_video(tmp_path / "a.mp4", 10)
    info = probe(source)
    timeline = identity_timeline(scan_packets(info))
    payloads = array("L", [packet.digest for packet in independent_packets(source)])
    with pytest.raises(MissingStream):
        verify_packets(source, copied(info, timeline), Assembled(payloads), Fraction(1))
