"""Clocks that hold no time below 0, or no times of presentation; and files without a keyframe to seek by."""

from fractions import Fraction

import av
import pytest

from lipstitch.plan.output_timeline import concat_ranges
from media.base.errors import UnreadableMedia, WorkspaceError
from media.packets.scan import scan_packets
from media.probe import probe
from stitcher.assemble import muxer_of
from stitcher.audio.soundtrack import Soundtrack
from stitcher.container import first_time
from tests.support.synthetic import Sound, independent_times, make_video, stamps
from tests.support.zoo import produce

FRAME = Fraction(1, 25)
KEPT = [(13, 31), (3, 9)]


def extract(source, output, faces=(), kept=KEPT, **options):
    """Return an output that shows two ranges, as a job lays them out."""

    def lay_out(table):
        return concat_ranges(table, kept, start=first_time(muxer_of(output), table, kept))

    return produce(source, output, faces, lay_out=lay_out, **options)


SOURCES = {
    "a.flv": {"time_base": Fraction(1, 1000)},
    "b.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "b": "4M"}, "time_base": FRAME},
    "c.avi": {"codec": "mpeg4", "time_base": FRAME},
    "d.avi": {"time_base": FRAME},
    "e.ts": {},
    "f.mp4": {},
    "g.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p", "full_range": True, "time_base": FRAME},
}


@pytest.mark.parametrize("faces", [[], [(14, 16)], [(0, 40)]])
@pytest.mark.parametrize("name", SOURCES)
def test_ranges_of_sources_with_b_frames(tmp_path, name, faces):
    start = 240 if name.endswith(".flv") else 0
    source = make_video(tmp_path / name, 40, start=start, **SOURCES[name])
    output = extract(source, tmp_path / f"out_{name}", faces)
    output.verify()
    assert stamps(output.path) == [*range(13, 31), *range(3, 9)]
    times = independent_times(output.path)
    assert all(abs(time - times[0] - number * FRAME) < Fraction(11, 10000) for number, time in enumerate(times))
    assert 0 <= times[0] < 1


def test_sound_that_would_begin_before_the_clock(tmp_path):
    """AAC begins with 1024 samples of silence; a video of FLV that begins at 0 leaves no room for them."""
    source = make_video(tmp_path / "a.flv", 30, b_frames=0, time_base=Fraction(1, 1000))
    dub = make_video(tmp_path / "dub.mp4", 30, sounds=[Sound(rate=16000)])
    track = Soundtrack(str(dub), 1, Fraction(-1024, 16000), "encoded", "")
    output = produce(source, tmp_path / "out.flv", [(3, 6)], soundtrack=track)
    output.verify()
    with av.open(str(output.path)) as container:
        times = [packet.pts for packet in container.demux(container.streams.audio[0]) if packet.size]
    assert times[0] >= 0
    assert len(times) > 10


# Keyframes without a mark


def without_keyframes(source, path):
    """Copy a file, marking no packet of its video as a keyframe."""
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        targets = {stream.index: writer.add_stream_from_template(stream, opaque=True) for stream in reader.streams}
        for packet in reader.demux():
            if packet.size:
                packet.is_keyframe &= packet.stream.type != "video"
                packet.stream = targets[packet.stream_index]
                writer.mux(packet)
    return path


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9", "mpeg4"])
def test_files_in_which_no_keyframe_is_marked(tmp_path, codec):
    plain = make_video(tmp_path / "plain.mkv", 100, codec=codec, sounds=[Sound()], subtitles=SUBTITLES)
    source = without_keyframes(plain, tmp_path / "a.mkv")
    info = probe(source)
    with av.open(str(source)) as container, pytest.raises(av.error.FFmpegError):
        container.seek(1000, stream=container.streams.video[0])
    assert len(scan_packets(info)) == 100
    whole = produce(source, tmp_path / "whole.mkv", [(16, 20)])
    assert stamps(whole.path) == list(range(100))
    part = extract(source, tmp_path / "part.mkv", [(84, 86)], kept=[(80, 98), (3, 9)])
    assert stamps(part.path) == [*range(80, 98), *range(3, 9)]
    assert len(probe(part.path).others) == 1


SUBTITLES = "1\n00:00:00,100 --> 00:00:01,400\nHello\n"


# Whose error it is


def test_a_source_that_cannot_be_read_is_not_a_full_disk(tmp_path, monkeypatch):
    source = make_video(tmp_path / "a.mp4", 20)

    def fail(self, seconds):
        from media.probe import open_input

        with open_input(self._source.info.path):
            raise av.error.PermissionError(1, "Operation not permitted")
        yield

    monkeypatch.setattr("stitcher.assemble.Assembly._read", fail)
    with pytest.raises(UnreadableMedia, match=r"a\.mp4: cannot be read"):
        produce(source, tmp_path / "out.mp4", [])


def test_a_full_disk_is_one(tmp_path):
    source = make_video(tmp_path / "a.mp4", 20)
    full = tmp_path / "full.mkv"
    full.symlink_to("/dev/full")
    with pytest.raises(WorkspaceError, match=r"full\.mkv: cannot be written \(No space left on device\)"):
        produce(source, full, [])
