"""Crops for training: a face and its rim, whichever way the picture is stored."""

import numpy as np
import pytest
from av import VideoFrame

from lipstitch.training.dataset.crops import CROP_PX, CropCutter
from media.clips import FaceSpan, TrackedFace
from media.faces import FaceBox, FacePath
from media.orientation import ORIENTATIONS, UPRIGHT
from media.picture import plane_views
from tests.support.synthetic import stamped_frame


@pytest.mark.parametrize("roll", [0.0, -25.0])
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_how_a_picture_is_stored_does_not_matter(orientation, roll):
    upright = stamped_frame(3, (192, 120), "yuv444p")
    stored = VideoFrame(*orientation.upright_size(192, 120), "yuv444p")
    for target, plane in zip(plane_views(stored), plane_views(upright), strict=True):
        target[:] = orientation.turn_back(plane)
    box = FaceBox(70.2, 20.6, 130.9, 98.3)
    face = TrackedFace(FaceSpan(0, 1, FacePath((0,), (box,))), box, roll)
    cut = CropCutter(orientation).cut(stored, face)
    assert cut.shape == (CROP_PX, CROP_PX, 3)
    assert np.array_equal(cut, CropCutter(UPRIGHT).cut(upright, face))
