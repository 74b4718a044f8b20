"""What was seen of runs on a cluster, and how it joins what the store tells of them. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from cronjobs.revisions.revisions import Revision
from jobs.contract import Cause, RunId, RunKind, run_name
from scheduler.history.slots import DIED, FAILED, INFERRED, INTERRUPTED, OBSERVED, RECORDED, RUNNING, SUCCEEDED, UNKNOWN, RunFact

WAITING = "waiting"
"""The state of a run or a try that has not begun."""
MOMENT = 60
"""Seconds for which a run may be in the store while its Job was not in a list yet."""


@dataclass(frozen=True)
class ObservedPod:
    """A pod of a run. ``name`` is its UID, ``container`` the one at work or the one that ended it; times are ISO 8601."""

    name: str
    pod: str
    state: str  # waiting | running | succeeded | failed
    container: str = ""
    what: str = ""
    reason: str = ""
    started: str | None = None
    ended: str | None = None


@dataclass(frozen=True)
class ObservedJob:
    """A run's Job. ``what`` is a word for the reason: memory, killed, deadline, image, ...; times are ISO 8601."""

    run: RunId
    job: str
    state: str  # waiting | running | succeeded | failed
    what: str = ""
    reason: str = ""
    kind: str = RunKind.SCHEDULED
    started: str | None = None
    ended: str | None = None
    tries: tuple[ObservedPod, ...] = ()

    @property
    def is_over(self) -> bool:
        return self.state in (SUCCEEDED, FAILED)

    @property
    def lost(self) -> list[ObservedPod]:
        """The tries that failed and could not say why themselves."""
        return [each for each in self.tries if each.state == FAILED and each.what != Cause.EXIT]

    def facts(self) -> dict[str, Any]:
        """What is kept of it beside the run."""
        told: dict[str, Any] = {
            "job": self.job,
            "what": self.what,
            "reason": self.reason,
            "kind": self.kind,
            "started": self.started,
            "ended": self.ended,
            "tries": [
                {"try": each.name, "pod": each.pod, "container": each.container, "what": each.what, "reason": each.reason}
                | {"started": each.started, "ended": each.ended}
                for each in self.lost
            ],
        }
        return told | ({"status": FAILED} if self.state == FAILED else {})


@dataclass(frozen=True)
class ClusterObservation:
    """One look at an experiment on a cluster, at ``time`` in seconds since 1970 by the server's clock.

    ``is_home`` says that the experiment is synced there: a run of it without a Job there has none any more.
    """

    namespace: str
    time: float
    seen: Mapping[tuple[str, int, int], ObservedJob] = field(default_factory=dict)  # by task, minute and attempt
    revisions: Sequence[Revision] = ()
    is_home: bool = False

    @cached_property
    def _by_month(self) -> dict[tuple[str, str], list[ObservedJob]]:
        found: dict[tuple[str, str], list[ObservedJob]] = {}
        for each in self.seen.values():
            found.setdefault((each.run.task, each.run.month), []).append(each)
        return found

    def months(self, task: str) -> set[str]:
        """The months in which a task has Jobs."""
        return {month for name, month in self._by_month if name == task}

    def merge(self, experiment: str, task: str, month: str, facts: Sequence[RunFact]) -> list[RunFact]:
        """The facts of a task's month with what was seen: those of Jobs that have left nothing in the store are added."""
        found = {(fact.minute, fact.attempt): fact for fact in facts}
        for each in self._by_month.get((task, month), ()):
            key = (each.run.minute, each.run.attempt)
            found[key] = merge_observed(found.get(key), each)
        told = [found[key] for key in sorted(found)]
        return [self._gone(experiment, task, fact) for fact in told] if self.is_home else told

    def _gone(self, experiment: str, task: str, fact: RunFact) -> RunFact:
        """A run that said it was at work, in a pod, and has no Job any more, has died."""
        is_at_work = fact.status == RUNNING and fact.evidence == RECORDED and (fact.started or self.time) < self.time - MOMENT
        if not is_at_work or (task, fact.minute, fact.attempt) in self.seen:
            return fact
        # A pod's host name is its own.
        if not fact.reason.startswith("on " + pod_prefix(run_name(experiment, task, fact.minute, fact.attempt))):
            return fact
        reason = f"its Job is no longer in namespace {self.namespace}, and it said nothing more"
        return _with(fact, DIED, reason, INFERRED)


def pod_prefix(job: str) -> str:
    """What the names of a Job's pods begin with; five letters follow (generateName in k8s.io/apiserver, names/generate.go)."""
    return f"{job}-"[:58]


def merge_observed(fact: RunFact | None, seen: ObservedJob) -> RunFact:
    """What the store and the cluster together tell of a run: what the run itself recorded of its end counts more."""
    started, ended = _instant(seen.started), _instant(seen.ended)
    base = fact or RunFact(seen.run.minute, seen.run.attempt, RUNNING, kind=seen.kind, started=started)
    if fact is not None and (fact.status == SUCCEEDED or (fact.status == INTERRUPTED and fact.evidence == OBSERVED)):
        return fact
    if not seen.is_over:
        return _with(base, RUNNING, seen.reason, OBSERVED, finished=None)
    if seen.state == FAILED:
        return base if fact is not None and not is_news(fact, seen) else _with(base, FAILED, seen.reason, OBSERVED, ended)
    if fact is None or fact.status in (RUNNING, DIED):
        return _with(base, UNKNOWN, "its Job completed, but this store holds no result of it", OBSERVED, ended)
    return fact


def is_news(fact: RunFact | None, seen: ObservedJob) -> bool:
    """Whether a failed Job tells more of a run's end than the run itself did."""
    if fact is None or fact.status in (RUNNING, DIED):
        return True
    return fact.evidence == RECORDED and (fact.status == INTERRUPTED or (fact.status == FAILED and seen.what == Cause.DEADLINE))


def _with(fact: RunFact, status: str, reason: str, evidence: str, finished: float | None = None) -> RunFact:
    return RunFact(
        fact.minute,
        fact.attempt,
        status,
        reason,
        evidence,
        fact.kind,
        fact.started,
        finished,
        fact.accuracy,
        fact.loss,
        fact.seal,
    )


def _instant(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
