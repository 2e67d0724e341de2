"""The face that the network sees: the place and the grey of the public program's crop."""

import numpy as np
import pytest
from av import VideoFrame

from media.faces import FaceBox
from media.orientation import Orientation
from segmenter.speaking.crops import BEYOND, CROP_PX, cut_face

BOX = FaceBox(140.0, 60.0, 240.0, 220.0)
"""160 high: the crop is 112 wide, from 134 to 246 and from 116 to 228."""


def frame_of(grey, pixel_format="yuv420p"):
    picture = VideoFrame.from_ndarray(np.repeat(grey[:, :, None], 3, axis=2), format="bgr24")
    return picture.reformat(format=pixel_format)


def ramp(height=360, width=480):
    down, across = np.mgrid[:height, :width]
    return ((down // 2 + across // 3) % 200 + 20).astype(np.uint8)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuvj420p"])
def test_the_crop_is_the_middle_of_the_public_one(pixel_format):
    grey = ramp()
    crop = cut_face(frame_of(grey, pixel_format), BOX, Orientation())
    wanted = grey[116:228, 134:246].astype(int)
    assert crop.shape == (CROP_PX, CROP_PX)
    assert np.median(np.abs(crop - wanted)) <= 2


def test_a_turned_video_gives_the_upright_face():
    grey = ramp()
    orientation = Orientation(90)
    stored = orientation.turn_back(grey)
    crop = cut_face(frame_of(stored), BOX, orientation)
    assert np.abs(crop.astype(int) - cut_face(frame_of(grey), BOX, Orientation())).max() <= 2


def test_a_large_face_is_averaged_and_what_lies_outside_is_grey():
    noise = np.random.default_rng(1).integers(0, 256, (720, 720)).astype(np.uint8)
    large = cut_face(frame_of(noise), FaceBox(100.0, 0.0, 660.0, 560.0), Orientation())
    assert large.std() < 45  # that of noise is 74
    outside = cut_face(frame_of(ramp()), FaceBox(-300.0, 0.0, -140.0, 160.0), Orientation())
    assert (outside == BEYOND).all()
