"""The hand-over of a finished output: a timeline of its source, over it what was re-synced, and why not elsewhere.

OpenTimelineIO holds all of it: the source's clips on one track, the output's over them where it differs, its sound, and
markers for the ranges of the job. An EDL has one track, so there the output's clips stand between the source's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from lipstitch.interchange.clock import DROP_RATES, RATES, EditClock, load_otio, parse_timecode, timecode_rate
from lipstitch.job_file.config import JobConfig
from lipstitch.plan.outputs.spec import OutputSpec
from lipstitch.plan.plan import Plan
from media.base.errors import ConfigError
from media.base.files import atomic_file
from media.clips import FaceSpan, Gap, Method, Outcome, RenderedClip, Span
from media.info import MediaInfo
from media.intervals import Interval, contains, merge
from media.packets.frame_table import FrameTable
from media.probe import probe
from media.source_video import SourceVideo
from media.timeline import OutputTimeline

KEY: Final = "--timeline"
ENDINGS: Final = (".otio", ".edl")
NAMESPACE: Final = "lipstitch"
"""Under which clips and gaps hold what was done, in OTIO's metadata."""
NOT_SPOKEN: Final = "no sound that moves lips"
MARKER: Final = "new mouths"
OUTSIDE: Final = "outside the ranges"


@dataclass(frozen=True, slots=True)
class ShownFace:
    """A face with a new mouth."""

    person: int | None
    speaker: str
    """In a dialogue, by name; else empty."""
    method: Method
    reason: str
    """Why not from footage; empty where that needs no reason."""

    def describe(self) -> str:
        """Return whose mouth it is, and how it was made."""
        who = self.speaker or (f"person {self.person}" if self.person else "face")
        return f"{who}, {self.method}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive output frames of which the same is to be said. They show consecutive frames of the source."""

    start_frame: int
    stop_frame: int
    source_frame: int
    """Shown first."""
    is_moving: bool
    """Whether the source goes on as it does itself; not in what a length policy has appended."""
    outcome: Outcome
    reason: str
    """Why there are no new mouths; empty where there are."""
    faces: tuple[ShownFace, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether its pictures are only in the output."""
        return self.outcome == "rendered" or not self.is_moving

    def describe(self) -> str:
        """Return what was done, in one line."""
        return ": ".join(filter(None, (self.outcome, self.reason, "; ".join(each.describe() for each in self.faces))))

    def follows(self, other: Stretch) -> bool:
        """Tell whether the same is to be said of both, and this one goes on where the other stops."""
        length = other.stop_frame - other.start_frame
        goes_on = self.source_frame == other.source_frame + length if self.is_moving else not other.is_moving
        same = (self.is_moving, self.outcome, self.reason, self.faces)
        return goes_on and same == (other.is_moving, other.outcome, other.reason, other.faces)


def check_timeline(config: JobConfig, path: Path, specs: Sequence[OutputSpec], video: SourceVideo) -> list[Path]:
    """Return where the timeline of each output is written; raise ConfigError where that cannot be done.

    Of several outputs each has its own, named like the output.
    """
    otio = load_otio(KEY)
    clock = EditClock.of(video, otio)
    if path.suffix.lower() == ".edl" and not (clock.is_constant and clock.rate in RATES):
        raise ConfigError(
            f"{KEY}: an EDL counts frames in timecode, which there is not for {clock.describe()}. Write an .otio file."
        )
    if len(specs) == 1:
        return [path]
    names = (spec.output.stem.removeprefix(f"{config.output.stem}.") for spec in specs)
    return [path.with_name(f"{path.stem}.{name}{path.suffix}") for name in names]


def write_timeline(
    path: Path, config: JobConfig, source: SourceVideo, plan: Plan, clips: Sequence[RenderedClip]
) -> None:
    """Write the timeline of a finished output as the file's ending says. Raises WorkspaceError, or MediaError."""
    otio = load_otio(KEY)
    writer = _Writer(otio, config, source, probe(plan.spec.output), plan)
    stretches = join_stretches(list_stretches(plan, clips))
    content = writer.edl(stretches) if path.suffix.lower() == ".edl" else writer.otio_json(stretches)
    with atomic_file(path) as partial:
        partial.write_text(content, encoding="utf-8")


def list_stretches(plan: Plan, clips: Sequence[RenderedClip]) -> Iterator[Stretch]:
    """Yield what was done with each stretch of an output, in order; neighbours may say the same."""
    speakers, spans = plan.target.speakers(plan.spec), _Spans(plan.spans)
    for rendered in clips:
        clip = rendered.clip
        new = clip.rendered if rendered.outcome == "rendered" else ()
        step = clip.source_frames[1] - clip.source_frames[0] if len(clip) > 1 else 1
        borders = {clip.start_frame, clip.stop_frame, *(border for part in new for border in part)}
        if step == 1:
            to_output = clip.start_frame - clip.source_frames[0]
            borders |= {border + to_output for border in spans.borders}
        inside = sorted(border for border in borders if clip.start_frame <= border <= clip.stop_frame)
        for start, stop in pairwise(inside):
            first = clip.source_frames[start - clip.start_frame]
            part = Stretch(start, stop, first, step == 1, rendered.outcome, "")
            if any(a <= start < b for a, b in new):
                # Faces of the clip are as the user wants them there; those of the plan tell where they are seen.
                faces = {
                    _face(face, frames, speakers, start)
                    for frames, span in plan.shown
                    if frames[0] < stop and start < frames[1]
                    for face in clip.faces
                    if clip.shows_part(face, span)
                }
                yield replace(part, faces=tuple(sorted(faces, key=lambda face: (face.person or 0, face.speaker))))
            elif rendered.outcome == "fell_back":
                yield replace(part, reason=rendered.reason)
            else:
                outcome: Outcome = "reencoded" if rendered.path else "copied"
                yield replace(part, outcome=outcome, reason=spans.why_not(first))


class _Spans:
    """Why there is no new mouth in a frame of the source."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._gaps = sorted((span.start_frame, span.stop_frame, span.reason) for span in spans if isinstance(span, Gap))
        self._faces = merge((span.start_frame, span.stop_frame) for span in spans if isinstance(span, FaceSpan))
        self.borders = {border for gap in self._gaps for border in gap[:2]} | {b for face in self._faces for b in face}

    def why_not(self, frame: int) -> str:
        """Return the reason, in words."""
        at = bisect_right(self._gaps, frame, key=lambda gap: gap[0]) - 1
        if at >= 0 and frame < self._gaps[at][1]:
            return self._gaps[at][2]
        return NOT_SPOKEN if contains(self._faces, frame) else OUTSIDE


def _face(span: FaceSpan, shown: Interval, speakers: Sequence[Any], frame: int) -> ShownFace:
    at = max(frame, shown[0])
    spoken = (each.name for each in speakers if span.person in each.people and any(a <= at < b for a, b in each.turns))
    return ShownFace(span.person, next(spoken, ""), span.source.method, span.source.reason)


def join_stretches(stretches: Iterator[Stretch]) -> list[Stretch]:
    """Return the fewest stretches that say the same."""
    joined: list[Stretch] = []
    for stretch in stretches:
        if joined and stretch.follows(joined[-1]):
            joined[-1] = replace(joined[-1], stop_frame=stretch.stop_frame)
        else:
            joined.append(stretch)
    return joined


class _Writer:
    """The timeline of one output."""

    def __init__(self, otio: Any, config: JobConfig, source: SourceVideo, output: MediaInfo, plan: Plan) -> None:
        self._otio, self._config, self._plan = otio, config, plan
        self._source, self._output = source, output
        self._clock = EditClock.of(source, otio)
        # An extraction has frames of the source's rate, and a start of its own.
        text = output.require_video().clock.timecode
        start = parse_timecode(text, self._clock.rate, otio)[0] if self._clock.is_constant else None
        self._out_clock = replace(self._clock, start=start or 0)

    def otio_json(self, stretches: Sequence[Stretch]) -> str:
        """Return the timeline as OpenTimelineIO's JSON."""
        schema, rate = self._otio.schema, float(self._clock.rate)
        timeline = schema.Timeline(_text(self._plan.spec.output.stem), None, self._time(self._out_clock.start, rate))
        timeline.metadata[NAMESPACE] = {
            "output": _text(str(self._plan.spec.output)),
            "clock": self._clock.describe(),
            "drop_frame": self._clock.is_drop,
        }
        below = schema.Track("source", kind=schema.TrackKind.Video)
        above = schema.Track("re-synced", kind=schema.TrackKind.Video)
        for stretch in stretches:
            item = self._clip(stretch, rate) if stretch.is_new else schema.Gap(source_range=self._length(stretch, rate))
            item.metadata[NAMESPACE] = _metadata(stretch)
            if stretch.is_new:
                item.markers.append(self._marker(MARKER, item.source_range, "GREEN", stretch.describe()))
            elif stretch.outcome == "fell_back":
                item.markers.append(self._marker("fell back", item.source_range, "RED", stretch.reason))
            item.name = item.name or _text(stretch.describe())
            above.append(item)
        for stretch in _runs(stretches):
            shows = self._clip(stretch, rate, of_source=True) if stretch.is_moving else None
            below.append(shows or schema.Gap(source_range=self._length(stretch, rate)))
        timeline.tracks.extend([below, above, *self._sound(stretches, rate)])
        timeline.tracks.markers.extend(self._ranges(rate))
        return str(self._otio.adapters.write_to_string(timeline, "otio_json"))

    def edl(self, stretches: Sequence[Stretch]) -> str:
        """Return the timeline as a CMX 3600 EDL: an event for each stretch, with what was done in a comment."""
        rate = timecode_rate(self._clock.rate, is_drop=self._clock.is_drop)
        track = self._otio.schema.Track("V", kind=self._otio.schema.TrackKind.Video)
        for stretch in stretches:
            clip = self._clip(stretch, rate, of_source=not stretch.is_new)
            comment = f"{NAMESPACE.upper()}: {_text(' '.join(stretch.describe().split()))}"
            # AX: a file, which programs find by the name of the clip.
            clip.metadata["cmx_3600"] = {"reel": "AX", "comments": [comment]}
            track.append(clip)
        # The adapter has no other word for the timecode at which a timeline begins.
        length = self._time(len(self._plan.spec.timeline), rate)
        track.source_range = self._otio.opentime.TimeRange(self._time(-self._out_clock.start, rate), length)
        timeline = self._otio.schema.Timeline(_text(self._plan.spec.output.stem))
        timeline.tracks.append(track)
        text = str(self._otio.adapters.write_to_string(timeline, "cmx_3600", rate=rate))
        title, _, events = text.partition("\n")
        if self._clock.rate in DROP_RATES or self._clock.rate in (30, 60):
            title += f"\nFCM: {'' if self._clock.is_drop else 'NON-'}DROP FRAME"
        return f"{title}\n{events}"

    def _clip(self, stretch: Stretch, rate: float, *, of_source: bool = False) -> Any:
        """Return a stretch as a clip of the output, or of the source, which it then shows as it is."""
        info, clock = (self._source.info, self._clock) if of_source else (self._output, self._out_clock)
        table: FrameTable | OutputTimeline = self._source.table if of_source else self._plan.spec.timeline
        first = stretch.source_frame if of_source else stretch.start_frame
        begin, end = (clock.count(table, frame) for frame in (first, first + stretch.stop_frame - stretch.start_frame))
        path = Path(info.path)
        reference = self._otio.schema.ExternalReference(
            path.absolute().as_uri(), self._range(clock.start, clock.count(table, len(table)), rate)
        )
        reference.name = _text(path.name)
        return self._otio.schema.Clip(_text(path.name), reference, self._range(clock.start + begin, end - begin, rate))

    def _sound(self, stretches: Sequence[Stretch], rate: float) -> Iterator[Any]:
        if self._output.audio:
            track = self._otio.schema.Track("sound", kind=self._otio.schema.TrackKind.Audio)
            whole = replace(stretches[0], stop_frame=len(self._plan.spec.timeline))
            track.append(self._clip(whole, rate))
            yield track

    def _ranges(self, rate: float) -> Iterator[Any]:
        """Yield a marker for each range of the job that the output shows."""
        for number, part in enumerate(self._config.ranges or (), start=1):
            frames = (self._source.table.frame_at(part.start), self._source.table.frame_at(part.end))
            for run in self._plan.spec.timeline.runs:
                start, stop = run.output_interval(*frames)
                if start < stop and run.step == 1:
                    shown = replace(_NOTHING, start_frame=start, stop_frame=stop)
                    marked = self._placed(shown, rate)
                    yield self._marker(part.name or f"range {number}", marked, "CYAN")

    def _marker(self, name: str, marked: Any, color: str, comment: str = "") -> Any:
        return self._otio.schema.Marker(_text(name), marked, color, comment=_text(comment))

    def _length(self, stretch: Stretch, rate: float) -> Any:
        placed = self._placed(stretch, rate)
        return self._otio.opentime.TimeRange(self._time(0, rate), placed.duration)

    def _placed(self, stretch: Stretch, rate: float) -> Any:
        """Return where a stretch lies in the output, whose first frame counts 0."""
        table = self._plan.spec.timeline
        begin, end = (self._out_clock.count(table, frame) for frame in (stretch.start_frame, stretch.stop_frame))
        return self._range(begin, end - begin, rate)

    def _range(self, start: int, length: int, rate: float) -> Any:
        return self._otio.opentime.TimeRange(self._time(start, rate), self._time(length, rate))

    def _time(self, count: int, rate: float) -> Any:
        return self._otio.opentime.RationalTime(count, rate)


_NOTHING: Final = Stretch(0, 0, 0, is_moving=True, outcome="copied", reason="")
"""Of which nothing is said."""


def _runs(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Return the stretches of the source that the output shows, as few as possible."""
    return join_stretches(replace(each, outcome="copied", reason="", faces=()) for each in stretches)


def _metadata(stretch: Stretch) -> dict[str, Any]:
    """Return a stretch as OTIO's metadata holds it; frames are those of the output."""
    faces = [
        {"person": face.person, "speaker": _text(face.speaker), "method": face.method, "reason": face.reason}
        for face in stretch.faces
    ]
    return {
        "outcome": stretch.outcome,
        "reason": stretch.reason,
        "frames": [stretch.start_frame, stretch.stop_frame],
        "faces": faces,
    }


def _text(name: str) -> str:
    """Return a name as UTF-8 can write it, which names of files need not be."""
    return name.encode("utf-8", "replace").decode()
