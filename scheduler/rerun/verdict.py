"""Verdicts: whether a repeated run came out the same, from its probabilities and from what was pinned. Values only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

IDENTICAL, EQUAL, CHANGED, NOTHING = "identical", "equal", "changed", "nothing to compare"
TOLERANCE = 1e-6
"""The largest difference of a probability that still counts as equal; float32 carries about seven digits."""


@dataclass(frozen=True)
class Verdict:
    """Whether a repeat is identical, equal or changed, or why there is nothing to compare.

    ``largest`` is the largest difference of any probability, ``flipped`` the number of items whose label changed of all
    ``items``; ``differs`` is what was pinned and is not the same, a line each.
    """

    verdict: str
    largest: float | None = None
    flipped: int | None = None
    items: int | None = None
    differs: tuple[str, ...] = ()
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        # Infinite where a probability is no number: JSON has no such value.
        largest = self.largest if self.largest is not None and isfinite(self.largest) else None
        numbers = {"largest_difference": largest, "labels_flipped": self.flipped, "items": self.items}
        return {"verdict": self.verdict, **numbers, "differs": list(self.differs), "reason": self.reason}


@dataclass(frozen=True)
class PinnedInputs:
    """What decides how a run comes out: its record, its task's configuration, and by name the hash of each file of its code."""

    record: Mapping[str, Any]
    task: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)


def judge(pairs: Sequence[tuple[Any, Any]], tolerance: float, differs: Sequence[str] = ()) -> Verdict:
    """The verdict on pairs of float32 arrays of shape (items, classes), before and after; the worst pair counts.

    Identical are equal bits; equal: no probability differs by more than ``tolerance`` and no label changed.
    """
    import numpy as np

    if not pairs:
        return Verdict(NOTHING, differs=tuple(differs), reason="no probabilities were kept")
    largest, flipped, items, same = 0.0, 0, 0, True
    for before, after in pairs:
        if before.shape != after.shape:
            reason = f"{_shape(before)} probabilities, then {_shape(after)}"
            return Verdict(CHANGED, differs=tuple(differs), reason=reason)
        same = same and before.dtype == after.dtype and before.tobytes() == after.tobytes()
        if before.size:
            distance = np.abs(before.astype("float64") - after.astype("float64")).max()
            largest = max(largest, float("inf") if np.isnan(distance) else float(distance))
            flipped += int((before.argmax(axis=1) != after.argmax(axis=1)).sum())
        items += len(before)
    if same:
        return Verdict(IDENTICAL, 0.0, 0, items, tuple(differs))
    verdict = EQUAL if largest <= tolerance and not flipped else CHANGED
    if verdict == CHANGED and not differs:
        differs = ("nothing that is pinned: the computation itself did not repeat",)
    return Verdict(verdict, largest, flipped, items, tuple(differs))


def _shape(array: Any) -> str:
    return "×".join(map(str, array.shape))


def differences(before: PinnedInputs, after: PinnedInputs) -> list[str]:
    """What is pinned and differs, a line each.

    Seed, data, code, program, configuration, threads, image, versions, environment variables, processor.
    """
    return [*_simple(before, after), *_code(before, after), *_configuration(before, after), *_environment(before, after)]


def _simple(before: PinnedInputs, after: PinnedInputs) -> Iterator[str]:
    old, new = before.record, after.record
    for name, left, right in (
        ("seed", old.get("seed"), new.get("seed")),
        ("data", _digest(old, "data", "fingerprint"), _digest(new, "data", "fingerprint")),
        ("program", _digest(old, "snapshot", "program"), _digest(new, "snapshot", "program")),
        ("threads", old.get("threads"), new.get("threads")),
    ):
        if left != right:
            yield _changed(name, left, right)


def _digest(record: Mapping[str, Any], *keys: str) -> str | None:
    value: Any = record
    for key in keys:
        value = (value or {}).get(key)
    return str(value)[:12] if value else None


def _code(before: PinnedInputs, after: PinnedInputs) -> Iterator[str]:
    left, right = _digest(before.record, "snapshot", "code"), _digest(after.record, "snapshot", "code")
    if left == right:
        return
    names = sorted(name for name in {*before.code, *after.code} if before.code.get(name) != after.code.get(name))
    yield f"code: {', '.join(names)}" if names else _changed("code", left, right)


_APART = ("schema", "snapshot", "seed", "threads", "data.key", "published")
"""Keys of a task that have a line of their own, or that no result depends on."""


def _configuration(before: PinnedInputs, after: PinnedInputs) -> Iterator[str]:
    if not before.task or not after.task:
        old, new = before.record.get("hyperparameters"), after.record.get("hyperparameters")
        left, right = dict(_flat("hyperparameters", old)), dict(_flat("hyperparameters", new))
    else:
        left, right = dict(_flat("", before.task)), dict(_flat("", after.task))
    for key in sorted({*left, *right}):
        apart = any(key == name or key.startswith(f"{name}.") for name in _APART)
        if not apart and left.get(key) != right.get(key):
            yield _changed(key, left.get(key), right.get(key))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The leaves of nested values by dotted keys; a list of members by their names."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) and "member" in item for item in value):
        for member in value:
            yield from _flat(f"{prefix}.{member['member']}", {key: inner for key, inner in member.items() if key != "member"})
    else:
        yield prefix, value


def _environment(before: PinnedInputs, after: PinnedInputs) -> Iterator[str]:
    old, new = before.record, after.record
    left, right = old.get("image") or {}, new.get("image") or {}
    if left.get("reference") != right.get("reference"):
        yield _changed("image", left.get("reference"), right.get("reference"))
    elif left.get("identity") != right.get("identity"):
        builds = [(image.get("identity") or {}).get("inputs") for image in (left, right)]
        yield _changed(f"image {left.get('reference')}, another build", *builds)
    old_versions, new_versions = ((record.get("model") or {}).get("versions") or {} for record in (old, new))
    for name in sorted({*old_versions, *new_versions}):
        if old_versions.get(name) != new_versions.get(name):
            yield _changed(name, old_versions.get(name), new_versions.get(name))
    yield from _variables("", (old, new), (before.task, after.task))
    for name in sorted(_members(old).keys() & _members(new).keys()):
        tasks = [_members(pinned.task).get(name, {}) for pinned in (before, after)]
        yield from _variables(f"{name}: ", (_members(old)[name], _members(new)[name]), tasks)
    if old.get("processor") != new.get("processor"):
        yield _changed("processor", old.get("processor"), new.get("processor"))


def _members(value: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The members of an ensemble's record or task, by name."""
    return {str(member["member"]): member for member in value.get("members") or ()}


def _variables(prefix: str, records: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Environment variables that reached one of two processes with another value; those of ``env`` have lines of their own."""
    if not all(record.get("environment") for record in records):
        return  # an earlier version recorded none, or the process did not start
    left, right = (
        {**record["environment"].get("variables", {}), **dict.fromkeys(record["environment"].get("secrets", ()), "given")}
        for record in records
    )
    for name in sorted({*left, *right}):
        if left.get(name) != right.get(name) and not any(name in task.get("env", {}) for task in tasks):
            yield _changed(f"{prefix}variable {name}", left.get(name), right.get(name))


def _changed(name: str, before: Any, after: Any) -> str:
    return f"{name}: {_text(before)}, then {_text(after)}"


def _text(value: Any) -> str:
    return "none" if value in (None, "") else str(value)


def describe(verdict: Mapping[str, Any]) -> str:
    """A verdict's JSON values as a line."""
    text = str(verdict.get("verdict") or "unknown")
    if verdict.get("reason"):
        text += f": {verdict['reason']}"
    elif text in (EQUAL, CHANGED) and verdict.get("labels_flipped") is not None:
        number = verdict.get("largest_difference")
        largest = "some probabilities are no numbers" if number is None else f"largest difference {number:.3g}"
        text += f": {verdict['labels_flipped']} of {verdict.get('items')} labels flipped, {largest}"
    if verdict.get("differs") and text != IDENTICAL:
        text += f"; differs: {'; '.join(verdict['differs'])}"
    return text
