"""What is known of coded frames without decoding them is what a decoder shows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from media.coding.encoder import Nearness, measure
from media.coding.encoder_options import choose_coding
from media.coding.quality import BLOCK_PSNR, SURE_QUANTISER, keeps_blocks, with_level
from media.coding.writer import ClipWriter
from media.info import VideoInfo
from media.picture import VideoFrame
from media.probe import probe
from tests.support.synthetic import make_video

SIDE = 192
Y, X = np.mgrid[:SIDE, :SIDE].astype(float)


def _letters(number: int, _: np.random.Generator) -> np.ndarray:
    picture = np.full((SIDE, SIDE), 128, np.float32)
    for row in range(9):
        place = (3 * number - 20 + row, 20 * row + 15)
        cv2.putText(picture, "Wilmqgj 0O8% thin", place, cv2.FONT_HERSHEY_PLAIN, 1, 66.0 + 16 * row, 1, cv2.LINE_AA)
    return picture


def _lines(number: int, _: np.random.Generator) -> np.ndarray:
    return 100 + 24.0 * ((X + 3 * number) % 7 == 0)


def _waves(number: int, _: np.random.Generator) -> np.ndarray:
    return 128 + 12 * np.cos(np.pi * 0.75 * (X + 0.37 * number)) * np.cos(np.pi * 0.5 * (Y + 0.2 * number))


def _dots(_: int, random: np.random.Generator) -> np.ndarray:
    return 100 + 90.0 * (random.random((SIDE, SIDE)) < 0.1)


def _noise(_: int, random: np.random.Generator) -> np.ndarray:
    return 128 + random.normal(0, 13, (SIDE, SIDE))


def _lone_coefficients(_: int, random: np.random.Generator) -> np.ndarray:
    """Two waves in each block of 4 x 4, about as strong as what the dead zone makes 0."""
    picture = np.empty((SIDE, SIDE))
    for top in range(0, SIDE, 4):
        for left in range(0, SIDE, 4):
            block = np.zeros(16)
            block[random.choice(16, 2, replace=False)] = 9 * random.choice([-1, 1], 2) * random.uniform(0.7, 1.7, 2)
            picture[top : top + 4, left : left + 4] = cv2.idct(block.reshape(4, 4))
    return 128 + picture


HARD = (_letters, _lines, _waves, _dots, _noise, _lone_coefficients)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    path = make_video(tmp_path_factory.mktemp("nearness") / "a.mp4", 2, size=(SIDE, SIDE))
    return probe(path).require_video()


def _coded(video: VideoInfo, path: Path, frames: list[VideoFrame], level: int) -> tuple[list[float], list[Nearness]]:
    """Return what the writer told of frames that were coded so coarsely, and what decoding shows."""
    coding = with_level(choose_coding(video, crf=None, preset="auto"), level)
    coding = replace(coding, least_psnr=0.0, is_fixed=True)  # nothing is looked for
    assert keeps_blocks(coding) == (level <= SURE_QUANTISER)
    with ClipWriter(path, video, coding) as writer:
        for frame in frames:
            writer.write(frame, keyframe=False)
    with av.open(str(path)) as clip:
        return writer.psnr, [measure(*pair) for pair in zip(frames, clip.decode(video=0), strict=True)]


def _frames(draw: Callable[[int, np.random.Generator], np.ndarray], num: int = 6) -> list[VideoFrame]:
    random = np.random.default_rng(0)
    frames = []
    for number in range(num):
        planes = np.full((SIDE * 3 // 2, SIDE), 128, np.uint8)
        planes[:SIDE] = np.clip(np.rint(draw(number, random)), 0, 255)
        planes[SIDE:] += random.integers(0, 20, planes[SIDE:].shape, np.uint8)
        frames.append(VideoFrame.from_ndarray(planes, format="yuv420p"))
    return frames


@pytest.mark.parametrize("draw", HARD, ids=lambda draw: draw.__name__.strip("_"))
def test_what_the_encoder_tells_is_what_is_seen_and_its_quantiser_keeps_every_block(video, tmp_path, draw):
    told, seen = _coded(video, tmp_path / "sure.nut", _frames(draw), SURE_QUANTISER)
    assert told == pytest.approx([nearness.psnr for nearness in seen], abs=1e-6)
    assert min(nearness.block_psnr for nearness in seen) > BLOCK_PSNR


def test_equal_planes_are_told_to_be_as_near_as_can_be(video, tmp_path):
    still = _frames(lambda *_: np.full((SIDE, SIDE), 128.0), 3)
    told, _ = _coded(video, tmp_path / "still.nut", still, SURE_QUANTISER)
    assert max(told) <= 99


@pytest.mark.parametrize(
    ("change", "preset"),
    [({}, "slow"), ({"pixel_format": "yuv420p10le"}, "auto"), ({"codec": "hevc"}, "auto")],
    ids=["preset that rounds for looks", "10 bits", "x265"],
)
def test_other_frames_are_decoded_and_compared(video, change, preset):
    assert not keeps_blocks(choose_coding(replace(video, **change), crf=None, preset=preset))
    assert not keeps_blocks(choose_coding(video, crf=20, preset="auto"))
