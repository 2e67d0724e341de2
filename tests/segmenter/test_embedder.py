"""The embedder on real people, and on files that are not embedders."""

from itertools import combinations

import cv2
import numpy as np
import pytest

from media.base.errors import CheckpointNotFound, ConfigError, UnsupportedCheckpoint
from media.faces import Face, FaceBox, FrameDetections
from media.identity import EmbedderSettings, unit, unpack
from media.orientation import ORIENTATIONS, UPRIGHT
from media.picture import PictureConverter, VideoFrame
from segmenter.find_detector import build_detector
from segmenter.people.embedder import TEMPLATE, OnnxEmbedder, align_face, cut_aligned, fit_similarity
from segmenter.people.embedding_sampler import EmbeddingSampler, is_recognisable
from segmenter.people.reference import embed_reference, load_photo
from segmenter.scanner import detection_size

HEADS = [f"head_{number:02d}_512.mp4" for number in range(1, 16)]
PEOPLE = [
    *HEADS,
    *(f"interview_{name}.mp4" for name in ("1_700", "2_844", "3_590", "4_700")),
    *("vlog_512_30fps.mp4", "speaker_c_576x768_noaudio.mp4", "film_phone_600x480.mp4"),
    *("speaker_a_1080x1920_hevc.mp4", "speaker_b_1080x1920_hevc.mp4"),
]
EMBEDDER = "mobilefacenet.onnx"


def turned(points, *, scale, degrees, shift):
    turn = np.exp(1j * np.radians(degrees)) * scale
    moved = (points[:, 0] + 1j * points[:, 1]) * turn
    return np.stack([moved.real + shift[0], moved.imag + shift[1]], axis=1)


@pytest.mark.parametrize("degrees", [0, 30, -45])
def test_a_turned_face_is_brought_back_to_the_template(degrees):
    points = turned(TEMPLATE, scale=2.5, degrees=degrees, shift=(80, 40))
    matrix = fit_similarity(points, TEMPLATE)
    assert np.abs(points @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE).max() < 1e-9


@pytest.mark.parametrize(("scale", "degrees"), [(0.6, 0), (1, 20), (5, -30)])
def test_the_aligned_picture_shows_the_landmarks_in_their_places(scale, degrees):
    points = turned(TEMPLATE, scale=scale, degrees=degrees, shift=(300, 200))
    picture = np.zeros((900, 900, 3), np.uint8)
    for x, y in points:
        cv2.circle(picture, (round(x), round(y)), max(round(2 * scale), 1), (255, 255, 255), -1)
    aligned = align_face(picture, points)
    assert aligned.shape == (112, 112, 3)
    for x, y in TEMPLATE:
        assert aligned[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].max() > 120
    assert aligned[5:30].max() == 0


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_a_face_is_cut_from_a_turned_video_as_it_is_watched(orientation):
    upright = np.zeros((400, 300, 3), np.uint8)
    upright[:, :, 1] = np.arange(300) // 2
    upright[:, :, 2] = (np.arange(400) // 2)[:, None]
    stored = orientation.turn_back(upright)
    frame = VideoFrame.from_ndarray(stored, format="bgr24").reformat(format="yuv444p")
    points = turned(TEMPLATE, scale=1, degrees=0, shift=(90, 140))
    face = Face(FaceBox(100, 150, 190, 250), 0.9, tuple(map(tuple, points)))
    cut = cut_aligned(frame, face, PictureConverter(orientation)).astype(int)
    assert np.abs(cut[5:-5, 5:-5] - upright[145:247, 95:197]).max() < 8


# Real people


@pytest.fixture(scope="module")
def embedder(shared):
    return OnnxEmbedder(shared / "checkpoints" / EMBEDDER, EmbedderSettings())


@pytest.fixture(scope="module")
def detector(retinaface_weights):
    return build_detector("retinaface", retinaface_weights)


def largest_at_scan_size(detector, picture):
    """Return the largest face as the scan sees it: in a reduced picture."""
    height, width = picture.shape[:2]
    size = detection_size((width, height), 64)
    (face, *_) = detector.detect(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    return face.scaled(width / size[0], height / size[1])


@pytest.fixture(scope="module")
def vectors(clip_pictures, detector, embedder):
    """Return the embeddings of every person: of four frames of each clip."""
    found = {}
    for name in PEOPLE:
        faces = []
        for picture in clip_pictures(name, range(4, 125, 40)):
            face = largest_at_scan_size(detector, picture)
            if not is_recognisable(face, picture.shape[1::-1]):
                continue
            faces.append(unpack(embedder.embed_aligned(align_face(picture, np.array(face.landmarks)))))
        found[name] = np.array(faces)
    return found


def test_pictures_of_one_person_are_alike_and_those_of_two_are_not(vectors):
    border = EmbedderSettings().border
    same = [float(a @ b) for own in vectors.values() for a, b in combinations(own, 2)]
    other = np.concatenate([(a @ b.T).ravel() for a, b in combinations(vectors.values(), 2)])
    assert np.percentile(same, 5) > 0.62
    assert np.percentile(other, 99) < 0.4  # 0.34 over ten seconds of each clip, which takes too long here
    assert np.mean(other < border) > 0.999


def test_the_border_parts_every_picture_from_all_other_people(vectors):
    border = EmbedderSettings().border
    means = {name: unit(own.mean(axis=0)) for name, own in vectors.items()}
    for name, own in vectors.items():
        assert (own @ means[name]).min() > border
        assert max(float((own @ mean).max()) for other, mean in means.items() if other != name) < border


def test_a_mirrored_and_a_smaller_picture_are_the_same_person(clip_pictures, detector, embedder, vectors):
    (picture,) = clip_pictures(HEADS[2], [100])
    for changed in (picture[:, ::-1], cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)):
        changed = np.ascontiguousarray(changed)
        (face, *_) = detector.detect(changed)
        vector = unpack(embedder.embed_aligned(align_face(changed, np.array(face.landmarks))))
        assert vector @ vectors[HEADS[2]].mean(axis=0) > EmbedderSettings().same


def test_a_photo_is_its_person(tmp_path, clip_pictures, detector, embedder, vectors):
    (picture,) = clip_pictures(HEADS[8], [215])
    for name, shown in (("whole.jpg", picture), ("close.png", picture[60:420, 120:400])):
        cv2.imwrite(str(tmp_path / name), shown)
        vector = embed_reference(tmp_path / name, "photo", load_photo(tmp_path / name, "photo"), detector, embedder)
        near = {head: float(vector @ own.mean(axis=0)) for head, own in vectors.items()}
        assert max(near, key=near.get) == HEADS[8]
        assert near[HEADS[8]] > EmbedderSettings().same


def test_a_photo_of_two_people_leaves_open_who_is_meant(tmp_path, clip_pictures, detector, embedder):
    (one,), (two,) = clip_pictures(HEADS[0], [10]), clip_pictures(HEADS[2], [10])
    cv2.imwrite(str(tmp_path / "two.jpg"), np.hstack([one, two]))
    with pytest.raises(ConfigError, match="shows several people"):
        embed_reference(tmp_path / "two.jpg", "photo", load_photo(tmp_path / "two.jpg", "photo"), detector, embedder)


# Which faces are looked at


class Counting:
    def __init__(self):
        self.frames = []

    def embed(self, frame, face, converter):
        self.frames.append(frame)
        return b"\1"


SIZE = (640, 360)
POINTS = ((20, 40), (60, 40), (40, 60), (25, 80), (55, 80))


def face_at(x, y=100, *, turn=0, score=0.95, height=110):
    points = tuple((x + px + (turn if at == 2 else 0), y + py) for at, (px, py) in enumerate(POINTS))
    return Face(FaceBox(x, y, x + 80, y + height), score, points)


def test_each_face_is_looked_at_once_a_second_as_soon_as_it_can_be_recognised(table_of):
    embedder = Counting()
    sampler = EmbeddingSampler(embedder, PictureConverter(UPRIGHT), table_of(range(0, 4000, 40)), SIZE)
    for frame in range(0, 100, 5):
        turn = 60 if frame < 15 else 0
        faces = (face_at(50 + frame, turn=turn), *([face_at(400)] if frame >= 40 else []))
        sample = sampler.add_to(FrameDetections(frame, faces), frame)
        assert [face.box for face in sample.faces] == [face.box for face in faces]
    assert embedder.frames == [15, 25, 40, 50, 50, 75, 75]


@pytest.mark.parametrize(
    "face",
    [
        face_at(100, score=0.6),
        face_at(100, height=30),
        face_at(100, turn=70),
        face_at(-30),
        face_at(600),
        Face(FaceBox(100, 100, 180, 210), 0.99),
    ],
)
def test_what_shows_too_little_is_not_looked_at(face):
    assert is_recognisable(face_at(100), SIZE)
    assert not is_recognisable(face, SIZE)


# Files that are not embedders


def test_other_files_are_refused_in_one_sentence(shared, tmp_path, capfd):
    whole = (shared / "checkpoints" / EMBEDDER).read_bytes()
    random = np.random.default_rng(1)
    harmed = bytearray(whole)
    for at in random.integers(0, 2000, 40):
        harmed[at] = random.integers(256)
    contents = {"empty": b"", "text": b"no network\n" * 99, "cut": whole[:200_000], "harmed": bytes(harmed)}
    for name, content in contents.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
    paths = [*tmp_path.glob("*.onnx"), *(shared / "checkpoints").glob("face_detection_yunet*"), retinaface(shared)]
    assert len(paths) == 6
    for path in paths:
        with pytest.raises(UnsupportedCheckpoint) as caught:
            OnnxEmbedder(path, EmbedderSettings())
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    for path in (tmp_path / "gone.onnx", tmp_path):
        with pytest.raises(CheckpointNotFound):
            OnnxEmbedder(path, EmbedderSettings())
    assert capfd.readouterr().err == ""


def retinaface(shared):
    return shared / "checkpoints" / "retinaface_mobilenet0.25.pth"
