"""What an output says of its own making: where each format holds it, and that it costs no packet."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import av
import pytest

from lipstitch.plan.output_timeline import identity_timeline
from media.base.errors import ContractBroken
from media.packets.scan import scan_packets
from media.probe import probe
from stitcher.assemble import NewTags, muxer_of
from stitcher.disclosure.embedded import can_hold, stated_ranges
from stitcher.disclosure.statement import NAMESPACES, SOURCE_TYPE, Disclosure
from stitcher.disclosure.verify import verify_disclosure
from stitcher.verify.provenance import FrameProvenance
from tests.support.synthetic import Sound, independent_packets, make_video
from tests.support.zoo import produce

FACES = [(8, 20), (30, 36)]
BOX = (0, 0, 8, 8)
SOURCES = {".mp4": {}, ".mov": {}, ".mkv": {}, ".avi": {"b_frames": 0}, ".flv": {}}


def disclosure_of(path, frames=FACES):
    return Disclosure.of("lipstitch 1.2.3", frames, identity_timeline(scan_packets(probe(path))))


@pytest.fixture(scope="module", params=SOURCES)
def made(request, folder):
    """Return (source, output that says it, the same output that does not, what is said)."""
    suffix = request.param
    source = make_video(folder / f"talk{suffix}", 40, rate=Fraction(30000, 1001), sounds=(Sound(),), **SOURCES[suffix])
    said = disclosure_of(source)
    outputs = [
        produce(source, folder / f"{name}{suffix}", FACES, tags=NewTags(disclosure=disclosure))
        for name, disclosure in (("said", said), ("silent", None))
    ]
    return source, *outputs, said


def test_it_is_found_and_only_where_it_was_written(made):
    _, output, silent, said = made
    assert verify_disclosure(output.path, said).startswith("2 synthetic ranges, in ")
    with pytest.raises(ContractBroken, match=r"^Disclosure: the output does not say"):
        verify_disclosure(silent.path, said)


def test_what_was_said_is_read_back(made):
    source, output, silent, said = made
    read = stated_ranges(Path(output.path))
    for stated, meant in zip(read, said.seconds, strict=True):
        assert all(abs(time - exact) <= Fraction(1, 10**6) for time, exact in zip(stated, meant, strict=True))
    assert stated_ranges(Path(silent.path)) == stated_ranges(Path(source)) == ()


def test_other_ranges_are_told_apart(made):
    source, output, _, _ = made
    with pytest.raises(ContractBroken, match="Disclosure"):
        verify_disclosure(output.path, disclosure_of(source, [(8, 20), (30, 37)]))


def test_no_packet_is_changed_by_it(made):
    _, output, silent, _ = made
    for kind in ("video", "audio"):
        said, unsaid = ([(p.pts, p.payload) for p in independent_packets(each.path, kind)] for each in (output, silent))
        assert said == unsaid
    output.verify()


def test_the_check_of_the_output_knows_it(made):
    _, output, silent, said = made
    for each in (output, silent):
        promised = replace(each.promised(), disclosure=said)
        each.promised = lambda promised=promised: promised
    assert ("disclosed", True) in [(check.promise, check.is_kept) for check in output.verify()]
    with pytest.raises(ContractBroken, match="Disclosure"):
        silent.verify()


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_other_programs_read_the_packet(folder, suffix):
    """FFmpeg finds it, XML holds what IPTC and XMP define, and its times are exact."""
    source = make_video(folder / f"read{suffix}", 40, rate=Fraction(30000, 1001), start=7)
    said = disclosure_of(source)
    output = produce(source, folder / f"read.out{suffix}", FACES, tags=NewTags(disclosure=said))
    with av.open(str(output.path), options={"export_xmp": "1"}) as container:
        root = ElementTree.fromstring(container.metadata["xmp"])
    assert root.findtext(".//Iptc4xmpExt:DigitalSourceType", namespaces=NAMESPACES) == SOURCE_TYPE
    assert root.findtext(".//stEvt:softwareAgent", namespaces=NAMESPACES) == "lipstitch 1.2.3"
    rate = root.findtext(".//xmpDM:frameRate", namespaces=NAMESPACES)
    assert rate == f"f{output.timeline.time_base.denominator}"
    markers = [
        [
            Fraction(int(item.findtext(f"xmpDM:{key}", namespaces=NAMESPACES)), int(rate[1:]))
            for key in ("startTime", "duration")
        ]
        for item in root.iterfind(".//xmpDM:markers/rdf:Seq/rdf:li", NAMESPACES)
    ]
    frame = Fraction(1001, 30000)
    assert markers == [[start * frame, (stop - start) * frame] for start, stop in FACES]


def test_tags_that_are_there_stay(folder):
    source = make_video(folder / "titled.mkv", 40, metadata={"title": "Talk", "comment": "Kept"})
    output = produce(source, folder / "titled.out.mkv", FACES, tags=NewTags(disclosure=disclosure_of(source)))
    with av.open(str(output.path)) as container:
        tags = container.metadata
    assert (tags["title"], tags["COMMENT" if "COMMENT" in tags else "comment"]) == ("Talk", "Kept")
    assert tags["DIGITAL_SOURCE_TYPE"] == SOURCE_TYPE
    assert tags["SYNTHETIC_RANGES"] == "0.32-0.8 1.2-1.44"


def test_only_frames_with_new_pixels_are_synthetic(folder):
    provenance = FrameProvenance((((0, 4), BOX), ((4, 6), BOX), ((8, 9), None)), ((10, 12),))
    assert provenance.synthetic == [(0, 6)]
    path = make_video(folder / "nothing.mp4", 12)
    assert disclosure_of(path, FrameProvenance((((8, 9), None),), ()).synthetic) is None


@pytest.mark.parametrize("name", ["a.ts", "a.m2ts", "a.mpg", "a.vob"])
def test_formats_without_a_place_are_known(name):
    assert not can_hold(muxer_of(Path(name)))
