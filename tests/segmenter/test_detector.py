import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from media.base.errors import CheckpointNotFound, UnsupportedCheckpoint
from segmenter.detectors.cascade import CascadeDetector
from segmenter.detectors.retinaface import RetinaFaceDetector
from segmenter.find_detector import (
    build_detector,
    choose_detector,
    detector_class,
    detector_names,
    detectors_by_preference,
)
from segmenter.tracks import box_distance

FRONTAL = ["head_02_512.mp4", "head_07_512.mp4", "head_12_512.mp4", "interview_2_844.mp4", "vlog_512_30fps.mp4"]


@pytest.fixture(scope="module")
def retinaface(retinaface_weights):
    return RetinaFaceDetector(retinaface_weights)


@pytest.fixture(scope="module")
def cascade():
    return CascadeDetector()


@pytest.fixture(scope="module", params=["retinaface", "cascade"])
def detector(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def portraits(clip_pictures):
    return [next(clip_pictures(name, [40], (320, 320))) for name in FRONTAL]


def test_one_face_is_found_in_each_portrait(detector, portraits):
    for picture in portraits:
        (face,) = detector.detect(picture, smallest_px=60)
        assert face.score > 0.8
        assert 0.3 * 320 < face.box.height < 0.9 * 320


def test_the_cascade_draws_the_box_that_retinaface_draws(retinaface, cascade, portraits):
    distances = [
        box_distance(cascade.detect(picture)[0].box, retinaface.detect(picture)[0].box) for picture in portraits
    ]
    assert max(distances) < 0.2
    heights = [
        cascade.detect(picture)[0].box.height / retinaface.detect(picture)[0].box.height for picture in portraits
    ]
    assert abs(np.median(heights) - 1) < 0.1


def test_landmarks_are_eyes_nose_and_mouth_as_seen(retinaface, portraits):
    for picture in portraits:
        face = retinaface.detect(picture)[0]
        (eye, other_eye, nose, mouth, other_mouth), box = face.landmarks, face.box
        assert box.left < eye[0] < nose[0] < other_eye[0] < box.right
        assert box.top < max(eye[1], other_eye[1]) < nose[1] < min(mouth[1], other_mouth[1]) < box.bottom
        assert mouth[0] < other_mouth[0]


def test_nothing_is_found_where_no_one_is(detector, scenery):
    for seed in range(4):
        for picture in scenery(2, (320, 180), seed):
            assert [face for face in detector.detect(picture) if face.score > 0.5] == []


def test_the_largest_face_comes_first(detector, portraits):
    picture = np.zeros((320, 480, 3), np.uint8)
    picture[80:240, :160] = cv2.resize(portraits[0], (160, 160), interpolation=cv2.INTER_AREA)
    picture[:, 160:] = portraits[1]
    big, small = detector.detect(picture, smallest_px=40)
    assert big.box.left > 160 > small.box.right
    assert [face.box.left > 160 for face in detector.detect(picture, smallest_px=1.4 * small.box.height)] == [True]


def test_boxes_are_pixels_of_the_picture_whatever_its_size(detector, portraits):
    box = detector.detect(portraits[0], smallest_px=60)[0].box
    lower = cv2.copyMakeBorder(portraits[0], 50, 0, 30, 0, cv2.BORDER_CONSTANT)
    moved = detector.detect(lower, smallest_px=60)[0].box
    assert moved.left - box.left == pytest.approx(30, abs=8)
    assert moved.top - box.top == pytest.approx(50, abs=8)


def test_a_result_depends_on_the_picture_alone(detector, portraits):
    torch = pytest.importorskip("torch")
    first = [detector.detect(picture) for picture in portraits]
    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
            backwards = [detector.detect(picture) for picture in reversed(portraits)]
            assert backwards[::-1] == first
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv2_threads)


def find_any(detector):
    return Path(f"{detector.name}.pth")


def find_none(detector):
    raise CheckpointNotFound(f"no {detector.weights}.")


def test_auto_takes_the_preferred_detector_whose_weights_are_found():
    warnings = []
    assert choose_detector("auto", find_any, warnings.append) == ("retinaface", Path("retinaface.pth"))
    assert choose_detector("cascade", find_none, warnings.append) == ("cascade", None)
    assert warnings == []
    assert choose_detector("auto", find_none, warnings.append) == ("cascade", None)
    assert warnings == [
        "using OpenCV's frontal-face cascade, which misses turned faces. For RetinaFace: no retinaface_mobilenet."
    ]


def test_a_detector_that_is_named_is_not_replaced_by_another():
    with pytest.raises(CheckpointNotFound, match=r"^no retinaface_mobilenet"):
        choose_detector("retinaface", find_none, pytest.fail)
    with pytest.raises(LookupError, match="cascade, given, retinaface"):
        choose_detector("haar", find_none, pytest.fail)


def test_a_detector_is_known_by_the_name_of_its_file():
    assert detector_names() == ("cascade", "given", "retinaface")
    assert [detector_class(name).name for name in detector_names()] == [*detector_names()]
    assert [detector.name for detector in detectors_by_preference()] == ["retinaface", "cascade", "given"]


def test_what_takes_long_to_import_is_not_needed_to_know_the_detectors():
    """A plan, `--help` and a wrong job file wait for none of it."""
    code = (
        "import sys; from segmenter.find_detector import detectors_by_preference; detectors_by_preference();"
        "print(*{'cv2', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_retinaface_without_weights_says_what_to_do(tmp_path):
    with pytest.raises(CheckpointNotFound, match="detector_checkpoint"):
        build_detector("retinaface", None)
    with pytest.raises(CheckpointNotFound, match="gone"):
        build_detector("retinaface", tmp_path / "gone.pth")


class _Bomb:
    def __reduce__(self):
        return os.mkdir, (self.place,)


def test_weights_are_never_executed(tmp_path):
    bomb = _Bomb()
    bomb.place = str(tmp_path / "executed")
    path = tmp_path / "bomb.pth"
    path.write_bytes(pickle.dumps(bomb, protocol=2))
    with pytest.raises(UnsupportedCheckpoint, match="bomb"):
        build_detector("retinaface", path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\3\4 not a real archive"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(UnsupportedCheckpoint, match="RetinaFace"):
        build_detector("retinaface", path)


def test_the_weights_of_another_network_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "other.pth"
    for state in ({"layer.weight": torch.zeros(3)}, [torch.zeros(3)]):
        torch.save(state, path)
        with pytest.raises(UnsupportedCheckpoint, match="RetinaFace"):
            build_detector("retinaface", path)
