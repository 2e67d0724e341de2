"""Which mouth of the footage is shown in which frame of an output: chosen as a whole, before its clips are cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lipstitch.execution.drawn_shapes import DrawingNetwork, Task, read_shapes
from lipstitch.footage.own_sound import adapt_to
from lipstitch.footage.read import Footage
from lipstitch.footage.subjects import views_of
from lipstitch.plan.plan import Plan
from lipstitch.source.scan import Scanned
from lipstitch.workspace import Workspace
from media.base.content import content_key
from media.clips import DRAWN, Clip, FaceSpan
from media.intervals import Interval
from media.source_video import SourceVideo
from renderer.checkpoints import hash_file
from renderer.footage import lip_motion
from renderer.footage.bank import Bank
from renderer.footage.choice import Wanted
from renderer.footage.lip_motion import choose_and_lead, load_lip_motion
from renderer.footage.lip_shape import Shapes
from renderer.footage.lips import WAY_MARGIN, Way
from renderer.footage.log_mel import COLUMNS_PER_SECOND, is_silent, log_mel_of, normalised
from renderer.footage.sound_shape import hear_at, load_sound_shape
from segmenter.spans.changes import Changes

CHOICE_VERSION = 5
"""Raised when the same sound and footage give another choice than before."""


_Chosen = tuple[list[int], list[list[float]]]
"""Which mouth each frame of a stretch shows, and the measures that its lips are led to."""


@dataclass(frozen=True, slots=True)
class FaceWays:
    """What consecutive output frames of one face show of footage."""

    span: FaceSpan
    usual: Way | None
    """As if the user changed nothing; None where the mouths are not from footage then."""
    changed: Way | None
    """With what is changed; None where nothing is."""

    def of(self, face: FaceSpan) -> Way | None:
        """Return what a clip with the face shows: with nothing changed in it, its neighbours are as if so, too.

        Thus a clip stays as it is, whatever is changed beside it.
        """
        if face.source.method != "footage":
            return None
        return self.usual if face.source == self.span.source else self.changed


@dataclass(frozen=True, slots=True)
class MouthChoice:
    """Which mouths an output shows."""

    ways: tuple[FaceWays, ...] = ()

    def of_clip(self, clip: Clip) -> tuple[tuple[Way, ...], ...]:
        """Return for each face of a clip what it shows there, with a margin on either side."""
        interval = clip.start_frame - WAY_MARGIN, clip.stop_frame + WAY_MARGIN
        return tuple(
            tuple(
                part
                for each in self.ways
                if clip.shows_part(face, each.span)
                and (way := each.of(face))
                and (part := way.within(*interval)).mouths
            )
            for face in clip.faces
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Stretch:
    """Consecutive output frames in which one face shows footage."""

    span: FaceSpan
    frames: Interval
    bank: int
    source_frames: NDArray[np.int64]
    seconds: tuple[Fraction, ...]
    """Of each frame, in the driving sound."""
    pose: NDArray[np.float64]
    light: NDArray[np.float64]

    @property
    def times(self) -> NDArray[np.float64]:
        """Return the seconds as an array."""
        return np.array([float(second) for second in self.seconds])

    def key(self, bank_hash: str, driving: Path) -> list[Any]:
        """Return what the choice depends on."""
        digest = hashlib.blake2b(digest_size=12)
        for values in (self.times, self.pose, self.light):
            digest.update(np.ascontiguousarray(values).tobytes())
        own = [] if self.span.source.strength is None else [self.span.source.strength]
        return [self.frames, bank_hash, driving.stem, digest.hexdigest(), *own]


def choose_mouths(
    plan: Plan,
    scanned: Scanned,
    driving: Sequence[Path],
    weights: Path | None,
    workspace: Workspace,
    *,
    strength: float = 1.0,
    network: DrawingNetwork | None = None,
) -> MouthChoice:
    """Return which mouths an output shows; what an earlier run chose is reused.

    driving: the sound of each voice. weights: of the network that hears shapes; None where no mouth is from footage.
    strength: as in Wanted. network: whose drawn mouths tell the shapes; None: they are heard.
    """
    if weights is None:
        return MouthChoice()
    footage, changes = plan.mouths.footage, plan.target.changes
    silence, offset = plan.mouths.silence != "render", scanned.offset.seconds
    telling = _Telling(weights, strength, network, offset, closes_in_silence=silence)

    def choose(stretches: Sequence[_Stretch]) -> list[_Chosen]:
        if not stretches:
            return []
        parts = [each.key(footage.banks[each.bank].hash, driving[each.span.drive_index]) for each in stretches]
        more = [*([strength] if strength != 1 else []), *(_drawn_key(network, stretches) if network else [])]
        more += [["own sound", offset]] if offset else []
        key = content_key(CHOICE_VERSION, parts, silence, hash_file(weights), hash_file(lip_motion.SHIPPED), *more)
        path = workspace.path("choice", key, ".json")
        chosen: list[_Chosen] | None = workspace.load(path)
        if chosen is None:
            chosen = [([], [])] * len(stretches)
            for number, way in _chosen(stretches, footage, driving, scanned.source, telling):
                chosen[number] = way
            workspace.store(path, chosen)
        return chosen

    usual = [*_stretches(plan, scanned, plan.shown)]
    others = [*_stretches(plan, scanned, [*_changed(plan)])]  # by themselves, so that the usual ones are reused
    found: dict[tuple[Interval, FaceSpan], list[tuple[_Stretch, _Chosen]]] = {}
    for stretch, way in zip([*usual, *others], [*choose(usual), *choose(others)], strict=True):
        found.setdefault((stretch.frames, replace(stretch.span, source=DRAWN)), []).append((stretch, way))
    shown = ((span, found.get((frames, replace(span, source=DRAWN)))) for frames, span in plan.shown)
    return MouthChoice(tuple(_ways(span, chosen, changes) for span, chosen in shown if chosen))


def _ways(span: FaceSpan, chosen: Sequence[tuple[_Stretch, _Chosen]], changes: Changes) -> FaceWays:
    """Return what frames of a face show. chosen: as nothing is changed, where that is footage; and otherwise."""
    by_strength = {stretch.span.source.strength: way for stretch, way in chosen}
    first, (mouths, measures) = chosen[0]
    begin = first.bank, first.frames[0]
    plain = Way(*begin, tuple(mouths), tuple(map(tuple, measures))) if span.source.method == "footage" else None
    if not changes.concern(span):
        return FaceWays(span, plain, None)
    shown, led = [*mouths], [*measures]
    for (start, stop), source in changes.parts(span):
        if source and source.method == "footage":
            own = by_strength[source.strength]
            for at in np.flatnonzero((start <= first.source_frames) & (first.source_frames < stop)):
                shown[at], led[at] = own[0][at], own[1][at]
    return FaceWays(span, plain, Way(*begin, tuple(shown), tuple(map(tuple, led))))


def _changed(plan: Plan) -> Iterator[tuple[Interval, FaceSpan]]:
    """Yield the frames of faces of which some show other footage than usual, once for each way to choose it."""
    for frames, span in plan.shown:
        usual = span.source.strength if span.source.method == "footage" else "none"
        asked = {
            source.strength: source
            for _, source in plan.target.changes.parts(span)
            if source and source.method == "footage" and source.strength != usual
        }
        yield from ((frames, replace(span, source=source)) for source in asked.values())


def _stretches(plan: Plan, scanned: Scanned, shown: Iterable[tuple[Interval, FaceSpan]]) -> Iterator[_Stretch]:
    spec = plan.spec
    source_of = spec.timeline.source_of_each()
    for (start, stop), span in shown:
        number = plan.mouths.footage.number_of(span)
        if span.source.method != "footage" or number is None:
            continue
        frames = source_of[start:stop]
        # A turn of a dialogue may be shorter than the scan's step; the whole span has been seen.
        subject = plan.mouths.footage.banks[number].subject
        pose, light = views_of(subject.whole(span), scanned.scan).at(frames)
        seconds = tuple(spec.drive_seconds(frame) for frame in range(start, stop))
        yield _Stretch(span, (start, stop), number, frames, seconds, pose, light)


def _drawn_key(network: DrawingNetwork, stretches: Sequence[_Stretch]) -> list[Any]:
    """Return what drawn shapes depend on, and the choice does not by itself: frames, and where faces are in them."""
    boxes = [[each.span.path.box_at(int(frame)) for frame in each.source_frames] for each in stretches]
    return [network.key, [each.source_frames.tolist() for each in stretches], boxes]


@dataclass(frozen=True, slots=True)
class _Telling:
    """How a sound tells what a mouth does."""

    weights: Path
    """Of the network that hears shapes."""
    strength: float
    """As in Wanted."""
    network: DrawingNetwork | None
    """Whose drawn mouths tell the shapes, wherever there are enough of them."""
    offset: Fraction
    """Seconds by which the source's own sound, which adapts it, is heard later."""
    closes_in_silence: bool


def _chosen(
    stretches: Sequence[_Stretch], footage: Footage, driving: Sequence[Path], source: SourceVideo, telling: _Telling
) -> Iterator[tuple[int, _Chosen]]:
    """Yield the number of each stretch with the mouths that it shows, and the measures that they are led to.

    Voice after voice, so that one sound is held; and for each speaker, with the network adapted to them if that helps.
    """
    network, motion = load_sound_shape(telling.weights), load_lip_motion()
    banks = {each.bank: Bank(footage.banks[each.bank].path) for each in stretches}
    networks = {number: adapt_to(network, bank, source, telling.offset).network for number, bank in banks.items()}
    drawn = _drawn_shapes(telling.network, stretches, banks, source) if telling.network else {}
    for voice in sorted({each.span.drive_index for each in stretches}):
        columns = log_mel_of(driving[voice])
        heard = normalised(columns)
        for number, each in enumerate(stretches):
            if each.span.drive_index != voice:
                continue
            places = each.times * COLUMNS_PER_SECOND
            closes = telling.closes_in_silence
            wanted = Wanted(
                shapes=drawn[number] if number in drawn else hear_at(networks[each.bank], heard, places),
                silent=is_silent(columns, places) if closes else np.zeros(len(places), np.bool_),
                pose=each.pose.astype(np.float32),
                light=each.light.astype(np.float32),
                frame_rate=float(source.frame_rate),
                strength=telling.strength if each.span.source.strength is None else each.span.source.strength,
            )
            bank = banks[each.bank]
            mouths, measures = choose_and_lead(wanted, bank.candidates, bank.measured, motion)
            yield number, (mouths.tolist(), np.round(measures, 4).tolist())


def _drawn_shapes(
    network: DrawingNetwork, stretches: Sequence[_Stretch], banks: Mapping[int, Bank], source: SourceVideo
) -> dict[int, Shapes]:
    """Return what a network draws in stretches, by their numbers; without speakers who are seen too briefly."""
    found: dict[int, Shapes] = {}
    for bank in banks:
        own = {number: each for number, each in enumerate(stretches) if each.bank == bank}
        tasks = [
            Task(each.span, each.source_frames.tolist(), each.seconds, banks[bank].reference) for each in own.values()
        ]
        found |= zip(own, read_shapes(network, source, tasks) or [], strict=False)
    return found
