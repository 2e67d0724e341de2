"""What will be done, before it is: spans, clips, estimated time, disk and memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from base.errors import WorkspaceError
from lipstitch.plan.dialogue import Share
from lipstitch.plan.outputs import OutputSpec
from lipstitch.plan.target import TargetSelection
from lipstitch.workspace import Workspace
from media.clips import Clip, Span
from media.info import MediaInfo
from media.intervals import Interval
from stitcher.losses import Loss

LARGE_CHECKPOINT_BYTES = 100_000_000
RENDER_FRAMES_PER_SECOND = {"small": 45.0, "large": 20.0}
"""Face frames a second on two cores, tracking and coding included, for a compact and a full-size network."""
CODE_FRAMES_PER_SECOND = 100.0
COPY_FRAMES_PER_SECOND = 3000.0
CODED_BITS_PER_PIXEL = 0.6
"""Upper end of what x264 needs at the default quality; grain needs more."""
VOICE_BYTES_PER_SECOND, TRACK_BYTES_PER_SECOND = 4 * 16_000, 24_000
"""Of each sound that drives lips, and of a soundtrack of 192 kbit/s."""
PROCESS_MEGABYTES, FIRST_PROCESS_MEGABYTES = 900, 400
"""Of each worker process, and of the one that starts them."""
THREAD_MEGABYTES, FIRST_THREAD_MEGABYTES = 130, 1250
"""Of each worker thread, and of the process that they share."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One output as it will be made, with estimates for a machine like the one the figures were measured on."""

    edit: OutputSpec
    spans: tuple[Span, ...]
    clips: tuple[Clip, ...]
    whole: str
    """Why the whole video is re-encoded; empty if it is not."""
    losses: tuple[Loss, ...]
    """What the output cannot hold of the source."""
    sound: str
    """How the soundtrack will be made."""
    casting: TargetSelection
    """Who is in the video, and who of them is rendered."""
    shares: tuple[Share, ...]
    """In a dialogue, what each speaker has of it."""
    align: str
    """How faces are cropped: the word of the job file, and why it cannot be had where it cannot."""
    silence: str
    """What mouths do while nobody speaks."""
    pauses: tuple[tuple[Interval, ...], ...]
    """Samples of each voice in which it does not speak; empty where that plays no part."""
    num_rendered: int
    num_reencoded: int
    num_copied: int
    seconds: float
    workspace_bytes: int
    """What the clips and the sound take in the workspace."""
    output_bytes: int
    memory_bytes: int

    @property
    def disk_bytes(self) -> int:
        """What is written in all."""
        return self.workspace_bytes + self.output_bytes


def build_plan(
    edit: OutputSpec,
    spans: Sequence[Span],
    clips: Sequence[Clip],
    *,
    casting: TargetSelection,
    shares: Sequence[Share] = (),
    source: MediaInfo,
    reencode_reason: str,
    losses: Sequence[Loss] = (),
    sound: str,
    align: str,
    silence: str,
    pauses: Sequence[Sequence[Interval]],
    num_cores: int,
    num_workers: int,
    are_processes: bool,
    checkpoint_bytes: int,
) -> Plan:
    """Count what the clips hold and estimate what they cost. reencode_reason: as for plan_clips."""
    video = source.require_video()
    rendered = sum(stop - start for clip in clips for start, stop in clip.rendered)
    coded = sum(len(clip) for clip in clips if clip.action != "copy") - rendered
    copied = len(edit.timeline) - rendered - coded
    speed = RENDER_FRAMES_PER_SECOND["large" if checkpoint_bytes > LARGE_CHECKPOINT_BYTES else "small"]
    scale = num_cores / 2
    seconds = rendered / (speed * scale) + coded / (CODE_FRAMES_PER_SECOND * scale) + copied / COPY_FRAMES_PER_SECOND
    clip_bytes = int((rendered + coded) * video.width * video.height * CODED_BITS_PER_PIXEL / 8)
    output_bytes = int(source.size_bytes * copied / max(len(edit.timeline), 1)) + clip_bytes
    sound_rate = len(edit.voices) * VOICE_BYTES_PER_SECOND + TRACK_BYTES_PER_SECOND
    sound_bytes = int(edit.timeline.seconds(len(edit.timeline)) * sound_rate)
    num_networks = max(num_workers, 1) if are_processes else 1
    first, each = (
        (FIRST_PROCESS_MEGABYTES, PROCESS_MEGABYTES) if are_processes else (FIRST_THREAD_MEGABYTES, THREAD_MEGABYTES)
    )
    memory = (first + num_workers * each) * 1_000_000 + 2 * num_networks * checkpoint_bytes
    return Plan(
        edit=edit,
        spans=tuple(spans),
        clips=tuple(clips),
        whole="" if copied else reencode_reason,
        losses=tuple(losses),
        sound=sound,
        casting=casting,
        shares=tuple(shares),
        align=align,
        silence=silence,
        pauses=tuple(map(tuple, pauses)),
        num_rendered=rendered,
        num_reencoded=coded,
        num_copied=copied,
        seconds=seconds,
        workspace_bytes=clip_bytes + sound_bytes,
        output_bytes=output_bytes + sound_bytes,
        memory_bytes=memory,
    )


def check_disk(plans: Sequence[Plan], workspace: Workspace) -> None:
    """Raise WorkspaceError if the plans need more than the disks of workspace and outputs have.

    Clips that an earlier run finished are there already. All outputs lie in one folder.
    """
    folders = (workspace.folder, plans[0].edit.output.parent)
    to_clips = max(sum(plan.workspace_bytes for plan in plans) - workspace.num_bytes("clip"), 0)
    to_outputs = sum(plan.output_bytes for plan in plans)
    shared = os.stat(folders[0]).st_dev == os.stat(folders[1]).st_dev
    wanted = [(folders[0], to_clips + to_outputs)] if shared else [*zip(folders, (to_clips, to_outputs), strict=True)]
    for folder, needed in wanted:
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise WorkspaceError(
                f"{folder}: about {_size(needed)} are needed and {_size(free)} are free. Make space there."
            )


def describe_plan(plan: Plan) -> str:
    """Return the plan as lines of text."""
    timeline = plan.edit.timeline
    total = float(timeline.seconds(len(timeline)))
    lines = [
        f"Plan for {plan.edit.output}",
        f"  frames   {len(timeline)} ({total:.3f} s): {plan.num_rendered} rendered,"
        f" {plan.num_reencoded} re-encoded unchanged, {plan.num_copied} copied",
        *([f"  video    {plan.whole}"] if plan.whole else []),
        *(f"  lost     {loss.describe()}" for loss in plan.losses),
        f"  sound    {plan.sound}",
        *(f"  sound    {note.text}" for note in plan.edit.sound_notes),
        f"  silence  {plan.silence}",
        f"  target   {plan.casting.describe()}",
        *(f"  speaker  {share.describe()}" for share in plan.shares),
        *([f"  note     {plan.casting.choice.note}"] if plan.casting.choice.note else []),
        f"  align    {plan.align}",
        f"  about    {plan.seconds:.0f} s of work after the scan, {_size(plan.disk_bytes)} of disk,"
        f" {_size(plan.memory_bytes)} of memory",
        "  spans (frames of the source)",
    ]
    lines += [
        f"    {span.start_frame:>8} - {span.stop_frame - 1:<8} {span.kind:8} {_who(span)}{span.reason}".rstrip()
        for span in plan.spans
    ]
    lines.append("  clips (frames of the output)")
    lines += [
        f"    {clip.index:>5}  {clip.start_frame:>8} - {clip.stop_frame - 1:<8} {clip.action:7} {_parts(clip.rendered)}"
        f"{clip.reason}"
        for clip in plan.clips
    ]
    return "\n".join(lines)


def _who(span: Span) -> str:
    return f"person {span.person}" if span.person is not None else ""


def _parts(rendered: Sequence[Interval]) -> str:
    return f"mouths in {', '.join(f'{start}-{stop - 1}' for start, stop in rendered)}  " if rendered else ""


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
