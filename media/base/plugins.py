"""What can be added by adding a file: the modules of a package, each of which offers one thing under an agreed name.

    segmenter/detectors/retinaface.py    offers DETECTOR    and is known as "retinaface"
    segmenter/detectors/base.py          is the contract    and offers nothing

Names are listed without importing anything, since what the modules import can take seconds.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

CONTRACT = "base"
"""The module of such a package that says what the others offer."""


def plugin_names(package: ModuleType) -> tuple[str, ...]:
    """Return the names of the modules of a package that offer something, sorted; its contract and `_private` do not."""
    names = (module.name for module in iter_modules(package.__path__))
    return tuple(sorted(name for name in names if name != CONTRACT and not name.startswith("_")))


def load_plugin(package: ModuleType, name: str, attribute: str) -> Any:
    """Import one module of a package and return what it offers. Raises LookupError for a name that is not one of it."""
    if name not in plugin_names(package):
        raise LookupError(f"{package.__name__} has no {name!r}; it has {', '.join(plugin_names(package))}")
    return getattr(import_module(f"{package.__name__}.{name}"), attribute)
