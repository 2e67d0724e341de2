"""Ranges of a job, read from the timeline of an editing program: clips that show the video, or markers upon them.

Times become frames through the video's own table: where a clip begins or ends, the nearest border of a frame counts.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlparse

from lipstitch.interchange.clock import (
    DROP_RATES,
    TIMECODE,
    EditClock,
    exact_rate,
    load_otio,
    parse_timecode,
    timecode_rate,
)
from lipstitch.job_file.config import RANGE_NAME, JobConfig, RangeConfig, RangesFile
from lipstitch.job_file.table import UserFile
from media.base.errors import ConfigError
from media.base.text import brief
from media.intervals import Interval, merge
from media.packets.frame_table import FrameTable
from media.source_video import SourceVideo

KEY: Final = "ranges_from"
ANY_MARKER: Final = "*"
RESOLVE_MARKER: Final = re.compile(r"\|M:(?P<name>.*?)\s*\|D:(?P<frames>\d+)")
"""What DaVinci Resolve writes below an event that stands for a marker: |C:ResolveColorBlue |M:sync |D:48."""
MOST_LISTED: Final = 8


def with_ranges(config: JobConfig, video: SourceVideo) -> JobConfig:
    """Return the job with the ranges of its timeline file, if it names one.

    Raises ConfigError for a file that cannot be read, that shows nothing of the video, or more than there is of it.
    """
    if config.ranges_from is None:
        return config
    return config.with_ranges(_Reader(config.ranges_from, video).read(joins=config.mode == "patch"))


@dataclass(frozen=True, slots=True)
class _Item:
    """A clip of a timeline, or the part of it that a marker covers."""

    name: str
    media: str
    """Name of the file that it shows."""
    start: Fraction
    """In seconds since the first frame of that file."""
    stop: Fraction
    is_retimed: bool = False
    """Whether it shows these frames at another speed, or stands still."""


class _Reader:
    """One timeline file, and the video whose ranges it tells."""

    def __init__(self, wanted: RangesFile, video: SourceVideo) -> None:
        self._wanted, self._video = wanted, video
        self._otio = load_otio(KEY)
        self._clock = EditClock.of(video, self._otio)
        self._file = UserFile(f"{KEY}.file", wanted.file, "timeline")

    def read(self, *, joins: bool) -> tuple[RangeConfig, ...]:
        """Return the ranges in the order of the timeline; joins: in that of the video, and as few as possible."""
        items = self._of_this_video([*(self._edl() if self._wanted.is_edl else self._timeline())])
        found = [(self._frames(item), item.name) for item in items]
        if joins:
            names = dict(found)
            found = [(frames, names.get(frames, "")) for frames in merge(frames for frames, _ in found)]
        counts = Counter(name for _, name in found)
        seconds = self._video.table.seconds
        return tuple(
            RangeConfig.model_construct(
                start=seconds(start),
                end=seconds(stop),
                name=name if counts[name] == 1 and re.match(RANGE_NAME, name) else None,
            )
            for (start, stop), name in found
        )

    def _parsed(self, text: str, adapter: str, **options: Any) -> Any:
        try:
            return self._otio.adapters.read_from_string(text, adapter, **options)
        except Exception as exc:  # the readers raise whatever a line leads them to
            raise self._file.fault("its content", f"it is not a timeline ({brief(str(exc))})") from exc

    # OpenTimelineIO

    def _timeline(self) -> Iterator[_Item]:
        """Yield the clips of an OTIO file's video tracks, or what markers cover of them."""
        schema, text = self._otio.schema, self._file.text()
        try:
            json.loads(text)  # opentimelineio dies of content that is nested too deeply
        except (ValueError, RecursionError) as exc:
            raise self._file.fault("its content", f"it is not JSON ({brief(str(exc))})") from exc
        timeline = self._parsed(text, "otio_json")
        if not isinstance(timeline, schema.Timeline):
            raise self._file.fault("its content", "it holds no timeline; export one timeline by itself")
        tracks = [
            track
            for track in timeline.tracks
            if isinstance(track, schema.Track) and track.kind == schema.TrackKind.Video and track.enabled
        ]
        chosen = [track for track in tracks if self._wanted.track in (None, track.name)]
        if not chosen:
            raise self._none_such("video track", self._wanted.track, [track.name for track in tracks])
        for track in chosen:
            for clip in track:
                if isinstance(clip, schema.Clip) and clip.enabled:
                    yield from self._items_of(clip, [timeline.tracks, track, clip])

    def _items_of(self, clip: Any, holders: Sequence[Any]) -> Iterator[_Item]:
        reference = clip.media_reference
        available = reference.available_range if reference is not None else None
        url = getattr(reference, "target_url", None) or getattr(reference, "name", "") or clip.name
        media = PurePosixPath(unquote(urlparse(url.replace("\\", "/")).path)).name
        shown = clip.trimmed_range() if clip.source_range or available else None
        if shown is None:
            return
        zero = self._zero(available)
        is_retimed = any(isinstance(effect, self._otio.schema.TimeEffect) for effect in clip.effects)
        whole = replace(self._item(clip.name, media, shown, zero), is_retimed=is_retimed)
        if self._wanted.marker is None:
            yield whole
            return
        for holder in holders:
            for marker in holder.markers:
                if not self._is_wanted(marker.name):
                    continue
                marked = marker.marked_range
                if marked.duration.value <= 1:
                    raise self._file.fault(f"marker {brief(marker.name)!r}", "it has no length; give it a duration")
                if holder is not clip:
                    marked = holder.transformed_time_range(marked, clip)
                covered = self._item(marker.name, media, marked, zero)
                start, stop = max(covered.start, whole.start), min(covered.stop, whole.stop)
                if start < stop:
                    yield replace(covered, start=start, stop=stop, is_retimed=is_retimed)

    def _zero(self, available: Any) -> Fraction:
        """Return what the first frame of a clip's file is called, in seconds."""
        if self._wanted.start_timecode is not None:
            return self._start_of_video(self._wanted.start_timecode)
        return _seconds(available.start_time) if available else Fraction(self._clock.start) / self._clock.rate

    def _start_of_video(self, timecode: str) -> Fraction:
        count = parse_timecode(timecode, self._clock.rate, self._otio)[0] if self._clock.is_constant else None
        if count is None:
            raise ConfigError(
                f"{KEY}.start_timecode (now {timecode}): there is no such timecode for {self._clock.describe()}."
            )
        return count / self._clock.rate

    @staticmethod
    def _item(name: str, media: str, shown: Any, zero: Fraction) -> _Item:
        start = _seconds(shown.start_time)
        return _Item(name, media, start - zero, start - zero + _seconds(shown.duration))

    # EDL

    def _edl(self) -> Iterator[_Item]:
        """Yield the events of an EDL, or those that stand for markers, by the timecode of what they show."""
        clock, text = self._clock, self._file.text()
        if not clock.is_constant:
            raise self._file.fault("its timecode", f"the video has {clock.describe()}; give an .otio file")
        is_drop = "FCM: DROP FRAME" in text.upper() or any(match[2] != ":" for match in TIMECODE.finditer(text))
        if is_drop and clock.rate not in DROP_RATES:
            raise self._file.fault("its timecode", f"it is drop-frame, and the video has {clock.describe()}")
        text = TIMECODE.sub(rf"\1{';' if is_drop else ':'}\3", text)
        rate = timecode_rate(clock.rate, is_drop=is_drop)
        timeline = self._parsed(text, "cmx_3600", rate=rate, ignore_timecode_mismatch=True)
        tracks = [track for track in timeline.tracks if track.kind == self._otio.schema.TrackKind.Video]
        chosen = [track for track in tracks if self._wanted.track in (None, track.name)]
        if not chosen:
            raise self._none_such("video track", self._wanted.track, [track.name for track in tracks])
        zero = self._zero(None) * clock.rate
        for track in chosen:
            for clip in track.find_clips():
                yield from self._events(clip, zero)

    def _events(self, clip: Any, zero: Fraction) -> Iterator[_Item]:
        start = Fraction(clip.source_range.start_time.value) - zero
        frames, name = Fraction(clip.source_range.duration.value), clip.name
        details = clip.metadata.get("cmx_3600", {})
        marker = next(filter(None, map(RESOLVE_MARKER.search, details.get("comments", []))), None)
        if self._wanted.marker is not None:
            if marker is None or not self._is_wanted(marker["name"]):
                return
            name, frames = marker["name"], Fraction(int(marker["frames"]))
            if frames <= 1:
                raise self._file.fault(f"marker {brief(name)!r}", "it has no length; give it a duration")
        elif marker is not None:
            return
        url = getattr(clip.media_reference, "target_url", None) or (clip.name if marker is None else "")
        media = PurePosixPath(unquote(url.replace("\\", "/"))).name
        yield _Item(name, media, start / self._clock.rate, (start + frames) / self._clock.rate, bool(clip.effects))

    # What all have in common

    def _is_wanted(self, marker: str) -> bool:
        wanted = self._wanted.marker or ""
        return wanted == ANY_MARKER or marker.strip().casefold() == wanted.strip().casefold()

    def _of_this_video(self, items: Sequence[_Item]) -> list[_Item]:
        """Return what shows the video: by its name, without the ending; or all, if nothing else is shown."""
        what = "clip" if self._wanted.marker is None else f"marker {brief(self._wanted.marker)!r}"
        if not items:
            raise self._file.fault("its content", f"there is no {what} in its video tracks")
        own = PurePosixPath(self._video.info.path).stem.casefold()
        named = [item for item in items if own in (item.media.casefold(), PurePosixPath(item.media).stem.casefold())]
        medias = sorted({item.media for item in items})
        if named or len(medias) == 1:
            return named or [*items]
        listed = ", ".join(map(brief, medias[:MOST_LISTED])) + (" ..." if len(medias) > MOST_LISTED else "")
        raise self._file.fault(
            "its content", f"nothing in it shows {PurePosixPath(self._video.info.path).name}; it shows {listed}"
        )

    def _none_such(self, what: str, name: str | None, others: Sequence[str]) -> ConfigError:
        there = f"there are {', '.join(map(brief, others[:MOST_LISTED]))}" if others else "it has no such at all"
        return self._file.fault(what if name is None else f"{what} {brief(name)!r}", f"it is not there; {there}")

    def _frames(self, item: _Item) -> Interval:
        """Return the frames of an item; raise ConfigError if the video does not have them."""
        table = self._video.table
        if item.is_retimed:
            raise self._file.fault(f"{brief(item.name)!r}", "it is retimed; leave it out, or give it its own speed")
        end, last = table.seconds(len(table)), table.seconds(len(table) - 1)
        half = (end - last) / 2
        if item.start < -half or item.stop > end + 2 * half or item.stop <= item.start:
            first = self._wanted.start_timecode or self._video.video.clock.timecode or "00:00:00:00"
            raise self._file.fault(
                f"{brief(item.name)!r}",
                f"{float(item.start):.3f} s to {float(item.stop):.3f} s after {first}, the first frame, is not in the"
                f" video, which lasts {float(end):.3f} s; tell by {KEY}.start_timecode what that frame is called",
            )
        start, stop = _nearest(table, item.start), _nearest(table, item.stop)
        if start == stop:
            raise self._file.fault(f"{brief(item.name)!r}", f"there is no frame at {float(item.start):.3f} s")
        return start, stop


def _nearest(table: FrameTable, seconds: Fraction) -> int:
    """Return the border of a frame that is nearest to a time; len(table) is the end of the last one."""
    after = table.frame_at(seconds) if seconds < table.seconds(len(table)) else len(table)
    return min((max(after - 1, 0), after), key=lambda frame: abs(table.seconds(frame) - seconds))


def _seconds(time: Any) -> Fraction:
    return Fraction(time.value).limit_denominator(1_000_000) / exact_rate(time.rate)
