"""Kill one job again and again at random moments, finish it, and compare with an undisturbed run.

    python -m benchmarks.bench_kills [number of kills, default 200] [seed]

Works on the demonstration's material, a tenth as long, with everything that ships. After each kill a new run goes on in
the same workspace; when the job is done, the next round begins with an empty one. Prints in which stages the kills fell
and what was found; exits with 1 if anything was lost, changed or made twice.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import av
import yaml

from demo.make_material import DUB_FILE, make_material

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "bench" / "kills"
NUM_KILLS = 200


def write_job(folder: Path, video: Path) -> Path:
    """Write the job into an empty folder; every clip is kept, so that it can be seen which one was made when."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job = folder / "job.yaml"
    content = {
        "input": {"video": str(video), "audio": str(DUB_FILE), "length_policy": "cut"},
        "output": str(folder / "out.mp4"),
        "segmenter": {"detector": "cascade", "max_clip_seconds": 0.4},
        "execution": {"backend": "serial", "keep": "all"},
    }
    job.write_text(yaml.safe_dump(content), encoding="utf-8")
    return job


def start(job: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line on a job."""
    command = [sys.executable, str(ROOT / "main.py"), "--config", str(job), "--progress", "json", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_and_kill(job: Path, delay_seconds: float) -> str:
    """Run a job and kill it after a while; return the stage it was in, or an empty text if it was done by then."""
    process = start(job)
    try:
        out, err = process.communicate(timeout=delay_seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        sys.exit(f"exit code {process.returncode}: {err}")
    stage = "before the scan"
    for line in out.splitlines():
        event = json.loads(line)
        stage = {"begin": event.get("stage"), "end": f"after {event.get('stage')}"}.get(event["event"], stage)
    return stage if process.returncode else ""


def pictures(path: Path) -> list[tuple[float, int]]:
    """Return (seconds, checksum of all planes) of every decoded frame."""
    with av.open(str(path)) as container:
        return [
            (float(frame.time or 0), zlib.crc32(frame.to_ndarray().tobytes())) for frame in container.decode(video=0)
        ]


def finished_clips(workspace: Path) -> dict[str, tuple[int, int]]:
    """Return {name: (inode, time of writing)} of the clips that are whole."""
    whole = [path for path in workspace.glob("clip-*.nut") if path.with_suffix(".json").exists()]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in whole}


def finish(job: Path) -> None:
    """Run a job to its end; the run that was killed last may have been done already."""
    process = start(job, "--force")
    _, err = process.communicate()
    if process.returncode:
        sys.exit(f"exit code {process.returncode}: {err}")


def main() -> None:
    """Kill, finish, compare, print."""
    num_kills = int(sys.argv[1]) if len(sys.argv) > 1 else NUM_KILLS
    moments = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    material = make_material(FOLDER, seconds_scale=0.1)
    job = write_job(FOLDER / "whole", material.video)
    begun = time.monotonic()
    finish(job)
    longest = time.monotonic() - begun
    wanted, clips = pictures(FOLDER / "whole" / "out.mp4"), finished_clips(FOLDER / "whole" / "out.mp4.lipstitch")
    kills: Counter[str] = Counter()
    rounds, faults = 0, []
    while sum(kills.values()) < num_kills:
        rounds += 1
        folder = FOLDER / "killed"
        job, made = write_job(folder, material.video), dict[str, tuple[int, int]]()
        workspace = folder / "out.mp4.lipstitch"
        while sum(kills.values()) < num_kills and not (folder / "out.mp4").exists():
            if stage := run_and_kill(job, moments.uniform(0, longest)):
                kills[stage] += 1
            now = finished_clips(workspace)
            faults += [f"round {rounds}: {name} was made twice" for name in made if made[name] != now.get(name)]
            made = now
            if (folder / "out.mp4").exists() and pictures(folder / "out.mp4") != wanted:
                faults.append(f"round {rounds}: an output was there that is not whole")
        finish(job)
        now = finished_clips(workspace)
        faults += [f"round {rounds}: {name} was made twice" for name in made if made[name] != now.get(name)]
        faults += [f"round {rounds}: other clips than undisturbed"] if set(now) != set(clips) else []
        if pictures(folder / "out.mp4") != wanted:
            faults.append(f"round {rounds}: other frames or times than undisturbed")
        left = [path.name for path in folder.rglob("*.part")]
        faults += [f"round {rounds}: left behind {left}"] if left else []
    print(f"{sum(kills.values())} kills in {rounds} rounds of a job of {longest:.1f} s, {len(wanted)} frames")
    for stage, count in kills.most_common():
        print(f"{count:>6}  {stage}")
    print("\n".join(faults) or "Each round ended with the same frames and times; each finished clip was made once.")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
