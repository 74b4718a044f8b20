"""What decides how a run comes out, and in what two runs differ: its record, its task's configuration, its code. Values only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.contract import ENSEMBLE_TASK
from scheduler.comparison.configuration import configuration_differences
from scheduler.comparison.difference import Difference, DifferenceKind

_DIGEST = 12
"""Characters of a hash that are shown."""


@dataclass(frozen=True)
class PinnedInputs:
    """What decides how a run comes out: its record, its task's configuration, and by name the hash of each file of its code.

    ``is_complete``: the record is that of a success, and says of everything what it was.
    """

    record: Mapping[str, Any]
    task: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    is_complete: bool = True

    @property
    def task_name(self) -> str:
        """The name of the task: ensemble or train-MEMBER."""
        return str(self.record.get("task") or self.task.get("task") or "")


def pinned_differences(before: PinnedInputs, after: PinnedInputs) -> list[Difference]:
    """What is pinned and differs.

    Configuration, code, program; of two complete ones seed, data, threads, image, versions, environment variables, processor.
    """
    declared = [*_configuration(before, after), *_code(before, after), *_digests(DifferenceKind.PROGRAM, before, after)]
    if not (before.is_complete and after.is_complete):
        return declared
    return [
        *declared,
        *_seed(before, after),
        *_digests(DifferenceKind.DATA, before, after),
        *_of_record(DifferenceKind.THREADS, before, after),
        *_image(before, after),
        *_versions(before, after),
        *_environment(before, after),
        *_of_record(DifferenceKind.PROCESSOR, before, after),
    ]


def _tasks(after: PinnedInputs) -> tuple[str, ...]:
    return (after.task_name,) if after.task_name else ()


def _configuration(before: PinnedInputs, after: PinnedInputs) -> Iterator[Difference]:
    if before.task and after.task:
        yield from configuration_differences(before.task, after.task)
        return
    # The configuration of one is gone: its record has the hyperparameters.
    hyperparameters = [{"hyperparameters": pinned.record.get("hyperparameters") or {}} for pinned in (before, after)]
    for difference in configuration_differences(hyperparameters[0], hyperparameters[1]):
        yield replace(difference, tasks=_tasks(after))


def _seed(before: PinnedInputs, after: PinnedInputs) -> Iterator[Difference]:
    old, new = before.record.get("seed"), after.record.get("seed")
    if old == new:
        return
    pinned = (before, after)
    is_of_slot = [bool(each.task) and each.task.get("seed") is None and bool(each.record.get("slot")) for each in pinned]
    # Each member and slot has its own where the configuration says none: which slot is what differs of all members alike.
    left, right = (
        f"of the slot {each.record['slot']}" if own else seed
        for each, own, seed in zip(pinned, is_of_slot, (old, new), strict=True)
    )
    if left == right:
        left, right = old, new
    name = "seed" if all(each.task.get("seed") is None for each in pinned) else "hyperparameters.seed"
    yield Difference(DifferenceKind.SEED, name, left, right, _tasks(after))


_DIGESTS = {DifferenceKind.DATA: ("data", "fingerprint"), DifferenceKind.PROGRAM: ("snapshot", "program")}


def _digests(kind: DifferenceKind, before: PinnedInputs, after: PinnedInputs) -> Iterator[Difference]:
    left, right = (digest(pinned.record, *_DIGESTS[kind]) for pinned in (before, after))
    if left != right:
        yield Difference(kind, kind.value, left, right, _tasks(after))


def _of_record(kind: DifferenceKind, before: PinnedInputs, after: PinnedInputs) -> Iterator[Difference]:
    left, right = before.record.get(kind.value), after.record.get(kind.value)
    # What an earlier version did not record is not known.
    if left != right and (kind.value in before.record) == (kind.value in after.record):
        yield Difference(kind, kind.value, left, right, _tasks(after))


def digest(record: Mapping[str, Any], *keys: str) -> str | None:
    """The beginning of a hash in a record, by its keys; None where there is none."""
    value: Any = record
    for key in keys:
        value = (value or {}).get(key)
    return str(value)[:_DIGEST] if value else None


def _code(before: PinnedInputs, after: PinnedInputs) -> Iterator[Difference]:
    left, right = digest(before.record, "snapshot", "code"), digest(after.record, "snapshot", "code")
    if left == right:
        return
    is_known = bool(before.code or not left) and bool(after.code or not right)
    names = sorted(name for name in {*before.code, *after.code} if before.code.get(name) != after.code.get(name))
    for name in names if is_known else ():
        yield Difference(DifferenceKind.CODE, name, before.code.get(name), after.code.get(name), _tasks(after))
    if not names or not is_known:  # a snapshot is gone, or its files are the same in another order
        yield Difference(DifferenceKind.CODE, "the snapshot", left, right, _tasks(after))


def _image(before: PinnedInputs, after: PinnedInputs) -> Iterator[Difference]:
    left, right = (pinned.record.get("image") or {} for pinned in (before, after))
    if left.get("reference") != right.get("reference"):
        yield Difference(DifferenceKind.IMAGE, "image", left.get("reference"), right.get("reference"), _tasks(after))
    elif left.get("identity") != right.get("identity"):
        old, new = ((image.get("identity") or {}).get("inputs") for image in (left, right))
        yield Difference(DifferenceKind.IMAGE, f"image {left.get('reference')}, another build", old, new, _tasks(after))


def _versions(before: PinnedInputs, after: PinnedInputs) -> Iterator[Difference]:
    old, new = ((pinned.record.get("model") or {}).get("versions") or {} for pinned in (before, after))
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield Difference(DifferenceKind.VERSION, name, old.get(name), new.get(name), _tasks(after))


def _environment(before: PinnedInputs, after: PinnedInputs) -> Iterator[Difference]:
    yield from _variables(_tasks(after), (before.record, after.record), (before.task, after.task))
    old, new = members_of(before.record), members_of(after.record)
    for name in sorted(old.keys() & new.keys()):
        tasks = [members_of(pinned.task).get(name, {}) for pinned in (before, after)]
        yield from _variables((f"{ENSEMBLE_TASK}, {name}",), (old[name], new[name]), tasks)


def members_of(value: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The members of an ensemble's record or task, by name."""
    return {str(member["member"]): member for member in value.get("members") or ()}


def _variables(
    names: tuple[str, ...], records: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]
) -> Iterator[Difference]:
    """Environment variables that reached one of two processes with another value; those of ``env`` have lines of their own."""
    if not all(record.get("environment") for record in records):
        return  # an earlier version recorded none, or the process did not start
    left, right = (
        {**(record["environment"].get("variables") or {}), **dict.fromkeys(record["environment"].get("secrets") or (), "given")}
        for record in records
    )
    for name in sorted({*left, *right}):
        if left.get(name) != right.get(name) and not any(name in (task.get("env") or {}) for task in tasks):
            yield Difference(DifferenceKind.ENVIRONMENT, f"variable {name}", left.get(name), right.get(name), names)
