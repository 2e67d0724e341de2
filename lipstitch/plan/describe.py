"""The plan as text: what --plan prints."""

from __future__ import annotations

from collections.abc import Sequence

from lipstitch.plan.estimate import MASK_SECONDS, RESTORE_SECONDS
from lipstitch.plan.plan import Plan
from media.base.machine import num_cores
from media.base.text import size_text
from media.clips import Gap, Span
from media.intervals import Interval


def _size(plan: Plan) -> list[str]:
    likely = plan.estimate.likely_bytes
    return [] if likely is None else [f"  size     about {size_text(likely)}"]


def _shape(plan: Plan) -> list[str]:
    is_read = plan.shows_footage and plan.mouths.shape == "network"
    return ["  shape    read off what the network draws"] if is_read else []


def _restore(plan: Plan) -> list[str]:
    if not plan.restorer:
        return []
    num_faces = plan.num_network_faces
    seconds = num_faces * RESTORE_SECONDS * 2 / num_cores()
    return [
        f"  restore  {plan.restorer}",
        f"  restore  {num_faces} faces that the network draws, about {seconds:.0f} s more without a GPU",
    ]


def _masks(plan: Plan) -> list[str]:
    if not plan.mouths.masks:
        return []
    num_faces = sum(stop - start for (start, stop), _ in plan.shown)
    seconds = len(plan.mouths.masks) * num_faces * MASK_SECONDS * 2 / num_cores()
    return [f"  mask     {', '.join(plan.mouths.masks)}: about {seconds:.0f} s more without a GPU"]


def _program(plan: Plan) -> list[str]:
    faces = f"{plan.num_network_faces} faces go through {plan.program}, which takes a time of its own"
    return [f"  program  {faces}"] if plan.program else []


def _enhance(plan: Plan) -> list[str]:
    if not plan.enhancer:
        return []
    num_frames = len(plan.spec.timeline) - plan.estimate.num_copied
    return [f"  enhance  {num_frames} frames: {plan.enhancer}; it takes a time of its own"]


def describe_plan(plan: Plan) -> str:
    """Return the plan as lines of text."""
    spec, estimate, note = plan.spec, plan.estimate, plan.target.choice.note
    total = float(spec.timeline.seconds(len(spec.timeline)))
    lines = [
        f"Plan for {spec.output}",
        f"  frames   {len(spec.timeline)} ({total:.3f} s): {estimate.num_rendered} rendered,"
        f" {estimate.num_reencoded} re-encoded unchanged, {estimate.num_copied} copied",
        *([f"  video    {plan.whole_reason}"] if plan.whole_reason else []),
        *(f"  lost     {loss.describe()}" for loss in plan.streams.losses),
        f"  sound    {plan.sound.describe()}",
        *(f"  sound    {sound_note.text}" for sound_note in spec.sound_notes),
        f"  silence  {plan.mouths.describe_silence()}",
        f"  target   {plan.target.describe()}",
        *(f"  speaker  {share.describe()}" for share in plan.shares),
        *([f"  note     {note}"] if note else []),
        f"  align    {plan.mouths.describe_align()}",
        *(f"  footage  {use.describe()}" for use in plan.mouths.footage.further),
        *_shape(plan),
        *_masks(plan),
        *_program(plan),
        *_restore(plan),
        *_enhance(plan),
        *_size(plan),
        f"  about    {estimate.seconds:.0f} s of work after the scan, {size_text(estimate.disk_bytes)} of disk,"
        f" {size_text(estimate.memory_bytes)} of memory",
        "  spans (frames of the source)",
    ]
    lines += [
        f"    {span.start_frame:>8} - {span.stop_frame - 1:<8} {span.kind:8} {_person(span)}{_why(span)}".rstrip()
        for span in plan.spans
    ]
    lines.append("  clips (frames of the output)")
    lines += [
        f"    {clip.index:>5}  {clip.start_frame:>8} - {clip.stop_frame - 1:<8} {clip.action:7}"
        f" {_mouths(clip.rendered)}{clip.reason}"
        for clip in plan.clips
    ]
    return "\n".join(lines)


def _person(span: Span) -> str:
    return f"person {span.person}  " if span.person is not None else ""


def _why(span: Span) -> str:
    if isinstance(span, Gap):
        return span.reason
    strength = f" at strength {span.source.strength:g}" if span.source.strength is not None else ""
    quality = f" in quality {span.source.quality}" if span.source.quality else ""
    return f"{span.source.method}{strength}{quality}{f': {span.source.reason}' if span.source.reason else ''}"


def _mouths(rendered: Sequence[Interval]) -> str:
    return f"mouths in {', '.join(f'{start}-{stop - 1}' for start, stop in rendered)}  " if rendered else ""
