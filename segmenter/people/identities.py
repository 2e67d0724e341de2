"""PURE: tracks to people. Who is who across the shots of a video, and when each of them is seen.

    samples --shots, tracks--> every face of every shot followed --clusters of embeddings--> people, numbered

Two faces that are seen at once are two people, however alike. A track without an embedding (too small, turned away,
seen too briefly) belongs to nobody.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby, pairwise
from math import cos, radians
from typing import TYPE_CHECKING

import numpy as np

from media.faces import Face, FrameDetections
from media.identity import EmbedderSettings, Vector, mean_direction, unpack
from media.intervals import Interval, merge
from media.packets.frame_table import FrameTable
from segmenter.people.clusters import cluster
from segmenter.tracks import Track, build_tracks, estimate_yaw, face_distance

if TYPE_CHECKING:
    from segmenter.scan import Scan

SURE_SCORE = 0.5
"""Detector score of faces that count as seen at once: below, one may be a second box around the other."""
SAME_PLACE = 0.3
"""Overlap of two boxes above which they are taken for one face."""


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames between two cuts, as far as they were scanned."""

    start: int
    stop: int
    samples: tuple[FrameDetections, ...]
    tracks: tuple[Track, ...]
    """Every face of the shot, in the order in which they appear."""
    people: tuple[int | None, ...]
    """For each track the number of the person; None where that is not known."""

    def within(self, start: int, stop: int) -> Shot:
        """Return the part of the shot in [start, stop)."""
        if start <= self.start and self.stop <= stop:
            return self
        tracks = [{frame: face for frame, face in track.items() if start <= frame < stop} for track in self.tracks]
        known = [(track, person) for track, person in zip(tracks, self.people, strict=True) if track]
        samples = tuple(sample for sample in self.samples if start <= sample.frame < stop)
        return Shot(
            max(start, self.start),
            min(stop, self.stop),
            samples,
            tuple(track for track, _ in known),
            tuple(person for _, person in known),
        )

    def seen(self, track: Track) -> list[Interval]:
        """Return the frames in which a face is seen: each sample stands for those up to half way to its neighbours."""
        frames = [sample.frame for sample in self.samples]
        borders = [self.start, *((a + b + 1) // 2 for a, b in pairwise(frames)), self.stop]
        at = [bisect_left(frames, frame) for frame in track]
        return merge((borders[number], borders[number + 1]) for number in at)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is seen in the video."""

    number: int
    """From 1 on; who is seen longest has the lowest number."""
    seconds: float
    """How long they are on screen, in all."""
    first_frame: int
    last_frame: int
    """First and last frame in which they are seen."""
    num_shots: int
    vector: tuple[float, ...]
    """Mean direction of their embeddings."""
    best_frame: int
    """Where their best picture is: large, sharp in the detector's eyes, seen from the front."""
    best_face: Face


@dataclass(frozen=True, slots=True)
class Identities:
    """Who is seen in a video, and where."""

    shots: tuple[Shot, ...]
    people: tuple[Person, ...]
    """By number; empty where nobody was told apart."""

    def person(self, number: int) -> Person:
        """Return a person by number."""
        return self.people[number - 1]

    def meet(self, one: int, other: int) -> bool:
        """Tell whether two people are ever seen at once."""
        return any(
            not a.keys().isdisjoint(b)
            for shot in self.shots
            for a in _tracks_of(shot, one)
            for b in _tracks_of(shot, other)
        )


def _tracks_of(shot: Shot, person: int) -> list[Track]:
    return [track for track, known in zip(shot.tracks, shot.people, strict=True) if known == person]


def find_people(scan: Scan, table: FrameTable, intervals: Sequence[Interval], settings: EmbedderSettings) -> Identities:
    """Follow every face of a scan and find out which of them are one person.

    intervals: the frames that were scanned, sorted and disjoint. Numbers depend on the scan alone.
    """
    shots = [_shot(scan, border, settings) for border in find_shots(scan, intervals)]
    places = [(number, at) for number, shot in enumerate(shots) for at in range(len(shot.tracks))]
    known = [place for place in places if _embedded_faces(shots[place[0]].tracks[place[1]])]
    vectors = [_vector(shots[shot].tracks[at]) for shot, at in known]
    weights = [len(_embedded_faces(shots[shot].tracks[at])) for shot, at in known]
    labels = cluster(vectors, weights, _rivals(shots, known), least_cosine=settings.border)
    label_of = dict(zip(known, labels, strict=True))
    ranks = _rank(shots, label_of, table)
    numbered = [
        Shot(
            shot.start,
            shot.stop,
            shot.samples,
            shot.tracks,
            tuple(ranks.get(label_of.get((number, at), -1)) for at in range(len(shot.tracks))),
        )
        for number, shot in enumerate(shots)
    ]
    own: dict[int, list[tuple[Shot, Track]]] = {number: [] for number in sorted(ranks.values())}
    for shot in numbered:
        for track, person in zip(shot.tracks, shot.people, strict=True):
            if person is not None:
                own[person].append((shot, track))
    return Identities(tuple(numbered), tuple(_person(number, tracks, table) for number, tracks in own.items()))


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
    return Shot(*border, samples, tuple(tracks), (None,) * len(tracks))


def split_by_identity(track: Track, different: float) -> Iterator[Track]:
    """Cut a track where it turns into somebody else: at the widest step between two embeddings that are not alike.

    So a cut that was missed, or a face that took another's place, does not make two people one.
    """
    frames = list(track)
    start = 0
    looks = [at for at, frame in enumerate(frames) if track[frame].embedding]
    for one, other in pairwise(looks):
        alike = float(unpack(track[frames[one]].embedding) @ unpack(track[frames[other]].embedding))
        if alike < different:
            widest = _widest_step(track, frames[one : other + 1]) + one
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
    """Return the mean direction of a track; what is seen from the front counts more."""
    faces = _embedded_faces(track)
    return mean_direction([face.embedding for face in faces], [embedding_quality(face) for face in faces])


def embedding_quality(face: Face) -> float:
    """Return how good a picture of somebody a face is, in (0, 1]: its score, times how far it faces us."""
    return max(face.score * cos(radians(estimate_yaw(face) or 0.0)) ** 2, 1e-3)


def _rivals(shots: Sequence[Shot], known: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pairs (indexes of `known`) that are seen at once, in order."""
    pairs: set[tuple[int, int]] = set()
    for number, group in groupby(enumerate(known), key=lambda each: each[1][0]):
        at_once: dict[int, list[tuple[int, Face]]] = {}
        for index, (_, at) in group:
            for frame, face in shots[number].tracks[at].items():
                if face.score >= SURE_SCORE:
                    at_once.setdefault(frame, []).append((index, face))
        for faces in at_once.values():
            pairs.update(
                (one, other)
                for (one, face), (other, rival) in combinations(faces, 2)
                if face.box.overlap(rival.box) < SAME_PLACE
            )
    return sorted(pairs)


def _rank(shots: Sequence[Shot], label_of: dict[tuple[int, int], int], table: FrameTable) -> dict[int, int]:
    """Return the number of the person for each label: by seconds on screen, then by who comes first."""
    seen: dict[int, list[Interval]] = {}
    for (number, at), label in label_of.items():
        seen.setdefault(label, []).extend(shots[number].seen(shots[number].tracks[at]))
    whole = {label: merge(parts) for label, parts in seen.items()}
    order = sorted(whole, key=lambda label: (-round(seconds_of(whole[label], table), 6), whole[label][0][0], label))
    return {label: number for number, label in enumerate(order, start=1)}


def seconds_of(intervals: Sequence[Interval], table: FrameTable) -> float:
    """Return how long intervals of frames last in all, in seconds."""
    return sum(float(table.seconds(stop) - table.seconds(start)) for start, stop in intervals)


def _person(number: int, own: Sequence[tuple[Shot, Track]], table: FrameTable) -> Person:
    seen = merge(part for shot, track in own for part in shot.seen(track))
    faces = [(frame, face) for _, track in own for frame, face in track.items() if face.embedding]
    best_frame, best_face = max(faces, key=lambda each: (_beauty(each[1]), -each[0]))
    vector = mean_direction([face.embedding for _, face in faces], [embedding_quality(face) for _, face in faces])
    return Person(
        number=number,
        seconds=seconds_of(seen, table),
        first_frame=seen[0][0],
        last_frame=seen[-1][1] - 1,
        num_shots=len({shot.start for shot, _ in own}),
        vector=tuple(float(value) for value in vector),
        best_frame=best_frame,
        best_face=best_face,
    )


def _beauty(face: Face) -> float:
    """Return how well a face serves as somebody's picture: seen from the front, and not tiny."""
    return embedding_quality(face) * min(face.box.height, 200.0)


def similarity(person: Person, vector: Vector) -> float:
    """Return the cosine between a person and a vector of length 1."""
    return float(np.asarray(person.vector, np.float32) @ vector)
