"""Settings files in YAML or JSON: overrides, and faults said in words, with key path and value."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, PlainSerializer, PlainValidator, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails

from media.base.errors import ConfigError
from media.base.text import MAX_SHOWN, brief, decode_text, parse_text

MAX_FILE_BYTES = 1 << 20
MAX_FAULTS = 10
"""Faults that are named at once."""
MAX_PATH_BYTES, MAX_NAME_BYTES = 4095, 255
"""Longest path and longest name in it that Linux opens."""

Settings = TypeVar("Settings", bound=BaseModel)


def resolve_path(value: Any, info: ValidationInfo) -> Path:
    """Return a path of a settings file, relative to its folder. Raises ValueError for what can be no path."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("give a path")
    folder = (info.context or {}).get("folder", Path())
    path = Path(os.path.normpath(Path(folder, os.path.expanduser(value))))
    try:
        is_too_long = len(os.fsencode(path)) > MAX_PATH_BYTES or _has_long_name(path)
    except UnicodeEncodeError as exc:  # half a surrogate pair, which YAML's \u can write
        raise ValueError("give a path; this one holds a character that no file name can hold") from exc
    if is_too_long:
        raise ValueError("give a path; this one is longer than a path can be")
    return path


def _has_long_name(path: Path) -> bool:
    return any(len(os.fsencode(name)) > MAX_NAME_BYTES for name in path.parts)


FilePath = Annotated[Path, PlainValidator(resolve_path), PlainSerializer(str)]
FilePaths = Annotated[
    tuple[FilePath, ...], BeforeValidator(lambda value: [value] if isinstance(value, str | Path) else value)
]
"""A list of files; one by itself need not be a list."""


def load_settings(
    model: type[Settings],
    path: Path,
    overrides: Sequence[str],
    *,
    what: str,
    omitted: Mapping[str, Any] | None = None,
) -> Settings:
    """Read and check a settings file; raise ConfigError with key path, value and what is allowed.

    model: its keys. overrides: key=value with a dotted key path and a YAML value, as --set takes them. what: what such
    a file is called in messages. omitted: values of keys that the file may leave out, though the model needs them.
    """
    content = _read_settings(path, what)
    for key, value in (omitted or {}).items():
        content[key] = value if content.get(key) is None else content[key]
    override_settings(content, overrides)
    try:
        return check_settings(model, content, folder=path.parent)
    except ConfigError as exc:
        raise ConfigError(f"{path}: {exc}") from exc


def check_settings(model: type[Settings], content: dict[str, Any], *, folder: Path) -> Settings:
    """Check settings as a file would hold them; raise ConfigError with key path, value and what is allowed.

    folder: where relative paths start.
    """
    try:
        return model.model_validate(_given(content, model), context={"folder": folder})
    except ValidationError as exc:
        raise ConfigError(_describe(exc.errors(include_url=False), model)) from exc


def override_settings(content: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set keys of a settings file's content as --set does: key=value with a dotted key path and a YAML value."""
    for override in overrides:
        key, found, value = override.partition("=")
        if not found or not key:
            raise ConfigError(f"--set {brief(override)}: write it as key.path=value.")
        set_key(content, key.split("."), parse_text(value, f"--set {brief(override)}"), f"--set {brief(override)}")


def keys_of(model: type[BaseModel], section: str = "") -> set[str]:
    """Return the dotted paths of all keys of a model, those of its sections and the sections themselves included.

    What lists and tables of sections hold is left out. section: the path of the model itself, with a dot at its end.
    """
    keys = set()
    for key, field in model.model_fields.items():
        keys.add(f"{section}{key}")
        holds_entries = {get_origin(each) for each in (field.annotation, *get_args(field.annotation))} & {tuple, dict}
        for inner in () if holds_entries else _models_in(field.annotation):
            keys |= keys_of(inner, f"{section}{key}.")
    return keys


def _read_settings(path: Path, what: str) -> dict[str, Any]:
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # reading a pipe may never end
            raise ConfigError(f"{path}: not a regular file (a pipe or device). Pass a file.")
        if status.st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: larger than 1 MiB, so it is no {what}. Check the path.")
        content = parse_text(decode_text(path.read_bytes()), str(path))
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read ({exc.strerror}). Check the path of the {what}.") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(
            f"{path}: not a text file in UTF-8 or UTF-16. Save it in UTF-8, or check the path of the {what}."
        ) from exc
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a {what} is a list of `key: value` lines. See configs/ for examples.")
    return content


def _given(content: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return the keys that have a value: a section whose lines are all commented out is one that is left out.

    Unknown keys stay, to be refused: `{start: 1,5}` is a start of 1 and a key 5 without a value.
    """
    kept: dict[str, Any] = {}
    for key, value in content.items():
        annotation = model.model_fields[key].annotation if key in model.model_fields else None
        if value is None and annotation is not None:
            continue
        section = next(_models_in(annotation), None)
        if section is not None and isinstance(value, list):
            kept[key] = [_given(part, section) if isinstance(part, dict) else part for part in value]
        elif section is None or not isinstance(value, dict):
            kept[key] = value
        elif get_origin(annotation) is dict:
            entries = {name: {} if entry is None else entry for name, entry in value.items()}
            kept[key] = {name: _given(of, section) if isinstance(of, dict) else of for name, of in entries.items()}
        else:
            kept[key] = _given(value, section)
    return kept


def set_key(content: dict[str, Any], keys: Sequence[str], value: Any, written: str) -> None:
    """Set the value at a key path, making sections on the way; written: what the user wrote, for messages."""
    for key in keys[:-1]:
        if content.get(key) is None:
            content[key] = {}
        content = content[key]
        if not isinstance(content, dict):
            raise ConfigError(f"{written}: {brief(key)} holds no keys of its own.")
    content[keys[-1]] = value


def _describe(errors: list[ErrorDetails], job: type[BaseModel]) -> str:
    """Return one sentence for each thing that is wrong: key path, value, what is allowed. job: all its keys."""
    sentences: dict[str, list[str]] = {}
    for error in errors:
        loc = [part for part in error["loc"] if not str(part).startswith(("literal[", "constrained"))]
        value = error["input"]
        now = f" (now {shown(value)})" if isinstance(value, str | int | float) and error["type"] != "missing" else ""
        where = f"{'.'.join(brief(str(part)) for part in loc)}{now}: " if loc else ""
        sentences.setdefault(where, []).append(_allowed(error, loc, job))
    named = [f"{where}{', or '.join(dict.fromkeys(said))}" for where, said in sentences.items()]
    more = [f"and {len(named) - MAX_FAULTS} faults more"] if len(named) > MAX_FAULTS else []
    return "; ".join(named[:MAX_FAULTS] + more) + "."


def _allowed(error: ErrorDetails, loc: list[str | int], job: type[BaseModel]) -> str:
    """Return what is allowed at a place, in words."""
    if error["type"] == "extra_forbidden":
        return f"unknown key; {_keys_at(loc[:-1], job)}"
    if error["type"] == "missing":
        return "this key is needed" if isinstance(loc[-1], str) else "a value is missing here"
    if error["type"] == "model_type":
        return f"this is a section; {_keys_at(loc, job)}"
    if error["type"] == "tuple_type":
        return "give a list"
    said = error["msg"].removeprefix("Value error, ")
    return said[:1].lower() + said[1:]


def _keys_at(loc: list[str | int], job: type[BaseModel]) -> str:
    """Return which keys a section of the job has; loc: its key path, with indexes of list entries."""
    model, names_entry = job, False
    for part in loc:
        if isinstance(part, str) and not names_entry:
            annotation = model.model_fields[part].annotation
            model, names_entry = next(_models_in(annotation)), get_origin(annotation) is dict
        else:
            names_entry = False
    return f"the keys here are {', '.join(model.model_fields)}"


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections that a field's type names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def shown(value: str | float) -> str:
    """Return a value as a message repeats it; Python refuses to write out integers of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > MAX_SHOWN:
        return "a number of very many digits"
    return brief(repr(value))
