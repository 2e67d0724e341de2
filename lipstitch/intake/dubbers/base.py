"""What a module of this package offers as LAYOUT: how the files of a dubbing program are recognised in a folder.

Names of files are public facts of those programs. Each module names the commit that they were read from; where a later
version names its files otherwise, its folders are not recognised, and nothing else breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Files = frozenset[str]
"""Names of the files in a folder."""


@dataclass(frozen=True, slots=True)
class FoundDub:
    """A dub that a program has left, and the video that it is for."""

    video: Path
    audio: Path | None = None
    """None: the video's own sound is the dub."""
    voice: Path | None = None
    """The dub's voice without music, which may end before it or begin elsewhere."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a program's files are recognised."""

    title: str
    """What the program is called."""
    read_from: str
    """The repository and the commit that the names were read from."""
    find: Callable[[Path, Files], Sequence[FoundDub]]
    """(folder, names of its files) -> its dubs; empty where the folder is not this program's.

    Raises ConfigError, without the folder, where it is, and does not tell which video a dub is for.
    """
