"""Show that the right face is rendered, wherever it is, and no one else's.

    python -m benchmarks.people [--targets 3] [--only cut_every_second ...] [--out build/bench/people.json]

Builds videos of real people whose every frame is known, renders the target with a reference photo taken from another
part of their footage, and prints for each case precision and recall of the rendered frames, and in how many frames a
pixel of another person, or of a frame without the target, was changed in the planes given to the encoder. Takes some
minutes a target on two cores; needs the shared clips ($LIPSTITCH_SHARED, or `shared` beside the project).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.material import FOLDER, shared_folder
from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from tests.support.crowd import (
    Place,
    crossing,
    make_crowd,
    precision_and_recall,
    still,
    touching_others,
    watching_changes,
    write_photo,
)
from tests.support.jobs import load_report, write_job

PEOPLE = tuple(f"head_{number:02}_512" for number in (1, 4, 7, 12, 13, 10, 5, 8, 14, 3, 6, 9))
"""Different people. All but the last three, who are never targets, have footage of more than PHOTO_FRAME frames."""
PHOTO_FRAME = 330
"""Of the target's footage: no case shows as much of it."""
LEAST = 0.98
Scene = tuple[int, Callable[[int], Sequence[Place]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    case: str
    target: str
    precision: float
    recall: float
    rendered: int
    wrong: int
    """Frames in which a pixel of another person, or of a frame without the target, changed."""


def joined(target: str, others: Sequence[str]) -> list[Scene]:
    """The target's scenes between those of others, each alone."""
    order = [target, others[0], target, others[1], others[2], target, others[3]]
    return [(60, still(Place(who, 160, 20, 320))) for who in order]


def side_by_side(target: str, others: Sequence[str]) -> list[Scene]:
    """Two people, and after a cut the same two with their places exchanged."""
    left, right = Place(target, 0, 20, 320), Place(others[0], 320, 20, 320)
    swapped = Place(others[0], 0, 20, 320), Place(target, 320, 20, 320)
    return [(100, still(left, right)), (100, still(*swapped)), (50, still(right))]


def cut_every_second(target: str, others: Sequence[str]) -> list[Scene]:
    """A cut every second, to the target each second time."""
    turns = [who for other in (*others, *others) for who in (target, other)][:14]
    return [(25, still(Place(who, 130 + 10 * (number % 5), 20, 320))) for number, who in enumerate(turns)]


def among_three(target: str, others: Sequence[str]) -> list[Scene]:
    """One speaker among three others, at every place, then the others without them."""
    scenes: list[Scene] = []
    for at in range(4):
        row = [*others[:at], target, *others[at:3]]
        scenes.append((50, still(*(Place(who, 160 * number, 100, 160) for number, who in enumerate(row)))))
    return [*scenes, (50, still(*(Place(who, 160 * number, 100, 160) for number, who in enumerate(others[:4]))))]


def leaving(target: str, others: Sequence[str]) -> list[Scene]:
    """The target leaves the picture and comes back on the other side; meanwhile, and later, another person does."""
    return [
        (125, crossing(target, 125, away=30)),
        (75, crossing(others[0], 75, away=15)),
        (125, crossing(target, 125, 5)),
    ]


def mirrored_and_scaled(target: str, others: Sequence[str]) -> list[Scene]:
    """The target as in a mirror, and at sizes from half the picture's height to all of it."""
    scenes: list[Scene] = []
    for side, is_mirrored in ((340, True), (160, False), (240, True), (180, True), (300, False)):
        scenes.append((40, still(Place(target, 20, 10, side, is_mirrored), Place(others[0], 400, 20, 220))))
    return [*scenes, (40, still(Place(others[1], 20, 10, 340, is_mirrored=True)))]


CASES = {
    case.__name__: case for case in (joined, side_by_side, cut_every_second, among_three, leaving, mirrored_and_scaled)
}


def clips_folder() -> Path:
    """Return the folder of the shared clips, or end the program."""
    shared = shared_folder()
    if shared is None:
        sys.exit("There are no shared clips: set LIPSTITCH_SHARED to the folder that holds `clips` and `checkpoints`.")
    return shared / "clips"


def segmenter_settings() -> dict[str, str]:
    """Return the `segmenter` section of jobs that tell people apart."""
    weights = clips_folder().parent / "checkpoints"
    return {
        "detector": "retinaface",
        "detector_checkpoint": str(weights / "retinaface_mobilenet0.25.pth"),
        "embedder": str(weights / "mobilefacenet.onnx"),
    }


def measure(case: str, target: str, others: Sequence[str], folder: Path) -> Row:
    """Render one case and compare it with the truth."""
    clips = clips_folder()
    crowd = make_crowd(folder / f"{case}.mp4", clips, CASES[case](target, others))
    write_photo(folder / "photo.jpg", clips, target, PHOTO_FRAME)
    output = folder / f"{case}.out.mp4"
    content = {
        "input": {"video": crowd.path, "audio": clips / "dub_english_60s.wav", "length_policy": "cut"},
        "output": output,
        "segmenter": {**segmenter_settings(), "target": {"reference": "photo.jpg"}},
        "execution": {"backend": "serial", "keep": "none"},
    }
    job = load_job(write_job(folder, **content))
    with watching_changes(crowd.path) as changes:
        run_job(job, Silent(), force=True)
        wrong = touching_others({frame: box for (frame, _), box in changes.items()}, crowd, target)
    spans = load_report(output)["check"]["spans"]
    rendered = {frame for start, stop in spans for frame in range(start, stop)}
    precision, recall = precision_and_recall(rendered, crowd, target)
    return Row(case, target, precision, recall, len(rendered), len(wrong))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows as a table of Markdown."""
    for cells in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(str(cell) for cell in cells)} |")


def main() -> int:
    """Measure the cases and print the table; return 1 if one of them falls short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", type=int, default=3, choices=range(1, len(PEOPLE) - 2))
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=FOLDER / "people.json")
    options = parser.parse_args()
    folder = FOLDER / "people"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, target in enumerate(PEOPLE[: options.targets]):
        others = [*PEOPLE[number + 1 :], *PEOPLE[:number]]
        for case in options.only:
            rows.append(row := measure(case, target, others, folder))
            options.out.write_text(json.dumps([asdict(row) for row in rows], indent=1))
            print(f"{case}, {target}: {row.precision:.4f} {row.recall:.4f} {row.wrong}", file=sys.stderr)
    print_table(
        ("case", "target", "precision", "recall", "frames rendered", "frames with a change of others"),
        [(r.case, r.target, f"{r.precision:.4f}", f"{r.recall:.4f}", r.rendered, r.wrong) for r in rows],
    )
    return int(any(row.wrong or min(row.precision, row.recall) < LEAST for row in rows))


if __name__ == "__main__":
    sys.exit(main())
