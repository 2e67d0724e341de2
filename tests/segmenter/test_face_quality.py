import cv2
import numpy as np
import pytest
from av import VideoFrame

from media.orientation import ORIENTATIONS, UPRIGHT
from segmenter.detectors.retinaface import RetinaFaceDetector
from segmenter.face_quality import with_quality
from segmenter.spans.presence import SpanSettings

LIMITS = SpanSettings()
CLIPS = (
    "head_04_512.mp4",
    "head_07_512.mp4",
    "interview_1_700.mp4",
    "vlog_512_30fps.mp4",
    "sitcom_multi_face_988_8fps.mp4",
)
SIZE = (512, 512)


def frame_of(picture, pixel_format="yuv420p"):
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
    return frame.reformat(format=pixel_format)


@pytest.fixture(scope="module")
def faces(clip_pictures, retinaface_weights):
    """Return (picture, its largest face) of a few frames of some clips."""
    detector = RetinaFaceDetector(retinaface_weights)
    pictures = [picture for name in CLIPS for picture in clip_pictures(name, range(0, 41, 20), SIZE)]
    return [(picture, detector.detect(picture)[0]) for picture in pictures]


def looks(picture, face, **options):
    seen = with_quality(face, frame_of(picture, **options), UPRIGHT)
    return seen.light, seen.sharpness


def test_good_faces_are_far_above_the_thresholds(faces):
    for picture, face in faces:
        light, sharpness = looks(picture, face)
        assert light > 3 * LIMITS.min_light
        assert sharpness > 5 * LIMITS.min_sharpness


def test_blurred_and_dark_faces_are_below_them(faces):
    for picture, face in faces:
        blurred = cv2.GaussianBlur(picture, (0, 0), 0.04 * face.box.height)
        assert looks(blurred, face)[1] < LIMITS.min_sharpness
        assert looks(picture // 12, face)[0] < LIMITS.min_light


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuvj420p", "gray", "yuv444p"])
def test_how_pixels_are_stored_does_not_matter(faces, pixel_format):
    picture, face = faces[0]
    assert looks(picture, face, pixel_format=pixel_format) == pytest.approx(looks(picture, face), rel=0.03)


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_how_it_is_turned_does_not_matter(faces, orientation):
    picture, face = faces[0]
    seen = with_quality(face, frame_of(orientation.turn_back(picture)), orientation)
    assert (seen.light, seen.sharpness) == pytest.approx(looks(picture, face), rel=0.03)


def test_a_small_face_and_one_without_contrast_are_not_judged_by_their_sharpness(faces):
    picture, face = faces[0]
    small = face.scaled(0.1, 0.1)
    light, sharpness = looks(cv2.resize(picture, (52, 52), interpolation=cv2.INTER_AREA), small)
    assert light == pytest.approx(looks(picture, face)[0], abs=0.05)
    assert sharpness is None
    assert looks(np.full_like(picture, 90), face)[1] is None
    outside = face.scaled(1, -1)
    assert looks(picture, outside) == (None, None)
