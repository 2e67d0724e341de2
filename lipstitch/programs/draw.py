"""Have a program draw every face of an output, before its clips are cut; what an earlier run had drawn is reused.

plan --pieces--> files for the program --run, again if it fails--> its video, checked --> workspace --> clips
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np

from lipstitch.job_file.program import CommandConfig
from lipstitch.plan.plan import Plan
from lipstitch.programs.exchange import Exchange, find_fit, sound_of, write_sound
from lipstitch.programs.pieces import Piece, find_pieces
from lipstitch.programs.program import Given, Program
from lipstitch.progress import Reporter, stage
from lipstitch.source.source import Source
from lipstitch.workspace import Workspace, require_space
from media.base.content import content_key
from media.base.errors import RenderError
from media.base.files import atomic_file
from media.clips import Clip, FaceSpan
from renderer.drawn_video import DrawnPiece, Fit

PROGRAM_VERSION: Final = 1
"""Raised when a program is given other files for the same piece than before."""
MOST_RATE_DENOMINATOR: Final = 1001
BYTES_PER_PIXEL: Final = 1.0
SILENT: Final = 300
"""Largest sample, of 32767, of a sound in which no one speaks: what is not speech is silenced before."""


@dataclass(frozen=True, slots=True)
class DrawnMouths:
    """What a program has drawn of an output."""

    pieces: tuple[tuple[FaceSpan, DrawnPiece], ...] = ()
    """In order, each with the face that it shows."""

    def of_clip(self, clip: Clip) -> tuple[tuple[DrawnPiece, ...], ...]:
        """Return for each face of a clip its pieces."""
        return tuple(
            tuple(
                piece
                for span, piece in self.pieces
                if piece.within(clip.start_frame, clip.stop_frame) and clip.shows_part(face, span)
            )
            for face in clip.faces
        )


def draw_by_program(
    settings: CommandConfig,
    plan: Plan,
    source: Source,
    driving: Sequence[Path],
    workspace: Workspace,
    reporter: Reporter,
) -> DrawnMouths:
    """Return what a program draws of an output. driving: the sound of each voice.

    A piece at which it fails again and again says so; its clips fall back. Raises WorkspaceError if the disk is full.
    """
    rate = Fraction(str(settings.fps)) if settings.fps else source.frame_rate.limit_denominator(MOST_RATE_DENOMINATOR)
    exchange = Exchange(source, rate)
    found = find_pieces(plan, source.video.upright_size, most_seconds=settings.piece_seconds, shown=settings.shown)
    pieces = [exchange.aligned(piece) for piece in found]
    largest = max((_lossless_bytes(piece, rate) for piece in pieces), default=0)
    require_space(workspace.folder, settings.at_once * largest)
    drawing = _Drawing(Program(settings), exchange, workspace, reporter, source.fingerprint)
    drawn: dict[int, DrawnPiece] = {}
    with (
        stage(reporter, "program", sum(len(piece.source_frames) for piece in pieces), "frames"),
        ThreadPoolExecutor(settings.at_once, "program") as pool,
    ):
        try:
            tasks = {
                pool.submit(drawing.drawn, piece, driving[piece.span.drive_index]): number
                for number, piece in enumerate(pieces)
            }
            done = 0
            for task in as_completed(tasks):
                number = tasks[task]
                drawn[number] = task.result()
                done += len(pieces[number].source_frames)
                reporter.advance(done)
        finally:
            drawing.stopped.set()
            pool.shutdown(cancel_futures=True)
    return DrawnMouths(tuple((piece.span, drawn[number]) for number, piece in enumerate(pieces)))


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Has pieces drawn, on several threads."""

    program: Program
    exchange: Exchange
    workspace: Workspace
    reporter: Reporter
    fingerprint: str
    stopped: threading.Event = field(default_factory=threading.Event)

    def drawn(self, piece: Piece, driving: Path) -> DrawnPiece:
        """Return a piece, drawn; by an earlier run if one has."""
        sound = sound_of(piece, driving)
        settings = self.program.settings
        key = content_key(
            PROGRAM_VERSION,
            settings.words,
            str(settings.folder),
            self.fingerprint,
            piece.given(self.exchange.rate),
            str(self.exchange.rate),
            [str(second - piece.seconds[0]) for second in piece.seconds],
            piece.region,
            piece.box,
            hashlib.blake2b(sound.tobytes(), digest_size=16).hexdigest(),
        )
        path = self.workspace.path("drawn", key, ".video")
        known = self.workspace.sealed(path)
        failure = ""
        if known is None:
            with self.workspace.scratch(key) as folder:
                given = Given.within(folder, str(self.exchange.rate))
                self.exchange.write_video(piece, given.video)
                write_sound(sound, given.audio)
                fit, failure = self._try(piece, given, is_heard=int(np.abs(sound).max(initial=0)) > SILENT)
                if fit is not None:
                    with atomic_file(path) as partial:
                        shutil.copyfile(given.output, partial)
                    known = {"fit": asdict(fit)}
                    self.workspace.seal(path, known)
        return DrawnPiece(
            frames=piece.frames,
            start_seconds=piece.seconds[0],
            region=piece.region,
            path=str(path.absolute()) if known else "",
            key=key,
            fit=_fit_of(known["fit"]) if known else None,
            failure=failure,
        )

    def _try(self, piece: Piece, given: Given, *, is_heard: bool) -> tuple[Fit | None, str]:
        """Return how what the program wrote lies over the piece; or None, and why it failed every time."""
        name, what = self.program.settings.words[0], f"frames {piece.frames[0]}-{piece.frames[1] - 1}"
        reason = ""
        for attempt in range(1, self.program.settings.attempts + 1):
            given.output.unlink(missing_ok=True)
            try:
                self.program.run(given, self.stopped.is_set)
                return find_fit(piece, given.video, given.output, is_heard=is_heard), ""
            except RenderError as exc:
                reason = f"{what}: {exc}" if str(exc).startswith(name) else f"{what}: {name}: {exc}"
            if self.stopped.is_set():
                break
            self.reporter.info(f"Attempt {attempt} of {self.program.settings.attempts}: {reason}")
        return None, reason


def _lossless_bytes(piece: Piece, rate: Fraction) -> int:
    """Return about how much a piece takes without loss, and as a program writes it."""
    left, top, right, bottom = piece.region
    return int((right - left) * (bottom - top) * float(piece.seconds[-1] - piece.seconds[0]) * rate * BYTES_PER_PIXEL)


def _fit_of(stored: dict[str, list[float]]) -> Fit:
    width, height = stored["size"]
    right, down = stored["shift"]
    blue, green, red = stored["offset"]
    return Fit((int(width), int(height)), (right, down), (blue, green, red))
