"""`status`: the state of each task on the cluster, as rows. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cronjobs.objects import labels
from jobs.contract import Status
from scheduler.history.cronjob_warnings import CronJobWarning, latest
from scheduler.history.observed_runs import ObservedJob
from scheduler.kube import managed_fields, objects
from scheduler.kube.objects import NamespaceObjects, Object
from scheduler.sync import next_fire
from scheduler.sync.plan import SyncPlan, Verb

COLUMNS = ("experiment", "task", "schedule", "timezone", "suspended", "last", "result", "next", "running", "drift", "reason")
_SLOT = "batch.kubernetes.io/cronjob-scheduled-timestamp"


def rows(
    plan: SyncPlan,
    live: Mapping[str, NamespaceObjects],
    jobs: Iterable[Object],
    observed: Iterable[ObservedJob],
    now: datetime,
    warnings: Mapping[tuple[str, str], Sequence[CronJobWarning]] | None = None,
) -> list[dict[str, Any]]:
    """A row for each task on the cluster or in the configuration, with the keys of COLUMNS; times in UTC, ISO 8601.

    Args:
        plan: what a sync would do, shown as the drift of each task.
        live: by namespace, our objects.
        jobs: our Jobs in these namespaces.
        observed: what became of these Jobs: why the latest one failed, or what a running one does.
        now: the server's clock.
        warnings: by namespace and CronJob, why it created no Job.
    """
    observed_by_uid = {job.uid: job for job in observed}
    # A Job that somebody made from a CronJob is owned by it too, but under a name that is no run's.
    by_hand = {uid for uid, job in observed_by_uid.items() if job.name != str(job.run)}
    scheduled: dict[str, list[Object]] = {}
    manual: dict[tuple[str, ...], list[Object]] = {}
    for job in jobs:
        if not job["metadata"]["ownerReferences"] or job["metadata"]["uid"] in by_hand:
            manual.setdefault(_task(job), []).append(job)
            continue
        for owner in job["metadata"]["ownerReferences"]:
            scheduled.setdefault(owner.get("uid", ""), []).append(job)
    drift = {(action.namespace, action.name): _drift(action.verb, len(action.changes)) for action in plan.actions}
    table = []
    for namespace, live_objects in sorted(live.items()):
        for name, cronjob in live_objects.cronjobs.items():
            own_labels = cronjob["metadata"]["labels"]
            if own_labels.get(labels.INSTANCE) in plan.experiments and not labels.is_watch(own_labels):
                own = scheduled.get(cronjob["metadata"]["uid"], [])
                row = _row(cronjob, own, manual.get(_task(cronjob), []), observed_by_uid, now)
                since = max((_start(job).timestamp() for job in own), default=0.0)
                # A warning that is older than the newest scheduled Job is over.
                newer = (each for each in (warnings or {}).get((namespace, name), ()) if each.last > since)
                if warning := latest(newer):
                    reason = f"no Job was created: {warning.reason}"
                    row["reason"] = "; ".join(filter(None, (row["reason"], reason)))
                table.append({**row, "drift": drift.get((namespace, name), "")})
    for action in plan.actions:
        if action.verb == Verb.CREATE and action.kind == "CronJob" and action.task:
            spec = action.body["spec"]
            row = dict.fromkeys(COLUMNS)
            row.update(experiment=action.experiment, task=action.task, schedule=spec["schedule"], timezone=spec.get("timeZone"))
            table.append({**row, "running": [], "drift": _drift(Verb.CREATE, 0)})
    return sorted(table, key=lambda row: (row["experiment"], row["task"]))


def watch_lines(plan: SyncPlan, live: Mapping[str, NamespaceObjects], jobs: Iterable[Object], now: datetime) -> Iterator[str]:
    """A line for each experiment that has a watch: when it looks, how its last look ended, what a sync would do with it.

    The arguments are those of :func:`rows`, of which none is a watch's.
    """
    drift = {(action.namespace, action.name): _drift(action.verb, len(action.changes)) for action in plan.actions}
    looks: dict[str, list[Object]] = {}
    for job in jobs:
        for owner in job["metadata"]["ownerReferences"] if labels.is_watch(job["metadata"]["labels"]) else ():
            looks.setdefault(owner.get("uid", ""), []).append(job)
    for namespace, live_objects in sorted(live.items()):
        for name, cronjob in live_objects.cronjobs.items():
            own_labels = cronjob["metadata"]["labels"]
            if labels.is_watch(own_labels) and own_labels.get(labels.INSTANCE) in plan.experiments:
                own = looks.get(cronjob["metadata"]["uid"], [])
                row = _row(cronjob, own, [], {}, now)
                failed = str(row["result"]).startswith(Status.FAILED)
                newest = max((job for job in own if objects.has_ended(job)), key=_start, default=None)
                parts = [
                    f'{name}: "{row["schedule"]}" {row["timezone"] or ""}'.rstrip(),
                    f"last {row['last'] or 'never'}" + (f", {row['result']}" if row["result"] else ""),
                    f"`kubectl -n {namespace} logs job/{newest['metadata']['name']}` says why" if failed and newest else "",
                    f"suspended by {row['suspended']}" if row["suspended"] else f"next {row['next']}",
                    f"drift: {drift[namespace, name]}" if drift.get((namespace, name)) else "",
                ]
                yield "; ".join(filter(None, parts))
    for action in plan.actions:
        if action.verb == Verb.CREATE and action.kind == "CronJob" and labels.is_watch(action.body["metadata"]["labels"]):
            yield f'{action.name}: "{action.body["spec"]["schedule"]}"; {_drift(Verb.CREATE, 0)}'


def _task(body: Object) -> tuple[str, ...]:
    """Namespace, experiment and task of a CronJob or Job."""
    metadata = body["metadata"]
    return (metadata["namespace"], metadata["labels"].get(labels.INSTANCE, ""), metadata["labels"].get(labels.TASK, ""))


def _row(
    cronjob: Object, scheduled: list[Object], manual: list[Object], observed: Mapping[str, ObservedJob], now: datetime
) -> dict[str, Any]:
    spec, status, task_labels = cronjob["spec"], cronjob["status"], cronjob["metadata"]["labels"]
    is_suspended = bool(spec.get("suspend"))
    # Runs that were started by hand are running as well, but say nothing of the schedule's results.
    running = sorted(job["metadata"]["name"] for job in [*scheduled, *manual] if not objects.has_ended(job))
    return {
        "experiment": task_labels.get(labels.INSTANCE, ""),
        "task": task_labels.get(labels.TASK, ""),
        "schedule": spec["schedule"],
        "timezone": spec.get("timeZone"),
        "suspended": suspended_by(cronjob) if is_suspended else "",
        "last": status.get("lastScheduleTime"),
        "result": _result(scheduled, status),
        "next": None if is_suspended else next_fire.next_fire(spec, now, objects.last_schedule_time(cronjob)),
        "running": running,
        "reason": _reason(scheduled, observed),
    }


def _reason(jobs: list[Object], observed: Mapping[str, ObservedJob]) -> str:
    """What the running ones do, else why the newest failed."""
    running = [job for job in jobs if not objects.has_ended(job)]
    newest = [max(jobs, key=_start)] if jobs else []
    states = (observed.get(job["metadata"]["uid"]) for job in sorted(running, key=_start) or newest)
    return "; ".join(state.reason for state in states if state is not None and state.reason)


def suspended_by(cronjob: Object) -> str:
    """Who owns a suspension: ``configuration``, ``suspend`` (our command), or another manager's name."""
    owners = managed_fields.owners_of(managed_fields.ownerships(cronjob["metadata"]), ("spec", "suspend"))
    names = {managed_fields.OURS: "configuration", managed_fields.SUSPEND: "suspend"}
    return ", ".join(names.get(owner, owner) for owner in owners) or "someone"


def _result(jobs: list[Object], status: Mapping[str, Any]) -> str:
    ended = [job for job in jobs if objects.has_ended(job)]
    if not ended:
        return Status.SUCCEEDED if status.get("lastSuccessfulTime") else ""
    newest = max(ended, key=_start)
    if objects.has_ended(newest) == "Complete":
        return Status.SUCCEEDED
    conditions = newest["status"]["conditions"]
    reason = next((condition.get("reason", "") for condition in conditions if condition["type"] == "Failed"), "")
    return f"{Status.FAILED} ({reason})" if reason else Status.FAILED


def _start(job: Object) -> datetime:
    """The slot of a Job, or of one that was started by hand its creation."""
    return datetime.fromisoformat(job["metadata"]["annotations"].get(_SLOT) or job["metadata"]["creationTimestamp"])


def _drift(verb: Verb, changes: int) -> str:
    if verb == Verb.CHANGE:
        return f"{changes} field{'s' if changes > 1 else ''}"
    return {Verb.CREATE: "not on the cluster", Verb.PRUNE: "not in the configuration"}.get(verb, "")
