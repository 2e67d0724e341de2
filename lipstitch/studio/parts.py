"""The components of the studio's page that events fill, and the words in which they are filled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from html import escape
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before it is imported: nothing is sent anywhere

import gradio as gr

from lipstitch.studio.choices import Choices
from lipstitch.studio.looking import Step
from lipstitch.studio.timeline import read_part, timeline_of

POLL_SECONDS = 1.0
STYLE = "#people .grid-container { grid-template-columns: repeat(auto-fill, 150px); }"
"""Two people are shown as large as twenty; Gradio gives each of two half of the page, and cuts their mouths off."""
MAIN_PERSON = "The lips of the person who is mainly seen move."
Shown = Iterator[dict[Any, Any]]
"""What an event shows, step by step: the new values of components."""


class Parts:
    """The components that events fill, in the order in which they are seen."""

    def __init__(self) -> None:
        """Build them, in the page that is being built."""
        self.said = gr.HTML(elem_id="said")
        with gr.Column(visible=False) as self.setup:
            self.people = gr.Gallery(
                label="Who is in it", height=190, allow_preview=False, object_fit="cover", elem_id="people"
            )
            self.who = gr.Markdown(MAIN_PERSON, elem_id="who")
            self.timeline = gr.HTML(
                timeline_of(None),
                html_template=read_part("html"),
                css_template=read_part("css"),
                js_on_load=read_part("js"),
                elem_id="timeline",
            )
            self.ranges = gr.Textbox(
                label="Ranges to re-sync",
                info="Drag on the timeline, or write start-end, separated by commas. Empty: the whole video.",
                elem_id="ranges",
            )
            with gr.Accordion("Plan", open=False):
                self.plan = gr.Textbox(lines=12, show_label=False, interactive=False, elem_id="plan")
        with gr.Row():
            self.run = gr.Button("Re-sync", variant="primary", visible=False, elem_id="run")
            self.cancel = gr.Button("Stop", visible=False, elem_id="cancel")
        self.first_clips = gr.Video(
            label="The first finished clips", visible=False, autoplay=True, loop=True, elem_id="clips"
        )
        with gr.Column(visible=False) as self.result:
            self.video = gr.HTML(elem_id="result")
            self.time = gr.Slider(0, 1, step=0.04, label="Compare at (seconds)", elem_id="time")
            self.slider = gr.ImageSlider(label="Source, and result", max_height=720, elem_id="slider")
            self.files = gr.File(label="Report and job file", interactive=False, file_count="multiple", elem_id="files")
        self.choices = gr.State(Choices())
        self.timer = gr.Timer(POLL_SECONDS, active=False)

    def all(self) -> list[Any]:
        """Return every one of them."""
        return [*vars(self).values()]


def bar(step: Step) -> str:
    """Return a bar of progress, read out by screen readers."""
    share = "" if step.share is None else f' value="{step.share:.3f}"'
    percent = "" if step.share is None else f" {step.share:.0%}"
    return (
        f'<label role="status">{escape(step.stage)}{percent}<br>'
        f'<progress max="1"{share} style="width:100%"></progress></label>'
    )


def sentence(text: str, *, is_error: bool = False) -> str:
    """Return a sentence, read out by screen readers; nothing for an empty one."""
    role = "alert" if is_error else "status"
    return f'<p role="{role}" class="{"error" if is_error else "said"}">{escape(text)}</p>' if text else ""
