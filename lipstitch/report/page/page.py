"""Write the page of a report, and write it anew from itself when its report has more to tell."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lipstitch.report.page.material import PageMaterial
from lipstitch.report.page.pictures import PageStrips
from lipstitch.report.page.view import OUTCOME_WORDS, build_view
from lipstitch.report.report import Report
from media.base.files import atomic_file

MAX_CHARS: Final = 4_800_000
"""Size of the page of a video of up to an hour; longer videos have as much more."""
MATERIAL: Final = "material"
"""Id of the element that holds the material, as JSON."""


def write_page(
    report: Report, material: PageMaterial, path: Path, clips: Sequence[int], load_strip: Callable[[int], bytes]
) -> None:
    """Write the page of a report, atomically.

    clips: those that have a strip of pictures, by index. load_strip: returns a clip's strip, an image file, or nothing
    if it is gone; one is held at a time. Raises WorkspaceError if the page cannot be written.
    """
    template = _environment().get_template("page.html")
    script, style = (Markup(_text(name)) for name in ("page.js", "page.css"))
    content = {
        "view": build_view(report, material),
        "report": report,
        "material": material.model_dump(mode="json"),
        "words": OUTCOME_WORDS,
        "figure_names": sorted({name for each in report.measures if each.clip is not None for name in each.figures}),
        "spans_name": f"{Path(report.output.path).name}.spans.csv",
        "script": script,
        "script_hash": b64encode(sha256(script.encode()).digest()).decode(),
        "style": style,
    }
    hours = max(report.output.seconds / 3600, 1.0)
    num_chars = sum(map(len, template.generate(**content, strip=lambda _: "", num_left_out=int)))
    strips = PageStrips(clips, load_strip, int(MAX_CHARS * hours) - num_chars)
    with (
        atomic_file(path) as partial,
        # Names of files need not be UTF-8.
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        file.writelines(template.generate(**content, strip=strips, num_left_out=lambda: strips.num_left_out))


def rewrite_page(report: Report, path: Path) -> None:
    """Write a page anew with what its report says now; material and strips are the page's own.

    Raises OSError if there is no page, ValueError if it is not that of the report, WorkspaceError if it cannot be
    written.
    """
    material, strips = read_page(path)
    if len(material.lanes.clips) != len(report.clips):
        raise ValueError(f"{path}: this page is not that of the report")
    write_page(report, material, path, sorted(strips), lambda clip: b64decode(strips[clip]))


def read_page(path: Path) -> tuple[PageMaterial, Mapping[int, str]]:
    """Return a page's material, and its strips by the index of the clip: image files in base64.

    Raises OSError if there is no page, ValueError if it is not one of this version.
    """
    content = _Content(path.read_text(encoding="utf-8"))
    return PageMaterial.model_validate(json.loads(content.material)), content.strips


class _Content(HTMLParser):
    """Reads material and strips from a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.material = ""
        self.strips: dict[int, str] = {}
        self._is_material = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        known: Mapping[str, str | None] = dict(attrs)
        self._is_material = tag == "script" and known.get("id") == MATERIAL
        if tag == "img" and (clip := known.get("data-strip")):
            self.strips[int(clip)] = (known.get("src") or "").partition(",")[2]

    def handle_endtag(self, tag: str) -> None:
        self._is_material = False

    def handle_data(self, data: str) -> None:
        if self._is_material:
            self.material += data


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache  # and with it the template, as code
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("lipstitch.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
