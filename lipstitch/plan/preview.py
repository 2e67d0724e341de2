"""The preview of a job: the seconds in which its faces speak most, as a job of its own that extracts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from lipstitch.job_file.config import ExtractConfig, JobConfig, RangeConfig
from lipstitch.plan.plan import Plan
from lipstitch.plan.speech import frames_hearing, hear
from lipstitch.source.checks import COMPARISON_ENDINGS, check_comparison_video, check_output
from lipstitch.workspace import Workspace, workspace_folder
from media.base.clock import format_clock
from media.base.errors import ConfigError
from media.intervals import Interval, complement, intersect, merge, subtract
from media.packets.frame_table import FrameTable
from media.timeline import FrameRun

LEAST_SECONDS: Final = Fraction(1)
"""A shorter piece shows too little to be worth a cut."""
LEAST_SHARE_SECONDS: Final = Fraction(2)
"""Of each speaker of a dialogue; where that is too much for all, those who speak least are left out."""


def preview_path(config: JobConfig) -> Path:
    """Return where the preview of a job is written: beside its output."""
    return config.output.with_name(f"{config.output.stem}.preview{config.output.suffix}")


def check_preview(config: JobConfig, comparison: Path | None, *, force: bool) -> Path:
    """Return where the comparison video of a preview goes; raise ConfigError if it or the preview cannot be written.

    A preview of before is replaced; a comparison video that the user has named only with force.
    """
    preview = preview_path(config)
    check_output(config.model_copy(update={"output": preview}), preview, force=True)
    ending = preview.suffix if preview.suffix.lower() in COMPARISON_ENDINGS else ".mp4"
    path = comparison or preview.with_name(f"{preview.stem}.compared{ending}")
    check_comparison_video(config, path, [preview, config.output], force=force or comparison is None)
    return path


def build_preview(
    config: JobConfig, table: FrameTable, plans: Sequence[Plan], workspace: Workspace, seconds: Fraction
) -> JobConfig:
    """Return the job that writes the preview: what it extracts are the seconds in which faces that move speak most.

    Each speaker of a dialogue has an equal share. plans: of all outputs of the job, none of which is touched.
    workspace: shared with the job, so that neither has to find anything again. Raises ConfigError if no face moves.
    """
    candidates = _candidates(config, table, plans, workspace)
    _choose(candidates, table, seconds)
    ranges = tuple(
        _range(candidate.part, table, frames) for candidate in candidates for frames in merge(candidate.chosen)
    )
    if not ranges:
        raise ConfigError("--preview: no output shows a face that would get a new mouth. --plan says why.")
    return config.model_copy(
        update={
            "mode": "extract",
            "extract": ExtractConfig(join=True),
            "ranges": ranges,
            "output": preview_path(config),
            "input": config.input.model_copy(update={"length_policy": "cut"}),  # a range shows a part of its dub
            "execution": config.execution.model_copy(update={"workspace": workspace_folder(config)}),
        }
    )


def describe_preview(preview: JobConfig) -> str:
    """Return in one line which times of the video a preview shows."""
    return ", ".join(f"{format_clock(part.start)} to {format_clock(part.end)}" for part in preview.ranges or ())


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Frames of the source, one behind the other in an output, of which the preview may show some."""

    part: RangeConfig | None
    """The range of the job that they are; None for the whole video."""
    frames: Interval
    spoken: Mapping[str, Sequence[Interval]]
    """Frames in which each speaker is seen to speak with a new mouth. Outside of dialogues there is one speaker."""
    chosen: list[Interval] = field(default_factory=list)
    """What the preview shows."""


def _candidates(config: JobConfig, table: FrameTable, plans: Sequence[Plan], workspace: Workspace) -> list[_Candidate]:
    voices = [_frames_of_voices(plan, workspace) for plan in plans]
    if config.mode == "extract":
        runs = [(own, run) for plan, own in zip(plans, voices, strict=True) for run in plan.spec.timeline.runs]
    else:  # what a policy appends behind the first run shows the same frames again
        runs = [(voices[0], plans[0].spec.timeline.runs[0])] * len(config.ranges or (None,))
    found = []
    for part, (own, run) in zip(config.ranges or (None,), runs, strict=True):
        frames = (0, len(table)) if part is None else (table.frame_at(part.start), table.frame_at(part.end))
        spoken = {name: intersect(_in_source(run, parts), [frames]) for name, parts in own.items()}
        found.append(_Candidate(part, frames, spoken))
    return found


def _frames_of_voices(plan: Plan, workspace: Workspace) -> dict[str, list[Interval]]:
    """Return the output frames in which each speaker is seen to speak with a new mouth.

    Where nothing is heard that is like speech, mouths are counted that are seen at all.
    """
    spec = plan.spec
    hearing = hear(spec.drive_audio.voices, workspace)
    silent = [frames_hearing(spec, pauses) if hearing.has_speech else [] for pauses in hearing.pauses]
    speakers = plan.target.speakers(spec)
    if not speakers:
        return {"": subtract(merge(part for part, _ in plan.shown), silent[0])}
    found = {}
    for speaker in speakers:
        shown = merge(part for part, span in plan.shown if span.person in speaker.people)
        found[speaker.name] = subtract(intersect(shown, speaker.turns), silent[speaker.drive_index])
    return found


def _in_source(run: FrameRun, parts: Sequence[Interval]) -> list[Interval]:
    """Return the source frames of some output frames, as far as a run shows them, forwards."""
    moved = run.source_frame - run.start_frame
    return [(start + moved, stop + moved) for start, stop in intersect(parts, [(run.start_frame, run.stop_frame)])]


def _choose(candidates: Sequence[_Candidate], table: FrameTable, seconds: Fraction) -> None:
    """Choose frames of `seconds` in all."""
    totals: dict[str, int] = {}
    for candidate in candidates:
        for name, parts in candidate.spoken.items():
            totals[name] = totals.get(name, 0) + sum(stop - start for start, stop in parts)
    names = sorted((name for name, total in totals.items() if total), key=lambda name: -totals[name])
    names = names[: max(seconds // LEAST_SHARE_SECONDS, 1)]
    for name in names:
        left = seconds / len(names)
        while left > 0:
            best = max((_densest(each, name, table, left) for each in candidates), key=lambda window: window.ticks)
            if not best.ticks:
                break
            best.candidate.chosen.append(best.frames)
            left -= table.seconds(best.frames[1]) - table.seconds(best.frames[0])
            left = left if left >= LEAST_SECONDS else Fraction(0)


@dataclass(frozen=True, slots=True)
class _Window:
    candidate: _Candidate
    frames: Interval
    ticks: int
    """How long someone speaks in it."""


def _densest(candidate: _Candidate, name: str, table: FrameTable, seconds: Fraction) -> _Window:
    """Return the frames, of `seconds` at most, in which a speaker speaks longest; the earliest of several.

    spoken      [--)   [----) [-----)      [--)
    window             [-------------)
    """
    pts = np.append(np.asarray(table.pts, np.int64), table.end_pts)
    lasting = np.diff(pts)
    is_spoken = np.zeros(len(lasting), bool)
    for start, stop in candidate.spoken.get(name, ()):
        is_spoken[start:stop] = True
    until = np.concatenate([[0], np.cumsum(lasting * is_spoken)])
    best = _Window(candidate, (0, 0), 0)
    for first, last in complement(merge(candidate.chosen), *candidate.frames):
        starts = np.arange(first, last)
        ends = pts[starts] + int(seconds / table.time_base)
        stops = np.minimum(np.searchsorted(pts, ends, side="right") - 1, last)
        spoken = until[stops] - until[starts]
        at = int(spoken.argmax())
        if spoken[at] > best.ticks:
            best = _Window(candidate, (first + at, int(stops[at])), int(spoken[at]))
    return best


def _range(part: RangeConfig | None, table: FrameTable, frames: Interval) -> RangeConfig:
    """Return the range of the preview that shows frames of a range of the job, with what is heard there."""
    start, end = (table.seconds(frame) for frame in frames)
    if part is None or part.audio is None:
        return RangeConfig(start=start, end=end)
    return RangeConfig(start=start, end=end, audio=part.audio, audio_start=part.audio_start + start - part.start)
