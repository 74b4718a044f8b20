"""Converts a document's plain values into the keys' structs: every fault at its own place, in one pass.

What is valid is converted whatever is not: the checks that follow find the faults of the rest in the same pass.
"""

from __future__ import annotations

import functools
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from scheduler.config.document import Document
from scheduler.config.errors import nearest
from scheduler.config.keys import TEXT_KINDS, Section

Path = tuple[Any, ...]
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
INVALID: Any = object()
"""In the place of a value whose fault is among the document's problems: of a key of a struct, or of the whole."""


def shown(value: Any) -> str:
    """A given value as a message quotes it."""
    text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


@functools.cache
def fields_of(kind: type[Section]) -> dict[str, Any]:
    """The types of a struct's keys, by name."""
    bases = [base for base in reversed(kind.__mro__) if issubclass(base, Section)]
    return {name: type_ for base in bases for name, type_ in base.__annotations__.items()}


@functools.cache
def _required(kind: type[Section]) -> tuple[str, ...]:
    fields, defaults = kind.__struct_fields__, kind.__struct_defaults__
    with_default = dict(zip(reversed(fields), reversed(defaults), strict=False))
    return tuple(name for name in fields if with_default.get(name, msgspec.NODEFAULT) is msgspec.NODEFAULT)


def convert(document: Document, kind: Any, value: Any, path: Path = ()) -> Any:
    """The value as ``kind``, or INVALID with the faults added to the document."""
    meta: tuple[Any, ...] = ()
    if get_origin(kind) is Annotated:
        kind, *annotations = get_args(kind)
        meta = tuple(annotations)
    branches = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if value is None and type(None) in branches:
        return None
    branches = tuple(branch for branch in branches if branch is not type(None))
    group = next((branch for branch in branches if _is_group(branch)), None)
    if kind is Any:
        return value
    if group is not None and (isinstance(value, dict | list) or len(branches) == 1):
        return _group(document, group, meta, value, path)
    if meta and len(branches) == 1 and branches[0] not in TEXT_KINDS:
        # The limits of a union are in its branches, those of a plain type at itself.
        branches = (Annotated[branches[0], *meta],)
    return _scalar(document, branches, value, path)


def _is_group(kind: Any) -> bool:
    return get_origin(kind) in (dict, list) or (isinstance(kind, type) and issubclass(kind, Section))


def _group(document: Document, kind: Any, meta: tuple[Any, ...], value: Any, path: Path) -> Any:
    expected: Any
    expected, word = (list, "a list") if get_origin(kind) is list else (dict, "keys")
    if not isinstance(value, expected):
        return _refuse(document, path, value, f"it must be {word}")
    if any(len(value) < (item.min_length or 0) for item in meta):
        return _refuse(document, path, value, f"at least {max(item.min_length or 0 for item in meta)} must be named")
    if expected is list:
        (inner,) = get_args(kind)
        return [convert(document, inner, item, (*path, n)) for n, item in enumerate(value)]
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        return {key: convert(document, inner, item, (*path, key)) for key, item in value.items()}
    return _struct(document, kind, value, path)


def _struct(document: Document, kind: type[Section], value: dict[str, Any], path: Path) -> Any:
    types, converted = fields_of(kind), {}
    for name, item in value.items():
        if name in types:
            converted[name] = convert(document, types[name], item, (*path, name))
        else:
            document.problem((*path, name), f"unknown key: {nearest(name, types)}", at_key=True)
    for name in _required(kind):
        if name not in value:
            document.problem((*path, name), "this key is missing: add it")
            converted[name] = INVALID
    return kind(**converted)


def _scalar(document: Document, branches: tuple[Any, ...], value: Any, path: Path) -> Any:
    if len(branches) == 1 and branches[0] in TEXT_KINDS:
        try:
            return branches[0].read(value)
        except ValueError as error:
            return _refuse(document, path, value, str(error))
    plain = tuple(branch for branch in branches if not _is_group(branch))
    try:
        # The branches are values, not a type that a checker could read.
        return msgspec.convert(value, Union[plain], strict=True)  # noqa: UP007
    except msgspec.ValidationError:
        if isinstance(value, bool) and _takes_text(plain):
            document.problem(path, f"YAML reads this as {shown(value)}, a truth value, and it must be text: quote it")
            return INVALID
        return _refuse(document, path, value, "it must be " + _expected(branches))


def _takes_text(branches: tuple[Any, ...]) -> bool:
    return any(branch is str or get_origin(branch) is Annotated and get_args(branch)[0] is str for branch in branches)


def _refuse(document: Document, path: Path, value: Any, message: str) -> Any:
    # The document has reported a value that YAML reads otherwise than it looks.
    if path not in document.traps:
        document.problem(path, f"{shown(value)} is given: {message}")
    return INVALID


def _expected(branches: tuple[Any, ...]) -> str:
    return " or ".join(map(_word, branches))


def _word(kind: Any) -> str:
    if get_origin(kind) is Literal:
        choices = [repr(choice) for choice in get_args(kind)]
        return ", ".join(choices[:-1]) + " or " + choices[-1] if len(choices) > 1 else choices[0]
    if get_origin(kind) is Annotated:
        inner, *meta = get_args(kind)
        text = _word(inner)
        for limit in meta:
            text += "" if limit.ge is None else f" of at least {limit.ge}"
            text += "" if limit.gt is None else f" of more than {limit.gt}"
            text += "" if limit.le is None else f" and at most {limit.le}"
        return text
    return "keys" if _is_group(kind) else _WORDS[kind]
