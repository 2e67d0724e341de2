"""build_studio(): the service with the studio's page in it."""

from __future__ import annotations

import os

from fastapi import FastAPI
from fastapi.middleware import Middleware
from fastapi.responses import RedirectResponse

from lipstitch.service.api.app import build_app
from lipstitch.service.settings import ServiceSettings
from lipstitch.service.store import Store
from lipstitch.studio.sent import SentFilesOnly

PATH = "/studio"


def build_studio(settings: ServiceSettings) -> FastAPI:
    """Return the application of a service, with the studio at PATH. See build_app."""
    sent = Store(settings.folder).sent
    sent.mkdir(exist_ok=True)
    os.environ["GRADIO_TEMP_DIR"] = str(sent)  # on the disk of the uploads, which its files are moved to
    import gradio as gr

    from lipstitch.studio.page import build_page
    from lipstitch.studio.parts import STYLE

    app = build_app(settings)
    app.add_api_route("/", lambda: RedirectResponse(PATH), include_in_schema=False)
    service = app.state.service
    fonts = ["system-ui", "sans-serif"]  # no font is fetched from elsewhere
    theme = gr.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"])
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_page(service),
        path=PATH,
        allowed_paths=[str(service.store.folder)],
        max_file_size=settings.limits.max_bytes,
        footer_links=[],
        theme=theme,
        css=STYLE,
        show_error=False,
        run_history=False,
        app_kwargs={"middleware": [Middleware(SentFilesOnly, folder=sent)]},
    )
    return mounted
