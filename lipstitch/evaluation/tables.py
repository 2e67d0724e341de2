"""Scores as a table to read, as JSON, and as the report holds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lipstitch.evaluation.measure import Scores
from lipstitch.evaluation.tally import Figures
from lipstitch.report.records import MeasuresRecord

MEANINGS: Final = {
    "face_seconds": "seconds of faces that were measured",
    "lse_d": "LSE-D, SyncNet: least mean distance of lips and sound (lower is better)",
    "lse_c": "LSE-C, SyncNet: median less least distance (higher is better)",
    "lse_offset_frames": "frames of 1/25 s by which lips come late, SyncNet",
    "sync_distance": "the same distance by the project's own expert (lower is better)",
    "sync_confidence": "median less least distance by it (higher is better)",
    "sync_offset_frames": "frames of 1/25 s by which lips come late, by it",
    "opening_correlation": "how mouths open with the syllables, in time (higher is better)",
    "opening_lag_ms": "milliseconds by which they are late where they fit best",
    "speech_movement": "movement of lips in speech, eye distances a second",
    "silence_movement": "movement of lips in silence (lower is better)",
    "flicker": "change of mouths from frame to frame, 8-bit levels",
    "flicker_ratio": "  as a share of the reference's own (1 is best)",
    "sharpness": "sharpness of mouths, as a share of the face above",
    "sharpness_ratio": "  as a share of the reference's own (1 is best)",
    **{
        f"{name}{suffix}": f"{title}{where}"
        for suffix, where in (("", " against the reference"), ("_untouched", " of untouched pixels against the source"))
        for name, title in (("mse", "mean squared error"), ("psnr", "PSNR, dB,"), ("ssim", "SSIM"))
    },
}
"""Every figure, in the order of the table; docs/measures.md defines them."""
CLIP_COLUMNS: Final = (
    "lse_c",
    "lse_offset_frames",
    "sync_confidence",
    "sync_offset_frames",
    "opening_correlation",
    "silence_movement",
    "flicker_ratio",
    "sharpness_ratio",
    "psnr_untouched",
)
"""Of the table of clips, as far as any clip has them."""
DIGITS: Final = 4


def describe(path: Path, scores: Scores, *, has_clips: bool) -> str:
    """Return the figures of a video as a table, and below it one of its clips, or of its tracks."""
    width = max(len(name) for name in scores.whole)
    lines = [f"Measures of {path}"]
    lines += [
        f"  {name:{width}} {scores.whole[name]:10.3f}  {what}"
        for name, what in MEANINGS.items()
        if name in scores.whole
    ]
    if has_clips:
        rows: Mapping[str, Figures] = {f"clip {clip}": figures for clip, figures in scores.clips.items()}
    else:
        rows = {f"{track.start_seconds:.2f}-{track.stop_seconds:.2f} s": track.figures for track in scores.tracks}
    return "\n".join([*lines, *_rows(rows)]) if len(rows) > 1 else "\n".join(lines)


def _rows(rows: Mapping[str, Figures]) -> list[str]:
    columns = [name for name in CLIP_COLUMNS if any(name in figures for figures in rows.values())]
    width = max(map(len, rows))
    lines = [f"  {'':{width}}  {'  '.join(columns)}"]
    for name, figures in rows.items():
        cells = (
            f"{figures[column]:{len(column)}.3f}" if column in figures else f"{'-':>{len(column)}}"
            for column in columns
        )
        lines.append(f"  {name:{width}}  {'  '.join(cells)}")
    return lines


def record(scores: Scores) -> tuple[MeasuresRecord, ...]:
    """Return what a report holds: the whole output, then its clips."""
    clips = (MeasuresRecord(clip=clip, figures=_rounded(figures)) for clip, figures in scores.clips.items())
    return MeasuresRecord(clip=None, figures=_rounded(scores.whole)), *clips


def to_json(path: Path, scores: Scores, *, has_clips: bool) -> dict[str, object]:
    """Return what belongs into a JSON file."""
    clips = [{"clip": clip, "figures": _rounded(figures)} for clip, figures in scores.clips.items()]
    tracks = [
        {
            "start_seconds": round(track.start_seconds, 3),
            "stop_seconds": round(track.stop_seconds, 3),
            "figures": _rounded(track.figures),
        }
        for track in scores.tracks
    ]
    whole: dict[str, object] = {"path": str(path), "figures": _rounded(scores.whole)}
    return {**whole, **({"clips": clips} if has_clips else {}), "tracks": tracks}


def _rounded(figures: Figures) -> Figures:
    return {name: round(figures[name], DIGITS) for name in MEANINGS if name in figures}
