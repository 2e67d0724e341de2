"""Mouths from the speaker's own footage, judged: does what is chosen do what the speaker really did?

    python -m benchmarks.footage LABELS VIDEO ... [--strips build/footage]

Self-dub: the second half of each video is dubbed with its own sound, and only mouths of the first half may be shown.
The truth is known: the mouths that were there, as the labels of tools/label_meshes.py tell, which the product never
sees. Prints for each video, and as a mean: the correlation of the opening and of the width of the mouths that were
drawn, as the mesh network reads them, with the truth; the mean absolute difference of the mouths in the upright face;
and jumps a second. Beside it: the network that hears the shapes, by itself; and how sharp what is drawn is, and how
much it changes from frame to frame, as shares of the source's own. With --dub, instead: how the opening goes with what
is heard, and with how loud it is; the source's own should not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.material import ROOT
from benchmarks.talks import Talk, bgr, follow, read_talk
from lipstitch.training.shapes.people import own_sound
from media.affine import sample
from media.mesh import Mesh, eye_distance, points_at, steady
from media.picture import Pixels, VideoFrame, copy_frame, plane_views
from renderer.footage import looks
from renderer.footage.bank_writer import sharpness
from renderer.footage.choice import Candidates, Wanted
from renderer.footage.drawing.draw import Mouth, Part, draw, led_in_frame
from renderer.footage.drawing.mask import Pose
from renderer.footage.lip_motion import choose_and_lead, lead, load_lip_motion
from renderer.footage.lip_shape import Normal, Shapes, measure, upright
from renderer.footage.log_mel import COLUMNS_PER_SECOND, Columns, between_columns, is_silent, log_mel
from renderer.footage.sound_shape import hear, load_sound_shape
from renderer.footage.transitions import count_jumps
from segmenter.mesh.mesher import SHIPPED, MeshModel, OnnxMesh

Floats = NDArray[np.float32]


def candidates_of(talk: Talk, rows: NDArray[np.int64]) -> Candidates:
    """Return the mouths of some frames."""
    mouths = talk.mouths
    shapes = Normal.of(mouths.shapes[rows]).normalise(mouths.shapes[rows])
    return Candidates(
        shapes=shapes,
        looks=mouths.looks[rows],
        pose=mouths.pose[rows],
        light=mouths.light[rows],
        sharpness=mouths.sharpness[rows],
        frames=rows,
    )


def wanted_of(talk: Talk, rows: NDArray[np.int64], told: Shapes, silent: NDArray[np.bool_]) -> Wanted:
    """Return what some frames want."""
    return Wanted(told, silent, talk.mouths.pose[rows], talk.mouths.light[rows], talk.frame_rate)


def upright_mouth(picture: Pixels, talk: Talk, row: int) -> Floats:
    """Return the mouth of a frame in the upright face, grey, mean removed."""
    mouth = sample(picture, looks.mouth_map(talk.meshes[row], talk.reference), looks.CROP)
    grey = cv2.cvtColor(mouth, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return np.asarray(grey - grey.mean(), np.float32)


def difference(talk: Talk, rows: NDArray[np.int64], drawn: Sequence[Pixels]) -> float:
    """Return the mean absolute difference of drawn mouths from those that were there, in 8-bit levels."""
    pairs = zip(rows, drawn, strict=True)
    return float(
        np.mean(
            [
                np.abs(upright_mouth(picture, talk, row) - upright_mouth(bgr(talk.frames[row]), talk, row)).mean()
                for row, picture in pairs
            ]
        )
    )


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Which mouths of some footage are shown, one a frame."""

    way: NDArray[np.int64]
    """Rows of the footage."""
    measures: Shapes
    """Where their lips are led to."""


def choose_mouths(talk: Talk, footage: NDArray[np.int64], wanted: Wanted) -> Choice:
    """Choose as a job does."""
    filmed = measure(talk.meshes[footage], talk.reference)
    return Choice(*choose_and_lead(wanted, candidates_of(talk, footage), filmed, load_lip_motion()))


def self_dub(
    talk: Talk, told: Shapes, footage_seconds: float | None, strips: Path | None, reader: MeshModel
) -> dict[str, float]:
    """Dub the second half of a talk with its own sound from mouths of its first half; return the figures.

    strips: folder for pictures of the frames around its jumps, and of frames spread evenly. reader: that reads the
    mouths that were drawn.
    """
    target = second_half(talk)
    stop = int(target[0]) - round(0.25 * talk.frame_rate)
    first = 0 if footage_seconds is None else max(stop - round(footage_seconds * talk.frame_rate), 0)
    footage = np.arange(first, stop)
    wanted = wanted_of(talk, target, told[target], np.zeros(len(target), np.bool_))
    choice = choose_mouths(talk, footage, wanted)
    frames = list(drawn_frames(talk, target, footage, choice))
    if strips:
        write_strips(strips, talk, target, [bgr(frame) for frame in frames], choice.way)
    steps = np.diff(footage[choice.way])
    return {
        **judged(talk, target, frames, reader),
        "jumps/s": float(((steps > 2) | (steps < -1)).mean() * talk.frame_rate),
        "told opening": float(np.corrcoef(told[target, 0], talk.truth[target, 0])[0, 1]),
        "told width": float(np.corrcoef(told[target, 1], talk.truth[target, 1])[0, 1]),
        "seconds": len(footage) / talk.frame_rate,
    }


def second_half(talk: Talk) -> NDArray[np.int64]:
    """Return the frames that are dubbed with their own sound."""
    return np.arange(len(talk.frames) // 2, len(talk.frames))


def judged(talk: Talk, target: NDArray[np.int64], frames: Sequence[VideoFrame], reader: MeshModel) -> dict[str, float]:
    """Return how near the mouths of drawn frames are to those that were there, and how they look."""
    seen = measure(np.stack(list(follow(frames, talk.meshes[target[0]], reader))), talk.reference)
    drawn = [bgr(frame) for frame in frames]
    return {
        "opening": float(np.corrcoef(seen[:, 0], talk.truth[target, 0])[0, 1]),
        "width": float(np.corrcoef(seen[:, 1], talk.truth[target, 1])[0, 1]),
        "L1": difference(talk, target[::3], drawn[::3]),
        **looks_of(talk, target, drawn),
    }


def drawn_by_network(video: Path) -> list[VideoFrame]:
    """Return the frames of a job in which the network that ships draws a video's mouths to its own sound."""
    with TemporaryDirectory() as folder:
        output, job = Path(folder) / "out.mp4", Path(folder) / "job.yaml"
        content = {
            "input": {"video": str(video.absolute()), "audio": str(video.absolute())},
            "output": str(output),
            "segmenter": {"detector": "cascade", "embedder": "none"},
            "renderer": {"method": "network"},
        }
        job.write_text(yaml.safe_dump(content), encoding="utf-8")
        command = [sys.executable, str(ROOT / "main.py"), "--config", str(job), "--quiet"]
        subprocess.run(command, check=True, cwd=ROOT)
        with av.open(f"file:{output}") as container:
            return list(container.decode(video=0))


def drawn_frames(
    talk: Talk, target: NDArray[np.int64], footage: NDArray[np.int64], choice: Choice
) -> Iterator[VideoFrame]:
    """Yield the target frames with the mouths that are chosen."""
    points, _ = upright(talk.meshes, talk.reference)
    smooth = steady(talk.meshes)
    candidates = candidates_of(talk, footage)
    filmed = measure(talk.meshes[footage], talk.reference)
    every = lead(choice.way, candidates, points[footage], filmed, choice.measures, load_lip_motion())
    for row, each in zip(target, every, strict=True):
        frame = copy_frame(talk.frames[row])
        pose = Pose(talk.meshes[row], smooth[row])
        parts = []
        for mouth, weight in zip(each.mouths, each.weights, strict=True):
            source = footage[mouth]
            led = None if each.goal is None else led_in_frame(each.goal - points[source], talk.reference, pose)
            planes = tuple(plane_views(talk.frames[source]))
            parts.append(Part(Mouth(planes, (0, 0), talk.meshes[source], smooth[source]), weight, led))
        draw(plane_views(frame), pose, parts, full_scale=255)
        yield frame


def close_up(picture: Pixels, mesh: Mesh, side: int = 300) -> Pixels:
    """Return the lower face of a picture, as wide as two eye distances."""
    unit = float(eye_distance(mesh))
    middle = mesh[points_at((13, 152, 1)), :2].mean(axis=0)
    scale = 2 * unit / side
    affine = np.array([[scale, 0, middle[0] - unit + scale / 2], [0, scale, middle[1] - unit + scale / 2]])
    return sample(picture, affine, (side, side))


def write_strip(
    path: Path, talk: Talk, target: NDArray[np.int64], drawn: Sequence[Pixels], some: Sequence[int]
) -> None:
    """Write frames of the source above the same frames with new mouths."""
    rows = [
        [close_up(bgr(talk.frames[target[number]]), talk.meshes[target[number]]) for number in some],
        [close_up(drawn[number], talk.meshes[target[number]]) for number in some],
    ]
    cv2.imwrite(str(path), np.vstack([np.hstack(row) for row in rows]))


def looks_of(talk: Talk, target: NDArray[np.int64], drawn: Sequence[Pixels]) -> dict[str, float]:
    """Return how sharp new mouths are and how much they change from frame to frame, as shares of the source's own."""
    sharp: list[tuple[float, float]] = []
    moved: list[tuple[float, float]] = []
    before: list[Floats] = []
    smooth = steady(talk.meshes)  # the raw ones would add their own noise to one of the two
    for row, picture in zip(target, drawn, strict=True):
        mesh, pair = smooth[row], (bgr(talk.frames[row]), picture)
        sharp.append((sharpness(pair[0], mesh, talk.reference), sharpness(pair[1], mesh, talk.reference)))
        now = [sample(each, looks.mouth_map(mesh, talk.reference), looks.CROP).astype(np.float32) for each in pair]
        if before:
            first, second = (float(np.abs(one - other).mean()) for one, other in zip(now, before, strict=True))
            moved.append((first, second))
        before = now
    return {
        "sharpness": float(np.median([new / old for old, new in sharp])),
        "jitter": float(np.mean([new for _, new in moved]) / np.mean([old for old, _ in moved])),
    }


def cross_dub(
    talk: Talk, told: Shapes, columns: Columns, footage_seconds: float | None, strips: Path, reader: MeshModel
) -> dict[str, float]:
    """Dub a talk with another sound from its own mouths; return the figures.

    columns: of the sound. footage_seconds: of the talk that may be shown, from its begin; None: all of it. strips,
    reader: as of self_dub.
    """
    places = talk.seconds * COLUMNS_PER_SECOND
    silent = is_silent(columns, places)
    rows = np.arange(min(len(talk.frames), len(told)))
    most = len(talk.frames) if footage_seconds is None else round(footage_seconds * talk.frame_rate)
    footage = np.arange(min(most, len(talk.frames)))
    candidates = candidates_of(talk, footage)
    choice = choose_mouths(talk, footage, wanted_of(talk, rows, told[rows], silent[rows]))
    way = choice.way
    frames = list(drawn_frames(talk, rows, footage, choice))
    drawn = [bgr(frame) for frame in frames]
    write_strips(strips, talk, rows, drawn, way)
    seen = measure(np.stack(list(follow(frames, talk.meshes[0], reader))), talk.reference)
    loudness = between_columns(columns.mean(axis=1, keepdims=True), places[rows])[:, 0]
    return {
        "told opening": float(np.corrcoef(seen[:, 0], told[rows, 0])[0, 1]),
        "loudness": float(np.corrcoef(seen[:, 0], loudness)[0, 1]),
        "source's": float(np.corrcoef(talk.truth[rows, 0], loudness)[0, 1]),
        "own mouths": float((np.abs(way - rows) <= 2).mean()),
        "jumps/s": count_jumps(way, candidates) / len(rows) * talk.frame_rate,
        "seconds": len(rows) / talk.frame_rate,
        "footage": len(footage) / talk.frame_rate,
        **looks_of(talk, rows, drawn),
    }


def write_strips(
    folder: Path, talk: Talk, target: NDArray[np.int64], drawn: Sequence[Pixels], way: NDArray[np.int64]
) -> None:
    """Write a strip of frames spread evenly, and some of the frames around jumps."""
    folder.mkdir(parents=True, exist_ok=True)
    write_strip(folder / f"{talk.name}.png", talk, target, drawn, range(0, len(target), max(len(target) // 8, 1))[:8])
    jumps = [number for number in range(3, len(way) - 3) if not -1 <= way[number] - way[number - 1] <= 2]
    for number in jumps[:: max(len(jumps) // 4, 1)][:4]:
        write_strip(folder / f"{talk.name}-jump-{number}.png", talk, target, drawn, range(number - 3, number + 3))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, required=True, help="of the network that hears shapes")
    parser.add_argument("--mesh", type=Path, help="network that finds meshes; omitted: the labels are taken")
    parser.add_argument("--dub", type=Path, help="another sound: the whole video is dubbed with it, and drawn")
    parser.add_argument("--strips", type=Path, help="folder for strips: source above result")
    parser.add_argument("--seconds", type=float, help="of footage; omitted: all that there is")
    parser.add_argument("--network", action="store_true", help="judge what the network that ships draws, too")
    arguments = parser.parse_args()
    network = load_sound_shape(arguments.weights)
    mesh = OnnxMesh(arguments.mesh) if arguments.mesh else None
    reader = mesh or OnnxMesh(SHIPPED)
    rows, others = [], []
    for video in arguments.videos:
        talk = read_talk(video, arguments.labels, mesh)
        columns = log_mel(own_sound(arguments.dub) if arguments.dub else own_sound(video))
        told = hear(network, columns, talk.seconds)
        if arguments.dub:
            figures = cross_dub(
                talk, told, columns, arguments.seconds, arguments.strips or Path("build/footage"), reader
            )
        else:
            figures = self_dub(talk, told, arguments.seconds, arguments.strips, reader)
            if arguments.network:
                target = second_half(talk)
                drawn = drawn_by_network(video)
                others.append(judged(talk, target, [drawn[talk.numbers[row]] for row in target], reader))
        rows.append(figures)
        _print(video.stem, figures, is_first=len(rows) == 1)
    _print("mean", mean_of(rows), is_first=False)
    if others:
        _print("the network's mean", mean_of(others), is_first=False)


def mean_of(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _print(name: str, figures: dict[str, float], *, is_first: bool) -> None:
    if is_first:
        sys.stdout.write(" " * 28 + " ".join(f"{key:>12}" for key in figures) + "\n")
    sys.stdout.write(f"{name:28}" + " ".join(f"{value:12.2f}" for value in figures.values()) + "\n")


if __name__ == "__main__":
    main()
