"""The contact sheet: the people in a video, as one HTML file with pictures and as JSON, to pick a target from."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from lipstitch.interchange.read import with_ranges
from lipstitch.job_file.config import JobConfig
from lipstitch.plan.outputs.ranges import frames_to_scan
from lipstitch.plan.speakers import hear_speakers
from lipstitch.plan.target import people_of
from lipstitch.progress import Reporter, Timings, stage
from lipstitch.report.records import Record
from lipstitch.source.checks import check_side_file
from lipstitch.source.fetch import fetch_inputs, local_inputs
from lipstitch.source.offset import given_offset
from lipstitch.source.scan import Scanned, choose_finder, scan_source
from lipstitch.source.source import identify_source, open_source, remember_source
from lipstitch.source.weights import find_weights
from lipstitch.tools import DEFAULT_TOOLS, Tools
from lipstitch.workspace import Workspace, workspace_folder
from media.base.clock import format_clock
from media.base.errors import CheckpointError
from media.base.files import atomic_file
from media.faces import Face
from media.orientation import Rectangle
from media.picture import PictureConverter, snap_to_chroma
from media.reader import FrameReader
from media.source_video import SourceVideo
from segmenter.people.identities import Identities, Person, seconds_of

THUMBNAIL_PX = 200
"""Side of a picture on the sheet."""
THUMBNAIL_MARGIN = 0.3
"""Width of the surroundings that a picture shows on each side of the face, as a share of the longer side of its box."""
JPEG_QUALITY = 85
MAX_THUMBNAILS = 300
"""People with a picture; those who are on screen for a shorter time are listed without one."""


class BestFace(Record):
    """Where a person's face is seen best."""

    seconds: float
    point: tuple[int, int]
    """Its centre in the upright picture, in pixels."""


class ListedPerson(Record):
    """A person on the contact sheet. Times are seconds of the video."""

    person: int
    """Number of the person, as segmenter.target takes it."""
    seconds: float
    """How long the person is on screen."""
    first: float
    last: float
    """Time of the last frame with the person."""
    spoken: float | None
    """How long the person is seen to speak in the video's own sound; None where that cannot be told."""
    num_shots: int
    shots: tuple[tuple[float, float], ...]
    best: BestFace


@dataclass(frozen=True, slots=True)
class SeenPeople:
    """The people in a video."""

    people: tuple[ListedPerson, ...]
    thumbnails: Mapping[int, bytes]
    """JPEG files by the person's number."""
    note: str
    """What cannot be told of them; empty if all can."""


def list_people(config: JobConfig, out: Path, reporter: Reporter, *, force: bool, tools: Tools = DEFAULT_TOOLS) -> int:
    """Write the contact sheet of a job's video as an HTML file, and the same as JSON beside it; return 0.

    force: existing files may be replaced. Raises what see_people raises.
    """
    json_path, folder = out.with_suffix(".json"), _workspace_folder(config, out)
    local = local_inputs(config, folder)
    check_side_file(local, "--out", out, (".html", ".htm"), force=force)
    check_side_file(local, "--out", json_path, (".json",), force=force)
    config = fetch_inputs(config, folder, reporter)
    seen = see_people(config, folder, reporter, tools)
    people = seen.people
    with atomic_file(json_path) as partial:
        video, listed = str(config.input.video_file), [person.model_dump() for person in people]
        content = {"video": video, "note": seen.note, "people": listed}
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with atomic_file(out) as partial:
        sheet = build_sheet(config.input.video_file.name, people, seen.thumbnails, seen.note)
        partial.write_text(sheet, encoding="utf-8", errors="backslashreplace")  # names of files need not be UTF-8
    count = "1 person" if len(people) == 1 else f"{len(people)} people"
    reporter.info(f"{count}: {out} and {json_path}")
    return 0


def see_people(config: JobConfig, folder: Path, reporter: Reporter, tools: Tools = DEFAULT_TOOLS) -> SeenPeople:
    """Return the people in a job's video, which is a file.

    Of the job's files only the video is read. The scan is reused if an earlier run made it, and kept for later ones.
    folder: the workspace. Raises ConfigError where people cannot be told apart, and what scanning raises.
    """
    video = open_source(config, folder)
    config = with_ranges(config, video)
    shown = frames_to_scan(config, video)
    source = identify_source(video)
    with Workspace(folder) as workspace:
        workspace.clear_partial()
        remember_source(workspace, video, source)
        judge, note = _find_judge(config, source, reporter)
        finder = choose_finder(config, source, shown, workspace, reporter, needs_people=True, tools=tools)
        scan = scan_source(config, source, finder, shown, workspace, reporter, Timings())
        scanned = Scanned(source, finder, scan, references={}, judge=judge, offset=given_offset(config))
        identities = people_of(scanned, shown)
        spoken: dict[int, float] | None = None
        if judge is not None:
            found = hear_speakers(scanned, identities, workspace, reporter, Timings()).of_people(identities)
            spoken = {number: seconds_of(frames, source.table) for number, frames in found.items()}
    with stage(reporter, "faces", min(len(identities.people), MAX_THUMBNAILS), "people"):
        thumbnails = crop_thumbnails(source, identities.people[:MAX_THUMBNAILS], reporter)
    people = tuple(_listed(person, identities, source, spoken) for person in identities.people)
    return SeenPeople(people, thumbnails, note)


def _find_judge(config: JobConfig, source: SourceVideo, reporter: Reporter) -> tuple[Path | None, str]:
    """Return the weights of the network that tells who speaks; None, and why, where that cannot be told."""
    if not source.info.audio:
        return None, "Who speaks is not shown: the video has no sound."
    try:
        return find_weights(config.segmenter.speaking, config, reporter, download=True), ""
    except CheckpointError as exc:
        reporter.info(f"Who speaks is not told: {exc}")
        return None, "Who speaks is not shown: the weights that tell it (segmenter.speaking) could not be had."


def _workspace_folder(config: JobConfig, out: Path) -> Path:
    """Return the folder of the job's workspace; one beside the sheet if the folder of the job's output is missing."""
    has_folder = config.execution.workspace is not None or config.output.parent.is_dir()
    return workspace_folder(config) if has_folder else out.with_name(f"{out.name}.lipstitch")


def _listed(
    person: Person, identities: Identities, source: SourceVideo, spoken: Mapping[int, float] | None
) -> ListedPerson:
    def seconds(frame: int) -> float:
        return round(float(source.table.seconds(frame)), 3)

    box = person.best_face.box
    return ListedPerson(
        person=person.number,
        seconds=round(person.seconds, 3),
        first=seconds(person.first_frame),
        last=seconds(person.last_frame),
        spoken=None if spoken is None else round(spoken.get(person.number, 0.0), 3),
        num_shots=person.num_shots,
        shots=tuple(
            (seconds(shot.start), seconds(shot.stop)) for shot in identities.shots if person.number in shot.people
        ),
        best=BestFace(
            seconds=seconds(person.best_frame),
            point=(round((box.left + box.right) / 2), round((box.top + box.bottom) / 2)),
        ),
    )


def crop_thumbnails(source: SourceVideo, people: Sequence[Person], reporter: Reporter) -> dict[int, bytes]:
    """Return the best picture of each person as a JPEG file, by the person's number."""
    orientation = source.video.orientation
    converter = PictureConverter(orientation)
    thumbnails: dict[int, bytes] = {}
    with FrameReader(source) as reader:
        for person in sorted(people, key=lambda person: person.best_frame):
            (_, frame), *_ = reader.read([person.best_frame])
            square = _square_around(person.best_face)
            stored = snap_to_chroma(orientation.to_stored(square, frame.width, frame.height), frame)
            picture = Image.fromarray(converter.region_bgr(frame, stored)[:, :, ::-1])
            picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=JPEG_QUALITY)
            thumbnails[person.number] = file.getvalue()
            reporter.advance(len(thumbnails))
    return thumbnails


def _square_around(face: Face) -> Rectangle:
    box = face.box
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    half = (0.5 + THUMBNAIL_MARGIN) * max(box.width, box.height)
    return round(x - half), round(y - half), round(x + half), round(y + half)


def build_sheet(video: str, people: Sequence[ListedPerson], thumbnails: Mapping[int, bytes], note: str = "") -> str:
    """Return the contact sheet as one HTML file that needs no other file.

    video: its name. thumbnails: JPEG files by the person's number; a person may have none. note: what the sheet lacks.
    """
    environment = Environment(
        loader=PackageLoader("lipstitch", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["clock"] = _clock
    return environment.get_template("contact_sheet.html").render(
        video=video,
        people=people,
        note=note,
        thumbnails={number: b64encode(picture).decode() for number, picture in thumbnails.items()},
    )


def _clock(seconds: float) -> str:
    """Return a time to the tenth before it, so that who looks there does not look too late."""
    return format_clock(Fraction(int(Fraction(str(seconds)) * 10), 10), digits=1)
