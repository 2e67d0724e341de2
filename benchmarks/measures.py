"""All figures of `score` on a source, on a source with foreign sound, and on what the methods make of it.

    python -m benchmarks.measures VIDEO ... --dub DUB [--detector-weights FILE] [--syncnet FILE]
    python -m benchmarks.measures build/demo/talk.mp4 --dub demo/dub.flac --detector cascade

Each video is measured against its own sound; against the dub, which no one in it speaks; and dubbed, with mouths that
the network that ships draws, and with mouths from the speaker's own footage. Prints a table of means over the videos,
each counting alike. A measure is worth something where the source and its foreign sound lie apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmarks.material import ROOT
from lipstitch.evaluation.tables import MEANINGS

METHODS = ("network", "footage")
Figures = dict[str, float]


def run(*arguments: str | Path) -> None:
    """Run the program; what it says goes to stderr."""
    subprocess.run([sys.executable, ROOT / "main.py", *arguments], check=True, cwd=ROOT, stdout=sys.stderr)


def measured(folder: Path, *arguments: str | Path) -> Figures:
    """Return the figures of `score` with some arguments."""
    found = folder / "score.json"
    run("score", *arguments, "--json", found)
    figures: Figures = json.loads(found.read_text())["videos"][0]["figures"]
    return figures


def figures_of(video: Path, dub: Path, detector: Sequence[str], syncnet: str) -> dict[str, Figures]:
    """Return the figures of a video by what is done with it. detector: its name, and its weights, if it needs any."""
    names = [part for pair in zip(("--detector", "--detector-weights"), detector, strict=False) for part in pair]
    segmenter = dict(zip(("detector", "detector_checkpoint"), detector, strict=False))
    with TemporaryDirectory() as name:
        folder = Path(name)
        rows = {
            "source": measured(folder, video, *names, "--syncnet", syncnet),
            "foreign sound": measured(folder, video, "--audio", dub, *names, "--syncnet", syncnet),
        }
        for method in METHODS:
            job = folder / f"{method}.yaml"
            content = {
                "input": {"video": str(video), "audio": str(dub), "length_policy": "cut"},
                "output": str(folder / f"{method}.mp4"),
                "segmenter": {**segmenter, "embedder": "none"},
                "renderer": {"method": method},
            }
            job.write_text(yaml.safe_dump(content), encoding="utf-8")
            run("--config", job, "--quiet")
            rows[method] = measured(folder, "--config", job, "--syncnet", syncnet)
    return rows


def mean_of(each: Sequence[Figures]) -> Figures:
    """Return the mean of every figure that is known."""
    known = {name: [figures[name] for figures in each if name in figures] for name in MEANINGS}
    return {name: sum(values) / len(values) for name, values in known.items() if values}


def print_table(found: Sequence[dict[str, Figures]]) -> None:
    """Print the means over videos as Markdown."""
    means = {column: mean_of([rows[column] for rows in found]) for column in found[0]}
    print(f"| measure | {' | '.join(means)} |\n|---|{'---|' * len(means)}")
    for name in MEANINGS:
        if any(name in figures for figures in means.values()):
            cells = (f"{figures[name]:.3f}" if name in figures else "" for figures in means.values())
            print(f"| `{name}` | {' | '.join(cells)} |")


def main() -> None:
    """Print a line for each video as it is done, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--dub", type=Path, required=True)
    parser.add_argument("--detector", default="retinaface")
    parser.add_argument("--detector-weights")
    parser.add_argument("--syncnet", default="none", help="weights of SyncNet, by name or path")
    arguments = parser.parse_args()
    weights = [arguments.detector_weights] if arguments.detector_weights else []
    found = []
    for video in arguments.videos:
        rows = figures_of(video.absolute(), arguments.dub.absolute(), [arguments.detector, *weights], arguments.syncnet)
        print(video.stem, json.dumps(rows), file=sys.stderr, flush=True)
        found.append(rows)
    print_table(found)


if __name__ == "__main__":
    main()
