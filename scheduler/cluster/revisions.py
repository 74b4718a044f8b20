"""Revisions: what was synced, from when on. One ConfigMap an experiment, a JSON file a revision, only ever appended to.

A revision holds what differs from the one before: ``revision``, ``time`` (the server's clock), ``by``, ``tool``, ``what``
(sync, suspend, resume, delete), ``program`` and ``code`` (SHA-256), ``tasks`` (``schedule``, ``timezone``, ``suspend``,
``task``: the SHA-256 of its resolved configuration) and ``gone``. What a revision does not say is as it was. Near the limit
of a ConfigMap the oldest are folded into one, which then says ``folded``: how many it stands for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cronjobs import labels

NUMBER = "cronsemble.io/revision"
DIGEST = "cronsemble.io/recorded"
VERSION = "cronsemble.io/tool"
FULL = 900_000
"""Bytes of revisions from which on the oldest are folded; a ConfigMap takes 1 MiB."""
AFTER_FOLDING = 600_000

Revision = dict[str, Any]
Tasks = dict[str, dict[str, Any]]


def tasks(cronjobs: Iterable[Mapping[str, Any]]) -> Tasks:
    """What a revision says of each task, from its CronJob; ``suspend`` only where the CronJob says it."""
    found = {}
    for each in cronjobs:
        spec, named = each["spec"], each["metadata"]["labels"]
        text = spec["jobTemplate"]["spec"]["template"]["metadata"].get("annotations", {}).get(labels.CONFIGURATION, "")
        told = {
            "schedule": spec["schedule"],
            "timezone": spec.get("timeZone"),
            "suspend": spec.get("suspend"),
            "task": hashlib.sha256(text.encode()).hexdigest(),
        }
        found[named[labels.TASK]] = {key: value for key, value in told.items() if value is not None}
    return found


def snapshot(objects: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The hashes of program and code, from their ConfigMaps."""
    found = {"program": "", "code": ""}
    for each in objects:
        part = each["metadata"]["labels"].get(labels.COMPONENT)
        if each["kind"] == "ConfigMap" and part in found:
            found[part] = each["metadata"]["annotations"][labels.SHA256]
    return found


def digest(described: Tasks, held: Mapping[str, str]) -> str:
    """A hash of all that a sync would record."""
    return hashlib.sha256(msgspec.json.encode([described, held], order="sorted")).hexdigest()[:32]


def read(data: Mapping[str, str]) -> list[Revision]:
    """The revisions of a ConfigMap's data, oldest first; keys that are not ours are left alone."""
    return [msgspec.json.decode(data[key]) for key in sorted(data) if key.endswith(".json") and key[:-5].isdigit()]


def states(revisions: Iterable[Revision]) -> Iterable[tuple[Revision, Tasks, Tasks]]:
    """Each revision with the tasks before and after it; every task holds program and code too."""
    now: Tasks = {}
    for revision in revisions:
        before = {name: dict(task) for name, task in now.items()}
        now = _after(now, revision)
        yield revision, before, now


def _after(before: Tasks, revision: Revision) -> Tasks:
    held = {key: revision[key] for key in ("program", "code") if key in revision}
    after = {name: {**task, **held} for name, task in before.items() if name not in revision.get("gone", ())}
    for name, told in revision.get("tasks", {}).items():
        inherited = next(({k: t[k] for k in ("program", "code") if k in t} for t in before.values()), {})
        after[name] = {**inherited, **held, **after.get(name, {}), **told}
    return after


def delta(before: Tasks, after: Tasks, held: Mapping[str, str], partial: bool = False) -> dict[str, Any]:
    """What a revision must say to lead from ``before`` to ``after``; suspension that ``after`` leaves open stays.

    ``partial``: tasks that ``after`` does not name stay too.
    """
    known = next(({key: task.get(key, "") for key in ("program", "code")} for task in before.values()), {})
    changed = {}
    for name, task in after.items():
        old = before.get(name, {})
        if differs := {key: value for key, value in task.items() if old.get(key) != value}:
            changed[name] = differs
    told: dict[str, Any] = {"tasks": changed, "gone": [] if partial else sorted(set(before) - set(after))}
    return {**({} if partial or known == held else held), **{key: value for key, value in told.items() if value}}


def fold(revisions: list[Revision], size: int, recorded_until: str | None) -> list[Revision]:
    """The same revisions in at most about ``size`` bytes: the oldest as one.

    Those after ``recorded_until``, the last time that a run is known to have put them into the store, only if they must.
    """
    kept = list(revisions)
    while len(kept) > 1 and sum(map(_size, kept)) > size:
        safe = [each for each in kept if recorded_until and each["time"] <= recorded_until]
        count = min(max(2, len(safe) or len(kept) // 2), len(kept) - 1) if len(kept) > 2 else 2
        *_, (last, _, after) = states(kept[:count])
        held = next(({key: task.get(key, "") for key in ("program", "code")} for task in after.values()), {})
        own = {name: {k: v for k, v in task.items() if k not in ("program", "code")} for name, task in after.items()}
        folded = sum(each.get("folded", 1) for each in kept[:count])
        base = {key: value for key, value in last.items() if key not in ("tasks", "gone", "program", "code")}
        kept = [{**base, **held, "tasks": own, "folded": folded}, *kept[count:]]
    return kept


def _size(revision: Revision) -> int:
    return len(msgspec.json.encode(revision)) + 16


def write(revisions: Iterable[Revision]) -> dict[str, str]:
    """A ConfigMap's data."""
    return {f"{each['revision']:06}.json": msgspec.json.encode(each).decode() for each in revisions}


def is_newer(version: str, than: str) -> bool:
    return _numbers(version) > _numbers(than)


def _numbers(version: str) -> list[int]:
    return [int("".join(c for c in part if c.isdigit()) or 0) for part in version.split(".")]
