"""The await step: an ensemble waits in the store for trainings that nobody watches. Standard library alone, Python 3.9."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from jobs import contract as c
from jobs.contract import ExitCode, Status
from jobs.store import Run
from jobs.supervisor.run_context import RunContext, StepError, notice

LOOK = 2.0
"""Seconds between two looks at the store."""
PATIENCE = 60.0
"""Seconds after which a pod whose awaited runs have not all begun gives its room to theirs."""


def until_ended(context: RunContext) -> bool:
    """Wait until every awaited run has ended for good, or its time is up; False if told to stop, or to come again later."""
    told = _told(context)
    began = _now()
    said: set[str] = set()
    while not context.stopped.is_set():
        waiting = [run for run in _read(context, told["runs"]) if not has_ended(run, told["runs"][str(run.id)])]
        if not waiting or _now() >= told["until"]:
            return True
        for run in waiting:
            if str(run.id) not in said:
                print(f"cronsemble: waits for {run.id}", flush=True)
                said.add(str(run.id))
        absent = [run for run in waiting if not run.tries]
        if absent and _now() - began > PATIENCE:
            print(f"cronsemble: {absent[0].id} has not begun: makes room for it, and comes again", flush=True)
            return False
        context.stopped.wait(LOOK)
    return False


def tell_awaited(context: RunContext, _: str | None) -> None:
    """Write down what became of the awaited runs: this run's log is the evidence."""
    told = _told(context)
    for run in _read(context, told["runs"]):
        if has_ended(run, told["runs"][str(run.id)]):
            notice(context, f"{run.id} {run.status}" + (f": {run.reason}" if run.reason else ""))
        else:
            notice(context, f"{run.id} has not ended in time: goes on without it")


def has_ended(run: Run, retries: int) -> bool:
    """Whether a run has its result, or its last failure: one that more tries cannot mend, or one too many."""
    if run.status == Status.SUCCEEDED or run.cancelled:
        return True
    ends = [each["end"] for each in run.tries if each["end"]]
    is_final = any(end.get("status") == c.Status.NO_QUORUM or end.get("code") == ExitCode.WRONG_INPUT for end in ends)
    return is_final or len([end for end in ends if end.get("status") == Status.FAILED]) > retries


def _told(context: RunContext) -> dict[str, Any]:
    try:
        told = json.loads(context.env.get(c.ENV_AWAIT, ""))
        return {"runs": {str(run): int(retries) for run, retries in told["runs"].items()}, "until": float(told["until"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StepError(
            f'{c.ENV_AWAIT} is not {{"runs": {{run: retries}}, "until": seconds}}: {error!r}', ExitCode.WRONG_INPUT
        ) from error


def _read(context: RunContext, runs: dict[str, int]) -> list[Run]:
    found = []
    for name in runs:
        run = c.any_run_id(name, context.run.experiment)
        if run is None:
            raise StepError(f"{c.ENV_AWAIT}: {name} is not a run of {context.run.experiment}", ExitCode.WRONG_INPUT)
        found.append(context.store.read(run))
    return found


def _now() -> float:
    return datetime.now(timezone.utc).timestamp()
