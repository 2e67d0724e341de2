"""Files that a process loads once: networks, which all its threads and all its jobs share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import Concatenate, ParamSpec, TypeVar

from media.base.content import file_state

P = ParamSpec("P")
T = TypeVar("T")


def once_a_file(load: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    """Let a function of a file keep the latest value that it has returned, for as long as the file is not changed.

    The value is shared by all who ask, so it must be safe to use from several threads. Other arguments must be
    hashable. What the function raises is not kept.
    """
    kept: dict[object, T] = {}
    lock = Lock()

    @wraps(load)
    def load_once(path: Path, /, *arguments: P.args, **options: P.kwargs) -> T:
        try:
            key = (path, file_state(path), arguments, *sorted(options.items()))
        except OSError:  # of which the function says what to do
            return load(path, *arguments, **options)
        with lock:  # others who ask meanwhile wait for the same value
            if key not in kept:
                value = load(path, *arguments, **options)
                kept.clear()
                kept[key] = value
            return kept[key]

    return load_once
