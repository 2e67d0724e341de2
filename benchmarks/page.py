"""How large the page of a long job is, how long it takes to write, and how much memory: a short job's, repeated.

    python main.py --config configs/demo.yaml --force
    python -m benchmarks.page build/demo/result.mp4 --minutes 60

The job's own clips, spans, shots and pictures follow one another until the video is as long as asked for.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from base64 import b64decode
from pathlib import Path
from tempfile import TemporaryDirectory

from lipstitch.report.page.material import Lanes, PageMaterial
from lipstitch.report.page.page import read_page, write_page
from lipstitch.report.report import Report, load_report, page_path, report_path
from media.intervals import Interval


def repeat_report(report: Report, times: int) -> Report:
    """Return the report of a job whose video is another's, several times over."""
    frames, seconds, count = report.output.num_frames, report.output.seconds, len(report.clips)
    spans, clips = [], []
    for turn in range(times):
        first = turn * frames
        for span in report.spans:
            moved = {"start_frame": span.start_frame + first, "stop_frame": span.stop_frame + first}
            spans.append(span.model_copy(update=moved))
        for clip in report.clips:
            moved = {"start_frame": clip.start_frame + first, "stop_frame": clip.stop_frame + first}
            at = {"index": clip.index + turn * count, "start_seconds": clip.start_seconds + turn * seconds}
            clips.append(clip.model_copy(update={**moved, **at}))
    output = report.output.model_copy(update={"num_frames": frames * times, "seconds": seconds * times})
    num_clips = {outcome: number * times for outcome, number in report.num_clips.items()}
    return report.model_copy(
        update={"output": output, "spans": tuple(spans), "clips": tuple(clips), "num_clips": num_clips}
    )


def repeat_material(material: PageMaterial, times: int) -> PageMaterial:
    """Return the material of such a job's page."""
    frames, seconds = material.num_frames, material.seconds(material.num_frames)

    def repeat(parts: tuple[Interval, ...]) -> tuple[Interval, ...]:
        return tuple((start + turn * frames, stop + turn * frames) for turn in range(times) for start, stop in parts)

    rows = tuple(
        row.model_copy(
            update={"start_frame": row.start_frame + turn * frames, "stop_frame": row.stop_frame + turn * frames}
        )
        for turn in range(times)
        for row in material.rows
    )
    moments = {
        frame + turn * frames: f"{float(text) + turn * seconds:.6f}"
        for turn in range(times)
        for frame, text in material.times.items()
    }
    lanes = Lanes(clips=repeat(material.lanes.clips), shots=repeat(material.lanes.shots))
    return material.model_copy(update={"rows": rows, "lanes": lanes, "times": moments, "num_frames": frames * times})


def main() -> None:
    """Write the page of the long job and measure it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="of a finished job with a page")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 10.0, 60.0, 120.0])
    parser.add_argument("--keep", type=Path, help="folder in which the pages stay")
    arguments = parser.parse_args()
    report = load_report(report_path(arguments.output))
    material, strips = read_page(page_path(arguments.output))
    for minutes in arguments.minutes:
        times = max(round(60 * minutes / report.output.seconds), 1)
        long, its_material = repeat_report(report, times), repeat_material(material, times)
        clips = [clip + turn * len(report.clips) for turn in range(times) for clip in strips]
        with TemporaryDirectory() as scratch:
            path = (arguments.keep or Path(scratch)) / f"{minutes:g}-minutes.html"

            def load(clip: int) -> bytes:
                return b64decode(strips[clip % len(report.clips)])

            start = time.perf_counter()
            write_page(long, its_material, path, clips, load)
            seconds = time.perf_counter() - start
            size = path.stat().st_size
            tracemalloc.start()
            write_page(long, its_material, path, clips, load)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        print(
            f"{minutes:g} min: {len(long.clips)} clips, {len(clips)} with pictures; {size / 1e6:.2f} MB in"
            f" {seconds:.1f} s, {peak / 1e6:.0f} MB of memory at most",
            flush=True,
        )


if __name__ == "__main__":
    main()
