"""Many videos to a dataset: in parallel, resumable, one table at the end; and a second look with a sync expert."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from lipstitch.progress import Reporter, stage
from lipstitch.training.dataset.facts import VideoFacts
from lipstitch.training.dataset.grid import STEPS_PER_SECOND
from lipstitch.training.preparation.footage import prepare_video
from media.base.errors import ConfigError
from media.base.files import write_json
from media.base.locks import locked
from media.base.machine import num_cores
from renderer.checkpoints import download_folder, find_checkpoint
from segmenter.detectors.base import FaceDetector
from segmenter.find_detector import AUTO, build_detector, choose_detector, detector_names, detector_with_weights

ENDINGS = frozenset(
    {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Files in a folder that are taken for videos."""
MIN_FACE_PX = 64
"""Least height of a face, forehead to chin, in pixels of the video: what the renderer's jobs ask for, too."""
MOST_WORKERS = 16


@dataclass(frozen=True, slots=True)
class DetectorSource:
    """Which face detector is used; each thread builds its own."""

    choice: str = AUTO
    """A detector's name, or auto: the preferred one whose weights can be found."""
    weights: str | None = None
    """A name in checkpoints/registry.toml, or a path; None: the detector's own."""

    def find(self, reporter: Reporter) -> tuple[str, Path | None]:
        """Return the detector to build and its weights.

        Raises ConfigError for an unknown detector, CheckpointError if the weights of a detector that was named (or
        weights that were named) cannot be found.
        """
        known = (AUTO, *detector_names())
        if self.choice not in known:
            raise ConfigError(f"--detector (now {self.choice!r}): give {', '.join(known[:-1])} or {known[-1]}.")
        owner = detector_with_weights(self.choice)
        is_named = self.weights not in (None, owner.weights)
        choice = owner.name if self.choice == AUTO and is_named else self.choice

        def find_weights(detector: type[FaceDetector]) -> Path:
            name = self.weights if self.weights and detector is owner else str(detector.weights)
            return find_checkpoint(name, folder=download_folder())

        return choose_detector(choice, find_weights, reporter.warning)


@dataclass(slots=True)
class Prepared:
    """What a dataset holds."""

    folder: Path
    videos: list[VideoFacts] = field(default_factory=list)
    """By name."""
    num_reused: int = 0
    """Videos that an earlier run had prepared."""
    rejected_rows: dict[str, int] = field(default_factory=dict)
    """Rows that the sync expert rejected, by reason."""

    @property
    def usable(self) -> list[VideoFacts]:
        """Videos that gave rows."""
        return [facts for facts in self.videos if facts.tracks]

    @property
    def num_rows(self) -> int:
        """Crops, 25 a second."""
        return sum(stop - start for facts in self.videos for start, stop in facts.tracks)

    def totals(self) -> dict[str, float]:
        """Return hours of faces, people, videos used and videos without use."""
        return {
            "hours": round(self.num_rows / STEPS_PER_SECOND / 3600, 4),
            "people": len({facts.name for facts in self.usable}),
            "videos": len(self.usable),
            "videos_without_use": len(self.videos) - len(self.usable),
            "crops": self.num_rows,
        }

    def rejected(self) -> dict[str, float]:
        """Return seconds that were rejected, by reason."""
        seconds: Counter[str] = Counter()
        for facts in self.videos:
            seconds.update(facts.rejected)
        seconds.update({reason: rows / STEPS_PER_SECOND for reason, rows in self.rejected_rows.items()})
        return {reason: round(value, 2) for reason, value in sorted(seconds.items())}


def find_videos(places: Sequence[Path]) -> list[Path]:
    """Return the videos in files and folders, sorted by name; raise ConfigError without any, or if two share a name."""
    found: dict[str, Path] = {}
    for place in places:
        if place.is_dir():
            files = sorted(path for path in place.iterdir() if path.suffix.lower() in ENDINGS)
        elif place.exists():
            files = [place]
        else:
            raise ConfigError(f"--videos: there is no file or folder {place}. Check the path.")
        for path in files:
            other = found.setdefault(path.stem, path)
            if other.resolve() != path.resolve():
                raise ConfigError(f"--videos: {other} and {path} have the same name. Rename one: names tell people.")
    if not found:
        raise ConfigError(f"--videos: no video in {', '.join(map(str, places))}. Give files, or folders of them.")
    return [found[name] for name in sorted(found)]


def prepare_dataset(
    places: Sequence[Path],
    out: Path,
    reporter: Reporter,
    *,
    detector: DetectorSource | None = None,
    workers: int | None = None,
    expert: Path | None = None,
    min_face_px: int = MIN_FACE_PX,
) -> Prepared:
    """Prepare every video into a folder of its own under `out`, several at a time; what is there already stays.

    A video that cannot be used becomes a line of the table. expert: weights of a sync expert that then rejects windows
    whose sound and lips do not belong together. Also written: out/prepare.json.
    """
    videos = find_videos(places)
    choice, weights = (detector or DetectorSource()).find(reporter)
    with locked(out, "choose another --out"):
        prepared = Prepared(out)
        num_workers = max(min(workers or num_cores(), MOST_WORKERS, len(videos)), 1)
        own = threading.local()

        def work(path: Path) -> tuple[VideoFacts, bool]:
            finder: FaceDetector | None = getattr(own, "detector", None)
            if finder is None:
                finder = own.detector = build_detector(choice, weights)
            return prepare_video(path, out / path.stem, finder, min_face_px=min_face_px)

        with (
            stage(reporter, "prepare", len(videos), "videos"),
            ThreadPoolExecutor(num_workers, "prepare") as pool,
        ):
            jobs = [pool.submit(work, path) for path in videos]
            try:
                for num_done, job in enumerate(as_completed(jobs), start=1):
                    facts, reused = job.result()
                    prepared.videos.append(facts)
                    prepared.num_reused += reused
                    reporter.advance(num_done, facts.name)
            finally:
                for job in jobs:  # after a failure nothing new is begun
                    job.cancel()
        prepared.videos.sort(key=lambda facts: facts.name)
        if expert is not None and prepared.usable:
            from lipstitch.training.preparation.reject import reject_windows

            prepared.rejected_rows = reject_windows(out, prepared.usable, expert, reporter)
        _tell(prepared, reporter)
    return prepared


def _tell(prepared: Prepared, reporter: Reporter) -> None:
    """Print the table and store the same as JSON."""
    width = max(len(facts.name) for facts in prepared.videos)
    for facts in prepared.videos:
        num_rows = sum(stop - start for start, stop in facts.tracks)
        rejected = ", ".join(f"{reason} {seconds:.1f} s" for reason, seconds in facts.rejected.items())
        what = (
            f"{num_rows / STEPS_PER_SECOND:7.1f} s in {len(facts.tracks)} tracks" if num_rows else f"-  {facts.problem}"
        )
        reporter.info(f"{facts.name:<{width}}  {what}{f'; left out: {rejected}' if rejected else ''}")
    totals = prepared.totals()
    reporter.info(
        f"{totals['hours']:.3f} hours of {totals['people']:.0f} people, {totals['crops']:.0f} crops,"
        f" from {totals['videos']:.0f} of {len(prepared.videos)} videos ({prepared.num_reused} were prepared already)"
    )
    for reason, seconds in prepared.rejected().items():
        reporter.info(f"rejected: {seconds:8.1f} s  {reason}")
    videos = {
        facts.name: {
            "seconds": sum(stop - start for start, stop in facts.tracks) / STEPS_PER_SECOND,
            "rejected_seconds": facts.rejected,
            "problem": facts.problem,
        }
        for facts in prepared.videos
    }
    write_json(
        prepared.folder / "prepare.json",
        {**prepared.totals(), "rejected_seconds": prepared.rejected(), "by_video": videos},
    )
