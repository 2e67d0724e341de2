"""Measure whole jobs on this machine: speed, memory, start-up.

    python -m benchmarks.run [--only W1 W4] [--out build/bench/results.json] [--write]

Prints a table and writes it as JSON; `--write` also puts it into benchmarks/RESULTS.md. Jobs run as a user runs them;
wall time is that of the whole process, memory the sum of all its processes (PSS). All take about half an hour on
two cores. Nothing else should run at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks import material
from benchmarks.measure import Measured, run_measured, seconds_to_stop

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
NUM_ROUNDS = 3
NUM_COMMON_FRAMES = 500
"""Frames that are done the common way; its rate does not depend on the length."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    workload: str
    what: str
    value: str
    aim: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was run, and its report."""

    measured: Measured
    report: dict[str, Any]


def write_job(name: str, content: dict[str, Any]) -> Path:
    """Write a job file with the full-size network; its output is called `name`."""
    job = (material.folder() / name).with_suffix(".yaml")
    defaults = {
        "output": str(material.folder() / name),
        "segmenter": material.detector_settings(),
        "renderer": {"checkpoint": str(material.full_size_checkpoint()), "method": "network"},
        "execution": {"keep": "none"},
    }
    job.write_text(yaml.safe_dump({**defaults, **content}))
    return job


def run_job(name: str, content: dict[str, Any], *, num_cores: int | None = None) -> Job:
    """Run a job in a fresh workspace, on the first cores of this machine or on all."""
    job = write_job(name, content)
    command = [sys.executable, str(ROOT / "main.py"), "--config", str(job), "--force", "--quiet"]
    measured = run_measured(command, num_cores=num_cores)
    return Job(measured, json.loads((material.folder() / f"{name}.report.json").read_text()))


def _inputs(video: Path, seconds: int) -> dict[str, Any]:
    return {"input": {"video": str(video), "audio": str(material.dub(seconds))}}


def _stages(job: Job) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in job.report["seconds"].items())


def face_minute() -> list[Row]:
    """W1: a minute with a face in every frame: the full-size network, mouths from footage, and the common way."""
    video = material.face_video()
    job = run_job("w1.mp4", _inputs(video, 60))
    frames = job.report["output"]["num_frames"]
    rate = frames / job.measured.seconds
    footage = run_job("w1-footage.mp4", {**_inputs(video, 60), "renderer": {"method": "footage"}})
    footage_rate = frames / footage.measured.seconds
    command = [sys.executable, "-m", "benchmarks.common_way", str(video), str(material.dub(60))]
    command += [str(material.full_size_checkpoint()), str(material.folder() / "w1-common.mp4"), str(NUM_COMMON_FRAMES)]
    weights = material.detector_settings().get("detector_checkpoint")
    common = run_measured(command + ([weights] if weights else []), cwd=ROOT)
    common_rate = NUM_COMMON_FRAMES / common.seconds
    return [
        Row("W1", "60 s of face, whole process", f"{rate:.1f} frames/s", "35, met at 28"),
        Row("W1", "its stages", f"{_stages(job)}; all {job.measured.seconds:.1f} s", ""),
        Row("W1", "memory", f"{job.measured.peak_mb:.0f} MB", ""),
        Row("W1", "the same from footage", f"{footage_rate:.1f} frames/s", "45, where the network reaches 30"),
        Row("W1", "its stages", f"{_stages(footage)}; all {footage.measured.seconds:.1f} s", ""),
        Row("W1", "times the network", f"{footage_rate / rate:.2f}", "1.5"),
        Row("W1", f"the common way, {NUM_COMMON_FRAMES} frames", f"{common_rate:.1f} frames/s", ""),
        Row("W1", "times the common way", f"{rate / common_rate:.1f}", "4"),
    ]


def mixed_minutes() -> list[Row]:
    """W2: ten minutes, a fifth of it face."""
    job = run_job("w2.mp4", _inputs(material.mixed_video(10), 600))
    seconds, frames = job.report["seconds"], job.report["output"]["num_frames"]
    rendered = job.report["num_rendered_frames"]
    ratio = job.measured.seconds / (seconds["scan"] + seconds["render"])
    return [
        Row("W2", "10 min, a fifth face, whole process", f"{job.measured.seconds:.1f} s", ""),
        Row("W2", "its stages", _stages(job), ""),
        Row("W2", "times scan + rendering", f"{ratio:.2f}", "1.15"),
        Row("W2", "scan", f"{frames / seconds['scan']:.0f} frames/s", "350"),
        Row("W2", "rendering", f"{rendered / seconds['render']:.1f} frames/s", ""),
        Row("W2", "copying", f"{frames / seconds['assemble']:.0f} frames/s", "3000"),
    ]


def flat_memory() -> list[Row]:
    """W3: memory of all processes at 1, 10 and 60 minutes, with the network that ships."""
    peaks = []
    for minutes in (1, 10, 60):
        content = {**_inputs(material.mixed_video(minutes), minutes * 60), "renderer": {"checkpoint": "compact"}}
        peaks.append(run_job("w3.mp4", content).measured.peak_mb)
    shown = ", ".join(f"{peak:.0f}" for peak in peaks)
    return [
        Row("W3", "memory at 1, 10, 60 min", f"{shown} MB", "under 2000"),
        Row("W3", "spread", f"{max(peaks) / min(peaks) - 1:.0%}", "10%"),
    ]


def patch_two_hours() -> list[Row]:
    """W4: ten seconds patched in the middle of two hours, with copied sound and with one that must be coded."""
    line = {"start": 3648, "end": 3658, "audio": str(material.dub(60))}
    content = {
        "input": {"video": str(material.mixed_video(120)), "length_policy": "cut"},
        "ranges": [line],
    }
    rows = []
    for what, name, aim in (("copied sound", "w4.mp4", "20 s"), ("one sound encode", "w4.mkv", "")):
        job = run_job(name, content)
        reencoded = sum(span["end"] - span["start"] for span in job.report["check"]["reencoded"])
        decoded = f"{job.report['num_rendered_frames']} frames rendered, {reencoded} more re-encoded"
        rows.append(Row("W4", f"10 s in 2 h, {what}", f"{job.measured.seconds:.1f} s", aim))
        rows.append(Row("W4", "its stages", f"{_stages(job)}; {decoded}; {job.measured.peak_mb:.0f} MB", ""))
    return rows


def more_workers() -> list[Row]:
    """W5: one worker, two, and what `auto` chooses, on 20 s of W1's video; and the whole machine against one core.

    One worker alone may keep two cores busy, since it reads, draws and codes at the same time: then another one finds
    nothing left to gain. What the machine gives to more workers shows against one core.
    """

    def rate(workers: int | str, *, num_cores: int | None = None) -> float:
        content = {
            "input": {"video": str(material.face_video()), "length_policy": "cut"},
            "ranges": [{"start": 0, "end": 20, "audio": str(material.dub(60))}],
            "execution": {"keep": "none", "workers": workers},
        }
        job = run_job("w5.mp4", content, num_cores=num_cores)
        return float(job.report["num_rendered_frames"] / job.report["seconds"]["render"])

    # Turn by turn, since the machine may be faster now and slower then.
    rounds = [(rate(1), rate(2), rate("auto")) for _ in range(NUM_ROUNDS)]
    one, two, auto = (statistics.median(column) for column in zip(*rounds, strict=True))
    on_one_core = rate(1, num_cores=1)
    return [
        Row(
            "W5",
            f"rendering by workers, median of {NUM_ROUNDS}",
            f"1: {one:.1f}, 2: {two:.1f}, auto: {auto:.1f} frames/s",
            "",
        ),
        Row("W5", "two workers against one", f"{two / one:.2f}", "1.6 where cores allow, never slower"),
        Row("W5", "one worker on one core", f"{on_one_core:.1f} frames/s", ""),
        Row("W5", "two workers on all cores against it", f"{two / on_one_core:.2f}", "1.6"),
    ]


def start_up() -> list[Row]:
    """W6: --help, and --plan with a finished scan."""
    job = write_job("w6.mp4", {**_inputs(material.mixed_video(10), 600), "execution": {"keep": "scan"}})

    def median(*arguments: str) -> float:
        command = [sys.executable, str(ROOT / "main.py"), *arguments]
        return statistics.median(run_measured(command).seconds for _ in range(5))

    run_measured([sys.executable, str(ROOT / "main.py"), "--config", str(job), "--plan"])  # scans
    return [
        Row("W6", "--help", f"{median('--help'):.2f} s", "0.4 s"),
        Row("W6", "--plan, scan finished", f"{median('--config', str(job), '--plan'):.2f} s", "1.5 s"),
    ]


def stop() -> list[Row]:
    """W7: Ctrl-C while the faces are drawn, by threads and by processes."""
    rows = []
    for backend in ("threads", "processes"):
        workspace = material.folder() / f"w7-{backend}"
        shutil.rmtree(workspace, ignore_errors=True)
        execution = {"backend": backend, "workspace": str(workspace), "keep": "none"}
        job = write_job("w7.mp4", {**_inputs(material.face_video(), 60), "execution": execution})
        command = [sys.executable, str(ROOT / "main.py"), "--config", str(job), "--force", "--quiet"]
        seconds = seconds_to_stop(command, lambda: any(workspace.glob("clip-*.part")))  # noqa: B023
        shutil.rmtree(workspace)
        rows.append(Row("W7", f"Ctrl-C while rendering in {backend}", f"{seconds:.1f} s", "2 s"))
    return rows


def machine_alone() -> list[Row]:
    """W0: what this machine does of each step by itself, on all cores: no job can be faster than these together."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.limits",
        str(material.face_video()),
        str(material.full_size_checkpoint()),
    ]
    lines = run_measured(command, cwd=ROOT).output.splitlines()
    return [Row("W0", *line.split("\t"), "") for line in lines if "\t" in line]


WORKLOADS: dict[str, Callable[[], list[Row]]] = {
    "W0": machine_alone,
    "W1": face_minute,
    "W2": mixed_minutes,
    "W3": flat_memory,
    "W4": patch_two_hours,
    "W5": more_workers,
    "W6": start_up,
    "W7": stop,
}


def machine() -> str:
    """Return the machine in words."""
    import av
    import torch

    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    flags = "bfloat16 in hardware" if torch.cpu._is_avx512_bf16_supported() else "no bfloat16 in hardware"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{len(os.sched_getaffinity(0))} cores of {names[0].split(':')[1].strip() if names else platform.machine()},"
        f" {flags}, {memory:.0f} GB, {gpu}; Python {platform.python_version()}, torch {torch.__version__}, PyAV"
        f" {av.__version__}. Footage: {'shared clips' if material.shared_folder() else 'the demonstration portrait'}."
    )


def as_table(rows: list[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| | workload | measured | aim |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {row.workload} | {row.what} | {row.value} | {row.aim} |" for row in rows])


def with_table(results: str, rows: list[Row]) -> str:
    """Return the text of RESULTS.md with its first table, and the machine above it, made anew; the rest stays."""
    rest = results[results.index("\n\n", results.index("\n| W")) :]
    return f"# Results\n\n`python -m benchmarks.run --write` on {machine()}\n\n{as_table(rows)}{rest}"


def main() -> None:
    """Run the workloads that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--out", type=Path, default=material.folder() / "results.json")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in arguments.only:
        for row in WORKLOADS[name]():
            print(f"{row.workload}  {row.what:42} {row.value}{f'   (aim: {row.aim})' if row.aim else ''}", flush=True)
            rows.append(row)
        rows.sort(key=lambda row: row.workload)
        arguments.out.write_text(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1))
        if arguments.write:
            RESULTS.write_text(with_table(RESULTS.read_text(), rows))


if __name__ == "__main__":
    main()
