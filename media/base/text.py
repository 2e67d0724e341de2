"""Text that users write, as programs save it: UTF-8, or UTF-16 as spreadsheets and Windows do; JSON and YAML."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from typing import Any

import yaml

from media.base.errors import ConfigError

MAX_SHOWN = 80
"""Characters of what the user wrote that a message repeats."""
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Byte-order marks, and the encoding that follows."""
LINE_TABS = re.compile(r"^[ \t]+", re.MULTILINE)
SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
HALF_PAIR = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""A surrogate that is alone; those from U+DC80 to U+DCFF stand for bytes of file names that are not UTF-8."""
PLAIN_KEYS = {f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "int", "null", "timestamp", "value")}
"""What YAML takes names for that are written without quotes, as 01, no or 1e3."""


def decode_text(content: bytes) -> str:
    """Return the text of a file without its byte-order mark, its lines ended by line feeds alone.

    Raises UnicodeDecodeError for what is neither UTF-8 nor, by its mark or its zero bytes, UTF-16.
    """
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    encoding = MARKS.get(mark, "utf-8")
    if not mark and content[:2].count(0) == 1:  # the first character is an ASCII one in all files that are read here
        encoding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    text = content[len(mark) :].decode(encoding)
    if encoding != "utf-8" and "\0" in text:
        raise UnicodeDecodeError(encoding, content, 0, len(content), "zero characters: UTF-32, or no text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_text(text: str, where: str) -> Any:
    """Return the value of a YAML or JSON text; raise ConfigError that begins with `where`.

    JSON is read as JSON: YAML 1.1 takes 1e3 for text, and refuses tabs and long keys.
    """
    value = _parse(text, where)
    try:
        return _whole_characters(value, where, ())
    except RecursionError as exc:
        raise ConfigError(f"{where}: values are nested too deeply. Check the spelling.") from exc


def _parse(text: str, where: str) -> Any:
    if not text.lstrip().startswith("{"):
        return _parse_yaml(text, where)
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except _GivenTwiceError as exc:
        # YAML names the line, but refuses tabs. In JSON they stand between values alone.
        _parse_yaml(text.replace("\t", " "), where)
        raise ConfigError(f"{where}: {exc} is given twice. Check the spelling.") from exc
    except (ValueError, RecursionError):  # YAML that begins with a brace, or JSON with a fault
        return _parse_yaml(LINE_TABS.sub(lambda match: match[0].replace("\t", " "), text), where)


class _GivenTwiceError(ValueError):
    """A key of JSON that is given twice."""


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _GivenTwiceError(brief(key))
        content[key] = value
    return content


class _PlainLoader(yaml.SafeLoader):
    """Refuses aliases, with which a small file can grow without bound, and keys that are given twice."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{brief(key.value)} is given twice", key.start_mark
                    )
                seen.add(key.value)
                if key.tag in PLAIN_KEYS:
                    key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.MarkedYAMLError as exc:
        line = f"line {exc.problem_mark.line + 1}: " if exc.problem_mark else ""
        raise ConfigError(f"{where}: {line}{brief(exc.problem or str(exc))}. Check the spelling.") from exc
    except Exception as exc:  # PyYAML turns a value into what its tag says, and may stumble in any way
        reason = str(exc).split("\n")[0]
        raise ConfigError(f"{where}: this is not YAML ({brief(reason)}). Check the spelling.") from exc


def _whole_characters(value: Any, where: str, keys: tuple[str, ...]) -> Any:
    r"""Return a value with the pairs of surrogates joined as which JSON escapes characters, as \ud83d\ude00.

    Raises ConfigError for half a pair, which is no character. keys: key path of the value.
    """
    if isinstance(value, dict):
        content = {
            _whole_characters(key, where, (*keys, str(key))): _whole_characters(part, where, (*keys, str(key)))
            for key, part in value.items()
        }
        if len(content) < len(value):
            raise ConfigError(f"{_place(where, keys)}: a key is given twice. Check the spelling.")
        return content
    if isinstance(value, list):
        return [_whole_characters(part, where, (*keys, str(number))) for number, part in enumerate(value)]
    if not isinstance(value, str):
        return value
    whole = SURROGATES.sub(lambda pair: pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"), value)
    if HALF_PAIR.search(whole):
        problem = f"{brief(repr(value))} holds half of a surrogate pair, which is no character"
        raise ConfigError(f"{_place(where, keys)}: {problem}. Write the whole pair, or the character itself.")
    return whole


def _place(where: str, keys: Sequence[str]) -> str:
    return f"{where}: {brief('.'.join(keys))}" if keys else where


def brief(text: str) -> str:
    """Return text of the user's on one line, cut where it is long."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}..."


def size_text(num_bytes: int) -> str:
    """Return a size as people read it, in decimal units: 0.3 MB, 12 MB, 3.4 GB."""
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e7 else f"{num_bytes / 1e6:.1f} MB"


def dump_text(value: Any) -> str:
    """Return a value as YAML, in the order of its keys."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)
