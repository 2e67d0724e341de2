"""Further videos: their frames as if they were the job's, which of them are looked at, and who in them is who."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from lipstitch.footage.conform import GAP_FRAMES, ConformedReader, ConformedVideo
from lipstitch.footage.further import SCANNED_SECONDS, first_numbers, frames_to_scan
from lipstitch.job_file.config import load_job
from lipstitch.source.source import Source, open_further
from media.base.errors import ConfigError, UnsupportedMedia
from media.faces import FaceBox, FacePath
from media.intervals import Interval
from media.orientation import UPRIGHT, Orientation
from media.picture import PictureConverter
from media.reader import FrameReader
from media.source_video import scan_video
from tests.support.jobs import write_job
from tests.support.synthetic import make_video

OWN_RATE = Fraction(25)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return scan_video(make_video(tmp_path_factory.mktemp("own") / "own.mp4", 50, rate=OWN_RATE))


def conformed(path, own, scale=1.0):
    video = scan_video(path)
    return ConformedVideo(Source(video.info, video.table, "f"), own, first_numbers(own, [video])[0], scale)


@pytest.mark.parametrize("rate", [50, Fraction(30000, 1001), 25, 12])
@pytest.mark.parametrize("orientation", [UPRIGHT, Orientation(90), Orientation(180, is_mirrored=True)])
def test_frames_come_at_the_rate_of_the_job_and_as_it_stores_them(own, tmp_path, rate, orientation):
    path = make_video(tmp_path / "more.mkv", 60, rate=rate, size=(256, 128), orientation=orientation, crf=4)
    video = conformed(path, own)
    start, stop = video.interval((10, 40))
    assert 30 * OWN_RATE / rate - 2 < stop - start <= 30 * OWN_RATE / rate + 1
    own_frames = [video.shown_at(number) for number in range(start, stop)]
    assert 10 <= own_frames[0] <= own_frames[-1] < 40
    seconds = [float(video.source.table.seconds(frame)) for frame in own_frames]
    wanted = [(number - video.first_number) / float(OWN_RATE) for number in range(start, stop)]
    assert np.allclose(seconds, wanted, atol=float(1 / Fraction(rate)) + 1e-3)
    with FrameReader(video.source) as reader:
        frames = dict(ConformedReader(reader, video).read(range(start, stop)))
    assert list(frames) == list(range(start, stop))
    with FrameReader(video.source) as reader:
        originals = dict(reader.read(sorted(set(own_frames))))
    of_job, of_further = (PictureConverter(each.video.orientation) for each in (own, video.source))
    for number, shown in zip(range(start, stop), own_frames, strict=True):
        assert frames[number].format.name == own.video.pixel_format
        seen, there = of_job.upright_bgr(frames[number]), of_further.upright_bgr(originals[shown])
        assert np.abs(seen.astype(int) - there).mean() < 2


def test_faces_are_scaled_with_their_frames_and_numbered_like_them(own, tmp_path):
    video = conformed(make_video(tmp_path / "more.mp4", 60, rate=50, size=(256, 128)), own, scale=0.5)
    assert video.size == (128, 64)
    path = video.path(FacePath((10, 20), (FaceBox(20, 10, 60, 50), FaceBox(24, 10, 64, 50))))
    assert path == FacePath(
        (video.first_number + 5, video.first_number + 10), (FaceBox(10, 5, 30, 25), FaceBox(12, 5, 32, 25))
    )
    assert video.first_number >= len(own.table) + GAP_FRAMES


def test_numbers_of_two_videos_stay_apart(own, tmp_path):
    videos = [scan_video(make_video(tmp_path / f"{rate}.mp4", 60, rate=rate)) for rate in (12, 50)]
    first, second = first_numbers(own, videos)
    assert first >= len(own.table) + GAP_FRAMES
    assert second >= first + 60 * 25 // 12 + GAP_FRAMES


class _Table:
    """A frame table of a long video."""

    def __init__(self, seconds):
        self._seconds = seconds

    def __len__(self):
        return self._seconds * 25

    def seconds(self, frame):
        return Fraction(frame, 25)

    def frame_at(self, seconds):
        return int(-(-seconds * 25 // 1))


@pytest.mark.parametrize("seconds", [3, int(SCANNED_SECONDS), int(SCANNED_SECONDS) + 1, 7200, 36_000])
def test_a_long_video_is_looked_at_in_pieces_spread_over_it(seconds):
    frames: list[Interval] = frames_to_scan(_Table(seconds))
    assert frames == sorted(frames)
    assert all(one[1] <= two[0] for one, two in pairwise(frames))
    num_frames = sum(stop - start for start, stop in frames)
    assert num_frames <= SCANNED_SECONDS * 25 + len(frames)
    assert num_frames >= 25 * min(seconds, int(SCANNED_SECONDS)) - len(frames)
    assert (frames[0][0], frames[-1][1]) == (0, seconds * 25)


def job_with(tmp_path, footage, **sections):
    video = make_video(tmp_path / "own.mp4", 10)
    return write_job(tmp_path, input={"video": video, "footage": footage}, output=tmp_path / "out.mp4", **sections)


def test_one_path_and_a_list_mean_the_same(tmp_path):
    one, two = (load_job(job_with(tmp_path, given)) for given in ("more.mp4", ["more.mp4"]))
    assert one.input.footage == two.input.footage == (tmp_path / "more.mp4",)


@pytest.mark.parametrize("segmenter", [{"embedder": "none"}, {"detector": "cascade"}])
def test_people_have_to_be_told_apart(tmp_path, segmenter):
    with pytest.raises(ConfigError, match=r"input\.footage shows people .* and an embedder"):
        load_job(job_with(tmp_path, "more.mp4", segmenter=segmenter))
    load_job(job_with(tmp_path, "more.mp4", segmenter=segmenter, renderer={"method": "network"}))


@pytest.mark.parametrize("color", [(9, 9, 16), (9, 9, 18)])
def test_pictures_of_another_range_of_light_are_refused(tmp_path, color):
    path = make_video(tmp_path / "more.mp4", 10, codec="libx265", pixel_format="yuv420p10le", color=color)
    job = load_job(job_with(tmp_path, path))
    with pytest.raises(UnsupportedMedia, match=r"input\.footage: .*more\.mp4 is HDR .* the video is SDR"):
        open_further(job, scan_video(job.input.video))
