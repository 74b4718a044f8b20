"""What a cluster shows of runs, and how that merges with what the store holds of them. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from math import inf
from typing import Any

import msgspec

from cronjobs.revisions.revisions import Revision
from jobs.contract import Cause, Evidence, RunId, RunKind, Status, run_name
from scheduler.history.cronjob_warnings import CronJobWarning
from scheduler.history.run_facts import RunFact

LIST_DELAY = 60
"""Seconds for which a run may be in the store while its Job was not in a list yet."""


class JobState(StrEnum):
    """Where a Job or a pod is; ``waiting``: it has not begun."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class ObservedPod:
    """A pod of a run, which is one try of it.

    ``container`` is the one that runs, or the one whose end failed the pod; times are ISO 8601.
    """

    uid: str
    name: str
    state: JobState
    container: str = ""
    cause: Cause | None = None
    reason: str = ""
    started: str | None = None
    ended: str | None = None
    sidecar: str = ""
    """A container that others put beside the steps, and that runs on after them."""

    def to_json(self) -> dict[str, Any]:
        """As `show --json` prints it."""
        return {
            "name": self.uid,
            "pod": self.name,
            "state": self.state,
            "container": self.container,
            "what": self.cause or "",
            "reason": self.reason,
            "started": self.started,
            "ended": self.ended,
        }


@dataclass(frozen=True)
class ObservedJob:
    """A run's Job and its pods, oldest first; times are ISO 8601."""

    run: RunId
    uid: str
    state: JobState
    cause: Cause | None = None
    reason: str = ""
    kind: str = RunKind.SCHEDULED
    started: str | None = None
    ended: str | None = None
    pods: tuple[ObservedPod, ...] = ()
    max_tries: int | None = None
    """How many pods there may be, by its retries and those of its pods that used up none."""
    name: str = ""
    """The Job's name, which is the run's id unless somebody made the Job by hand."""

    @property
    def key(self) -> tuple[str, int, int]:
        """Task, minute and attempt."""
        return self.run.task, self.run.minute, self.run.attempt

    @property
    def has_ended(self) -> bool:
        """Whether no pod of it runs or follows any more."""
        return self.state in (JobState.SUCCEEDED, JobState.FAILED)

    @property
    def sidecar(self) -> str:
        """The container beside the steps that keeps the Job, though the run itself has ended; empty without one."""
        return next((pod.sidecar for pod in self.pods if pod.sidecar and not self.has_ended), "")

    @property
    def unexplained_failures(self) -> list[ObservedPod]:
        """The pods that failed and could not record why themselves."""
        return [pod for pod in self.pods if pod.state == JobState.FAILED and pod.cause != Cause.EXIT]

    def observation(self) -> dict[str, Any]:
        """What is kept of it beside the run (``observed.json``)."""
        kept: dict[str, Any] = {
            "job": self.uid,
            "what": self.cause or "",
            "reason": self.reason,
            "kind": self.kind,
            "started": self.started,
            "ended": self.ended,
            "tries": [
                {"try": pod.uid, "pod": pod.name, "container": pod.container, "what": pod.cause or "", "reason": pod.reason}
                | {"started": pod.started, "ended": pod.ended}
                for pod in self.unexplained_failures
            ],
        }
        return kept | ({"status": Status.FAILED} if self.state == JobState.FAILED else {})

    def to_json(self) -> dict[str, Any]:
        """As `show --json` prints it."""
        return {
            "run": msgspec.to_builtins(self.run),
            "job": self.uid,
            "state": self.state,
            "what": self.cause or "",
            "reason": self.reason,
            "kind": self.kind,
            "started": self.started,
            "ended": self.ended,
            "tries": [pod.to_json() for pod in self.pods],
        }


@dataclass(frozen=True)
class ClusterObservation:
    """What a cluster showed of an experiment at ``time``, in seconds since 1970 by the server's clock.

    ``jobs`` by task, minute and attempt. ``revisions``: those of its ConfigMap, which the store may not have yet.
    ``is_synced``: the experiment is synced to ``namespace``, so that a run without a Job in it has none any more.
    """

    namespace: str
    time: float
    jobs: Mapping[tuple[str, int, int], ObservedJob] = field(default_factory=dict)
    revisions: Sequence[Revision] = ()
    is_synced: bool = False
    warnings: Sequence[CronJobWarning] = ()
    """Why CronJobs created no Job."""

    @cached_property
    def _by_month(self) -> dict[tuple[str, str], list[ObservedJob]]:
        by_month: dict[tuple[str, str], list[ObservedJob]] = {}
        for job in self.jobs.values():
            by_month.setdefault((job.run.task, job.run.month), []).append(job)
        return by_month

    def tasks(self) -> set[str]:
        """The tasks that have Jobs."""
        return {task for task, _ in self._by_month}

    def months(self, task: str) -> set[str]:
        """The months (``2026-11``) in which a task has Jobs."""
        return {month for name, month in self._by_month if name == task}

    def merge(self, experiment: str, task: str, month: str, facts: Iterable[RunFact]) -> list[RunFact]:
        """The facts of a task's month with what was observed, in order; Jobs that have left nothing in the store are added."""
        jobs = self._by_month.get((task, month), ())
        if not jobs and not self.is_synced:
            return sorted(facts, key=_order)
        by_key = {(fact.minute, fact.attempt): fact for fact in facts}
        for job in jobs:
            key = (job.run.minute, job.run.attempt)
            by_key[key] = merge_observed(by_key.get(key), job)
        merged = [by_key[key] for key in sorted(by_key)]
        return [self._without_job(experiment, task, fact) for fact in merged] if self.is_synced else merged

    def _without_job(self, experiment: str, task: str, fact: RunFact) -> RunFact:
        """The fact; a run that recorded that it runs, in a pod, and has no Job any more, has died."""
        is_running = fact.status == Status.RUNNING and fact.evidence == Evidence.RECORDED
        is_new = (fact.started or self.time) >= self.time - LIST_DELAY
        if not is_running or is_new or (task, fact.minute, fact.attempt) in self.jobs:
            return fact
        # A pod's host name is its own; one that waits for others has not said it yet.
        prefix = "on " + pod_prefix(run_name(experiment, task, fact.minute, fact.attempt))
        if not (fact.reason.startswith(prefix) or fact.is_waiting):
            return fact
        reason = f"its Job is no longer in namespace {self.namespace}, and it recorded no end"
        return _with_end(fact, Status.DIED, reason, Evidence.INFERRED)


def _order(fact: RunFact) -> tuple[int, int]:
    return fact.minute, fact.attempt


def pod_prefix(job: str) -> str:
    """What the names of a Job's pods begin with; five letters follow (generateName in k8s.io/apiserver, names/generate.go)."""
    return f"{job}-"[:58]


def merge_observed(fact: RunFact | None, job: ObservedJob) -> RunFact:
    """What the store and the cluster together say of a run: what the run itself recorded of its end counts more."""
    started, ended = _seconds(job.started), _seconds(job.ended)
    base = fact or RunFact(job.run.minute, job.run.attempt, Status.RUNNING, kind=job.kind, started=started)
    if job.pods:
        # Some pods leave nothing in the store.
        base = msgspec.structs.replace(base, try_number=max(base.try_number or 0, len(job.pods)), max_tries=job.max_tries)
    if fact is not None:
        is_cancelled = fact.status == Status.INTERRUPTED and fact.evidence == Evidence.OBSERVED
        if fact.status == Status.SUCCEEDED or is_cancelled:
            return _with_job(fact, job)
    if not job.has_ended:
        # For whom it waits only the store knows.
        reason = f"{base.reason} ({job.reason})" if fact is not None and fact.is_waiting else job.reason
        return _with_end(base, Status.RUNNING, reason, Evidence.OBSERVED)
    if job.state == JobState.FAILED:
        if fact is not None and not says_more(fact, job):
            return base
        return _with_end(base, Status.FAILED, job.reason, Evidence.OBSERVED, ended)
    if fact is None or fact.status in (Status.RUNNING, Status.DIED):
        reason = "its Job completed, but this store holds no result of it"
        return _with_end(base, Status.UNKNOWN, reason, Evidence.OBSERVED, ended)
    return fact


def _with_job(fact: RunFact, job: ObservedJob) -> RunFact:
    """A run that has ended well, with what its Job does after it: a container beside the steps may keep it."""
    if job.sidecar:
        reason = f"its Job goes on: {job.sidecar} beside the run's container does not end"
        return msgspec.structs.replace(fact, reason=reason, job_ended=inf)
    if job.state == JobState.FAILED and job.cause == Cause.DEADLINE:
        reason = f"its Job went on without it: {job.reason}"
        return msgspec.structs.replace(fact, reason=reason, job_ended=_seconds(job.ended))
    return fact


def says_more(fact: RunFact | None, job: ObservedJob) -> bool:
    """Whether a failed Job says more of a run's end than the run itself recorded."""
    if fact is None or fact.status in (Status.RUNNING, Status.DIED):
        return True
    if fact.evidence != Evidence.RECORDED:
        return False
    return fact.status == Status.INTERRUPTED or (fact.status == Status.FAILED and job.cause == Cause.DEADLINE)


def may_be_unrecorded(job: ObservedJob) -> bool:
    """Whether the store may lack something that a Job, which has ended, shows."""
    return job.state == JobState.FAILED or (job.has_ended and bool(job.unexplained_failures))


def is_unrecorded(fact: RunFact | None, job: ObservedJob) -> bool:
    """Whether a Job for which :func:`may_be_unrecorded` holds shows more of its run than the store holds."""
    if job.state == JobState.FAILED:
        return says_more(fact, job)
    return fact is not None and fact.status == Status.SUCCEEDED


def _with_end(fact: RunFact, status: Status, reason: str, evidence: Evidence, finished: float | None = None) -> RunFact:
    return msgspec.structs.replace(fact, status=status, reason=reason, evidence=evidence, finished=finished)


def _seconds(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
