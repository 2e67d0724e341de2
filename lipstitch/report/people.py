"""The contact sheet: who is in the video, as one HTML file with pictures and as JSON, to pick a target from."""

from __future__ import annotations

import html
import io
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from base.files import atomic_file
from lipstitch.job_file.config import JobConfig
from lipstitch.plan.outputs.ranges import frames_to_scan
from lipstitch.plan.target import people_of
from lipstitch.progress import Reporter, Timings, stage
from lipstitch.source.checks import check_side_file
from lipstitch.source.scan import Scanned, choose_finder, scan_source
from lipstitch.source.source import identify_source, open_source
from lipstitch.tools import DEFAULT_TOOLS, Tools
from lipstitch.workspace import Workspace, workspace_folder
from media.faces import Face
from media.picture import PictureConverter, snap_to_chroma
from media.reader import FrameReader
from media.source_video import SourceVideo
from segmenter.people.identities import Identities, Person

THUMBNAIL_PX = 200
"""Side of a picture on the sheet."""
THUMBNAIL_MARGIN = 0.3
"""How much of what is around the box it shows, as a share of the box's longer side."""
JPEG_QUALITY = 85
MAX_THUMBNAILS = 300
"""People with a picture; those who are seen for shorter are listed without."""


def list_people(config: JobConfig, out: Path, reporter: Reporter, *, force: bool, tools: Tools = DEFAULT_TOOLS) -> int:
    """Write the contact sheet of a job's video to an HTML file, and the same as JSON beside it; return 0.

    Of the job's files the video alone is read. The scan is made if no earlier run has, and kept. force: existing files
    may be replaced. Raises ConfigError where people cannot be told apart, and what scanning raises.
    """
    data = out.with_suffix(".json")
    check_side_file(config, "--out", out, (".html", ".htm"), force=force)
    check_side_file(config, "--out", data, (".json",), force=force)
    video = open_source(config)
    shown = frames_to_scan(config, video)
    source = identify_source(video)
    with Workspace(_workspace_folder(config, out)) as workspace:
        workspace.clear_partial()
        finder = choose_finder(config, source, shown, workspace, reporter, needs_people=True, tools=tools)
        scan = scan_source(config, source, finder, shown, workspace, reporter, Timings())
    cast = people_of(Scanned(source, finder, scan, references={}), shown)
    with stage(reporter, "faces", min(len(cast.people), MAX_THUMBNAILS), "people"):
        portraits = crop_thumbnails(source, cast.people[:MAX_THUMBNAILS], reporter)
    listed = [_entry(person, cast, source) for person in cast.people]
    with atomic_file(data) as partial:
        content = {"video": source.info.path, "people": listed}
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with atomic_file(out) as partial:
        sheet = build_sheet(Path(source.info.path).name, listed, portraits)
        partial.write_text(sheet, encoding="utf-8", errors="backslashreplace")  # names of files need not be UTF-8
    count = "1 person" if len(cast.people) == 1 else f"{len(cast.people)} people"
    reporter.info(f"{count}: {out} and {data}")
    return 0


def _workspace_folder(config: JobConfig, out: Path) -> Path:
    """Return the folder of the job's workspace; beside the sheet if there is no folder yet for the job's output."""
    has_folder = config.execution.workspace is not None or config.output.parent.is_dir()
    return workspace_folder(config) if has_folder else out.with_name(f"{out.name}.lipstitch")


def _entry(person: Person, cast: Identities, source: SourceVideo) -> dict[str, Any]:
    table = source.table
    shots = [shot for shot in cast.shots if person.number in shot.people]
    return {
        "person": person.number,
        "seconds": round(person.seconds, 3),
        "first": round(float(table.seconds(person.first_frame)), 3),
        "last": round(float(table.seconds(person.last_frame)), 3),
        "num_shots": person.num_shots,
        "shots": [
            [round(float(table.seconds(shot.start)), 3), round(float(table.seconds(shot.stop)), 3)] for shot in shots
        ],
        "best": {
            "seconds": round(float(table.seconds(person.best_frame)), 3),
            "point": [
                round((person.best_face.box.left + person.best_face.box.right) / 2),
                round((person.best_face.box.top + person.best_face.box.bottom) / 2),
            ],
        },
    }


def crop_thumbnails(source: SourceVideo, people: Sequence[Person], reporter: Reporter) -> dict[int, bytes]:
    """Return the best picture of each person as a JPEG file, by number."""
    orientation = source.video.orientation
    converter = PictureConverter(orientation)
    portraits: dict[int, bytes] = {}
    with FrameReader(source) as reader:
        for person in sorted(people, key=lambda person: person.best_frame):
            (_, frame), *_ = reader.read([person.best_frame])
            square = _square_around(person.best_face)
            stored = snap_to_chroma(orientation.to_stored(square, frame.width, frame.height), frame)
            picture = Image.fromarray(converter.region_bgr(frame, stored)[:, :, ::-1])
            picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=JPEG_QUALITY)
            portraits[person.number] = file.getvalue()
            reporter.advance(len(portraits))
    return portraits


def _square_around(face: Face) -> tuple[int, int, int, int]:
    box = face.box
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    half = (0.5 + THUMBNAIL_MARGIN) * max(box.width, box.height)
    return round(x - half), round(y - half), round(x + half), round(y + half)


STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
       color: #1c1c1c; background: #fafafa }
h1 { font-size: 1.3rem } code { background: #eee; padding: .1em .3em; border-radius: 3px }
ol { list-style: none; padding: 0; display: grid; gap: 1rem;
     grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)) }
li { background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: .8rem }
img { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 4px; background: #ddd }
h2 { font-size: 1.05rem; margin: .5rem 0 .2rem }
dl { margin: 0; display: grid; grid-template-columns: auto 1fr; gap: 0 .6rem }
dt { color: #666 } dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #181818 }
  li { background: #222; border-color: #444 } code { background: #333 } dt { color: #aaa } }
"""


def build_sheet(name: str, people: Sequence[Mapping[str, Any]], portraits: Mapping[int, bytes]) -> str:
    """Return the contact sheet as one HTML file that needs nothing else. people: as in the JSON file."""
    cards = "\n".join(_card(person, portraits.get(person["person"])) for person in people)
    found = f"<ol>\n{cards}\n</ol>" if people else "<p>Nobody was found whose face can be told from others.</p>"
    advice = _advice(len(people)) if people else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>People in {html.escape(name)}</title><style>{STYLE}</style></head>
<body><h1>People in {html.escape(name)}</h1>
{advice}{found}
</body></html>
"""


def _advice(num_people: int) -> str:
    """Return what to write into the job file; the example names somebody who is there."""
    number = min(num_people, 2)
    dialogue = (
        " In a dialogue, name each speaker's person:\n"
        "<code>input: {speakers: {turns: turns.rttm, cast: {anna: {person: 1}, ben: {person: 2}}}}</code>."
    )
    return (
        "<p>Whoever is on screen longest comes first. To render one of them, write"
        f" <code>segmenter: {{target: {number}}}</code> into the\njob file, or give"
        f" <code>--set segmenter.target={number}</code>.{dialogue if num_people > 1 else ''}</p>\n"
    )


def _card(person: Mapping[str, Any], portrait: bytes | None) -> str:
    number = person["person"]
    picture = ""
    if portrait is not None:
        picture = f'<img alt="Person {number}" src="data:image/jpeg;base64,{b64encode(portrait).decode()}">'
    facts = {
        "on screen": f"{person['seconds']:.1f} s",
        "first seen": _clock(person["first"]),
        "last seen": _clock(person["last"]),
        "shots": str(person["num_shots"]),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    return f"<li>{picture}<h2>Person {number}</h2><dl>{listed}</dl></li>"


def _clock(seconds: float) -> str:
    tenths = int(Fraction(str(seconds)) * 10)
    hours, rest = divmod(tenths, 36_000)
    minutes, rest = divmod(rest, 600)
    return f"{hours:02d}:{minutes:02d}:{rest // 10:02d}.{rest % 10}"
