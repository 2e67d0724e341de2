"""PURE: tracks to people: who is who across the shots of a video, and when each person is seen.

    samples --shots, tracks--> every face of every shot followed --clusters of embeddings--> people, numbered

Two faces that are seen at once are two people, however alike. A track without an embedding (too small, turned away,
seen too briefly) stays unidentified.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby, pairwise
from math import cos, radians

import numpy as np

from media.faces import Face, FrameDetections
from media.identity import EmbedderSettings, Vector, mean_direction, unpack
from media.intervals import Interval, merge
from media.packets.frame_table import FrameTable
from segmenter.people.clusters import cluster
from segmenter.scan import Scan
from segmenter.tracks import Track, build_tracks, estimate_yaw, face_distance

SURE_SCORE = 0.5
"""Detector score from which two faces count as seen at once: below, one may be a second box around the other."""
SAME_PLACE = 0.3
"""Overlap of two boxes from which they count as one face."""


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames between two cuts, as far as they were scanned."""

    start: int
    stop: int
    upright_size: tuple[int, int]
    """Width and height of the upright picture."""
    samples: tuple[FrameDetections, ...]
    tracks: tuple[Track, ...]
    """Every face of the shot, in the order in which they appear."""
    people: tuple[int | None, ...]
    """For each track the number of the person; None if the face is unidentified."""

    def identified_tracks(self) -> Iterator[tuple[Track, int | None]]:
        """Yield each track with the number of its person."""
        return zip(self.tracks, self.people, strict=True)

    def unidentified_tracks(self) -> list[Track]:
        """Return the tracks of faces that are not known to be anyone's."""
        return [track for track, person in self.identified_tracks() if person is None]

    def within(self, start: int, stop: int) -> Shot:
        """Return the part of the shot in [start, stop)."""
        if start <= self.start and self.stop <= stop:
            return self
        cut = [
            ({frame: face for frame, face in track.items() if start <= frame < stop}, person)
            for track, person in self.identified_tracks()
        ]
        return replace(
            self,
            start=max(start, self.start),
            stop=min(stop, self.stop),
            samples=tuple(sample for sample in self.samples if start <= sample.frame < stop),
            tracks=tuple(track for track, _ in cut if track),
            people=tuple(person for track, person in cut if track),
        )

    def seen(self, track: Track) -> list[Interval]:
        """Return the frames in which a face is seen: each sample stands for those up to half way to its neighbours."""
        frames = [sample.frame for sample in self.samples]
        borders = [self.start, *((a + b + 1) // 2 for a, b in pairwise(frames)), self.stop]
        indexes = [bisect_left(frames, frame) for frame in track]
        return merge((borders[index], borders[index + 1]) for index in indexes)


@dataclass(frozen=True, slots=True)
class Person:
    """A person who is seen in the video."""

    number: int
    """From 1 on, in decreasing order of time on screen."""
    seconds: float
    """Total time on screen."""
    first_frame: int
    last_frame: int
    """First and last frame in which the person is seen."""
    num_shots: int
    vector: tuple[float, ...]
    """Mean direction of the person's embeddings."""
    best_frame: int
    """Frame of the best picture: large, detected with confidence, seen from the front."""
    best_face: Face


@dataclass(frozen=True, slots=True)
class Identities:
    """Who is seen in a video, and where."""

    shots: tuple[Shot, ...]
    people: tuple[Person, ...]
    """By number; empty if faces were not recognised."""

    def meet(self, first: int, second: int) -> bool:
        """Tell whether two people are ever seen at once."""
        return any(
            not a.keys().isdisjoint(b)
            for shot in self.shots
            for a in _tracks_of(shot, first)
            for b in _tracks_of(shot, second)
        )


def _tracks_of(shot: Shot, number: int) -> list[Track]:
    return [track for track, person in shot.identified_tracks() if person == number]


_Place = tuple[int, int]
"""A track: index of its shot, and its own index in the shot."""


def find_people(scan: Scan, table: FrameTable, intervals: Sequence[Interval], settings: EmbedderSettings) -> Identities:
    """Follow every face of a scan and find out which faces belong to one person.

    intervals: the frames that were scanned, sorted and disjoint. Numbers depend on the scan alone.
    """
    shots = [_shot(scan, border, settings) for border in find_shots(scan, intervals)]
    places = [
        (shot_index, track_index) for shot_index, shot in enumerate(shots) for track_index in range(len(shot.tracks))
    ]
    embedded = [place for place in places if _embedded_faces(_track_at(shots, place))]
    vectors = [_vector(_track_at(shots, place)) for place in embedded]
    weights = [len(_embedded_faces(_track_at(shots, place))) for place in embedded]
    labels = cluster(vectors, weights, _rivals(shots, embedded), least_cosine=settings.border)
    label_of = dict(zip(embedded, labels, strict=True))
    number_of = _number_people(shots, label_of, table)
    identified = [
        replace(
            shot,
            people=tuple(
                number_of.get(label_of.get((shot_index, track_index), -1)) for track_index in range(len(shot.tracks))
            ),
        )
        for shot_index, shot in enumerate(shots)
    ]
    seen: dict[int, list[tuple[Shot, Track]]] = {number: [] for number in sorted(number_of.values())}
    for shot in identified:
        for track, person in shot.identified_tracks():
            if person is not None:
                seen[person].append((shot, track))
    return Identities(tuple(identified), tuple(_person(number, tracks, table) for number, tracks in seen.items()))


def find_shots(scan: Scan, intervals: Sequence[Interval]) -> list[Interval]:
    """Return the frames of each shot: intervals, cut at the cuts."""
    shots: list[Interval] = []
    for start, stop in intervals:
        cuts = [cut for cut in scan.cuts if start < cut < stop]
        shots += zip([start, *cuts], [*cuts, stop], strict=True)
    return shots


def _shot(scan: Scan, border: Interval, settings: EmbedderSettings) -> Shot:
    first, last = (bisect_left(scan.samples, frame, key=lambda sample: sample.frame) for frame in border)
    samples = scan.samples[first:last]
    tracks = [part for track in build_tracks(samples) for part in split_by_identity(track, settings.different)]
    tracks.sort(key=lambda track: min(track))
    return Shot(*border, scan.upright_size, samples, tuple(tracks), (None,) * len(tracks))


def _track_at(shots: Sequence[Shot], place: _Place) -> Track:
    return shots[place[0]].tracks[place[1]]


def split_by_identity(track: Track, different: float) -> Iterator[Track]:
    """Cut a track where it turns into another person: at the widest step between two embeddings that differ.

    So a missed cut, or a face that took another's place, does not merge two people.
    """
    frames = list(track)
    start = 0
    embedded = [index for index, frame in enumerate(frames) if track[frame].embedding]
    for before, after in pairwise(embedded):
        cosine = float(unpack(track[frames[before]].embedding) @ unpack(track[frames[after]].embedding))
        if cosine < different:
            widest = _widest_step(track, frames[before : after + 1]) + before
            yield {frame: track[frame] for frame in frames[start:widest]}
            start = widest
    yield {frame: track[frame] for frame in frames[start:]}


def _widest_step(track: Track, frames: Sequence[int]) -> int:
    """Return the index of the frame behind the widest step: in place and size, and in time without the face."""
    whole = frames[-1] - frames[0]
    steps = [
        face_distance(track[before], track[after]) + (after - before) / whole for before, after in pairwise(frames)
    ]
    return steps.index(max(steps)) + 1


def _embedded_faces(track: Track) -> list[Face]:
    return [face for face in track.values() if face.embedding]


def _vector(track: Track) -> Vector:
    """Return the mean direction of a track; faces seen from the front count more."""
    faces = _embedded_faces(track)
    return mean_direction([face.embedding for face in faces], [embedding_quality(face) for face in faces])


def embedding_quality(face: Face) -> float:
    """Return how well a face identifies its person, in (0, 1]: its score, times how far it faces the camera."""
    return max(face.score * cos(radians(estimate_yaw(face) or 0.0)) ** 2, 1e-3)


def _rivals(shots: Sequence[Shot], embedded: Sequence[_Place]) -> list[tuple[int, int]]:
    """Return the pairs (indexes of `embedded`) that are seen at once, in order."""
    pairs: set[tuple[int, int]] = set()
    for _, group in groupby(enumerate(embedded), key=lambda item: item[1][0]):
        at_once: dict[int, list[tuple[int, Face]]] = {}
        for index, place in group:
            for frame, face in _track_at(shots, place).items():
                if face.score >= SURE_SCORE:
                    at_once.setdefault(frame, []).append((index, face))
        for faces in at_once.values():
            pairs.update(
                (first, second)
                for (first, face), (second, rival) in combinations(faces, 2)
                if face.box.overlap(rival.box) < SAME_PLACE
            )
    return sorted(pairs)


def _number_people(shots: Sequence[Shot], label_of: dict[_Place, int], table: FrameTable) -> dict[int, int]:
    """Return the number of the person for each label: by seconds on screen, then by who comes first."""
    seen: dict[int, list[Interval]] = {}
    for place, label in label_of.items():
        seen.setdefault(label, []).extend(shots[place[0]].seen(_track_at(shots, place)))
    whole = {label: merge(parts) for label, parts in seen.items()}
    order = sorted(whole, key=lambda label: (-round(seconds_of(whole[label], table), 6), whole[label][0][0], label))
    return {label: number for number, label in enumerate(order, start=1)}


def seconds_of(intervals: Sequence[Interval], table: FrameTable) -> float:
    """Return how long intervals of frames last in all, in seconds."""
    return sum(float(table.seconds(stop) - table.seconds(start)) for start, stop in intervals)


def _person(number: int, tracks: Sequence[tuple[Shot, Track]], table: FrameTable) -> Person:
    seen = merge(part for shot, track in tracks for part in shot.seen(track))
    faces = [(frame, face) for _, track in tracks for frame, face in track.items() if face.embedding]
    best_frame, best_face = max(faces, key=lambda item: (_thumbnail_quality(item[1]), -item[0]))
    vector = mean_direction([face.embedding for _, face in faces], [embedding_quality(face) for _, face in faces])
    return Person(
        number=number,
        seconds=seconds_of(seen, table),
        first_frame=seen[0][0],
        last_frame=seen[-1][1] - 1,
        num_shots=len({shot.start for shot, _ in tracks}),
        vector=tuple(float(value) for value in vector),
        best_frame=best_frame,
        best_face=best_face,
    )


def _thumbnail_quality(face: Face) -> float:
    """Return how well a face serves as its person's picture: seen from the front, and not tiny."""
    return embedding_quality(face) * min(face.box.height, 200.0)


def similarity(person: Person, vector: Vector) -> float:
    """Return the cosine between a person and a vector of length 1."""
    return float(np.asarray(person.vector, np.float32) @ vector)
