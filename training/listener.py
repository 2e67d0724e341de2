"""Who hears what training is doing. The command line's reporters fit; training knows nothing of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Listener(Protocol):
    """Hears progress and results."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """A stage begins; total: how many units it has, 0 if that is not known."""

    def advance(self, done: int, note: str = "") -> None:
        """`done` units of the stage are finished."""

    def end(self) -> None:
        """The stage is over."""

    def say(self, text: str) -> None:
        """Something worth knowing: a line of a table, a result."""

    def warn(self, text: str) -> None:
        """Something the user should act on, or know."""


@contextmanager
def stage(listener: Listener, name: str, total: int, unit: str) -> Iterator[None]:
    """Bracket a stage with begin and end, whatever happens in it."""
    listener.begin(name, total, unit)
    try:
        yield
    finally:
        listener.end()
