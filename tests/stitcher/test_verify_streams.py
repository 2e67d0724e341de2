"""The check of copied packets, codec by codec: what containers change around a picture does not count."""

import av
import pytest

from lipstitch.plan.output_timeline import identity_timeline
from media.base.errors import ContractBroken
from media.packets.scan import scan_packets
from media.probe import probe
from media.source_video import SourceVideo
from stitcher.verify.contract import Contract, verify_full
from stitcher.verify.provenance import FrameProvenance
from stitcher.verify.streams import take_inventory, verify_copies
from tests.support.synthetic import make_source, with_payload
from tests.support.zoo import produce

COPIED = FrameProvenance((), ())


@pytest.mark.parametrize("name", ["vp9.webm", "hevc.mp4", "hevc.mkv", "mpeg4.mp4"])
def test_packets_of_other_codecs_are_compared(tmp_path, name):
    """As they are where nothing else is coded in them, and all of the picture where parameter sets may be."""
    source = make_source(tmp_path, name)
    info = probe(source)
    table = scan_packets(info)
    promised = Contract(SourceVideo(info, table), identity_timeline(table), None, COPIED, ())
    untouched = {check.promise: check.found for check in verify_full(source, promised)}["untouched packets"]
    assert untouched == "60 of 60 frames are the source's own packets"

    path = tmp_path / f"changed{source.suffix}"
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        stream = reader.streams.video[0]
        target = writer.add_stream_from_template(stream, opaque=True)
        for number, packet in enumerate(packet for packet in reader.demux(stream) if packet.size):
            last = bytes(packet)[-1:] if number != 30 else b"\x55"
            changed = with_payload(packet, bytes(packet)[:-1] + last)
            changed.stream = target
            writer.mux_one(changed)
    broken = {check.promise for check in verify_full(path, promised) if not check.is_kept}
    assert "untouched packets" in broken


def test_a_picture_that_follows_coded_ones_is_the_same_picture(tmp_path):
    """A CRA of HEVC is a BLA in the output, where what came before it was re-encoded."""
    output = produce(make_source(tmp_path, "hevc.mp4"), tmp_path / "out.mp4")
    whole = [clip.clip for clip in output.clips if clip.path]
    coded = tuple((clip.start_frame, clip.stop_frame) for clip in whole)
    source, written = (take_inventory(probe(path), without=None) for path in (output.info.path, output.path))
    assert source.pictures != written.pictures
    copied = verify_copies(source, output.table, output.timeline, written, FrameProvenance((), coded))
    assert copied == len(output.copied) == 60 - sum(stop - start for start, stop in coded)
    with pytest.raises(ContractBroken, match="is not the packet of source frame"):
        verify_copies(source, output.table, output.timeline, written, COPIED)
