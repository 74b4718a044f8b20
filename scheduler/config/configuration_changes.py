"""What differs between two resolved configurations of a task, in the words of the configuration file. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from scheduler.times import format_single_unit

Difference = tuple[str, Any, Any]
"""A key of the configuration, and its values before and after; None where it is not there."""

_DERIVED = re.compile(
    r"^(schema|experiment|task|member|published|data_seed|data\.key|data\.hyperparameters|members\[[^]]*\]\.(member|secrets))\b|^schedules(\.[^.]+)?$"
)
"""What follows from other keys, or from the version of the tool."""
_KEYS = (
    (re.compile(r"^snapshot\."), ""),
    (re.compile(r"^gpus$"), "resources.gpu"),
    (re.compile(r"^seed$"), "hyperparameters.seed"),
    (re.compile(r"^secrets$"), "env"),
    (re.compile(r"^schedules\.ensemble\."), ""),
    (re.compile(r"^schedules\.train-([^.]+)\."), r"backends.\1."),
    (re.compile(r"^members\[[^]]*\]\.timeout$"), "timeout"),
    (re.compile(r"^members\[([a-z][^]]*)\]"), r"backends.\1"),
)
"""Patterns of internal keys, and what they are called in the configuration."""
_DURATIONS = ("max_age", "timeout", "wait", "starting_deadline", "deadline")


def differences(old: Any, new: Any) -> list[Difference]:
    """Each key in which two resolved configurations differ, once.

    What has no key is one without values: that the data is read anew, for its function or the hyperparameters that this gets have
    changed, or that the tool's version resolves the same configuration otherwise.
    """
    shown: dict[str, Difference] = {}
    leaves = list(leaf_differences(_by_member(old), _by_member(new)))
    for path, before, after in leaves:
        path = path.lstrip(".")
        if _DERIVED.match(path):
            continue
        key = path
        for pattern, name in _KEYS:
            key = pattern.sub(name, key)
        if key.rpartition(".")[2] in _DURATIONS and not key.startswith("hyperparameters."):
            before, after = _duration(before), _duration(after)
        elif key.startswith("backends.") and "." not in key.removeprefix("backends."):
            # A member that comes or goes: its own CronJob says how.
            key, before, after = "backends", _members(old), _members(new)
        shown.setdefault(key, (key, before, after))
    if "backend" in shown or "model" in shown:
        shown.pop("data_format", None)  # its default follows from them
    is_data = any(path == ".data.key" for path, _, _ in leaves)
    if is_data and not any(key.startswith("data.") for key in shown):
        shown["data"] = ("the data is read anew", None, None)
    if not shown and leaves:
        return [("resolved otherwise by this version", None, None)]
    return list(shown.values())


def leaf_differences(old: Any, new: Any, path: str = "") -> Iterator[Difference]:
    """(path, old, new) of each leaf in which two JSON values differ; None where it is not there."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from leaf_differences(old.get(key), new.get(key), f"{path}.{key}" if _is_name(key) else f"{path}[{key}]")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from leaf_differences(left, right, f"{path}[{number}]")
    elif old != new:
        yield path, old, new


class _Member(str):
    """The name of a member as the key of what a configuration says of it."""


def _is_name(key: str) -> bool:
    return not isinstance(key, _Member)


def _by_member(configuration: Any) -> Any:
    """An ensemble's configuration with its list of members by their names, so that one that comes or goes shifts no other."""
    members = configuration.get("members") if isinstance(configuration, dict) else None
    if not isinstance(members, list) or not all(isinstance(each, dict) and "member" in each for each in members):
        return configuration
    return {**configuration, "members": {_Member(each["member"]): each for each in members}}


def _duration(value: Any) -> Any:
    return format_single_unit(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _members(configuration: Any) -> list[str]:
    return [str(each["member"]) for each in configuration["members"]]
