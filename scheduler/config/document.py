"""A YAML document as values with their places, and YAML's traps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from scheduler.config.errors import ConfigErrors, Problem

LARGEST = 1_000_000
"""Bytes of a configuration file."""
MOST_NODES = 50_000
"""Values of a file, those behind aliases counted at each use."""
DEEPEST = 50
"""Levels of keys and lists inside each other."""
MOST_PROBLEMS = 1000
"""Problems of a file that are reported; the next one ends the checks, which a file of faults would keep busy for minutes."""
_HARMLESS = 4096
"""Bytes that cannot nest deep enough to end the process: libyaml's composer recurses in C, without a limit of its own."""
Position = tuple[int, int]
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class Document:
    """A file's values and problems; ``places`` and ``key_places`` hold (line, column), from 1, by the path of keys.

    ``traps`` are the paths of values that YAML reads otherwise than they look, and that have been reported.
    """

    file: str
    value: Any = None
    places: dict[tuple[Any, ...], Position] = field(default_factory=dict)
    key_places: dict[tuple[Any, ...], Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    traps: set[tuple[Any, ...]] = field(default_factory=set)
    nodes: int = 0
    _reported: set[Problem] = field(default_factory=set)

    def problem(self, path: tuple[Any, ...], message: str, at_key: bool = False) -> None:
        """Add a problem, once, at the place of a value, or of its key; of the nearest one around it that the file has.

        Raises ConfigErrors with all of them when there are MOST_PROBLEMS already.
        """
        shown = ".".join(map(str, path))
        while path not in (self.key_places if at_key else self.places) and path:
            path, at_key = path[:-1], False
        line, column = (self.key_places if at_key else self.places).get(path, (1, 1))
        problem = Problem(self.file, line, column, shown, message)
        if problem in self._reported:
            return  # what holds for all members is checked with each of them
        self._reported.add(problem)
        if len(self.problems) >= MOST_PROBLEMS:
            more = Problem(self.file, 0, 0, "", f"{MOST_PROBLEMS} problems are listed, and there are more: correct these first")
            raise ConfigErrors([*self.problems, more])
        self.problems.append(problem)


def parse(file: str, data: bytes) -> Document:
    """The document; raises ConfigErrors where the text is not YAML at all."""

    def refuse(message: str, line: int = 0, column: int = 0) -> ConfigErrors:
        return ConfigErrors([Problem(file, line, column, "", message)])

    if len(data) > LARGEST:
        raise refuse(f"{len(data) / 1e6:.1f} MB: a configuration has at most {LARGEST / 1e6:.0f} MB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refuse(f"byte {error.start} is not UTF-8 text: is this a configuration file?") from error
    for number, written in enumerate(text.split("\n"), 1):
        indent = written[: len(written) - len(written.lstrip(" \t"))]
        if "\t" in indent:
            raise refuse("a tab in the indentation: type spaces", number, indent.index("\t") + 1)
    try:
        if len(data) > _HARMLESS:
            _refuse_depth(text, refuse)
        node = yaml.compose(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        source = text.split("\n")[line - 1] if line <= text.count("\n") + 1 else ""
        # The parser stops behind the star or at it.
        if "*" in source[max(0, column - 3) : column + 1] or "alias" in f"{error.context} {error.problem}":
            column = source.rfind("*", 0, column) + 1 or column
            raise refuse('an unquoted *: quote the text, e.g. schedule: "0 1 * * *"', line, column) from error
        raise refuse(f"not YAML: {error.problem}", line, column) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise refuse(f"not YAML: {' '.join(str(error).split())[:200]}", 1, 1) from error
    document = Document(file)
    if node is None:
        raise refuse("the file is empty: `cronsemble init` writes a starter", 1, 1)
    try:
        document.value = _value(document, node, (), ())
    except RecursionError as error:
        raise refuse("nested too deeply, or an alias of itself", 1, 1) from error
    return document


def _refuse_depth(text: str, refuse: Callable[[str, int, int], ConfigErrors]) -> None:
    """Raise ConfigErrors where the text nests too deeply; the parser's events need no recursion."""
    depth = 0
    for event in yaml.parse(text, Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise refuse(f"nested too deeply: at most {DEEPEST} levels", *_place(event))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _place(node: Any) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _value(document: Document, node: Any, path: tuple[Any, ...], above: tuple[int, ...]) -> Any:
    document.nodes += 1
    if len(path) > DEEPEST:
        raise ConfigErrors([Problem(document.file, *_place(node), "", f"nested too deeply: at most {DEEPEST} levels")])
    if document.nodes > MOST_NODES or id(node) in above:
        message = "too many values, or an alias of itself"
        raise ConfigErrors([Problem(document.file, *_place(node), ".".join(map(str, path)), message)])
    document.places[path] = _place(node)
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                document.problem(path, "a key must be text")
                continue
            key = _without_nul(document, path, str(key_node.value))
            document.key_places[(*path, key)] = _place(key_node)
            if key_node.tag != "tag:yaml.org,2002:str":
                read = key_node.tag.rpartition(":")[2]
                hint = f'YAML reads the key {key} as {read}: quote it, "{key}"'
                document.problem((*path, key), hint, at_key=True)
            if key in mapping:
                document.problem((*path, key), "this key is given twice: remove one", at_key=True)
                continue
            mapping[key] = _value(document, value_node, (*path, key), above)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_value(document, item, (*path, n), above) for n, item in enumerate(node.value)]
    return _scalar(document, node, path)


def _scalar(document: Document, node: Any, path: tuple[Any, ...]) -> Any:
    kind = node.tag.rpartition(":")[2]
    text = node.value
    try:
        if kind == "null":
            return None
        if kind == "bool":
            if text.lower() not in ("true", "false"):
                document.traps.add(path)
            return text.lower() in ("true", "yes", "on", "y")
        if kind == "int":
            if ":" in text:
                message = f'YAML reads {text} as a number in base 60: quote it, "{text}"'
                document.problem(path, message)
                document.traps.add(path)
                return text
            return _in_64_bits(document, path, int(text.replace("_", ""), 0 if not text.lstrip("+-").startswith("0") else 10))
        if kind == "float":
            number = float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
            return _finite(document, path, number, text)
    except ValueError:
        return text
    if kind not in ("str", "timestamp"):
        document.problem(path, f"the tag {node.tag} is not supported: type plain text")
    return _without_nul(document, path, text)


def _in_64_bits(document: Document, path: tuple[Any, ...], number: int) -> int:
    """The number; after a problem 1 in the place of one that neither Kubernetes nor NumPy can hold, for one report is enough."""
    if -(2**63) <= number < 2**63:
        return number
    document.problem(path, f"a whole number of {number.bit_length()} bits: it must fit in 64")
    return 1


def _finite(document: Document, path: tuple[Any, ...], number: float, text: str) -> float:
    """The number; after a problem 1 in the place of one that JSON cannot hold."""
    if math.isfinite(number):
        return number
    document.problem(path, f"{text[:60]} is given: a number must be finite")
    document.traps.add(path)
    return 1.0


def _without_nul(document: Document, path: tuple[Any, ...], text: str) -> str:
    """The text; after a problem without the NUL characters that no file name, variable or argument can hold."""
    if "\0" in text:
        document.problem(path, "a NUL character in the text: remove it")
    return text.replace("\0", "")
