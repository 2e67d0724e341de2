"""Mouths from the speaker's own footage, judged: does what is chosen do what the speaker really did?

    python -m benchmarks.footage LABELS VIDEO ... [--strips build/footage]

Self-dub: the second half of each video is dubbed with its own sound, and only mouths of the first half may be shown.
The truth is known: the mouths that were there. Shapes are read from the labels of tools/label_meshes.py, which the
product never sees. Prints for each video, and as a mean: the correlation of the opening and of the width of what is
shown with the truth, the mean absolute difference of the aligned mouths, and jumps a second. Beside it: the network
that hears the shapes, by itself, and the nearest true shape, the ceiling of all choosing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from lipstitch.training.shapes.people import own_sound
from media.affine import sample
from media.mesh import POINT_NUMBERS, Mesh, eye_distance, head_pose, points_at
from media.picture import Pixels, VideoFrame, copy_frame, plane_views
from renderer.footage import looks
from renderer.footage.choice import Candidates, Wanted, choose
from renderer.footage.draw import Mouth, Part, Pose, draw, led_in_frame
from renderer.footage.lip_shape import Normal, Points, Shapes, measure, upright
from renderer.footage.sound_shape import hear, load_sound_shape, log_mel
from renderer.footage.transitions import smooth_transitions, steady

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Talk:
    """One short video of one speaker, decoded whole."""

    name: str
    frames: list[VideoFrame]
    seconds: NDArray[np.float64]
    sound: Floats
    meshes: Mesh
    reference: Points
    shapes: Shapes
    """Normalised over the whole video."""
    looks: Floats
    light: Floats
    pose: Floats

    @property
    def frame_rate(self) -> float:
        """Return frames a second."""
        return float(1 / np.median(np.diff(self.seconds)))


def read_talk(video: Path, labels: Path) -> Talk:
    """Decode a video and read its mouths."""
    with np.load(labels / f"{video.stem}.npz") as stored:
        meshes, seconds = stored["points"][:, POINT_NUMBERS], stored["seconds"]
    with av.open(f"file:{video}") as container:
        frames = list(container.decode(video=0))
    seen = np.isfinite(meshes).all(axis=(1, 2))[: len(frames)]
    frames = [frame for frame, there in zip(frames, seen, strict=False) if there]
    meshes, seconds = meshes[: len(seen)][seen], seconds[: len(seen)][seen]
    _, reference = upright(meshes)
    shapes = measure(meshes, reference)
    pictures = (frame.to_ndarray(format="bgr24") for frame in frames)
    seen_looks = [looks.look(picture, mesh, reference) for picture, mesh in zip(pictures, meshes, strict=True)]
    return Talk(
        name=video.stem,
        frames=frames,
        seconds=seconds,
        sound=own_sound(video),
        meshes=meshes,
        reference=reference,
        shapes=Normal.of(shapes).normalise(shapes),
        looks=looks.principal(np.stack([look for look, _ in seen_looks])),
        light=np.stack([light for _, light in seen_looks]),
        pose=head_pose(meshes),
    )


def candidates_of(talk: Talk, rows: NDArray[np.int64]) -> Candidates:
    """Return the mouths of some frames."""
    shapes = Normal.of(talk.shapes[rows]).normalise(talk.shapes[rows])
    return Candidates(shapes, talk.looks[rows], talk.pose[rows], talk.light[rows], rows)


def wanted_of(talk: Talk, rows: NDArray[np.int64], told: Shapes, silent: NDArray[np.bool_]) -> Wanted:
    """Return what some frames want."""
    return Wanted(told, silent, talk.pose[rows], talk.light[rows], rows, talk.frame_rate)


def aligned_mouths(talk: Talk, rows: NDArray[np.int64]) -> Floats:
    """Return the mouths of frames in the upright face, grey, mean removed."""
    mouths = []
    for row in rows:
        picture: Pixels = talk.frames[row].to_ndarray(format="bgr24")
        mouth = sample(picture, looks.mouth_map(talk.meshes[row], talk.reference), looks.CROP)
        grey = cv2.cvtColor(mouth, cv2.COLOR_BGR2GRAY).astype(np.float32)
        mouths.append(grey - grey.mean())
    return np.stack(mouths)


def self_dub(talk: Talk, told: Shapes, footage_seconds: float | None) -> dict[str, float]:
    """Dub the second half of a talk with its own sound from mouths of its first half; return the figures."""
    half = len(talk.frames) // 2
    gap = round(0.25 * talk.frame_rate)
    first = 0 if footage_seconds is None else max(half - gap - round(footage_seconds * talk.frame_rate), 0)
    footage, target = np.arange(first, half - gap), np.arange(half, len(talk.frames))
    candidates = candidates_of(talk, footage)
    wanted = wanted_of(talk, target, told[target], np.zeros(len(target), np.bool_))
    shown = footage[choose(wanted, candidates)]
    nearest = footage[np.linalg.norm(talk.shapes[target][:, None] - talk.shapes[footage][None], axis=2).argmin(axis=1)]

    def agreement(values: NDArray[np.floating], measure_number: int) -> float:
        return float(np.corrcoef(values, talk.shapes[target, measure_number])[0, 1])

    steps = np.diff(shown)
    some = slice(None, None, 3)
    mouths, truth = aligned_mouths(talk, shown[some]), aligned_mouths(talk, target[some])
    return {
        "opening": agreement(talk.shapes[shown, 0], 0),
        "width": agreement(talk.shapes[shown, 1], 1),
        "L1": float(np.abs(mouths - truth).mean()),
        "jumps/s": float(((steps > 2) | (steps < -1)).mean() * talk.frame_rate),
        "told opening": agreement(told[target, 0], 0),
        "told width": agreement(told[target, 1], 1),
        "ceiling": agreement(talk.shapes[nearest, 0], 0),
        "seconds": len(footage) / talk.frame_rate,
    }


def drawn_frames(
    talk: Talk, target: NDArray[np.int64], footage: NDArray[np.int64], way: NDArray[np.int64]
) -> Iterator[Pixels]:
    """Yield the target frames with the mouths of a way through the footage, as BGR."""
    points, _ = upright(talk.meshes, talk.reference)
    smooth = steady(talk.meshes)
    shown = smooth_transitions(way, candidates_of(talk, footage), points[footage])
    for row, each in zip(target, shown, strict=True):
        frame = copy_frame(talk.frames[row])
        pose = Pose(talk.meshes[row], smooth[row])
        parts = []
        for mouth, weight in zip(each.mouths, each.weights, strict=True):
            source = footage[mouth]
            led = None if each.goal is None else led_in_frame(each.goal - points[source], talk.reference, pose)
            parts.append(Part(Mouth(tuple(plane_views(talk.frames[source])), (0, 0), talk.meshes[source]), weight, led))
        draw(plane_views(frame), pose, parts, full_scale=255)
        yield frame.to_ndarray(format="bgr24")


def close_up(picture: Pixels, mesh: Mesh, side: int = 300) -> Pixels:
    """Return the lower face of a picture, as wide as two eye distances."""
    unit = float(eye_distance(mesh))
    middle = mesh[points_at((13, 152, 1)), :2].mean(axis=0)
    scale = 2 * unit / side
    affine = np.array([[scale, 0, middle[0] - unit + scale / 2], [0, scale, middle[1] - unit + scale / 2]])
    return sample(picture, affine, (side, side))


def write_strip(path: Path, talk: Talk, target: NDArray[np.int64], drawn: Sequence[Pixels], some: slice) -> None:
    """Write frames of the source above the same frames with new mouths."""
    rows = [
        [close_up(talk.frames[row].to_ndarray(format="bgr24"), talk.meshes[row]) for row in target[some]],
        [close_up(picture, talk.meshes[row]) for row, picture in zip(target[some], drawn[some], strict=True)],
    ]
    cv2.imwrite(str(path), np.vstack([np.hstack(row) for row in rows]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True, help="of the network that hears shapes")
    parser.add_argument("--seconds", type=float, help="of footage; omitted: all of the first half")
    arguments = parser.parse_args()
    network = load_sound_shape(arguments.weights)
    rows = []
    for video in arguments.videos:
        talk = read_talk(video, arguments.labels)
        told = hear(network, log_mel(talk.sound), talk.seconds)
        figures = self_dub(talk, told, arguments.seconds)
        rows.append(figures)
        _print(video.stem, figures, is_first=len(rows) == 1)
    _print("mean", {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}, is_first=False)


def _print(name: str, figures: dict[str, float], *, is_first: bool) -> None:
    if is_first:
        sys.stdout.write(" " * 28 + " ".join(f"{key:>12}" for key in figures) + "\n")
    sys.stdout.write(f"{name:28}" + " ".join(f"{value:12.2f}" for value in figures.values()) + "\n")


if __name__ == "__main__":
    main()
