"""What admission makes of what is applied: mutating webhooks and policies change fields, and the server keeps their values.

Values in, values out. Where a live object differs from the desired one, the server's answer to a dry run of the same apply
tells whether applying would change anything. What admission changed of an applied object is recorded (a digest beside the
revisions), so that the next plan neither asks nor says it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from cronjobs.objects import labels
from scheduler.kube.managed_fields import owners_of, ownerships
from scheduler.kube.objects import Object
from scheduler.sync.describe import format_value
from scheduler.sync.diff import ABSENT, Change, compare

_SHOWN = 3
"""Objects and fields that a line names; more are counted."""
_SUSPEND = ("spec", "suspend")
_RECORDED = 8000
"""Digests that are kept beside the revisions of an experiment: 13 bytes each, and annotations may have 256 KiB."""


@dataclass(frozen=True)
class AdmissionChanges:
    """What admission changes of one object: ``old`` of a change is what the server keeps, ``new`` what is applied."""

    kind: str
    name: str
    changes: tuple[Change, ...]
    digest: str


def admission_changes(desired: Object, answer: Object) -> AdmissionChanges | None:
    """How the server's answer to an apply differs from what was applied; None where it does not."""
    changes = compare(desired, answer, {})
    name, of_changes = desired["metadata"]["name"], digest(desired, changes)
    if with_suspension(desired, answer) is not desired:
        changes.append(Change("suspend", True, ABSENT, _SUSPEND))
    return AdmissionChanges(desired["kind"], name, tuple(changes), of_changes) if changes else None


def digest(desired: Object, changes: Iterable[Change]) -> str:
    """A short hash of what was applied, and of the fields that the server keeps otherwise, with their values there."""
    kept = sorted(((change.field, change.old) for change in changes), key=lambda pair: pair[0])
    return hashlib.sha256(msgspec.json.encode([desired, kept], order="sorted")).hexdigest()[:12]


def recorded_with(recorded: Iterable[str], more: Iterable[str]) -> list[str]:
    """The digests to record, the newest last; the oldest go where they become too many."""
    return list(dict.fromkeys([*recorded, *more]))[-_RECORDED:]


def lost_label(desired: Object, answer: Object) -> str | None:
    """A label without which no later command finds the object as ours, and that admission changed; None where it did not."""
    kept = answer["metadata"].get("labels") or {}
    needed = (labels.MANAGED_BY, labels.INSTANCE)
    applied = desired["metadata"]["labels"]
    return next((name for name in needed if name in applied and kept.get(name) != applied[name]), None)


def notes(all_changes: Iterable[AdmissionChanges]) -> Iterator[str]:
    """A line for each value that admission changes, with the fields and objects that have it."""
    fields: dict[tuple[str, str], list[str]] = {}
    objects: dict[tuple[str, str], list[str]] = {}
    suspended: list[str] = []
    for changed in all_changes:
        for change in changed.changes:
            if change.path == _SUSPEND and change.old is True:
                suspended.append(changed.name)
                continue
            key = (format_value(change.new), format_value(change.old))
            fields.setdefault(key, []).append(change.field)
            objects.setdefault(key, []).append(f"{changed.kind} {changed.name}")
    for key, names in objects.items():
        applied, kept = key
        yield f"admission changes {_list(fields[key])} of {_list(names)} from {applied} to {kept}: it is left so"
    if suspended:
        yield f"admission suspends CronJob {_list(suspended)}: no run starts until the cluster's policy lets it"


def _list(names: Iterable[str]) -> str:
    different = list(dict.fromkeys(names))
    more = len(different) - _SHOWN
    return ", ".join(different[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def with_suspension(desired: Object, answer: Mapping[str, Any]) -> Object:
    """The desired object; a CronJob that admission suspended, though no client asked for it, with this suspension."""
    is_suspended = desired["kind"] == "CronJob" and (answer.get("spec") or {}).get("suspend")
    if not is_suspended or "suspend" in desired["spec"] or owners_of(ownerships(answer["metadata"]), _SUSPEND):
        return desired
    return {**desired, "spec": {**desired["spec"], "suspend": True}}
