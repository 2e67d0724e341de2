"""A job of the studio while it runs and once it is done: what the page shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr

from lipstitch.report.report import Report, load_report, page_path, report_path
from lipstitch.service.api.routes import Service
from lipstitch.service.store import EVENTS_NAME, Asked
from lipstitch.service.worker import JOB_NAME
from lipstitch.studio.choices import Choices
from lipstitch.studio.finished import preview
from lipstitch.studio.looking import Step, last_step
from lipstitch.studio.parts import Parts, Shown, bar, sentence
from stitcher.preview import picture_at


def watch(service: Service, parts: Parts, chosen: Choices) -> Shown:
    """Show how far the job is, and what it has finished."""
    asked, state = service.find(chosen.generation)
    folder = service.store.place(asked.id)
    if not state.is_finished:
        step = last_step(folder / EVENTS_NAME) if state.status == "PROCESSING" else Step("waiting", None)
        shown: dict[Any, Any] = {parts.said: bar(step or Step("opening", None))}
        video, dub = _inputs(asked)
        clips = preview(folder, video, dub) if step and step.stage == "render" else None
        if clips is not None:
            shown[parts.first_clips] = gr.update(value=str(clips), visible=True)
        yield shown
        return
    hidden = gr.update(visible=False)
    ended = {parts.timer: gr.Timer(active=False), parts.cancel: hidden, parts.first_clips: hidden}
    again = {parts.setup: gr.update(visible=True), parts.run: gr.update(visible=True)}
    if state.status != "COMPLETED":
        text = state.error or "The job was stopped."
        yield {**ended, **again, parts.said: sentence(text, is_error=state.error is not None)}
        return
    yield {**ended, **again, **_finished(service, parts, asked)}


def _inputs(asked: Asked) -> tuple[Path, Path]:
    """Return the files of the video and of the dub, which are both on this machine."""
    video, dub = asked.files
    assert video is not None
    assert dub is not None
    return video, dub


def _finished(service: Service, parts: Parts, asked: Asked) -> dict[Any, Any]:
    """Return what shows the result of a job."""
    result = service.store.result(asked.id)
    assert result is not None
    report = load_report(report_path(result))
    time = _time_to_compare(report)
    address = urlsplit(service.describe(*service.find(asked.id)).output_url or "")
    path = escape(f"{address.path}?{address.query}", quote=True)
    has_page = page_path(result).is_file()
    looked = f' · <a href="/v2/generate/{asked.id}/page" target="_blank">Report</a>' if has_page else ""
    count = report.num_clips.get("fell_back", 0)
    said = f"Done: {report.num_rendered_frames} frames have new mouths."
    if count:
        said += f" {count} clips could not be rendered and show the original frames; the report says why."
    folder = service.store.place(asked.id)
    return {
        parts.said: sentence(said),
        parts.result: gr.update(visible=True),
        parts.video: f'<video src="{path}" controls preload="metadata" style="width:100%;max-height:70vh"></video>'
        f'<p><a href="{path}" download>Download the video</a>{looked}</p>',
        parts.time: gr.update(maximum=max(0.04, float(report.output.seconds)), value=time),
        parts.slider: _pair(asked, result, time),
        parts.files: [str(path) for path in _kept(folder, result)],
    }


def _time_to_compare(report: Report) -> float:
    """Return a time in the middle of the first new mouths, in seconds of the output."""
    for clip in report.clips:
        if clip.rendered:
            start, stop = clip.rendered[0]
            rate = report.output.num_frames / report.output.seconds if report.output.seconds else 25.0
            return round(clip.start_seconds + ((start + stop) / 2 - clip.start_frame) / rate, 2)
    return 0.0


def _kept(folder: Path, result: Path) -> Sequence[Path]:
    candidates = (report_path(result), page_path(result), folder / JOB_NAME)
    return [path for path in candidates if path.is_file()]


def _pair(asked: Asked, result: Path, seconds: float) -> tuple[Any, Any]:
    video, _ = _inputs(asked)
    return picture_at(video, seconds), picture_at(result, seconds)


def compare(service: Service, parts: Parts, chosen: Choices, seconds: float) -> Shown:
    """Show the frames of source and result at a time."""
    asked, _ = service.find(chosen.generation)
    result = service.store.result(asked.id)
    if result is not None:
        yield {parts.slider: _pair(asked, result, seconds)}
