"""Measure each stage of the main job on this machine, on the demonstration's material.

    python -m benchmarks.bench_stages

Prints a table: what ran, frames a second, seconds. The job runs as a user runs it; stages are read from its report.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import yaml

from demo.make_material import DUB_FILE, make_material

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "bench"


def run_demo(workers: int) -> tuple[dict[str, float], int, int, float]:
    """Run the demonstration's job; return (seconds a stage, frames, rendered frames, wall seconds)."""
    material = make_material(FOLDER) if not (FOLDER / "talk.mp4").exists() else None
    output = FOLDER / "result.mp4"
    job = FOLDER / "job.yaml"
    job.write_text(
        yaml.safe_dump(
            {
                "input": {"video": str(material.video if material else FOLDER / "talk.mp4"), "audio": str(DUB_FILE)},
                "output": str(output),
                "segmenter": {"detector": "cascade"},
                "execution": {"workers": workers, "keep": "none"},
            }
        )
    )
    start = time.monotonic()
    subprocess.run([sys.executable, str(ROOT / "main.py"), "--config", str(job), "--force", "--quiet"], check=True)
    wall = time.monotonic() - start
    report = json.loads(Path(f"{output}.report.json").read_text())
    return report["seconds"], report["output"]["num_frames"], report["num_rendered_frames"], wall


def main() -> None:
    """Print the table."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'workers':>7}  {'stage':10} {'frames':>7} {'seconds':>8} {'frames/s':>9}")
    for workers in (1, 2):
        seconds, num_frames, num_rendered, wall = run_demo(workers)
        for name, frames in (("scan", num_frames), ("render", num_rendered), ("assemble", num_frames)):
            print(f"{workers:>7}  {name:10} {frames:>7} {seconds[name]:>8.2f} {frames / seconds[name]:>9.1f}")
        print(f"{workers:>7}  {'all':10} {num_frames:>7} {wall:>8.2f} {num_frames / wall:>9.1f}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"largest process: {peak:.0f} MB")


if __name__ == "__main__":
    main()
