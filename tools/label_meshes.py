"""Label the faces of videos with MediaPipe's face mesh: what the project's own mesh network is taught and judged by.

    python tools/label_meshes.py OUT VIDEO ...

writes OUT/NAME.npz for each video: `points` (frames, 478, 3) float32, x and y in pixels and z in the same unit, NaN
where no face was found, and `seconds` (frames,), the time of each frame after the first one. Videos that are labelled
already are skipped. MediaPipe wants another OpenCV than lipstitch does, so give it a virtual environment of its own:
pip install 'mediapipe>=0.10.9,<0.10.15' av
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import av
import mediapipe
import numpy as np

NUM_POINTS = 478
CONFIDENCE = 0.3
"""Least score of a face that is found, and of one that is followed."""


def label(video: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of each frame's face and the frames' times; followed from frame to frame, in order."""
    points, seconds = [], []
    finder = mediapipe.solutions.face_mesh.FaceMesh(
        max_num_faces=1,
        refine_landmarks=True,
        min_detection_confidence=CONFIDENCE,
        min_tracking_confidence=CONFIDENCE,
    )
    with finder, av.open(f"file:{video}") as container:
        for frame in container.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            found = finder.process(picture).multi_face_landmarks
            face = [(point.x, point.y, point.z) for point in found[0].landmark] if found else np.nan
            scale = (frame.width, frame.height, frame.width)
            points.append(np.broadcast_to(np.asarray(face) * scale, (NUM_POINTS, 3)))
            seconds.append(frame.time or 0.0)
    return np.asarray(points, np.float32), np.asarray(seconds) - seconds[0]


def main() -> None:
    """Label what the command line names."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for video in map(Path, sys.argv[2:]):
        target = out / f"{video.stem}.npz"
        if target.exists():
            continue
        points, seconds = label(video)
        partial = out / f"{video.stem}.partial.npz"
        np.savez(partial, points=points, seconds=seconds)
        os.replace(partial, target)
        print(f"{video.name}: a face in {np.isfinite(points[:, 0, 0]).sum()} of {len(points)} frames", flush=True)


if __name__ == "__main__":
    main()
