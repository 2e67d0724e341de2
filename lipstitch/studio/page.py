"""The page of the studio: files in, who is in it, what would be rendered, ranges, run, watch, compare, download.

    files --look--> people, timeline, plan --run--> progress, first clips --> result, comparison, report, job file

What was chosen travels as one value (Choices) from event to event; jobs are those of the service, so that they go on
without the page.
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from lipstitch.service.api.access import Refused
from lipstitch.service.api.routes import Service
from lipstitch.service.api.uploads import SentFile, keep_file
from lipstitch.studio.choices import Choices, Source, read_ranges, request_of, write_ranges
from lipstitch.studio.look import Look
from lipstitch.studio.looking import Step, look, look_folder
from lipstitch.studio.parts import MAIN_PERSON, Parts, Shown, bar, sentence
from lipstitch.studio.timeline import drawn_ranges, timeline_of
from lipstitch.studio.watching import compare, watch
from media.base.errors import LipstitchError

TITLE = "lipstitch studio"
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
ADVICE = " Click a person to choose another."


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
        parts = Parts()
        everything = parts.all()

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
        parts.timer.tick(event(watch), state, everything, show_progress="hidden")
        parts.time.release(event(compare), [state, parts.time], everything)
    return page


def _guarded(parts: Parts, work: Shown) -> Shown:
    """Pass on what an event shows, errors for the user as one sentence."""
    try:
        yield from work
    except LipstitchError as exc:
        yield {parts.said: sentence(str(exc), is_error=True)}
    except Refused as exc:
        yield {parts.said: sentence(exc.sentence, is_error=True)}


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
        yield {parts.said: sentence("Give a video and its dub.", is_error=True)}
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
    copy = Path(sent).with_name(f"{Path(sent).name}.sent")
    os.link(sent, copy)  # the page may look at its file again
    return Source(asset_id=keep_file(SentFile(copy, Path(sent).name), service.store))


def _look_again(service: Service, parts: Parts, chosen: Choices) -> Shown:
    """Look at the video with what is chosen now; the scan of an earlier look is reused."""
    whole = replace(chosen, ranges=())
    seen: Look | None = None
    for found in look(service, request_of(whole), Path(chosen.look_folder)):
        if isinstance(found, Step):
            yield {parts.said: bar(found)}
        else:
            seen = found
    assert seen is not None
    chosen = replace(chosen, look=seen)
    yield {
        parts.choices: chosen,
        parts.said: sentence(seen.people_note),
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
        parts.said: bar(Step("waiting", None)),
        parts.run: gr.update(visible=False),
        parts.cancel: gr.update(visible=True),
        parts.setup: gr.update(visible=False),
        parts.timer: gr.Timer(active=True),
    }


def _cancel(service: Service, parts: Parts, chosen: Choices) -> Shown:
    service.store.cancel(chosen.generation)
    yield {parts.said: bar(Step("stopping", None))}
