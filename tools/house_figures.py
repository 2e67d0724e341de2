"""List what is too large in the house: functions, types and files.

    python tools/house_figures.py

tests/test_house_figures.py holds what may be larger, each with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("benchmarks", "lipstitch", "media", "renderer", "segmenter", "stitcher", "tools")
MAX_PARAMETERS, MAX_FIELDS, MAX_LINES = 7, 10, 349
"""Of a function, without self and cls; of a dataclass, named tuple or pydantic model, inherited ones included; of a
file."""


class Large(NamedTuple):
    """Something that is larger than it should be."""

    place: str
    """A file, or a file and a name in it: media/probe.py:probe."""
    size: int
    """Parameters, fields or lines."""


def large_functions(path: str, source: str) -> Iterator[Large]:
    """Yield the functions with too many parameters. Commands are left out: their parameters are a program's options."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _is_command(node):
            size = sum(argument.arg not in ("self", "cls") for argument in _arguments(node))
            if size > MAX_PARAMETERS:
                yield Large(f"{path}:{node.name}", size)


def large_types(path: str, source: str) -> Iterator[Large]:
    """Yield the classes with too many fields; what they inherit from classes of the same file counts as theirs."""
    classes = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)}
    for name, node in classes.items():
        size = len(_fields(node, classes))
        if size > MAX_FIELDS:
            yield Large(f"{path}:{name}", size)


def large_files(path: str, source: str) -> Iterator[Large]:
    """Yield the file if it has too many lines."""
    size = source.count("\n")
    if size > MAX_LINES:
        yield Large(path, size)


def source_texts() -> Iterator[tuple[str, str]]:
    """Yield (path relative to the root, text) of each file of the packages, the benchmarks and the tools."""
    for path in [ROOT / "main.py", *(found for room in ROOMS for found in sorted((ROOT / room).rglob("*.py")))]:
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    arguments = node.args
    starred = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *starred]


def _is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether typer makes a command of a function: @app.command() or @app.callback()."""
    called = (each.func for each in node.decorator_list if isinstance(each, ast.Call))
    return any(isinstance(each, ast.Attribute) and each.attr in ("command", "callback") for each in called)


def _fields(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> set[str]:
    fields = {
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        if "ClassVar" not in ast.unparse(each.annotation)
    }
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes and base.id != node.name:
            fields |= _fields(classes[base.id], classes)
    return fields


def main() -> None:
    """Print everything that is too large, the largest first."""
    for what, find in (("parameters", large_functions), ("fields", large_types), ("lines", large_files)):
        found = [large for path, source in source_texts() for large in find(path, source)]
        for large in sorted(found, key=lambda large: -large.size):
            print(f"{large.size:4} {what:10} {large.place}")


if __name__ == "__main__":
    main()
