"""Revisions: what was synced or served, from when on: made from CronJobs, and folded.

What a revision says, and how one leads to the next, is in ``jobs.revisions``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from cronjobs.objects import labels
from jobs.revisions import Revision, Tasks, chains, merge, states

__all__ = [
    "Revision", "Tasks", "chains", "delta", "digest", "fold", "merge", "snapshot", "states", "tasks", "with_every_task",
]  # fmt: skip


def tasks(cronjobs: Iterable[Mapping[str, Any]]) -> Tasks:
    """What a revision says of each task, from its CronJob; ``suspend`` only where the CronJob says it. Of a watch nothing."""
    tasks_by_name = {}
    for cronjob in cronjobs:
        name = cronjob["metadata"]["labels"].get(labels.TASK)
        if name is None:
            continue
        spec, job = cronjob["spec"], cronjob["spec"]["jobTemplate"]["spec"]
        configuration = job["template"]["metadata"].get("annotations", {}).get(labels.CONFIGURATION, "")
        fields = {
            "schedule": spec["schedule"],
            "timezone": spec.get("timeZone"),
            "suspend": spec.get("suspend"),
            "concurrency": spec.get("concurrencyPolicy"),
            "starting_deadline": spec.get("startingDeadlineSeconds"),
            "deadline": job.get("activeDeadlineSeconds"),
            "task": hashlib.sha256(configuration.encode()).hexdigest(),
        }
        tasks_by_name[name] = {key: value for key, value in fields.items() if value is not None}
    return tasks_by_name


def snapshot(objects: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The hashes of program and code, from their ConfigMaps."""
    digests = {"program": "", "code": ""}
    for item in objects:
        part = item["metadata"]["labels"].get(labels.COMPONENT)
        if item["kind"] == "ConfigMap" and part in digests:
            digests[part] = item["metadata"]["annotations"][labels.SHA256]
    return digests


def digest(tasks: Tasks, snapshot: Mapping[str, str]) -> str:
    """A hash of all that a revision would say."""
    import msgspec  # late: what looks for damage beside a store reads this module, and has it not

    return hashlib.sha256(msgspec.json.encode([tasks, snapshot], order="sorted")).hexdigest()[:32]


def delta(before: Tasks, after: Tasks, snapshot: Mapping[str, str], partial: bool = False) -> dict[str, Any]:
    """What a revision must say to lead from ``before`` to ``after``; suspension that ``after`` leaves open stays.

    ``partial``: tasks that ``after`` does not name stay too.
    """
    known = next(({key: task.get(key, "") for key in ("program", "code")} for task in before.values()), {})
    changed = {}
    for name, task in after.items():
        old = before.get(name, {})
        if changes := {key: value for key, value in task.items() if old.get(key) != value}:
            changed[name] = changes
    content: dict[str, Any] = {"tasks": changed, "gone": [] if partial else sorted(set(before) - set(after))}
    return {**({} if partial or known == snapshot else snapshot), **{key: value for key, value in content.items() if value}}


def fold(revisions: list[Revision], size: int, recorded_until: str | None) -> list[Revision]:
    """The same revisions of one engine in at most about ``size`` bytes: the oldest as one.

    Those after ``recorded_until``, the last time that a run is known to have put them into the store, only if they must.
    """
    kept = list(revisions)
    while len(kept) > 1 and sum(map(_size, kept)) > size:
        safe = [revision for revision in kept if recorded_until and revision["time"] <= recorded_until]
        count = min(max(2, len(safe) or len(kept) // 2), len(kept) - 1) if len(kept) > 2 else 2
        *_, (last, _, after) = states(kept[:count])
        kept = [with_every_task(last, after, sum(revision.get("folded", 1) for revision in kept[:count])), *kept[count:]]
    return kept


def with_every_task(revision: Revision, after: Tasks, folded: int = 1) -> Revision:
    """The revision as one that says everything, and stands for ``folded``."""
    snapshot = next(({key: task.get(key, "") for key in ("program", "code")} for task in after.values()), {})
    own = {name: {k: v for k, v in task.items() if k not in ("program", "code")} for name, task in after.items()}
    base = {key: value for key, value in revision.items() if key not in ("tasks", "gone", "program", "code")}
    return {**base, **snapshot, "tasks": own, "folded": folded}


def _size(revision: Revision) -> int:
    import msgspec  # late: what looks for damage beside a store reads this module, and has it not

    return len(msgspec.json.encode(revision)) + 16
