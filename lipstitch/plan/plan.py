"""The plan: one output as it will be made, clip by clip. Nothing is rendered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce
from pathlib import Path

from lipstitch.job_file.config import JobConfig
from lipstitch.plan.changes import check_changes
from lipstitch.plan.estimate import Capacity, Estimate, estimate_cost
from lipstitch.plan.methods import FaceSelection
from lipstitch.plan.mouths import MouthPlan, plan_mouths
from lipstitch.plan.outputs.dialogue import Share, build_shares, split_at_turns
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.plan.soundtrack import SoundtrackChoice, decide_soundtrack
from lipstitch.plan.speech import frames_hearing
from lipstitch.plan.streams import StreamPlan
from lipstitch.plan.target import TargetSelection
from lipstitch.source.scan import Scanned
from lipstitch.workspace import Workspace, require_space
from media.clips import Clip, FaceSpan, Span
from media.intervals import Interval, intersect, subtract
from segmenter.find_detector import has_landmarks
from segmenter.planner import ClipSettings, CopyRule, plan_clips
from segmenter.spans.shown import shown_faces
from stitcher.assemble import HIDING


@dataclass(frozen=True, slots=True)
class Plan:
    """One output as it will be made."""

    spec: OutputSpec
    target: TargetSelection
    """Who is in the video, and who of them is rendered."""
    spans: tuple[Span, ...]
    """Frames of the source that the output shows: where there is a face to render, and why not elsewhere."""
    shown: tuple[tuple[Interval, FaceSpan], ...]
    """Frames of the output in which each face is rendered, as far as there is sound that drives it, and as if the user
    wanted nothing otherwise."""
    clips: tuple[Clip, ...]
    shares: tuple[Share, ...]
    """In a dialogue, what each speaker has of it."""
    streams: StreamPlan
    """What becomes of the source's own streams."""
    sound: SoundtrackChoice
    mouths: MouthPlan
    estimate: Estimate

    @property
    def restorer(self) -> str:
        """Return in one line what restores the faces that a network draws; empty if none does, or there are no such."""
        return self.mouths.restorer if self.num_network_faces else ""

    @property
    def enhancer(self) -> str:
        """Return in one line what enhances whole frames; empty if nothing does, or every frame is copied."""
        return self.streams.enhancer if any(clip.action != "copy" for clip in self.clips) else ""

    @property
    def program(self) -> str:
        """Return the command line of the program that draws; empty if none does, or there are no faces for it."""
        return self.mouths.program if self.num_network_faces else ""

    @property
    def num_network_faces(self) -> int:
        """How many faces a network, or a program in its place, draws: each of each frame."""
        return sum(stop - start for (start, stop), _ in self.drawn)

    @property
    def drawn(self) -> list[tuple[Interval, FaceSpan]]:
        """Return the frames of the output in which a network, or a program in its place, draws each face."""
        changes = self.target.changes
        usual = [(frames, span) for frames, span in self.shown if span.source.method == "network"]
        others = [(frames, span) for frames, span in self.shown if span.source.method != "network"]
        others = [(frames, span) for frames, span in others if changes.concern(span)]
        changed = [
            (part, span)
            for clip in (self.clips if others else ())
            for frames, span in others
            if any(face.source.method == "network" and clip.shows_part(face, span) for face in clip.faces)
            for part in intersect(clip.rendered, [frames])
        ]
        return [*usual, *changed]

    @property
    def shows_footage(self) -> bool:
        """Whether some mouth comes from footage."""
        return any(face.source.method == "footage" for clip in self.clips for face in clip.faces)

    @property
    def whole_reason(self) -> str:
        """Return why the whole video is re-encoded; empty if it is not."""
        return "" if self.estimate.num_copied else self.streams.coding.reason


def plan_output(
    config: JobConfig,
    scanned: Scanned,
    spec: OutputSpec,
    streams: StreamPlan,
    faces: FaceSelection,
    capacity: Capacity,
    workspace: Workspace,
) -> Plan:
    """Return how one output will be made. workspace: keeps where the sounds that drive lips speak.

    Raises ConfigError where something is wanted of some frames that is not possible there.
    """
    source, coding, target = scanned.source, streams.coding, faces.target
    mouths = plan_mouths(
        config, spec, workspace, has_landmarks=has_landmarks(scanned.finder.detector), footage=faces.footage
    )
    still = [frames_hearing(spec, each) if mouths.silence == "original" else [] for each in mouths.hearing.pauses]
    driven = subtract(spec.driven_frames, reduce(intersect, still))
    speakers = target.speakers(spec)
    moving = [replace(each, turns=tuple(subtract(each.turns, still[each.drive_index]))) for each in speakers]
    timeline = split_at_turns(spec.timeline, [*speakers, *moving])
    seen = faces.seen_spans(spec.scanned_frames)
    clips = plan_clips(
        seen,
        source.table,
        timeline,
        driven=driven,
        speakers=moving,
        copying=CopyRule(coding.reason, coding.may_copy_whole, may_hide=spec.muxer in HIDING),
        settings=ClipSettings(
            Fraction(str(config.segmenter.max_clip_seconds)),
            Fraction(str(config.renderer.fade_seconds)),
            target.changes,
        ),
    )
    changes = target.changes
    shown = [(part, span) for whole, span in shown_faces(seen, timeline, moving) for part in intersect([whole], driven)]
    check_changes(config, [span for _, span in shown], changes, faces.footage, source.table)
    return Plan(
        spec=spec,
        target=target,
        spans=target.changes.cut(target.cut_spans(seen, [spec])),
        shown=tuple(shown),
        clips=clips,
        shares=build_shares(timeline, spec.driven_frames, speakers, moving, seen),
        streams=streams,
        sound=decide_soundtrack(spec, source.info, config.stitcher.audio),
        mouths=mouths,
        estimate=estimate_cost(spec, source, coding.frames, clips, capacity),
    )


def check_disk(plans: Sequence[Plan], workspace: Workspace, *, signs: bool = False) -> None:
    """Raise WorkspaceError if the plans need more than the disks of workspace and outputs have.

    Clips that lie there are taken for those of the plans; see check_disk_for_clips. All outputs lie in one folder.
    signs: for a while, the one that is being signed lies there three times.
    """
    to_clips = max(sum(plan.estimate.workspace_bytes for plan in plans) - workspace.num_bytes("clip"), 0)
    to_outputs = sum(plan.estimate.output_bytes for plan in plans)
    if signs:
        to_outputs += 2 * max(plan.estimate.output_bytes for plan in plans)
    _require_space(workspace.folder, to_clips, plans[0].spec.output.parent, to_outputs)


def check_disk_for_clips(plan: Plan, workspace: Workspace, num_frames: int) -> None:
    """Raise WorkspaceError if there is no space for clips of so many frames, and for the output that they go into.

    Of clips that lie in the workspace, some may be those of another run, with other settings. Which of them are the
    plan's is known once its driving sound is made.
    """
    to_clips = plan.estimate.bytes_of_clips(num_frames)
    _require_space(workspace.folder, to_clips, plan.spec.output.parent, plan.estimate.output_bytes)


def _require_space(workspace: Path, to_clips: int, outputs: Path, to_outputs: int) -> None:
    if os.stat(workspace).st_dev == os.stat(outputs).st_dev:
        require_space(workspace, to_clips + to_outputs)
    else:
        require_space(workspace, to_clips)
        require_space(outputs, to_outputs)
