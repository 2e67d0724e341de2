"""Re-sync the lips of long dubbed videos: the package that knows all stages.

    import lipstitch

    result = lipstitch.sync("talk.mp4", "talk.hi.wav", "talk.hi.mp4")

docs/python.md describes it. What is imported from here is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lipstitch.api import Progress, SyncResult, sync
    from lipstitch.report.report import Report
    from media.base.errors import Cancelled, LipstitchError

__all__ = ["Cancelled", "LipstitchError", "Progress", "Report", "SyncResult", "sync"]

_HOMES = {
    "Cancelled": "media.base.errors",
    "LipstitchError": "media.base.errors",
    "Report": "lipstitch.report.report",
    **dict.fromkeys(("Progress", "SyncResult", "sync"), "lipstitch.api"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
