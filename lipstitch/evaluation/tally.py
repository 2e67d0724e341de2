"""Sums by track and clip, and the figures that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lipstitch.evaluation.fidelity import FidelitySums
from lipstitch.evaluation.mouths import LAG_SECONDS, NEAR_LAGS, MouthSums
from lipstitch.evaluation.shifts import ShiftSums

Figures = dict[str, float]
"""By the names of docs/measures.md; what cannot be measured is missing."""


@dataclass(slots=True)
class TrackSums:
    """Sums of one face: over its track, or over the part of it that lies in one clip."""

    mouths: MouthSums = field(default_factory=MouthSums)
    shifts: dict[str, ShiftSums] = field(default_factory=dict)
    """By the prefix of the judge."""

    def add(self, other: TrackSums) -> None:
        """Add the sums of another part."""
        self.mouths.add(other.mouths)
        for prefix, sums in other.shifts.items():
            self.shifts.setdefault(prefix, ShiftSums()).add(sums)


@dataclass(slots=True)
class Tally:
    """All sums of a video. Grows by 2 KB a track and clip."""

    faces: dict[tuple[int, int], TrackSums] = field(default_factory=dict)
    """By track and clip."""
    pictures: dict[int, FidelitySums] = field(default_factory=dict)
    """By clip; empty without a reference."""

    def face(self, track: int, clip: int) -> TrackSums:
        """Return the sums of a track in a clip, to be added to."""
        return self.faces.setdefault((track, clip), TrackSums())

    def of_clip(self, clip: int, *, has_reference: bool, suffix: str) -> Figures:
        """Return the figures of one clip."""
        parts = [sums for (_, other), sums in self.faces.items() if other == clip]
        pictures = self.pictures.get(clip, FidelitySums()).figures(suffix)
        return face_figures(parts, has_reference=has_reference) | pictures

    def of_track(self, track: int, *, has_reference: bool) -> Figures:
        """Return the figures of one track, over all clips."""
        return face_figures([self._tracks()[track]], has_reference=has_reference)

    def of_all(self, *, has_reference: bool, suffix: str) -> Figures:
        """Return the figures of everything."""
        pictures = FidelitySums()
        for sums in self.pictures.values():
            pictures.add(sums)
        return face_figures(self._tracks().values(), has_reference=has_reference) | pictures.figures(suffix)

    def _tracks(self) -> Mapping[int, TrackSums]:
        tracks: dict[int, TrackSums] = {}
        for (track, _), sums in self.faces.items():
            tracks.setdefault(track, TrackSums()).add(sums)
        return tracks


def face_figures(tracks: Iterable[TrackSums], *, has_reference: bool) -> Figures:
    """Return the figures of tracks: distances, correlations and levels are means, each track counting by its length."""
    tracks = list(tracks)
    whole = TrackSums()
    for track in tracks:
        whole.add(track)
    figures: Figures = {}
    if whole.mouths.seconds:
        figures["face_seconds"] = whole.mouths.seconds
    for prefix in whole.shifts:
        figures |= _sync(prefix, [track.shifts[prefix] for track in tracks if prefix in track.shifts])
    return figures | _opening(tracks) | _movement(whole.mouths) | _looks(whole.mouths, has_reference=has_reference)


def _sync(prefix: str, tracks: list[ShiftSums]) -> Figures:
    weights = [track.count for track in tracks]
    whole = ShiftSums()
    for track in tracks:
        whole.add(track)
    names = {"lse": ("lse_d", "lse_c"), "sync": ("sync_distance", "sync_confidence")}[prefix]
    return {
        names[0]: float(np.average([track.distance for track in tracks], weights=weights)),
        names[1]: float(np.average([track.confidence for track in tracks], weights=weights)),
        f"{prefix}_offset_frames": float(whole.offset),
    }


def _opening(tracks: list[TrackSums]) -> Figures:
    found = [(curve, track.mouths.num_frames) for track in tracks if (curve := track.mouths.correlations()) is not None]
    if not found:
        return {}
    mean = np.average([curve for curve, _ in found], axis=0, weights=[count for _, count in found])
    lag = LAG_SECONDS[int(mean.argmax())]
    return {"opening_correlation": float(mean[NEAR_LAGS].max()), "opening_lag_ms": float(round(1000 * lag))}


def _movement(mouths: MouthSums) -> Figures:
    (spoken, spoken_seconds), (silent, silent_seconds) = mouths.movement
    figures = {"speech_movement": spoken / spoken_seconds} if spoken_seconds else {}
    return figures | ({"silence_movement": silent / silent_seconds} if silent_seconds else {})


def _looks(mouths: MouthSums, *, has_reference: bool) -> Figures:
    figures: Figures = {}
    for name, (own, other, count) in (("flicker", mouths.change), ("sharpness", mouths.sharpness)):
        if count:
            figures[name] = own / count
            if has_reference and other:
                figures[f"{name}_ratio"] = own / other
    return figures
