"""From a request to a job file: what sync.so's words mean here (docs/service.md)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from lipstitch.service.request import ActiveSpeaker, GenerationRequest, Options
from lipstitch.service.settings import load_base_job
from media.probe import Stated
from stitcher.assemble import MUXERS

OTHER_ENDING = ".mp4"
"""Of the result, where a file of the video's own ending cannot be written."""
LEAST_CUT_SECONDS = Fraction(1, 25)
"""A sound that much shorter than the video cuts it: less is how files are rounded."""
NEUTRAL_TEMPERATURE = 0.5


def build_job(
    request: GenerationRequest,
    files: Sequence[Path],
    stated: Sequence[Stated],
    folder: Path,
    base_job: Path | None,
) -> dict[str, Any]:
    """Return the content of a generation's job file; all its paths are absolute.

    files, stated: of each input. folder: of the generation. base_job: the operator's; raises ConfigError if it is bad.
    """
    base = load_base_job(base_job)
    at = request.input.index(request.video)
    video, sounds = files[at], [(part, file) for part, file in zip(request.input, files, strict=True)]
    suffix = video.suffix.lower() if video.suffix.lower() in MUXERS else OTHER_ENDING
    job: dict[str, Any] = {
        "input": {"video": str(video)},
        "output": str(folder / f"result{suffix}"),
        "segmenter": {**base.get("segmenter", {})},
        "renderer": {**base.get("renderer", {})},
        "stitcher": {**base.get("stitcher", {})},
        # Clips are kept until the end is written down: a worker that takes over from a killed one finds them.
        "execution": {**base.get("execution", {}), "workspace": str(folder / "work"), "keep": "all"},
    }
    options = request.options or Options()
    if request.segments:
        named = {part.ref_id: file for part, file in sounds if part.type == "audio"}
        job["ranges"] = [
            {
                "start": segment.start_time,
                "end": segment.end_time,
                "audio": str(named[segment.audio_input.ref_id]),
                "audio_start": segment.audio_input.start_time or 0,
            }
            for segment in sorted(request.segments, key=lambda each: each.start_time)
        ]
    else:
        (sound,) = (number for number, part in enumerate(request.input) if part.type == "audio")
        job["input"] |= {"audio": str(files[sound]), "audio_start": "video"}
        if request.video.segments_secs:
            job["input"]["length_policy"] = "cut" if options.sync_mode else "video"
            job["ranges"] = [{"start": start, "end": end} for start, end in sorted(request.video.segments_secs)]
        else:
            job |= _length(options.sync_mode, stated[at].seconds, stated[sound].seconds, job["input"])
    _add_options(job, options, stated[at].rate or Fraction(25))
    return job


def _length(mode: str | None, video: Fraction | None, sound: Fraction | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a job that say how long its result is; given: those of its input."""
    assert video is not None, "inputs that do not say how long they are were refused"
    assert sound is not None, "inputs that do not say how long they are were refused"
    if mode in ("cut_off", "loop", "bounce") and video - sound > LEAST_CUT_SECONDS:
        end = f"{float(sound):.6f}"
        return {"mode": "extract", "extract": {"join": True}, "ranges": [{"start": 0, "end": end}], "input": given}
    policies = {"cut_off": "cut", "silence": "cut", "loop": "loop", "bounce": "bounce", None: "video"}
    return {"input": {**given, "length_policy": policies[mode]}}


def _add_options(job: dict[str, Any], options: Options, rate: Fraction) -> None:
    if options.temperature is not None:
        job["renderer"]["strength"] = round(options.temperature / NEUTRAL_TEMPERATURE, 6)
    if options.occlusion_detection_enabled:
        job["renderer"]["mask"] = "parsing"
    if options.lipstitch.method is not None:
        job["renderer"]["method"] = options.lipstitch.method
    target = options.lipstitch.person or _target(options.active_speaker_detection, rate)
    if target is not None:
        job["segmenter"]["target"] = target


def _target(speaker: ActiveSpeaker | None, rate: Fraction) -> Any:
    """Return segmenter.target; rate: frames per second of the video."""
    if speaker is None or (speaker.coordinates is None and not speaker.auto_detect):
        return None
    if speaker.coordinates is None or speaker.frame_number is None:
        return "speaker"
    middle = (speaker.frame_number + Fraction(1, 2)) / rate  # of the frame: no rounding leads to another
    return {"at": f"{float(middle):.6f}", "point": list(speaker.coordinates)}
