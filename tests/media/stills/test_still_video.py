"""The video that is made of a picture."""

import resource
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from demo.talking import PORTRAIT_FILE
from media.base.errors import WorkspaceError
from media.coding.encoder import measure
from media.reader import FrameReader
from media.source_video import scan_video
from media.stills.picture_file import load_frame
from media.stills.still_video import KEYFRAME_SECONDS, write_still_video


def test_every_frame_is_the_picture(tmp_path):
    picture = load_frame(PORTRAIT_FILE)
    rate = Fraction(30000, 1001)
    write_still_video(tmp_path / "a.mp4", picture, rate, 261)
    source = scan_video(tmp_path / "a.mp4")
    video, table = source.video, source.table
    assert (video.codec, video.coded.profile, video.pixel_format) == ("h264", "High", "yuv420p")
    assert (video.colour.range, video.colour.matrix, video.colour.primaries, video.colour.transfer) == (1, 1, 1, 1)
    assert len(table) == 261
    assert [table.seconds(frame) for frame in (0, 1, 260)] == [0, 1 / rate, 260 / rate]
    step = round(KEYFRAME_SECONDS * rate)
    assert [frame for frame in range(261) if table.clean.entry[frame]] == [0, step, 2 * step]
    with FrameReader(source) as reader:
        frames = [frame.to_ndarray() for _, frame in reader.read(range(261))]
        assert all(np.array_equal(frame, frames[0]) for frame in frames)
        (_, first), *_ = reader.read(range(1))
        assert measure(picture, first).psnr > 47


@pytest.mark.parametrize("num_frames", [1, 2, 100, 101])
def test_any_length(tmp_path, num_frames):
    write_still_video(tmp_path / "a.mp4", load_frame(PORTRAIT_FILE), Fraction(25), num_frames)
    source = scan_video(tmp_path / "a.mp4")
    assert source.table.seconds(len(source.table)) == Fraction(num_frames, 25)
    with FrameReader(source) as reader:
        assert [index for index, _ in reader.read(range(num_frames))] == [*range(num_frames)]


@pytest.mark.parametrize("size", [(16, 16), (4096, 1024), (18, 2048)])
def test_extreme_sizes(tmp_path, size):
    Image.new("RGB", size, (200, 30, 30)).save(tmp_path / "a.png")
    write_still_video(tmp_path / "a.mp4", load_frame(tmp_path / "a.png"), Fraction(25), 3)
    assert (lambda video: (video.width, video.height))(scan_video(tmp_path / "a.mp4").video) == size


def test_the_same_bytes_each_time(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_still_video(tmp_path / name, load_frame(PORTRAIT_FILE), Fraction(25), 130)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux alone")
def test_an_hour_takes_seconds_and_no_memory(tmp_path):
    picture = load_frame(PORTRAIT_FILE)
    write_still_video(tmp_path / "a.mp4", picture, Fraction(25), 100)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    write_still_video(tmp_path / "a.mp4", picture, Fraction(25), 3600 * 25)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 << 10
    assert time.monotonic() - start < 30
    assert len(scan_video(tmp_path / "a.mp4").table) == 3600 * 25


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(WorkspaceError, match="cannot be written"):
        write_still_video(tmp_path / "absent" / "a.mp4", load_frame(PORTRAIT_FILE), Fraction(25), 3)
