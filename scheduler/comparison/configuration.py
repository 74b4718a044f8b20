"""In which keys of the configuration file two resolved tasks differ. Values only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.contract import ENSEMBLE_TASK, member_task
from scheduler.comparison.difference import Difference, DifferenceKind

_NOT_TYPED = (
    "schema", "experiment", "task", "member", "snapshot", "published", "data_seed", "few_items", "seed", "threads", "secrets",
    "members", "runtime",
)  # fmt: skip
"""Keys of a task that nobody types, that have a line of their own, or that no result depends on."""
_DURATIONS = ("max_age", "timeout", "deadline", "starting_deadline")
_FOR_ALL = "hyperparameters (for all members)"
"""What a data function is given: those that the file has for all members."""


def configuration_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """What differs of two resolved tasks, by the keys that a user types; of an ensemble's members too.

    A key that the task takes from `defaults` or from the top of the file has the same name as in the task's own section.
    """
    tasks = (str(after.get("task") or before.get("task") or ""),)
    old, new = _typed(before), _typed(after)
    if after.get("task") == ENSEMBLE_TASK:
        old |= _typed_of_members(before)
        new |= _typed_of_members(after)
    own = {key for key in {*old, *new} if old.get(key) != new.get(key)}
    for key in sorted(own):
        same = key.replace(_FOR_ALL, "hyperparameters", 1)
        if same != key and (old.get(same), new.get(same)) == (old.get(key), new.get(key)):
            continue  # the member has it from there: told once
        yield Difference(DifferenceKind.CONFIGURATION, key, old.get(key), new.get(key), tasks)
    yield from _member_differences(before, after)


def _typed(task: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a task by the keys that a user types in its section, nested ones with dots."""
    values: dict[str, Any] = {}
    for key, value in task.items():
        if key == "gpus":
            values["resources.gpu"] = value
        elif key == "data":
            declared = {name: inner for name, inner in (value or {}).items() if name not in ("key", "hyperparameters")}
            values |= flatten("data", declared)
            values |= flatten(_FOR_ALL, (value or {}).get("hyperparameters") or {})
        elif key in _DURATIONS:
            values[key] = _duration(value)
        elif key not in _NOT_TYPED:
            values |= flatten(key, value)
    values |= {f"env.{name}": "from a secret" for name in task.get("secrets") or ()}
    return values


def _typed_of_members(task: Mapping[str, Any]) -> dict[str, Any]:
    """What an ensemble's task has of its members' processes: the timeout is the ensemble's own key."""
    values: dict[str, Any] = {}
    for member in task.get("members") or ():
        if "timeout" in member:
            values["timeout"] = _duration(member["timeout"])
    return values


def _member_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    old, new = ({str(member.get("member")): member for member in task.get("members") or ()} for task in (before, after))
    for name in [name for name in (*old, *new) if (name in old) != (name in new)]:
        values = ("declared", "no longer declared") if name in old else (None, "new")
        yield Difference(DifferenceKind.MEMBERS, f"backends.{name}", *values)
    for name in old.keys() & new.keys():
        left, right = ({k: v for k, v in _typed(member).items() if k != "timeout"} for member in (old[name], new[name]))
        for key in sorted({*left, *right}):
            if left.get(key) != right.get(key):
                # It is the member's own key, and its training has it too.
                yield Difference(DifferenceKind.CONFIGURATION, key, left.get(key), right.get(key), (member_task(name),))


def flatten(prefix: str, value: Any) -> dict[str, Any]:
    """The leaves of nested mappings by dotted keys; an empty one has none."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        leaves |= flatten(f"{prefix}.{key}", inner)
    return leaves


def _duration(seconds: Any) -> Any:
    """Seconds as a user types them, in the largest unit that leaves no rest: 36h."""
    if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds <= 0:
        return seconds
    unit, size = next((unit, size) for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % size == 0)
    return f"{seconds // size}{unit}"
