"""Which runs the Jobs of a cluster are: by their names, and those made by hand by what their pods claimed in the store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from jobs.contract import RunId
from jobs.store import Store
from jobs.store.jobs_by_hand import claimed_run
from scheduler.kube.objects import Object
from scheduler.observe.run_status import creation_minute, is_by_hand, run_of


def runs_of_jobs(jobs: Iterable[Object], store: Store | None) -> dict[str, RunId]:
    """By the UID of a Job of ours the run that it is; no two are the same."""
    runs: dict[str, RunId] = {}
    unclaimed: list[Object] = []
    for job in sorted(jobs, key=lambda job: str(job["metadata"].get("creationTimestamp"))):
        uid, run = str(job["metadata"]["uid"]), run_of(job)
        if run is None:
            continue
        if is_by_hand(job):
            claimed = None
            if store is not None:
                claimed = claimed_run(store, run.experiment, run.task, str(job["metadata"]["name"]), creation_minute(job))
            if claimed is None:
                unclaimed.append(job)
                continue
            run = claimed
        runs[uid] = run
    taken = set(runs.values())
    for job in unclaimed:
        run = run_of(job)
        assert run is not None
        while run in taken:
            run = replace(run, attempt=run.attempt + 1)
        taken.add(run)
        runs[str(job["metadata"]["uid"])] = run
    return runs
