"""Where copied packets follow copied packets from elsewhere, and what containers can hold."""

import pytest

from lipstitch.plan.output_timeline import concat_ranges, identity_timeline
from media.base.errors import UnsupportedMedia
from media.coding.output_codec import choose_stream
from media.packets.scan import scan_packets
from media.probe import probe
from media.source_video import SourceVideo
from stitcher.container import check_container
from tests.support.synthetic import Sound, decode_all, make_video
from tests.support.zoo import produce


def test_joined_open_groups_of_pictures_stay_in_order(tmp_path):
    source = make_video(tmp_path / "cra.mp4", 96, codec="libx265", open_gop=True, gop=24)
    kept = [(48, 72), (24, 48), (72, 96)]
    output = produce(source, tmp_path / "out.mp4", faces=[], lay_out=lambda table: concat_ranges(table, kept))
    assert any(clip.clip.action == "copy" for clip in output.clips)
    assert [stamp for _, stamp, _ in decode_all(output.path)] == [frame for part in kept for frame in range(*part)]


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """Return an mp4 with chapters and two sounds."""
    path = tmp_path_factory.mktemp("rich") / "rich.mp4"
    sounds = [Sound(), Sound()]
    return make_video(path, 48, sounds=sounds, chapters=[(0, 1, "One"), (1, 2, "Two")])


@pytest.mark.parametrize("muxer", ["mp4", "mov", "matroska", "mpegts"])
def test_containers_that_hold_everything_are_accepted(rich, muxer):
    info = probe(rich)
    table = scan_packets(info)
    check_container(SourceVideo(info, table), identity_timeline(table), muxer, replaces_sound=True)


def test_packets_that_a_container_does_not_hold_are_refused_before_the_work(rich):
    info = probe(rich)
    table = scan_packets(info)
    with pytest.raises(UnsupportedMedia, match=r"^output: webm files cannot hold the streams of "):
        check_container(SourceVideo(info, table), identity_timeline(table), "webm", replaces_sound=True)


@pytest.mark.parametrize("muxer", ["flv", "avi", "mpeg"])
def test_containers_that_do_not_are_refused_before_the_work(rich, muxer):
    info = probe(rich)
    with pytest.raises(UnsupportedMedia, match=r"^output: only a source of the same kind"):
        choose_stream(SourceVideo(info, scan_packets(info)), crf=13, preset="auto", muxer=muxer)


@pytest.mark.parametrize("name", ["out.mkv", "out.mov"])
def test_chapters_go_along_into_another_container(rich, tmp_path, name):
    output = produce(rich, tmp_path / name)
    assert [stamp for _, stamp, _ in decode_all(output.path)] == list(range(48))
    assert output.losses == []
