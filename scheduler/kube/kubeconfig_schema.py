"""What may be written in a kubeconfig file (``kind: Config`` of ``v1``), and what kubectl refuses in one for its form.

The keys and types are those of ``k8s.io/client-go/tools/clientcmd/api/v1``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

_TEXT, _FLAG, _DATA, _ANY = "a string", "true or false", "base64", "anything"
_TEXTS, _TEXT_MAP, _TEXTS_MAP = "a list of strings", "a mapping of strings", "a mapping of lists of strings"

_EXTENSIONS = [{"name": _TEXT, "extension": _ANY}]
CLUSTER: Mapping[str, Any] = {
    "server": _TEXT,
    "tls-server-name": _TEXT,
    "insecure-skip-tls-verify": _FLAG,
    "certificate-authority": _TEXT,
    "certificate-authority-data": _DATA,
    "proxy-url": _TEXT,
    "disable-compression": _FLAG,
    "extensions": _EXTENSIONS,
}
EXEC: Mapping[str, Any] = {
    "command": _TEXT,
    "args": _TEXTS,
    "env": [{"name": _TEXT, "value": _TEXT}],
    "apiVersion": _TEXT,
    "installHint": _TEXT,
    "provideClusterInfo": _FLAG,
    "interactiveMode": _TEXT,
}
USER: Mapping[str, Any] = {
    "client-certificate": _TEXT,
    "client-certificate-data": _DATA,
    "client-key": _TEXT,
    "client-key-data": _DATA,
    "token": _TEXT,
    "tokenFile": _TEXT,
    "as": _TEXT,
    "as-uid": _TEXT,
    "as-groups": _TEXTS,
    "as-user-extra": _TEXTS_MAP,
    "username": _TEXT,
    "password": _TEXT,
    "auth-provider": {"name": _TEXT, "config": _TEXT_MAP},
    "exec": EXEC,
    "extensions": _EXTENSIONS,
}
CONTEXT: Mapping[str, Any] = {"cluster": _TEXT, "user": _TEXT, "namespace": _TEXT, "extensions": _EXTENSIONS}
CONFIG: Mapping[str, Any] = {
    "kind": _TEXT,
    "apiVersion": _TEXT,
    "preferences": {"colors": _FLAG, "extensions": _EXTENSIONS},
    "clusters": [{"name": _TEXT, "cluster": CLUSTER}],
    "users": [{"name": _TEXT, "user": USER}],
    "contexts": [{"name": _TEXT, "context": CONTEXT}],
    "current-context": _TEXT,
    "extensions": _EXTENSIONS,
}


class Fault(Exception):
    """Something in a file that kubectl refuses too: where, and what is wrong."""


def check(content: Mapping[str, Any]) -> list[str]:
    """A line for each unknown key, with its place; raises Fault for a value of a wrong type, and for a name that stands twice."""
    if content.get("apiVersion") not in (None, "", "v1") or content.get("kind") not in (None, "", "Config"):
        raise Fault(f"it is a {content.get('kind')} of {content.get('apiVersion')}, not a Config of v1")
    unknown = list(_check(content, CONFIG, ""))
    for group in ("clusters", "users", "contexts"):
        names = [entry.get("name") or "" for entry in content.get(group) or [] if entry]
        if len(names) != len(set(names)):
            twice = next(name for number, name in enumerate(names) if name in names[:number])
            raise Fault(f"{group}: the name {twice} is given twice")
    return unknown


def decode(data: str) -> bytes:
    """Base64 as kubectl reads it: line breaks do not count, anything else that is not base64 is a ValueError."""
    return base64.b64decode(data.replace("\n", "").replace("\r", ""), validate=True)


def _check(value: Any, schema: Any, place: str) -> Iterator[str]:
    if value is None or schema == _ANY:
        return
    if isinstance(schema, Mapping):
        if not isinstance(value, dict):
            raise Fault(f"{place or 'it'}: must be a mapping, is {_kind(value)}")
        for key, entry in value.items():
            inside = f"{place}.{key}" if place else str(key)
            if key in schema:
                yield from _check(entry, schema[key], inside)
            else:
                yield f"{inside}: unknown key, not read{_nearest(str(key), schema)}"
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise Fault(f"{place}: must be a list, is {_kind(value)}")
        for number, entry in enumerate(value):
            name = entry.get("name") if isinstance(entry, dict) else None
            yield from _check(entry, schema[0], f"{place}[{number if name is None else name}]")
    else:
        _check_value(value, schema, place)


def _check_value(value: Any, schema: str, place: str) -> None:
    match schema:
        case "base64":
            valid = isinstance(value, str)
            if valid:
                try:
                    decode(value)
                except (binascii.Error, ValueError) as error:
                    raise Fault(f"{place}: not base64 ({error})") from error
        case "true or false":
            valid = isinstance(value, bool)
        case "a list of strings":
            valid = isinstance(value, list) and all(isinstance(entry, str | None) for entry in value)
        case "a mapping of strings":
            valid = isinstance(value, dict) and all(isinstance(entry, str | None) for entry in value.values())
        case "a mapping of lists of strings":
            lists = value.values() if isinstance(value, dict) else [0]
            valid = all(
                entry is None or isinstance(entry, list) and all(isinstance(item, str) for item in entry) for entry in lists
            )
        case _:
            valid = isinstance(value, str)
    if not valid:
        hint = ": put it in quotes" if schema == _TEXT and isinstance(value, int | float) else ""
        raise Fault(f"{place}: must be {schema}, is {_kind(value)}{hint}")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {dict: "a mapping", list: "a list", str: "a string", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def _nearest(key: str, schema: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    matches = get_close_matches(key.lower(), [name.lower() for name in schema], 1)
    return f" (is {next(name for name in schema if name.lower() == matches[0])} meant?)" if matches else ""
