"""Which mouth of the footage is shown in which frame of an output: chosen as a whole, before its clips are cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from media.clips import Clip, FaceSpan
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

CHOICE_VERSION = 5
"""Raised when the same sound and footage give another choice than before."""


_Chosen = tuple[list[int], list[list[float]]]
"""Which mouth each frame of a stretch shows, and the measures that its lips are led to."""


@dataclass(frozen=True, slots=True)
class MouthChoice:
    """Which mouths an output shows."""

    ways: tuple[tuple[FaceSpan, Way], ...] = ()
    """For each stretch of a face that footage is shown in."""

    def of_clip(self, clip: Clip) -> tuple[tuple[Way, ...], ...]:
        """Return for each face of a clip what it shows there, with a margin on either side."""
        interval = clip.start_frame - WAY_MARGIN, clip.stop_frame + WAY_MARGIN
        return tuple(
            tuple(
                part
                for span, way in self.ways
                if clip.shows_part(face, span) and (part := way.within(*interval)).mouths
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
    footage = plan.mouths.footage
    stretches = [*_stretches(plan, scanned)]
    if not stretches or weights is None:
        return MouthChoice()
    silence, offset = plan.mouths.silence != "render", scanned.offset.seconds
    parts = [each.key(footage.banks[each.bank].hash, driving[each.span.drive_index]) for each in stretches]
    more = [*([strength] if strength != 1 else []), *(_drawn_key(network, stretches) if network else [])]
    more += [["own sound", offset]] if offset else []
    key = content_key(CHOICE_VERSION, parts, silence, hash_file(weights), hash_file(lip_motion.SHIPPED), *more)
    path = workspace.path("choice", key, ".json")
    chosen: list[_Chosen] | None = workspace.load(path)
    if chosen is None:
        chosen = [([], [])] * len(stretches)
        telling = _Telling(weights, strength, network, offset, closes_in_silence=silence)
        for number, way in _chosen(stretches, footage, driving, scanned.source, telling):
            chosen[number] = way
        workspace.store(path, chosen)
    return MouthChoice(
        tuple(
            (each.span, Way(each.bank, each.frames[0], tuple(mouths), tuple(map(tuple, measures))))
            for each, (mouths, measures) in zip(stretches, chosen, strict=True)
        )
    )


def _stretches(plan: Plan, scanned: Scanned) -> Iterator[_Stretch]:
    spec = plan.spec
    source_of = spec.timeline.source_of_each()
    for (start, stop), span in plan.shown:
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
