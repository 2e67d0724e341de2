"""Files that were trimmed without re-encoding: an edit list hides packets that shown frames refer to."""

import os
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import stitcher.assemble
from lipstitch.plan.output_timeline import concat_ranges
from media.base.errors import ContractBroken
from media.packets.scan import scan_packets
from media.probe import probe
from segmenter.planner import HIDDEN_REASON
from stitcher.packet_sources import VideoPacketSource
from stitcher.verify.contract import verify_full
from tests.support.mp4_boxes import trimmed
from tests.support.synthetic import Sound, decode_all, independent_packets, make_video
from tests.support.zoo import produce

NUM_FRAMES = 40
FRAME = Fraction(1, 25)
EDITS = [((5, 17), (29, 39)), ((0, 11), (14, 40)), ((20, 39), (3, 15)), ((None, 10), (7, 31))]
"""Parts in frames; None: a pause."""

NO_IDR = {"face": (0, 1), "codec": "libx264", "is_open": True, "ending": ".ts", "has_face": False}
"""Keyframes that are no IDR pictures, in front of a coded one that is: the muxer must know the sets of both."""
TWO_FRAMES = {"face": (0, 1), "codec": "libx264", "is_open": False, "ending": ".mp4", "has_face": False}
"""Frames that refer to a picture which is hidden, decoded before them, and shown behind them."""


def make_trim(folder, start, stop, **options):
    whole = make_video(folder / "whole.mp4", NUM_FRAMES, size=(96, 64), **options)
    return trimmed(whole, folder / "trim.mp4", (start * FRAME, stop * FRAME))


def check(source, output):
    """Compare an output with its source, both decoded by PyAV alone: number, times and pixels of the frames."""
    wanted, found = decode_all(source), decode_all(output.path)
    assert [stamp for _, stamp, _ in found] == [stamp for _, stamp, _ in wanted]
    tolerance = Fraction(1, 1000) if output.path.suffix == ".mkv" else 0
    begin, start = wanted[0][0], found[0][0]
    assert all(abs((a[0] - begin) - (b[0] - start)) <= tolerance for a, b in zip(wanted, found, strict=True))
    assert all(wanted[frame][2] == found[frame][2] for frame in output.copied)


@settings(max_examples=200 if os.environ.get("LIPSTITCH_FULL") else 25)
@example(gop=4, b_frames=2, start=1, shown=2, **TWO_FRAMES)
@example(gop=5, b_frames=3, start=6, shown=2, **TWO_FRAMES)
@example(gop=3, b_frames=1, start=3, shown=8, **NO_IDR)
@given(
    gop=st.integers(1, 20),
    b_frames=st.integers(0, 4),
    start=st.integers(0, 24),
    shown=st.integers(2, NUM_FRAMES),
    face=st.tuples(st.integers(0, 30), st.integers(1, 12)),
    codec=st.sampled_from(["libx264", "libx264", "libx265"]),
    is_open=st.booleans(),
    ending=st.sampled_from([".mp4", ".mp4", ".mov", ".mkv", ".ts"]),
    has_face=st.booleans(),
)
def test_any_trim(tmp_path_factory, gop, b_frames, start, shown, face, codec, is_open, ending, has_face):
    """Any trim on both sides, any structure, copied and re-encoded heads and tails, into any container."""
    assume(ending != ".ts" or shown > 6)  # FFmpeg does not know a transport stream of two packets for one
    # FFmpeg 8.1 loses an IDR picture of HEVC that stands alone between two others; 5.1 does not.
    assume(codec == "libx264" or gop > 3)
    folder = tmp_path_factory.mktemp("trim")
    stop = min(start + shown, NUM_FRAMES)
    source = make_trim(folder, start, stop, gop=gop, b_frames=min(b_frames, gop), codec=codec, open_gop=is_open)
    faces = [(face[0], face[0] + face[1])] if has_face else []
    output = produce(source, folder / f"out{ending}", faces)
    check(source, output)
    output.verify()


@pytest.mark.parametrize("start", range(9, 17))
@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_a_face_in_the_first_frame(tmp_path, start, ending):
    """With two B-frames every cut point but the keyframes leaves packets behind that belong to hidden frames."""
    source = make_trim(tmp_path, start, NUM_FRAMES, b_frames=2, gop=12)
    output = produce(source, tmp_path / f"out{ending}", [(0, 8)])
    check(source, output)
    output.verify()
    assert output.copied


@pytest.mark.parametrize("ending", [".mkv", ".ts", ".mp4"])
def test_what_was_trimmed_away_does_not_come_back(tmp_path, ending):
    """In MP4 the first frames are copied, and what they refer to stays hidden; elsewhere they are re-encoded."""
    source = make_trim(tmp_path, 15, 33, b_frames=2, gop=12, sounds=(Sound(),))
    output = produce(source, tmp_path / f"out{ending}", [])
    check(source, output)
    output.verify()
    first = min(packet.pts for packet in independent_packets(output.path))
    heard = min(packet.pts for packet in independent_packets(output.path, "audio"))
    assert heard > first - (Fraction(1, 10) if ending == ".mp4" else Fraction(1, 1000))
    if ending == ".mp4":
        assert 0 in output.copied
        assert any(clip.clip.action == "reencode" for clip in output.clips)  # the tail, which refers to hidden packets
    else:
        assert {clip.reason for clip in output.clips if clip.path} == {HIDDEN_REASON}
        assert output.copied


@pytest.mark.parametrize("faces", [[], [(0, 4)], [(8, 15)]])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize(
    "parts", [((5, 17), (29, 39)), ((0, 11), (14, 40)), ((20, 39), (3, 15)), ((None, 10), (7, 31))]
)
def test_several_edits(tmp_path, parts, codec, faces):
    """Frames cut out of the middle, parts in another order, a pause before the first frame."""
    whole = make_video(tmp_path / "whole.mp4", NUM_FRAMES, size=(96, 64), codec=codec, open_gop=codec == "libx265")
    edits = [(None if start is None else start * FRAME, stop * FRAME) for start, stop in parts]
    source = trimmed(whole, tmp_path / "edited.mp4", *edits)
    for ending in (".mp4", ".mkv"):
        output = produce(source, tmp_path / f"out{ending}", faces)
        check(source, output)
        output.verify()


@pytest.mark.parametrize("ranges", [[(0, 9)], [(0, 4), (20, 25)], [(3, 19)], [(12, 25), (0, 3)]])
def test_extractions_from_a_trimmed_file(tmp_path, ranges):
    source = make_trim(tmp_path, 14, NUM_FRAMES, b_frames=2, gop=12)
    output = produce(source, tmp_path / "out.mp4", [], lay_out=lambda table: concat_ranges(table, ranges))
    wanted = [14 + frame for start, stop in ranges for frame in range(start, stop)]
    assert [stamp for _, stamp, _ in decode_all(output.path)] == wanted
    output.verify()


def test_a_trim_that_begins_without_an_idr_picture(tmp_path):
    """No picture of it is one, so a muxer of transport streams puts parameter sets nowhere."""
    source = make_trim(tmp_path, 6, 18, gop=6, b_frames=4, open_gop=True)
    output = produce(source, tmp_path / "out.ts", [])
    assert len(output.copied) == 12
    check(source, output)
    output.verify()


@pytest.mark.parametrize(("gop", "b_frames", "start"), [(30, 3, 16), (12, 2, 15), (30, 2, 14)])
def test_the_check_sees_hidden_packets_behind_a_re_encoded_head(tmp_path, monkeypatch, gop, b_frames, start):
    """What was written before: every hidden packet copied, whatever its frames became."""

    class Copying(VideoPacketSource):
        def __init__(self, *arguments, **keys):
            super().__init__(*arguments, **keys)
            self.keeps_hidden_head = True
            self._beside = None  # nor did coded packets wait for what stands beside the source's

    monkeypatch.setattr(stitcher.assemble, "VideoPacketSource", Copying)
    source = make_trim(tmp_path, start, NUM_FRAMES, b_frames=b_frames, gop=gop)
    output = produce(source, tmp_path / "out.mp4", [(0, 8)])
    with pytest.raises(ContractBroken, match=r"^(Same frames|Untouched pixels|Only the mouth): frame "):
        output.verify()
    found = verify_full(output.path, output.promised())
    assert "untouched pixels" in {each.promise for each in found if not each.is_kept}


def test_the_table_of_a_trimmed_file(tmp_path):
    """Hidden before the first frame, and hidden in the middle of what is decoded for the last ones."""
    table = scan_packets(probe(make_trim(tmp_path, 14, 33, b_frames=2, gop=12)))
    assert len(table) == 19
    assert table.hidden.head == "negative"
    assert list(table.hidden.slots)[:1] == [17]  # the anchor of the last two frames, shown behind them
    plain = scan_packets(probe(Path(make_video(tmp_path / "plain.mp4", NUM_FRAMES, size=(96, 64)))))
    assert (plain.hidden.head, len(plain.hidden.slots), plain.changes.descriptions) == ("none", 0, ())
