"""The second look at a dataset: a sync expert rejects windows whose sound and lips do not belong together.

What it judges is a second of a track at a time, because a single window of 0.2 s tells little (silence tells nothing).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lipstitch.progress import Reporter, stage
from lipstitch.training.dataset.augment import plain_faces
from lipstitch.training.dataset.dataset import FaceData
from lipstitch.training.dataset.facts import VideoFacts
from lipstitch.training.dataset.grid import STEPS_PER_SECOND
from lipstitch.training.expert import SyncExpert, load_expert
from lipstitch.training.sync import FALSE_ROWS, FARTHEST_ROWS, track_cosines
from media.base.content import hash_bytes
from media.base.files import write_json
from media.intervals import even_pieces

LEAST_GAIN = 0.08
"""How much better (as a cosine) shifted sound must fit, over a second, before a window counts as out of sync. Where
no one speaks, all shifts fit alike, and nothing is rejected."""
PIECE_ROWS = 60 * STEPS_PER_SECOND
"""Rows that are judged at once, at most."""

Verdict = Literal["", "sound and lips are apart", "the lips follow another sound"]


def reject_windows(folder: Path, videos: Sequence[VideoFacts], expert: Path, reporter: Reporter) -> dict[str, int]:
    """Write kept.json beside the arrays of each video; return the rows rejected, by reason.

    A second look replaces the first one's verdict. Holds the crops of a minute at a time.
    """
    network = load_expert(expert)
    keys = {facts.name: facts.key for facts in videos}
    data = FaceData(folder, names=keys, most_bytes=0)
    verdict_of: dict[str, list[tuple[int, int]]] = {name: [] for name in keys}
    first_row: dict[str, int] = {}
    rows: dict[str, int] = {}
    with stage(reporter, "second look", len(data.tracks), "tracks"):
        for number, track in enumerate(data.tracks, start=1):
            origin = first_row.setdefault(track.video, track.start)
            if track.video in keys:
                for piece in even_pieces(track.start, track.stop, PIECE_ROWS):
                    for start, stop, verdict in _judge(network, data, *piece):
                        verdict_of[track.video].append((start - origin, stop - origin))
                        rows[verdict] = rows.get(verdict, 0) + stop - start
            reporter.advance(number)
    looked_with = hash_bytes(expert)
    for name, rejected in verdict_of.items():
        content = {"key": keys[name], "expert": looked_with, "rejected_rows": rejected}
        write_json(folder / name / "kept.json", content)
    return rows


def _judge(network: SyncExpert, data: FaceData, first: int, behind: int) -> list[tuple[int, int, Verdict]]:
    """Return the rejected runs among the rows [first, behind) of a track: first row, row behind the last, why."""
    rows = np.arange(first, behind)
    cosines = track_cosines(network, plain_faces(data.crops_at(rows)), data.mels_at(rows))
    by_shift = smooth(cosines.cpu().numpy().astype(np.float64), STEPS_PER_SECOND)
    middle = by_shift[:, FARTHEST_ROWS]
    near = by_shift[:, FARTHEST_ROWS - 2 : FARTHEST_ROWS + 3].max(axis=1)
    shifts = np.abs(np.arange(-FARTHEST_ROWS, FARTHEST_ROWS + 1))
    far = by_shift[:, shifts >= FALSE_ROWS]
    apart = np.max(far, axis=1, initial=-1.0, where=~np.isnan(far)) - near > LEAST_GAIN
    another = np.nanmean(far, axis=1) - middle > LEAST_GAIN
    runs: list[tuple[int, int, Verdict]] = []
    for chosen, verdict in ((apart, "sound and lips are apart"), (another & ~apart, "the lips follow another sound")):
        padded = np.diff(np.concatenate(([0], chosen.astype(np.int8), [0])))
        pairs = zip(np.flatnonzero(padded == 1), np.flatnonzero(padded == -1), strict=True)
        runs += [(first + int(a), first + int(b), verdict) for a, b in pairs]  # type: ignore[misc]
    return runs


def smooth(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Return the mean over `length` neighbouring rows for each column, fewer at the ends; nan are left out."""
    known = ~np.isnan(values)
    kernel = np.ones(length)
    sums, counts = (
        np.stack([np.convolve(column, kernel, "same")[: len(column)] for column in part.T], axis=1)
        for part in (np.where(known, values, 0.0), known.astype(np.float64))
    )
    return np.where(counts > 0.5, sums / np.maximum(counts, 1), np.nan)
