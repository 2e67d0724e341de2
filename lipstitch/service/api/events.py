"""Progress as server-sent events: the lines that a job prints, and changes of its status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi.concurrency import run_in_threadpool
from fastapi.sse import ServerSentEvent

from lipstitch.service.store import EVENTS_NAME, Store

POLL_SECONDS = 0.25
MAX_CHUNK_BYTES = 1 << 16


async def follow(store: Store, generation: str, start: int) -> AsyncIterator[ServerSentEvent]:
    """Yield a generation's events until it has ended, or is removed.

    start: the id of the last event that the client has, 0 for none; ids count the bytes of progress that were sent.
    """
    told, at = None, start
    path = store.place(generation) / EVENTS_NAME
    while True:
        state = await run_in_threadpool(store.state, generation)
        if state is None:
            return
        lines, at = await run_in_threadpool(_read_lines, path, at)
        for line, stop in lines:
            yield ServerSentEvent(event="progress", raw_data=store.without_paths(line), id=str(stop))
        if state.status != told and not (lines and state.is_finished):  # the end is told when all else has been
            told = state.status
            content = {"status": state.status, "error": state.error}
            yield ServerSentEvent(event="status", raw_data=json.dumps(content), id=str(at))
            if state.is_finished:
                return
        if not lines:
            await asyncio.sleep(POLL_SECONDS)


def _read_lines(path: Path, start: int) -> tuple[list[tuple[str, int]], int]:
    """Return the whole lines of a file from a place on, each with the place behind it, and the place behind all."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            chunk = file.read(MAX_CHUNK_BYTES)
    except OSError:
        return [], start
    lines = []
    for line in chunk.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        start += len(line)
        lines.append((line.decode(errors="replace").rstrip("\n"), start))
    return lines, start
