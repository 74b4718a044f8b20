"""Jobs that somebody made by hand from a CronJob under a name of their own: which runs of the store they are.

`kubectl create job NAME --from=cronjob/...`, a button of a dashboard: the name is no run's, so the Job's first pod claims a run
of the minute in which it starts. Standard library alone, Python 3.9.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from jobs.contract import RunId, RunKind
from jobs.store.process_identity import process_identity
from jobs.store.store import Store

FIRST_ATTEMPT = 2
"""The first attempt is the CronJob's own, which may start in the same minute."""


def claim_run(store: Store, experiment: str, task: str, minute: int, name: str, uid: str) -> RunId:
    """Claim a run for the Job of this name and UID, in this minute since 1970 or the next free attempt of it; raises OSError."""
    mark = {"kind": RunKind.MANUAL, "job": name, "job_uid": uid, "process": process_identity()}
    for attempt in count(FIRST_ATTEMPT):
        run = RunId(minute, attempt, experiment, task)
        if store.claim_attempt(run, mark):
            return run
    raise AssertionError("there is always another attempt")


def claimed_run(store: Store, experiment: str, task: str, since: int, uid: str) -> RunId | None:
    """The run that the Job of this UID has claimed in the minute ``since`` (since 1970) or after it; None if none has been."""
    return next((run for run, claim in _claims(store, experiment, task, since) if claim.get("job_uid") == uid), None)


def runs_of_name(store: Store, experiment: str, task: str, name: str) -> list[RunId]:
    """The runs that Jobs of this name have claimed, newest first."""
    return [run for run, claim in _claims(store, experiment, task, 0) if claim.get("job") == name]


def _claims(store: Store, experiment: str, task: str, since: int) -> Any:
    for run in store.run_ids(experiment, task):
        if run.minute < since:
            return
        if run.attempt >= FIRST_ATTEMPT:
            yield run, store.claim_of(run) or {}
