"""Show that in a dialogue each mouth follows its own voice, and rests in the other's turns.

    python -m benchmarks.dialogue [--pairs 3] [--out build/bench/dialogue.json]

Two real heads side by side, a stem for each, turns alone and together. Prints for each mouth how far it is, while both
speak, from the mouth that is drawn for its own stem alone and for the other's, and in how many frames outside its turns
its half of the planes given to the encoder differs from the source. Takes some two minutes a pair on two cores; needs
the shared clips ($LIPSTITCH_SHARED, or `shared` beside the project).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.material import FOLDER
from benchmarks.people import clips_folder, print_table, segmenter_settings
from lipstitch.job import run_job
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from tests.support.crowd import watching_changes
from tests.support.dialogue import HALVES, SIDE, differences, make_dialogue
from tests.support.jobs import write_job

PAIRS = (
    ("head_01_512", "head_03_512"),
    ("head_06_512", "head_12_512"),
    ("head_10_512", "head_11_512"),
    ("head_13_512", "head_14_512"),
    ("head_05_512", "head_08_512"),
)
SECONDS = 14
TURNS = {"anna": [(0.5, 11.0), (12.8, 13.6)], "ben": [(1.5, 12.0)]}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    person: str
    own: float
    """Difference from the mouth drawn for the person's own stem alone, while both speak, in levels."""
    other: float
    """From the one drawn for the other's."""
    rendered: int
    """Frames in which this half of the planes differs from the source."""
    outside_turns: int
    """Of these, frames outside the person's turns: must be 0."""


def measure(pair: tuple[str, str], folder: Path) -> list[Row]:
    """Return the rows of two people."""
    clips = clips_folder()
    dialogue = make_dialogue(folder, clips, pair, TURNS, SECONDS)
    output = folder / "dialogue.out.mp4"
    content = {
        "input": {"video": dialogue.video, "audio": dialogue.dub, "speakers": dialogue.speakers()},
        "output": output,
        "segmenter": segmenter_settings(),
        "execution": {"backend": "serial", "keep": "none"},
    }
    job = load_job(write_job(folder, **content))
    changed: dict[str, set[int]] = {}
    with watching_changes(dialogue.video, parts={who: (left, left + SIDE) for who, left in HALVES.items()}) as found:
        run_job(job, Silent(), force=True)
        changed = {who: {frame for frame, part in found if part == who} for who in HALVES}
    weights = Path(segmenter_settings()["detector_checkpoint"])
    alone = {}
    for voice, stem in dialogue.stems.items():
        alone[voice] = folder / f"{voice}.out.mp4"
        sections = {"input": {"video": dialogue.video, "audio": stem}, "output": alone[voice]}
        sections["segmenter"] = {**segmenter_settings(), "target": "all"}
        run_job(load_job(write_job(folder, **{**content, **sections})), Silent(), force=True)
    apart = differences(dialogue, output, alone, weights)
    return [
        Row(
            person=person,
            own=apart[who][0],
            other=apart[who][1],
            rendered=len(changed[who]),
            outside_turns=len(changed[who] - dialogue.spoken(who)),
        )
        for person, who in zip(pair, HALVES, strict=True)
    ]


def main() -> int:
    """Measure the pairs and print the table; return 1 if a mouth moved outside its turns or is not the own stem's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3, choices=range(1, len(PAIRS) + 1))
    parser.add_argument("--out", type=Path, default=FOLDER / "dialogue.json")
    options = parser.parse_args()
    folder = FOLDER / "dialogue"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for pair in PAIRS[: options.pairs]:
        print(f"{pair[0]} beside {pair[1]} ...", file=sys.stderr)
        rows += measure(pair, folder)
    columns = ("person", "own stem", "other's stem", "frames rendered", "outside turns")
    print_table(columns, [(r.person, f"{r.own:.2f}", f"{r.other:.2f}", r.rendered, r.outside_turns) for r in rows])
    options.out.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return int(any(row.outside_turns or row.own > row.other / 3 for row in rows))


if __name__ == "__main__":
    sys.exit(main())
