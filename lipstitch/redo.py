"""--redo: which clips of a finished output are made again, and how.

clips of its report -> frames of the source -> changes of these frames -> run_job, which keeps everything else
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lipstitch.job_file.config import JobConfig
from lipstitch.job_file.span_file import parse_making
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.report.records import ClipRecord
from lipstitch.report.report import Report, load_report, report_path
from lipstitch.workspace import job_key
from media.base.errors import ConfigError
from media.base.text import brief
from media.clips import Method, Quality
from segmenter.spans.changes import Change, Keep

SETTINGS: Final = {f"renderer.{name}": name for name in ("method", "strength", "quality")}
"""What clips may have of their own, by the keys of the job file."""
RUN_FIRST: Final = "Run the job itself first"


@dataclass(frozen=True, slots=True)
class Redo:
    """What the command line asks for."""

    clips: tuple[tuple[str, int], ...]
    """File name of an output, empty where the job writes one; and the index of a clip in its report."""
    method: Method | Keep | None
    strength: float | None
    quality: Quality | None
    """How they are made; all None: as before, from scratch."""


@dataclass(frozen=True, slots=True)
class Redone:
    """What of a finished output is made again."""

    changes: tuple[Change, ...]
    """Those of earlier runs, which stay, and the new ones."""
    source: str = ""
    """Fingerprint of the video that the output was made from; empty if nothing is made again."""

    def check_source(self, fingerprint: str) -> None:
        """Raise ConfigError if the job's video is another one than that of the output."""
        if self.source not in ("", fingerprint):
            raise ConfigError(f"--redo: the finished output is of another video. {RUN_FIRST}.")


NOTHING_REDONE: Final = Redone(())


def read_redo(clips: str, settings: Sequence[str]) -> tuple[Redo, list[str]]:
    """Return what the command line asks for, and the settings that concern the whole job. Raises ConfigError.

    clips: as in 12,15 or out.intro.mp4:3. settings: as --set takes them.
    """
    named = []
    for text in clips.split(","):
        name, _, number = text.strip().rpartition(":")
        if not (number.isascii() and number.isdigit() and len(number) <= 9):
            raise ConfigError(
                f"--redo {brief(clips)}: give the numbers of clips in the report, as in --redo 12,15; if the job writes"
                f" several files, each with its file, as in --redo out.intro.mp4:12."
            )
        named.append((name, int(number)))
    own, others = {}, []
    for setting in settings:
        key, equals, value = setting.partition("=")
        if equals and key in SETTINGS:
            own[SETTINGS[key]] = value.strip()
        else:
            others.append(setting)
    try:
        redo = Redo(tuple(named), *parse_making(own))
    except ValueError as exc:
        raise ConfigError(f"--redo, --set: {exc}.") from exc
    return redo, others


def find_redone(redo: Redo, config: JobConfig, specs: Sequence[OutputSpec]) -> Redone:
    """Return what of a job's finished outputs is made again.

    Raises ConfigError if a clip is not there or shows no face, or if a report is missing or that of another job.
    """
    names = {spec.output.name: spec for spec in specs}
    for name, number in redo.clips:
        if not name and len(names) > 1:
            raise ConfigError(f"--redo {number}: say of which file, as in {next(iter(names))}:{number}.")
        if name and name not in names:
            raise ConfigError(f"--redo {brief(name)}:{number}: the job writes {', '.join(names)}.")
    reports = {spec.output.name: _report(spec, config) for spec in specs}
    earlier = tuple(each.change() for each in next(iter(reports.values())).redone)
    new = tuple(
        change
        for name, number in redo.clips
        for spec in ([names[name]] if name else specs)
        for change in _changes(redo, number, spec, reports[spec.output.name], earlier)
    )
    return Redone((*earlier, *new), next(iter(reports.values())).hashes.source)


def _report(spec: OutputSpec, config: JobConfig) -> Report:
    path = report_path(spec.output)
    if config.stitcher.report == "none":
        raise ConfigError("--redo needs a report. Make stitcher.report html or json, and run the job.")
    try:
        report = load_report(path)
    except OSError as exc:
        raise ConfigError(f"--redo: {path} cannot be read ({exc.strerror}). {RUN_FIRST}.") from exc
    except ValueError as exc:
        raise ConfigError(f"--redo: {path} is not a report of lipstitch. {RUN_FIRST}.") from exc
    if report.hashes.job != job_key(config):
        raise ConfigError(
            f"--redo: {path} is of other settings than the job has now, those of --set included. {RUN_FIRST}."
        )
    return report


def _changes(redo: Redo, number: int, spec: OutputSpec, report: Report, earlier: Sequence[Change]) -> Iterator[Change]:
    """Yield what is wanted of a clip's frames of the source."""
    clip = next((clip for clip in report.clips if clip.index == number), None)
    if clip is None:
        where = report_path(spec.output)
        raise ConfigError(f"--redo {number}: {where} has clips {report.clips[0].index} to {report.clips[-1].index}.")
    frames = spec.timeline.source_intervals([(clip.start_frame, clip.stop_frame)])
    if not _shows_mouth(clip) and not any(each.within(part, each.person) for each in earlier for part in frames):
        raise ConfigError(f"--redo {number}: this clip shows no new mouth ({clip.reason}).")
    for start, stop in frames:
        yield Change(start, stop, None, redo.method, redo.strength, redo.quality)


def _shows_mouth(clip: ClipRecord) -> bool:
    return clip.outcome == "fell_back" or bool(clip.rendered)
