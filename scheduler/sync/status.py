"""`status`: how each task stands on the cluster, as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from cronjobs.objects import labels
from scheduler.history.observed_runs import ObservedJob
from scheduler.kube import managed_fields, objects
from scheduler.kube.objects import NamespaceObjects, Object
from scheduler.sync import next_fire
from scheduler.sync.plan import SyncPlan, Verb

COLUMNS = ("experiment", "task", "schedule", "timezone", "suspended", "last", "result", "next", "running", "drift", "reason")
_SLOT = "batch.kubernetes.io/cronjob-scheduled-timestamp"


def rows(
    plan: SyncPlan, lives: Mapping[str, NamespaceObjects], jobs: Iterable[Object], seen: Iterable[ObservedJob], now: datetime
) -> list[dict[str, Any]]:
    """A row for each task on the cluster or in the configuration, with the keys of COLUMNS; times in UTC, ISO 8601.

    ``seen`` is what is to be seen of these Jobs' runs: the reason why the last one failed, or what one at work does.
    """
    by_job = {each.uid: each for each in seen}
    by_owner: dict[str, list[Object]] = {}
    by_hand: dict[tuple[str, ...], list[Object]] = {}
    for job in jobs:
        if not job["metadata"]["ownerReferences"]:
            by_hand.setdefault(_task(job), []).append(job)
        for owner in job["metadata"]["ownerReferences"]:
            by_owner.setdefault(owner.get("uid", ""), []).append(job)
    drift = {(action.namespace, action.name): _drift(action.verb, len(action.changes)) for action in plan.actions}
    found = []
    for namespace, each in sorted(lives.items()):
        for name, cronjob in each.cronjobs.items():
            if cronjob["metadata"]["labels"].get(labels.INSTANCE) in plan.experiments:
                own = by_owner.get(cronjob["metadata"]["uid"], [])
                hand = by_hand.get(_task(cronjob), [])
                found.append({**_row(cronjob, own, hand, by_job, now), "drift": drift.get((namespace, name), "")})
    for action in plan.actions:
        if action.verb == Verb.CREATE and action.kind == "CronJob":
            spec = action.body["spec"]
            row = dict.fromkeys(COLUMNS)
            row.update(experiment=action.experiment, task=action.task, schedule=spec["schedule"], timezone=spec.get("timeZone"))
            found.append({**row, "running": [], "drift": _drift(Verb.CREATE, 0)})
    return sorted(found, key=lambda row: (row["experiment"], row["task"]))


def _task(thing: Object) -> tuple[str, ...]:
    metadata = thing["metadata"]
    return (metadata["namespace"], metadata["labels"].get(labels.INSTANCE, ""), metadata["labels"].get(labels.TASK, ""))


def _row(
    cronjob: Object, jobs: list[Object], hand: list[Object], seen: Mapping[str, ObservedJob], now: datetime
) -> dict[str, Any]:
    spec, status, named = cronjob["spec"], cronjob["status"], cronjob["metadata"]["labels"]
    suspended = bool(spec.get("suspend"))
    # Runs by hand are at work as well, but say nothing of how the schedule fares.
    running = sorted(job["metadata"]["name"] for job in [*jobs, *hand] if not objects.has_ended(job))
    return {
        "experiment": named.get(labels.INSTANCE, ""),
        "task": named.get(labels.TASK, ""),
        "schedule": spec["schedule"],
        "timezone": spec.get("timeZone"),
        "suspended": suspended_by(cronjob) if suspended else "",
        "last": status.get("lastScheduleTime"),
        "result": _result(jobs, status),
        "next": None if suspended else next_fire.next_fire(spec, now, objects.last_schedule_time(cronjob)),
        "running": running,
        "reason": _reason(jobs, seen),
    }


def _reason(jobs: list[Object], seen: Mapping[str, ObservedJob]) -> str:
    """What those at work do, else why the newest failed."""
    alive = [job for job in jobs if not objects.has_ended(job)]
    newest = [max(jobs, key=_began)] if jobs else []
    told = (seen.get(job["metadata"]["uid"]) for job in sorted(alive, key=_began) or newest)
    return "; ".join(each.reason for each in told if each is not None and each.reason)


def suspended_by(cronjob: Object) -> str:
    """Who owns a suspension: ``configuration``, ``suspend`` (our command), or another manager's name."""
    owners = managed_fields.owners_of(managed_fields.ownerships(cronjob["metadata"]), ("spec", "suspend"))
    told = {managed_fields.OURS: "configuration", managed_fields.SUSPEND: "suspend"}
    return ", ".join(told.get(owner, owner) for owner in owners) or "someone"


def _result(jobs: list[Object], status: Mapping[str, Any]) -> str:
    over = [job for job in jobs if objects.has_ended(job)]
    if not over:
        return "succeeded" if status.get("lastSuccessfulTime") else ""
    newest = max(over, key=_began)
    if objects.has_ended(newest) == "Complete":
        return "succeeded"
    reason = next((each.get("reason", "") for each in newest["status"]["conditions"] if each["type"] == "Failed"), "")
    return f"failed ({reason})" if reason else "failed"


def _began(job: Object) -> datetime:
    told = job["metadata"]["annotations"].get(_SLOT) or job["metadata"]["creationTimestamp"]
    return datetime.fromisoformat(told)


def _drift(verb: Verb, changes: int) -> str:
    if verb == Verb.CHANGE:
        return f"{changes} field{'s' if changes > 1 else ''}"
    return {Verb.CREATE: "not on the cluster", Verb.PRUNE: "not in the configuration"}.get(verb, "")
