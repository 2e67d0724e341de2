"""What a run found out of the source by reading all of it, remembered in the workspace for the next one.

Two hours of video take seconds to index and to hash. A file counts as the same as long as it lies on the same disk,
under the same number there, and neither its content nor its size, its dates, its rights or its name were changed since.
"""

from __future__ import annotations

import os
import time
from array import array
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lipstitch.workspace import Workspace
from media.base.content import FileState, content_key, file_state
from media.base.errors import WorkspaceError
from media.packets.frame_table import CleanCuts, FrameTable, HiddenSlots, ParameterChanges, SampleDescription

INDEX_VERSION = 1
"""Raised when reading the same file gives another frame table or fingerprint than before."""
SETTLED_SECONDS = 2
"""A file that was changed less long ago may be changed again within one tick of the clock by which files are dated."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was at a moment."""

    state: FileState
    at: float
    """Seconds, of the clock by which files are dated."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a file."""

    table: FrameTable
    fingerprint: str


def recall(workspace: Workspace, state: FileState) -> Remembered | None:
    """Return what a run has remembered of a file in a state; None if none has. The workspace need not be there."""
    stored = workspace.load(_path(workspace, state))
    return Remembered(_table_of(stored["table"]), stored["fingerprint"]) if stored else None


def seen_now(path: Path) -> Seen | None:
    """Return the state of a file, before anything is read of it; None if it is not there."""
    try:
        return Seen(file_state(path), time.time())
    except OSError:
        return None


def remember(workspace: Workspace, video: Path, seen: Seen, found: Remembered) -> None:
    """Store what was found out of a file; nothing if it may have changed meanwhile. seen: before it was read.

    A full disk stops no job here: what is stored only saves time.
    """
    was_settled = seen.at - max(seen.state[-2:]) / 1e9 > SETTLED_SECONDS
    if was_settled and file_state(video) == seen.state:
        with suppress(WorkspaceError):
            workspace.store(
                _path(workspace, seen.state), {"table": _plain(found.table), "fingerprint": found.fingerprint}
            )


def _path(workspace: Workspace, state: FileState) -> Path:
    return workspace.path("source", content_key(INDEX_VERSION, version("av"), os.name, list(state)), ".json")


def _plain(table: FrameTable) -> dict[str, Any]:
    return {
        "time_base": str(table.time_base),
        "pts": table.pts.tolist(),
        "dts": table.dts.tolist(),
        "decode_order": table.decode_order.tolist(),
        "keyframe": table.keyframe.hex(),
        "entry": table.clean.entry.hex(),
        "exit": table.clean.exit.hex(),
        "end_pts": table.end_pts,
        "packets_tell": table.packets_tell,
        "head": table.hidden.head,
        "slots": table.hidden.slots.tolist(),
        "descriptions": [[*each.frames, each.extradata.hex()] for each in table.changes.descriptions],
        "new_forms": table.changes.new_forms,
    }


def _table_of(stored: dict[str, Any]) -> FrameTable:
    descriptions = (
        SampleDescription((start, stop), bytes.fromhex(extradata)) for start, stop, extradata in stored["descriptions"]
    )
    return FrameTable(
        time_base=Fraction(stored["time_base"]),
        pts=array("q", stored["pts"]),
        dts=array("q", stored["dts"]),
        decode_order=array("q", stored["decode_order"]),
        keyframe=bytes.fromhex(stored["keyframe"]),
        clean=CleanCuts(bytes.fromhex(stored["entry"]), bytes.fromhex(stored["exit"])),
        end_pts=stored["end_pts"],
        packets_tell=stored["packets_tell"],
        hidden=HiddenSlots(stored["head"], array("q", stored["slots"])),
        changes=ParameterChanges(tuple(descriptions), tuple(stored["new_forms"])),
    )
