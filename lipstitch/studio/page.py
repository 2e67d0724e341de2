"""The page of the studio: files in, who is in it, what would be rendered, ranges, run, watch, compare, download.

    files --look--> people, timeline, plan --run--> progress, first clips --> result, comparison, report, job file

What was chosen travels as one value (Choices) from event to event; jobs are those of the service, so that they go on
without the page.
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before it is imported: nothing is sent anywhere

import gradio as gr
from PIL import Image

from lipstitch.report.report import Report, load_report, page_path, report_path
from lipstitch.service.api.access import Refused
from lipstitch.service.api.routes import Service
from lipstitch.service.api.uploads import keep_upload
from lipstitch.service.store import Asked
from lipstitch.service.worker import EVENTS_NAME, JOB_NAME
from lipstitch.studio.choices import Choices, Source, read_ranges, request_of, write_ranges
from lipstitch.studio.finished import preview
from lipstitch.studio.look import Look
from lipstitch.studio.looking import Step, last_step, look, look_folder
from lipstitch.studio.timeline import drawn_ranges, read_part, timeline_of
from media.base.errors import LipstitchError
from stitcher.preview import picture_at

TITLE = "lipstitch studio"
POLL_SECONDS = 1.0
VIDEO_ENDINGS = [".mp4", ".mkv", ".mov", ".webm", ".m4v", ".avi", ".mpg", ".ts", ".mxf"]
SOUND_ENDINGS = [".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus", ".aac", ".mka"]
MOST_LISTED = 500
"""Files of the operator's folders that are listed."""
METHODS = [
    ("as set up", ""),
    ("what the footage allows", "auto"),
    ("the speaker's own footage", "footage"),
    ("a network", "network"),
]
Shown = Iterator[dict[Any, Any]]
"""What an event shows, step by step: the new values of components."""
MAIN_PERSON = "The lips of the person who is mainly seen move."
ADVICE = " Click a person to choose another."


@dataclass(frozen=True, slots=True)
class Parts:
    """The components that events fill."""

    choices: gr.State
    said: gr.HTML
    people: gr.Gallery
    who: gr.Markdown
    timeline: gr.HTML
    ranges: gr.Textbox
    plan: gr.Textbox
    setup: gr.Column
    run: gr.Button
    cancel: gr.Button
    first_clips: gr.Video
    result: gr.Column
    video: gr.HTML
    time: gr.Slider
    slider: gr.ImageSlider
    files: gr.File
    timer: gr.Timer


def build_page(service: Service) -> gr.Blocks:
    """Return the page of a service's studio."""
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown("# lipstitch\nRe-sync the lips of a video with its dub. Everything else in it stays as it is.")
        with gr.Row():
            video = gr.File(label="Video", file_types=VIDEO_ENDINGS, elem_id="video")
            dub = gr.File(label="Dub", file_types=[*SOUND_ENDINGS, *VIDEO_ENDINGS], elem_id="dub")
        with gr.Accordion("Files on this machine", open=False, visible=bool(service.settings.inputs)), gr.Row():
            listed = _listed_files(service)
            near_video = gr.Dropdown(listed, label="Video", value=None, elem_id="near-video")
            near_dub = gr.Dropdown(listed, label="Dub", value=None, elem_id="near-dub")
        looking = gr.Button("Look at the video", variant="primary", elem_id="look")
        parts = _build_parts()
        everything = [*(getattr(parts, name) for name in Parts.__slots__)]

        def event(work: Callable[..., Shown]) -> Callable[..., Shown]:
            def run(*given: Any) -> Shown:
                yield from _guarded(parts, work(service, parts, *given))

            return run

        def choose(chosen: Choices, at: gr.SelectData) -> Shown:
            yield from _guarded(parts, _choose(service, parts, chosen, at.index))

        method = gr.Radio(METHODS, value="", label="Where new mouths come from", elem_id="method", render=False)
        with parts.setup:
            method.render()
        state = parts.choices
        looking.click(event(_look), [state, video, dub, near_video, near_dub], everything, concurrency_limit=2)
        parts.people.select(choose, state, everything)
        method.input(event(_set_method), [state, method], everything)
        parts.timeline.input(event(_draw), [state, parts.timeline], everything)
        parts.ranges.submit(event(_write), [state, parts.ranges], everything)
        parts.run.click(event(_run), [state, parts.ranges], everything)
        parts.cancel.click(event(_cancel), state, everything)
        parts.timer.tick(event(_watch), state, everything, show_progress="hidden")
        parts.time.release(event(_compare), [state, parts.time], everything)
    return page


def _build_parts() -> Parts:
    said = gr.HTML(elem_id="said")
    with gr.Column(visible=False) as setup:
        people = gr.Gallery(
            label="Who is in it", columns=8, height=190, allow_preview=False, object_fit="cover", elem_id="people"
        )
        who = gr.Markdown(MAIN_PERSON, elem_id="who")
        timeline = gr.HTML(
            timeline_of(None),
            html_template=read_part("html"),
            css_template=read_part("css"),
            js_on_load=read_part("js"),
            elem_id="timeline",
        )
        ranges = gr.Textbox(
            label="Ranges to re-sync",
            info="Drag on the timeline, or write start-end, separated by commas. Empty: the whole video.",
            elem_id="ranges",
        )
        with gr.Accordion("Plan", open=False):
            plan = gr.Textbox(lines=12, show_label=False, interactive=False, elem_id="plan")
    with gr.Row():
        run = gr.Button("Re-sync", variant="primary", visible=False, elem_id="run")
        cancel = gr.Button("Stop", visible=False, elem_id="cancel")
    first_clips = gr.Video(label="The first finished clips", visible=False, autoplay=True, loop=True, elem_id="clips")
    with gr.Column(visible=False) as result:
        video = gr.HTML(elem_id="result")
        time = gr.Slider(0, 1, step=0.04, label="Compare at (seconds)", elem_id="time")
        slider = gr.ImageSlider(label="Source, and result", max_height=720, elem_id="slider")
        files = gr.File(label="Report and job file", interactive=False, file_count="multiple", elem_id="files")
    return Parts(
        choices=gr.State(Choices()),
        said=said,
        people=people,
        who=who,
        timeline=timeline,
        ranges=ranges,
        plan=plan,
        setup=setup,
        run=run,
        cancel=cancel,
        first_clips=first_clips,
        result=result,
        video=video,
        time=time,
        slider=slider,
        files=files,
        timer=gr.Timer(POLL_SECONDS, active=False),
    )


def _guarded(parts: Parts, work: Shown) -> Shown:
    """Pass on what an event shows, errors for the user as one sentence."""
    try:
        yield from work
    except LipstitchError as exc:
        yield {parts.said: _sentence(str(exc), is_error=True)}
    except Refused as exc:
        yield {parts.said: _sentence(exc.sentence, is_error=True)}


def _listed_files(service: Service) -> list[str]:
    """Return the media files in the operator's folders."""
    endings = {*VIDEO_ENDINGS, *SOUND_ENDINGS}
    found = (
        str(path)
        for folder in service.settings.inputs
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in endings and path.is_file()
    )
    return [path for path, _ in zip(found, range(MOST_LISTED), strict=False)]


def _look(
    service: Service, parts: Parts, _chosen: Choices, video: str | None, dub: str | None, *near: str | None
) -> Shown:
    """Take the files, and look at the video."""
    near_video, near_dub = near
    if not (video or near_video) or not (dub or near_dub):
        yield {parts.said: _sentence("Give a video and its dub.", is_error=True)}
        return
    chosen = Choices(
        video=_taken(service, video, near_video),
        dub=_taken(service, dub, near_dub),
        look_folder=str(look_folder(service)),
    )
    hidden = gr.update(visible=False)
    yield {parts.result: hidden, parts.first_clips: hidden, parts.setup: hidden, parts.run: hidden, parts.ranges: ""}
    yield from _look_again(service, parts, chosen)


def _taken(service: Service, sent: str | None, near: str | None) -> Source:
    if sent is None:
        return Source(path=near)
    name = Path(sent).name.encode(errors="replace")
    copy = Path(sent).with_name(f"{Path(sent).name}.sent")
    os.link(sent, copy)  # the page may look at its file again
    return Source(asset_id=keep_upload(copy, name, service.store))


def _look_again(service: Service, parts: Parts, chosen: Choices) -> Shown:
    """Look at the video with what is chosen now; the scan of an earlier look is reused."""
    whole = replace(chosen, ranges=())
    seen: Look | None = None
    for found in look(service, request_of(whole), Path(chosen.look_folder)):
        if isinstance(found, Step):
            yield {parts.said: _bar(found)}
        else:
            seen = found
    assert seen is not None
    chosen = replace(chosen, look=seen)
    yield {
        parts.choices: chosen,
        parts.said: _sentence(seen.people_note),
        parts.people: gr.update(value=_pictures(seen), visible=bool(seen.people)),
        parts.who: _who(chosen),
        parts.timeline: timeline_of(seen, chosen.ranges),
        parts.plan: "\n".join(seen.plan),
        parts.setup: gr.update(visible=True),
        parts.run: gr.update(visible=True),
    }


def _pictures(seen: Look) -> list[tuple[Image.Image, str]]:
    pictures: list[tuple[Image.Image, str]] = []
    for person in seen.people:
        spoken = "" if person.spoken is None else f", speaks {person.spoken:.0f} s"
        if person.picture:
            picture = Image.open(BytesIO(b64decode(person.picture)))
            pictures.append((picture, f"{person.number}: {person.seconds:.0f} s{spoken}"))
    return pictures


def _who(chosen: Choices) -> str:
    has_others = chosen.look is not None and len(chosen.look.people) > 1
    if chosen.person is None:
        return MAIN_PERSON + (ADVICE if has_others else "")
    return f"The lips of person {chosen.person} move. Click them again for the one who is mainly seen."


def _choose(service: Service, parts: Parts, chosen: Choices, picture: int) -> Shown:
    """Choose a person; clicked again, they are no longer chosen."""
    assert chosen.look is not None
    number = [person.number for person in chosen.look.people if person.picture][picture]
    yield from _look_again(service, parts, replace(chosen, person=None if number == chosen.person else number))


def _set_method(service: Service, parts: Parts, chosen: Choices, method: Any) -> Shown:
    yield from _look_again(service, parts, replace(chosen, method=method or None))


def _draw(_: Service, parts: Parts, chosen: Choices, shown: str) -> Shown:
    """Take the ranges that were drawn on the timeline."""
    ranges = drawn_ranges(shown)
    if ranges != chosen.ranges:
        yield {parts.choices: replace(chosen, ranges=ranges), parts.ranges: write_ranges(ranges)}


def _write(_: Service, parts: Parts, chosen: Choices, text: str) -> Shown:
    """Take the ranges that were written."""
    chosen = replace(chosen, ranges=read_ranges(text))
    yield {
        parts.choices: chosen,
        parts.timeline: timeline_of(chosen.look, chosen.ranges),
        parts.said: "",
    }


def _run(service: Service, parts: Parts, chosen: Choices, text: str) -> Shown:
    """Start the job; what was found out about the video becomes its own."""
    chosen = replace(chosen, ranges=read_ranges(text))
    work = Path(chosen.look_folder) / "work"
    generation = service.submit(request_of(chosen), "/", work)
    yield {
        parts.choices: replace(chosen, generation=generation.id),
        parts.said: _bar(Step("waiting", None)),
        parts.run: gr.update(visible=False),
        parts.cancel: gr.update(visible=True),
        parts.setup: gr.update(visible=False),
        parts.timer: gr.Timer(active=True),
    }


def _cancel(service: Service, parts: Parts, chosen: Choices) -> Shown:
    service.store.cancel(chosen.generation)
    yield {parts.said: _bar(Step("stopping", None))}


def _watch(service: Service, parts: Parts, chosen: Choices) -> Shown:
    """Show how far the job is, and what it has finished."""
    asked, state = service.find(chosen.generation)
    folder = service.store.place(asked.id)
    if not state.is_finished:
        step = last_step(folder / EVENTS_NAME) if state.status == "PROCESSING" else Step("waiting", None)
        shown: dict[Any, Any] = {parts.said: _bar(step or Step("opening", None))}
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
        yield {**ended, **again, parts.said: _sentence(text, is_error=state.error is not None)}
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
        parts.said: _sentence(said),
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


def _compare(service: Service, parts: Parts, chosen: Choices, seconds: float) -> Shown:
    asked, _ = service.find(chosen.generation)
    result = service.store.result(asked.id)
    if result is not None:
        yield {parts.slider: _pair(asked, result, seconds)}


def _bar(step: Step) -> str:
    """Return a bar of progress, read out by screen readers."""
    share = "" if step.share is None else f' value="{step.share:.3f}"'
    percent = "" if step.share is None else f" {step.share:.0%}"
    return (
        f'<label role="status">{escape(step.stage)}{percent}<br>'
        f'<progress max="1"{share} style="width:100%"></progress></label>'
    )


def _sentence(text: str, *, is_error: bool = False) -> str:
    role = "alert" if is_error else "status"
    return f'<p role="{role}" class="{"error" if is_error else "said"}">{escape(text)}</p>' if text else ""
