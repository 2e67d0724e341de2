"""The report of one output, from the values of its job."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lipstitch.plan.outputs.dialogue import Share
from lipstitch.plan.plan import Plan
from lipstitch.plan.target import TargetSelection
from lipstitch.progress import Timings
from lipstitch.report.disclosed import Disclosed
from lipstitch.report.records import (
    OUTCOME_NAMES,
    ChangeRecord,
    CheckRecord,
    ClipRecord,
    DisclosureRecord,
    FurtherRecord,
    Hashes,
    OffsetRecord,
    OutputRecord,
    SoundtrackRecord,
    SourceRecord,
    SpanRecord,
    SpeakerRecord,
    TargetRecord,
    VideoRecord,
)
from lipstitch.report.report import ProvenanceRecord, Report
from lipstitch.source.offset import SoundOffset
from lipstitch.source.scan import Scanned
from media.clips import Gap, RenderedClip, Span
from media.orientation import Rectangle
from media.timeline import OutputTimeline
from stitcher.assemble import Assembled
from stitcher.audio.soundtrack import Soundtrack
from stitcher.verify.contract import Check

LIBRARIES = ("av", "numpy", "onnxruntime", "opencv-python", "scenedetect", "torch")


@dataclass(frozen=True, slots=True)
class Made:
    """What an output is made of."""

    video: Path
    """As the job names it: a picture, where a video was made of one."""
    clips: Sequence[RenderedClip]
    soundtrack: Soundtrack | None
    """None if the source's own sound was kept."""
    assembled: Assembled
    size_bytes: int
    """Of the file that was written."""
    enhanced: Rectangle | None
    """The rectangle of whole frames, if those that were not copied were enhanced; else None."""
    disclosed: Disclosed


def build_report(
    scanned: Scanned, plan: Plan, made: Made, checks: Sequence[Check], timings: Timings, hashes: Hashes
) -> Report:
    """Return the report of an output. hashes: of its inputs."""
    source, spec = scanned.source, plan.spec
    timeline, clips, soundtrack, assembled = spec.timeline, made.clips, made.soundtrack, made.assembled
    report = Report(
        lipstitch=program_version(),
        source=SourceRecord(
            path=str(made.video),
            codec=source.video.codec,
            width=source.video.width,
            height=source.video.height,
            orientation=str(source.video.orientation),
            num_frames=len(source.table),
            size_bytes=source.info.size_bytes,
        ),
        output=OutputRecord(
            path=str(spec.output),
            num_frames=len(timeline),
            seconds=float(timeline.seconds(len(timeline))),
            size_bytes=made.size_bytes,
            dropped_streams=tuple(loss.describe() for loss in assembled.losses),
            dropped_stream_indexes=assembled.dropped_streams,
        ),
        detector=scanned.finder.detector,
        align=plan.mouths.describe_align(),
        target=_target(plan.target),
        speakers=tuple(_speaker(share, timeline) for share in plan.shares),
        silence=plan.mouths.describe_silence(),
        restore=plan.restorer,
        masks=plan.mouths.masks,
        enhance=plan.enhancer,
        program=plan.program,
        further_footage=tuple(
            FurtherRecord(path=str(use.path), person=use.person, seconds=round(use.seconds, 3))
            for use in plan.mouths.footage.further
        ),
        spans=tuple(map(_span, plan.spans)),
        redone=tuple(ChangeRecord.of(change) for change in plan.target.redone if not change.is_empty),
        clips=tuple(_clip(clip, timeline) for clip in clips),
        num_clips=dict(Counter(OUTCOME_NAMES[clip.outcome] for clip in clips)),
        num_rendered_frames=sum(clip.num_rendered for clip in clips),
        damaged_frames=tuple(sorted({frame for clip in clips for frame in clip.damaged_frames})),
        video=VideoRecord(codec=written_codec(scanned, plan, clips), note=plan.whole_reason),
        soundtrack=SoundtrackRecord(
            kind=soundtrack.kind if soundtrack else "source",
            note=soundtrack.note if soundtrack else "the source's own sound, as it is",
            notes=tuple(note.text for note in spec.sound_notes),
        ),
        checks=tuple(CheckRecord(promise=check.promise, found=check.found) for check in checks),
        seconds={stage: round(value, 3) for stage, value in timings.seconds.items()},
        hashes=hashes,
        versions={"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
        check=ProvenanceRecord.of(clips, made.enhanced),
        disclosure=DisclosureRecord(kind=made.disclosed.kind, note=made.disclosed.note),
    )
    offset = scanned.offset
    return report.model_copy(update={"audio_offset": _offset(offset)}) if offset.text else report


def written_codec(scanned: Scanned, plan: Plan, clips: Sequence[RenderedClip]) -> str:
    """Return FFmpeg's decoder name of an output's video, which is the source's unless some clip was encoded."""
    return plan.streams.coding.codec if any(clip.path for clip in clips) else scanned.source.video.codec


def _offset(offset: SoundOffset) -> OffsetRecord:
    moved, found = float(1000 * offset.seconds), offset.found
    if found is None:
        return OffsetRecord(moved_ms=moved)
    certainty = round(found.certainty, 2)
    return OffsetRecord(moved_ms=moved, found_ms=found.milliseconds, certainty=certainty, seconds=found.seconds)


def _target(selection: TargetSelection) -> TargetRecord:
    return TargetRecord(
        target=selection.target,
        chosen=selection.describe(),
        people=selection.choice.people,
        num_people=len(selection.identities.people),
        note=selection.choice.note,
    )


def _speaker(share: Share, timeline: OutputTimeline) -> SpeakerRecord:
    speaker = share.speaker
    return SpeakerRecord(
        name=speaker.name,
        people=speaker.people,
        voice="stem" if speaker.drive_index else "dub",
        turns=tuple((_seconds(timeline, start), _seconds(timeline, stop)) for start, stop in speaker.turns),
        spoken_seconds=round(share.spoken_seconds, 3),
        rendered_seconds=round(share.rendered_seconds, 3),
    )


def _span(span: Span) -> SpanRecord:
    record = SpanRecord(
        start_frame=span.start_frame,
        stop_frame=span.stop_frame,
        kind=span.kind,
        person=span.person,
        reason=span.reason,
    )
    if isinstance(span, Gap):
        return record
    source = span.source
    own = {"strength": source.strength, "quality": source.quality}
    said = {name: value for name, value in own.items() if value is not None}
    return record.model_copy(update={"method": source.method, "method_reason": source.reason, **said})


def _clip(rendered: RenderedClip, timeline: OutputTimeline) -> ClipRecord:
    clip = rendered.clip
    record = ClipRecord(
        index=clip.index,
        start_frame=clip.start_frame,
        stop_frame=clip.stop_frame,
        start_seconds=_seconds(timeline, clip.start_frame),
        outcome=OUTCOME_NAMES[rendered.outcome],
        reason=rendered.reason,
        rendered=clip.rendered if rendered.outcome == "rendered" else (),
        seconds=rendered.seconds or 0.0,
        reused=rendered.reused,
    )
    return record.model_copy(update={"frame_hashes": rendered.frame_hashes}) if rendered.frame_hashes else record


def _seconds(timeline: OutputTimeline, frame: int) -> float:
    return round(float(timeline.seconds(frame)), 3)


def program_version() -> str:
    """Return the version of lipstitch."""
    return _version("lipstitch")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
