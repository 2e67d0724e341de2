"""Prepared footage as training reads it: tracks of rows, and crops and mel windows gathered for any rows.

Everything lies in the memory of the device where it fits (a quarter of an hour of faces is 850 MB); otherwise crops
stay on the disk, mapped. Which windows are drawn is decided elsewhere, by seed and step (draws.py).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipstitch.training.dataset.crops import CROP_PX
from lipstitch.training.dataset.facts import VideoFacts
from media.base.content import content_key
from media.base.errors import ConfigError, TrainingError
from media.base.files import read_json
from renderer.mel import WINDOW_COLUMNS

WINDOW_ROWS = 5
"""Consecutive rows, 0.2 s, that belong to one mel window of 16 columns."""
RESIDENT_SHARE = 0.5
"""Share of the device's free memory that crops may take."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Track:
    """One face in one shot, 25 rows a second."""

    video: str
    person: str
    start: int
    """First row, counted over the whole dataset."""
    stop: int
    windows: Rows
    """First rows of the windows of WINDOW_ROWS that may be drawn, increasing; a sync expert may have rejected some."""

    def __len__(self) -> int:
        return self.stop - self.start


class FaceData:
    """A dataset in memory. Raises TrainingError if a folder holds none, or a damaged one."""

    def __init__(
        self,
        folder: Path,
        *,
        names: Collection[str] | None = None,
        people: Mapping[str, str] | None = None,
        device: str | torch.device = "cpu",
        most_bytes: int | None = None,
    ) -> None:
        """names: the videos to take; all if None. people: person by what a video's name begins with; without, each
        video is a person. most_bytes: of memory for the crops, which stay on the disk if they take more; None: a
        share of what is free.
        """
        self.device = torch.device(device)
        self.tracks: list[Track] = []
        self._videos: list[NDArray[np.uint8]] = []
        columns, mels, keys = [], [], []
        num_rows = num_columns = 0
        for place in sorted(path.parent for path in folder.glob("*/facts.json")):
            facts = VideoFacts.load(place)
            if facts is None or not facts.tracks or (names is not None and facts.name not in names):
                continue
            crops, first_columns, mel = _load_arrays(place, facts)
            kept = _load_kept(place, facts)
            self.tracks += _tracks(facts, kept, num_rows, _person(facts.name, people or {}))
            self._videos.append(crops)
            columns.append(first_columns.astype(np.int64) + num_columns)
            mels.append(np.asarray(mel))
            keys.append([facts.name, facts.key, content_key(kept.tolist())])
            num_rows += len(crops)
            num_columns += len(mel)
        if not self.tracks:
            raise TrainingError(f"{folder}: no prepared faces in this folder. Run `train prepare` into it first.")
        self.key = content_key(keys, sorted((people or {}).items()))
        """Content key of all that may be drawn."""
        self.num_rows = num_rows
        self._starts = np.cumsum([0, *map(len, self._videos)])
        self._columns = torch.from_numpy(np.concatenate(columns)).to(self.device)
        self._mel = torch.from_numpy(np.concatenate(mels)).to(self.device)
        self._crops: Tensor | None = None
        if most_bytes is None:
            most_bytes = int(RESIDENT_SHARE * _free_bytes(self.device))
        if num_rows * CROP_PX * CROP_PX * 3 <= most_bytes:
            self._crops = torch.from_numpy(np.concatenate(self._videos)).to(self.device)
            self._videos.clear()

    @property
    def is_in_memory(self) -> bool:
        """Whether the crops lie in the memory of the device."""
        return self._crops is not None

    def crops_at(self, rows: Rows) -> Tensor:
        """Return the crops of rows of any shape (...) as (..., 3, 112, 112) uint8 on the device."""
        flat = rows.reshape(-1)
        if self._crops is not None:
            crops = self._crops[torch.from_numpy(flat).to(self.device)]
        else:
            videos = np.searchsorted(self._starts, flat, side="right") - 1
            pairs = zip(videos, flat - self._starts[videos], strict=True)
            crops = torch.from_numpy(np.stack([self._videos[video][row] for video, row in pairs])).to(self.device)
        return crops.permute(0, 3, 1, 2).reshape(*rows.shape, 3, CROP_PX, CROP_PX)

    def mels_at(self, rows: Rows) -> Tensor:
        """Return the mel windows that the renderer gives to rows of any shape (...), as (..., 1, 80, 16) float32."""
        first = self._columns[torch.from_numpy(rows.reshape(-1)).to(self.device)]
        steps = torch.arange(WINDOW_COLUMNS, device=self.device)
        windows = self._mel[first[:, None] + steps].transpose(1, 2)
        return windows.reshape(*rows.shape, 1, *windows.shape[1:])

    def split(self, held_out: Sequence[str]) -> Split:
        """Divide the tracks into those to train on and those of the people held out.

        A name holds out the person of that name, and those whose name continues it after an underscore (head_13 is
        head_13_512). Raises ConfigError if a name holds out no one, or no one is left.
        """
        for name in held_out:
            if not any(is_named(track.person, name) for track in self.tracks):
                people = ", ".join(sorted({track.person for track in self.tracks}))
                raise ConfigError(f"held_out: no one in the data is called {name!r}; the people are {people}.")
        is_held = [any(is_named(track.person, name) for name in held_out) for track in self.tracks]
        held = [track for track, chosen in zip(self.tracks, is_held, strict=True) if chosen]
        rest = [track for track, chosen in zip(self.tracks, is_held, strict=True) if not chosen]
        if not any(len(track.windows) for track in rest):
            raise ConfigError("held_out: no one is left to train on. Hold out fewer people, or prepare more footage.")
        return Split(self, rest, held)


@dataclass(frozen=True, slots=True)
class Split:
    """A dataset divided in two."""

    data: FaceData
    tracks: Sequence[Track]
    """To train on."""
    held: Sequence[Track]
    """Held out, to judge by."""


def is_named(person: str, name: str) -> bool:
    """Tell whether a name means a person: head_13 means head_13 and head_13_512, not head_131."""
    return person == name or person.startswith(f"{name}_")


def split_by_time(data: FaceData, share: float, gap_rows: int) -> Split:
    """Divide each video's tracks by time: what to train on, and the last `share` of it, held out.

    Up to gap_rows rows before the cut belong to neither, so that no held-out face was all but seen in training.
    """
    before, after = [], []
    for video in dict.fromkeys(track.video for track in data.tracks):
        own = [track for track in data.tracks if track.video == video]
        left = round(sum(map(len, own)) * (1 - share))
        for track in own:
            cut = track.start + max(left, 0)
            left -= len(track)
            before += _piece(
                track, track.start, min(cut - gap_rows, track.stop) if cut < track.stop + gap_rows else track.stop
            )
            after += _piece(track, max(cut, track.start), track.stop)
    return Split(data, before, after)


def _piece(track: Track, start: int, stop: int) -> list[Track]:
    """Return the part of a track in [start, stop), if it holds a window that may be drawn."""
    windows = track.windows[(track.windows >= start) & (track.windows + WINDOW_ROWS <= stop)]
    return [Track(track.video, track.person, start, stop, windows)] if len(windows) else []


def _person(video: str, people: Mapping[str, str]) -> str:
    """Return who is seen in a video: the longest key that its name begins with decides."""
    keys = [key for key in people if video.startswith(key)]
    return people[max(keys, key=len)] if keys else video


def _load_arrays(place: Path, facts: VideoFacts) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.float32]]:
    """Map the arrays of a video and check that they are what the facts promise; nothing in them is executed."""
    try:
        crops = np.load(place / "crops.npy", mmap_mode="r", allow_pickle=False)
        columns = np.load(place / "columns.npy", mmap_mode="r", allow_pickle=False)
        mel = np.load(place / "mel.npy", mmap_mode="r", allow_pickle=False)
        shapes = crops.shape, columns.shape, mel.shape
        expected = (len(crops), CROP_PX, CROP_PX, 3), (len(crops),), (facts.num_columns, 80)
        is_sound = shapes == expected and len(crops) >= facts.num_rows
        is_sound &= (crops.dtype, columns.dtype, mel.dtype) == (np.uint8, np.int32, np.float32)
        is_sound &= columns.min() >= 0 and columns.max() + WINDOW_COLUMNS <= len(mel)
    except (OSError, ValueError, EOFError, TypeError) as exc:
        raise TrainingError(
            f"{place}: an array is missing or damaged. Remove the folder and run `train prepare`."
        ) from exc
    if not is_sound:
        raise TrainingError(f"{place}: the arrays do not fit together. Remove the folder and run `train prepare`.")
    return crops, columns, mel


def _load_kept(place: Path, facts: VideoFacts) -> NDArray[np.bool_]:
    """Return for each row whether a sync expert left it in; all are where none looked at this version of the video."""
    content = read_json(place / "kept.json")
    kept = np.ones(facts.num_rows, bool)
    if content is not None and content.get("key") == facts.key:
        for start, stop in content.get("rejected_rows", ()):
            kept[start:stop] = False
    return kept


def _tracks(facts: VideoFacts, kept: NDArray[np.bool_], first: int, person: str) -> list[Track]:
    tracks = []
    for start, stop in facts.tracks:
        whole = np.lib.stride_tricks.sliding_window_view(kept[start:stop], WINDOW_ROWS).all(axis=1)
        tracks.append(Track(facts.name, person, first + start, first + stop, first + start + np.flatnonzero(whole)))
    return tracks


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
