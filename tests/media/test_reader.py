"""Frames by index: the stamps must be those asked for, and the pixels those of decoding from the start."""

import gc
import random
import weakref
from dataclasses import replace

import pytest

from media.base.errors import UnreadableMedia
from media.packets.scan import scan_packets
from media.probe import probe
from media.reader import REVERSE_CHUNK_FRAMES, FrameReader
from media.source_video import SourceVideo
from tests.support.synthetic import SOURCES, decode_all, digest, make_source, make_video, read_stamp


@pytest.fixture(scope="module", params=SOURCES)
def source(request, tmp_path_factory):
    """Return (info, table, [(stamp, digest)] of linear decoding) of each kind of video."""
    path = make_source(tmp_path_factory.mktemp("reader"), request.param)
    info = probe(path)
    return info, scan_packets(info), [(stamp, pixels) for _, stamp, pixels in decode_all(path)]


def read(reader, frames):
    return [(index, read_stamp(frame), digest(frame)) for index, frame in reader.read(frames)]


def wanted(truth, frames):
    return [(index, *truth[index]) for index in frames]


def orders(num_frames):
    last = num_frames - 1
    shuffled = random.Random(5)
    return {
        "ascending": range(num_frames),
        "descending": range(last, -1, -1),
        "middle of a GOP on": range(17, 31),
        "back from the middle of a GOP": range(41, 28, -1),
        "one": [last],
        "held": [29, 29, 29],
        "on, held, on": [*range(20, 26), 25, 25, 25, 26, 27],
        "forth and back": [*range(10, 20), *range(18, 5, -1), *range(6, 14)],
        "before a keyframe and the keyframe": [35, 36, 34, 37, 24, 23],
        "random": [shuffled.randrange(num_frames) for _ in range(25)],
        "skipping": [0, 1, 2, 30, 31, 40, 50],
        "nothing": [],
    }


@pytest.mark.parametrize("order", orders(60))
def test_the_frames_asked_for(source, order):
    info, table, truth = source
    frames = orders(len(table))[order]
    with FrameReader(SourceVideo(info, table), num_threads=1) as reader:
        assert read(reader, frames) == wanted(truth, frames)


def test_a_reader_can_be_asked_again_and_again(source):
    info, table, truth = source
    with FrameReader(SourceVideo(info, table), num_threads=2) as reader:
        for frames in orders(len(table)).values():
            assert read(reader, frames) == wanted(truth, frames)


def test_reading_may_be_given_up(source):
    info, table, truth = source
    with FrameReader(SourceVideo(info, table)) as reader:
        for start in (0, 13, 13, 40, 2):
            frames = reader.read(range(start, len(table)))
            index, frame = next(frames)
            assert (index, read_stamp(frame), digest(frame)) == (start, *truth[start])


def test_frames_are_decoded_as_they_are_asked_for(tmp_path):
    """Asking for the first frame of many must not decode many; backwards a chunk at most."""
    path = make_video(tmp_path / "a.mp4", 120, gop=10, b_frames=0)
    info = probe(path)
    table = scan_packets(info)
    with FrameReader(SourceVideo(info, table), num_threads=1) as reader:
        decoded = []
        inner = reader._indexed
        reader._indexed = lambda packet: (decoded.append(packet.pts), inner(packet))[1]
        next(reader.read(range(120)))
        assert len(decoded) <= 10
        decoded.clear()
        next(reader.read(range(119, -1, -1)))
        assert len(decoded) <= REVERSE_CHUNK_FRAMES + 2 * 10


def test_a_frame_that_is_gone_is_named(tmp_path):
    path = make_source(tmp_path, "closed.ts")
    info = probe(path)
    table = scan_packets(info)
    content = path.read_bytes()
    (tmp_path / "cut.ts").write_bytes(content[: len(content) // 2 // 188 * 188])
    seen = []
    with (
        FrameReader(SourceVideo(replace(info, path=str(tmp_path / "cut.ts")), table)) as reader,
        pytest.raises(UnreadableMedia, match=r"cut\.ts: frame \d+ \(\d+\.\d+ s\) cannot be decoded"),
    ):
        seen.extend(index for index, _ in reader.read(range(60)))
    assert seen == list(range(len(seen)))
    assert 20 < len(seen) < 40


def test_the_file_is_closed(tmp_path):
    info = probe(make_source(tmp_path, "closed.mp4"))
    with FrameReader(SourceVideo(info, scan_packets(info))) as reader:
        next(reader.read([0]))
        container = reader._container
    with pytest.raises(AssertionError, match="not open"):
        next(container.demux())


def test_nothing_of_a_reader_outlives_it(tmp_path):
    info = probe(make_video(tmp_path / "a.mp4", 30))
    table = scan_packets(info)
    gc.collect()
    gc.disable()  # what only a search for circles of references finds stays for minutes in a long job
    try:
        with FrameReader(SourceVideo(info, table)) as reader:
            assert len(list(reader.read(range(10)))) == 10
        left = weakref.ref(reader)
        del reader
        assert left() is None
    finally:
        gc.enable()
