"""The photo of a person, as the embedding that the faces of a video are compared with."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from media.base.errors import ConfigError
from media.faces import Face
from media.identity import Vector, unpack
from media.picture import Pixels
from segmenter.detectors.base import FaceDetector
from segmenter.people.embedder import FaceEmbedder, align_face

LEAST_SCORE = 0.5
"""Least detector score of a face in a photo."""
MAX_BYTES = 64 << 20
SEARCHED_PX = 640
"""Greatest longer side of the picture that is searched."""
RIVAL_AREA = 0.5
"""A second face of at least this share of the largest one's area makes a photo ambiguous."""


def load_photo(path: Path, key: str) -> Pixels:
    """Return a photo as (height, width, 3) uint8 BGR, turned as its EXIF data says. Raises ConfigError.

    key: where the job file names it.
    """
    try:
        if not path.is_file():
            raise ConfigError(f"{key}: there is no photo {path}. Check the path.")
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{key}: {path} is larger than 64 MiB. Give a smaller photo.")
        content = np.frombuffer(path.read_bytes(), np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    except OSError as exc:
        raise ConfigError(f"{key}: {path} cannot be read ({exc.strerror}).") from exc
    except cv2.error:  # OpenCV's own message about unknown bytes would not help users
        picture = None
    if picture is None:
        raise ConfigError(f"{key}: {path} is not a picture. Give a JPEG or PNG file.")
    return np.asarray(picture, np.uint8)


def embed_reference(path: Path, key: str, picture: Pixels, detector: FaceDetector, embedder: FaceEmbedder) -> Vector:
    """Return the embedding of the one large face of a photo, of length 1. Raises ConfigError unless there is one."""
    faces = _faces(picture, detector)
    if not faces:
        # A face that fills the whole photo is only found with a margin around it.
        across, down = picture.shape[1] // 3, picture.shape[0] // 3
        picture = np.asarray(cv2.copyMakeBorder(picture, down, down, across, across, cv2.BORDER_REPLICATE), np.uint8)
        faces = _faces(picture, detector)
    if not faces:
        raise ConfigError(f"{key}: no face was found in {path}. Give a photo that shows it larger.")
    if len(faces) > 1 and faces[1].box.area >= RIVAL_AREA * faces[0].box.area:
        raise ConfigError(f"{key}: {path} shows several people. Crop it to the one you mean.")
    return unpack(embedder.embed_aligned(align_face(picture, np.array(faces[0].landmarks))))


def _faces(picture: Pixels, detector: FaceDetector) -> list[Face]:
    """Return the faces of a photo that have landmarks, in its pixels, largest first."""
    height, width = picture.shape[:2]
    scale = min(SEARCHED_PX / max(width, height), 1.0)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    found = detector.detect(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8))
    across, down = width / size[0], height / size[1]
    return [face.scaled(across, down) for face in found if face.landmarks and face.score >= LEAST_SCORE]
