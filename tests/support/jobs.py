"""Whole jobs as a user runs them: the command line in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from loky import get_reusable_executor

import lipstitch.job
from lipstitch.job_file.config import load_job
from lipstitch.progress import Silent
from media.intervals import complement
from tests.support.commands import start_command


class NoSignals:
    """Stands in for StopSignals in this process, whose handlers that would change for good."""

    came = False

    def __init__(self, last_words):
        pass


def write_job(folder, **content):
    """Write a job file into a folder and return its path."""
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(content, default=str))))
    return path


def start_job(job, *arguments):
    """Start main.py on a job file."""
    return start_command("--config", job, *arguments)


def run_job(job, *arguments, expected=0, start=start_command):
    """Run main.py on a job file to its end, check the exit code, and return the process's (stdout, stderr).

    start: start_command or start_python.
    """
    process = start("--config", job, *arguments)
    out, err = process.communicate(timeout=900)
    assert process.returncode == expected, f"exit code {process.returncode}\n{out}\n{err}"
    assert "Traceback" not in err, err
    return out, err


def run_in_processes(job):
    """Run a job here whose workers are processes, which begin anew; they end with it."""
    try:
        assert lipstitch.job.run_job(load_job(job), Silent()).exit_code == 0
    finally:
        get_reusable_executor(reuse=True).shutdown(kill_workers=True)


def load_report(output):
    """Return the report of an output."""
    return json.loads(Path(f"{output}.report.json").read_text())


def rendered_hashes(report):
    """Return {output frame: hash of the planes given to the encoder} of all frames that were coded."""
    return {
        clip["start_frame"] + number: value
        for clip in report["clips"]
        for number, value in enumerate(clip.get("frame_hashes", ()))
    }


def check_from_outside(shared, source, output, dub=None, *arguments):
    """Run the independent checker on an output and return its lines; fail with them if the contract is broken."""
    return run_checker(
        shared, source, output, load_report(output)["check"], *(("--dub", dub) if dub else ()), *arguments
    )


def check_clips_from_outside(shared, source, output, clips, box, *arguments):
    """Run the independent checker on an output without a report; box: what was painted in the rendered frames."""
    rendered = [part for clip in clips for part in clip.clip.rendered]
    again = [
        {"start": start, "end": stop, "reason": clip.reason}
        for clip in clips
        if clip.path
        for start, stop in complement(clip.clip.rendered, clip.clip.start_frame, clip.clip.stop_frame)
    ]
    check = {"spans": rendered, "boxes": [box] * len(rendered), "reencoded": again}
    return run_checker(shared, source, output, check, "--expect-change", *arguments)


def run_checker(shared, source, output, check, *arguments):
    """Run the independent checker with what should be found; return its lines, or fail with them."""
    path = Path(f"{output}.check.json")
    path.write_text(json.dumps(check))
    command = [sys.executable, shared / "tools" / "check_output.py", source, output, "--spans", path, *arguments]
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()
