"""Values as YAML, for people and for programs: no text in it is read as something else, or can command a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml


class _Text(str):
    """A string that a YAML reader could take for something else, so it is quoted."""


_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Base):  # type: ignore[misc]
    """Writes a marked string in quotes."""


class _FileDumper(_Dumper):
    """Writes a mapping or list of scalars on one line, as people do, unless it is long."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node: yaml.MappingNode = super().represent_mapping(tag, mapping, flow_style)
        children = [child for pair in node.value for child in pair]
        node.flow_style = _is_short(children)
        return node

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        node: yaml.SequenceNode = super().represent_sequence(tag, sequence, flow_style)
        node.flow_style = _is_short(node.value)
        return node


def _is_short(nodes: list[yaml.Node]) -> bool:
    scalars = [node for node in nodes if isinstance(node, yaml.ScalarNode)]
    flows = [node for node in nodes if isinstance(node, yaml.SequenceNode) and node.flow_style]
    return len(scalars) + len(flows) == len(nodes) and sum(len(node.value) + 4 for node in scalars) <= _LONGEST_FLOW


_Dumper.add_representer(_Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"'))
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WRITTEN = re.compile(r"[1-9][0-9]*(s|m|h|d|w|k|M|G|Ki|Mi|Gi)|[A-Za-z_][A-Za-z0-9_./-]*(:[A-Za-z_][A-Za-z0-9_]*)?")
"""What people write without quotes in a file: durations, sizes, ``file.py:function``. Every YAML reads it as text."""
_LONGEST_FLOW = 110
"""Characters of what is written on one line."""
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}


def to_yaml(documents: Iterable[Mapping[str, Any]], is_stream: bool = True) -> str:
    """The documents as a stream of YAML, which YAML 1.1 and 1.2 read alike, in printable characters.

    Without ``is_stream`` there is one document, as people write a file: nothing in front, mappings of plain values on a line.

    Other characters stand in quoted strings alone, and are escaped there: a terminal would hide them, and what it shows be
    another text.
    """
    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 1 << 20, "explicit_start": is_stream}
    plain, dumper = (_PLAIN, _Dumper) if is_stream else (_WRITTEN, _FileDumper)
    text = str(yaml.dump_all([_quoted(document, plain) for document in documents], None, dumper, **options))
    if text.isascii():
        return text
    return "".join(character if character.isprintable() or character == "\n" else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02X}" if number < 0x100 else f"\\u{number:04X}" if number < 0x10000 else f"\\U{number:08X}"


def _quoted(value: Any, plain: re.Pattern[str]) -> Any:
    """Strings that are not plain words are marked: `y`, `1e3` or `0o17` mean something else to some readers."""
    if isinstance(value, dict):
        return {_quoted(key, plain): _quoted(item, plain) for key, item in value.items()}
    if isinstance(value, list):
        return [_quoted(item, plain) for item in value]
    if isinstance(value, str) and (not plain.fullmatch(value) or value.lower() in _WORDS):
        return _Text(value)
    return value
