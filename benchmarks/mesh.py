"""The face mesh that ships, against the teacher that it learned from: on people it never saw.

    python -m benchmarks.mesh LABELS VIDEO ...

LABELS: what tools/label_meshes.py wrote. Each face is followed from frame to frame, as in a job. Prints for each video
the median distance of lips and of jaw from the teacher's, in percent of the eye distance; the correlation of the gap
between the lips; how much more the points jitter than the teacher's (the size of their second differences in time);
and the CPU time of a face on one core.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.footage import follow
from media.mesh import JAW, LIPS, POINT_NUMBERS, RIGID, Mesh, eye_distance
from renderer.footage.lip_shape import measure
from segmenter.mesh.mesher import SHIPPED, OnnxMesh


def compare(video: Path, labels: Path, network: OnnxMesh) -> dict[str, float]:
    """Return the figures of one video."""
    with np.load(labels / f"{video.stem}.npz") as stored:
        taught = stored["points"][:, POINT_NUMBERS]
    with av.open(f"file:{video}") as container:
        frames = list(container.decode(video=0))
    seen = np.isfinite(taught).all(axis=(1, 2))[: len(frames)]
    frames = [frame for frame, there in zip(frames, seen, strict=False) if there]
    taught = taught[: len(seen)][seen]
    began = time.process_time()
    found = np.stack(list(follow(frames, taught[0], network)))
    seconds = time.process_time() - began
    unit = eye_distance(taught)[:, None]
    error = np.linalg.norm(found[..., :2] - taught[..., :2], axis=2) / unit
    return {
        "lips %": 100 * float(np.median(error[:, LIPS])),
        "jaw %": 100 * float(np.median(error[:, JAW])),
        "gap": float(np.corrcoef(measure(found)[:, 0], measure(taught)[:, 0])[0, 1]),
        "width": float(np.corrcoef(measure(found)[:, 1], measure(taught)[:, 1])[0, 1]),
        "jitter lips": jitter(found, LIPS, unit) / jitter(taught, LIPS, unit),
        "jitter rigid": jitter(found, RIGID, unit) / jitter(taught, RIGID, unit),
        "ms": 1000 * seconds / len(frames),
    }


def jitter(meshes: Mesh, points: list[int], unit: NDArray[np.float32]) -> float:
    """Return the mean size of the second differences of some points, in eye distances."""
    return float(np.linalg.norm(np.diff(meshes[:, points, :2] / unit[..., None], n=2, axis=0), axis=2).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--mesh", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    network, rows = OnnxMesh(arguments.mesh), []
    for video in arguments.videos:
        rows.append(figures := compare(video, arguments.labels, network))
        if len(rows) == 1:
            sys.stdout.write(" " * 30 + " ".join(f"{name:>13}" for name in figures) + "\n")
        sys.stdout.write(f"{video.stem:30}" + " ".join(f"{value:13.2f}" for value in figures.values()) + "\n")
    medians = [float(np.median([row[name] for row in rows])) for name in rows[0]]
    sys.stdout.write(f"{'median':30}" + " ".join(f"{value:13.2f}" for value in medians) + "\n")


if __name__ == "__main__":
    main()
