"""Jobs that somebody made by hand from a CronJob under a name of their own: which runs of the store they are.

`kubectl create job NAME --from=cronjob/...`, a button of a dashboard: the name is no run's, so the Job's first pod claims a run
of the minute in which it starts. A pod knows its Job by the name alone: a later Job of the same name goes on with the run of an
earlier one that has failed. Standard library alone, Python 3.9.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from jobs.contract import TRY_PREFIX, RunId, RunKind
from jobs.store.process_identity import process_identity
from jobs.store.store import Store

FIRST_ATTEMPT = 2
"""The first attempt is the CronJob's own, which may start in the same minute."""


def claim_run(store: Store, experiment: str, task: str, minute: int, name: str) -> RunId:
    """Claim a run for the Job of this name, in this minute since 1970: the next free attempt of it; raises OSError."""
    mark = {"kind": RunKind.MANUAL, "job": name, "process": process_identity()}
    for attempt in count(FIRST_ATTEMPT):
        run = RunId(minute, attempt, experiment, task)
        if store.claim_attempt(run, mark):
            return run
    raise AssertionError("there is always another attempt")


def claimed_run(store: Store, experiment: str, task: str, name: str, since: int, try_name: str = "") -> RunId | None:
    """The run that a Job of this name has claimed, or goes on with; None without one.

    ``since``: when the Job was made, in minutes since 1970; a run that has ended for good before is another Job's.
    ``try_name``: the try of the pod that asks, whose run does not change once it has begun.
    """
    run = next(claims(store, experiment, task, name), None)
    if run is None:
        return None
    is_open = store.result(run) is None and store.cancelled(run) is None
    has_begun = bool(try_name) and f"{TRY_PREFIX}{try_name}" in store.files.list_names(store.run_folder(run))
    return run if is_open or has_begun or run.minute >= since else None


def claims(store: Store, experiment: str, task: str, name: str) -> Iterator[RunId]:
    """The runs that Jobs of this name have claimed, newest first."""
    for run in store.run_ids(experiment, task):
        if run.attempt >= FIRST_ATTEMPT and (store.claim_of(run) or {}).get("job") == name:
            yield run
