"""What the measures say of videos as they are, with a foreign sound, and dubbed with it by network and by footage.

    python -m benchmarks.measures DUB VIDEO... [--set KEY=VALUE ...]

VIDEO: a speaker with sound of their own. A measure is worth something if it tells the first two columns apart. --set:
of the jobs, for a detector and its weights. Prints a table: means over the videos.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml

from lipstitch.evaluation.tables import MEANINGS

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("source", "foreign sound", "network", "footage")


def run(*arguments: object) -> None:
    """Run the program."""
    subprocess.run([sys.executable, str(ROOT / "main.py"), *map(str, arguments), "--quiet"], cwd=ROOT, check=True)


def scored(folder: Path, *arguments: object) -> dict[str, float]:
    """Return the figures of a video or a job."""
    run("score", *arguments, "--json", folder / "scores.json")
    figures: dict[str, float] = json.loads((folder / "scores.json").read_text())["videos"][0]["figures"]
    return figures


def measure(video: Path, dub: Path, settings: Sequence[str]) -> list[dict[str, float]]:
    """Return the figures of a video, one for each column."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        found = [scored(folder, video), scored(folder, video, "--audio", dub)]
        for method in COLUMNS[2:]:
            content = {
                "input": {"video": str(video), "audio": str(dub), "length_policy": "cut"},
                "output": str(folder / f"{method}.mp4"),
                "renderer": {"method": method},
                "segmenter": {"min_sharpness": 0},
            }
            (folder / "job.yaml").write_text(yaml.safe_dump(content))
            given = [part for value in settings for part in ("--set", value)]
            run("--config", folder / "job.yaml", *given)
            found.append(scored(folder, "--config", folder / "job.yaml", *given))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dub", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    dub = arguments.dub.absolute()
    found = [measure(video.absolute(), dub, arguments.set) for video in arguments.videos]
    print(f"| figure | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name in MEANINGS:
        columns = [[each[at][name] for each in found if name in each[at]] for at in range(len(COLUMNS))]
        if any(columns):
            cells = [f"{np.mean(values):.3f}" if values else "" for values in columns]
            print(f"| `{name}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
