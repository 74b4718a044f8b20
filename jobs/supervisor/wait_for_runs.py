"""The await step: an ensemble waits until trainings have ended in the store. Standard library alone, Python 3.9."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jobs import contract as c
from jobs.contract import ExitCode, Status
from jobs.store import Run
from jobs.store.tries import failed_tries, is_permanent
from jobs.supervisor.poll_runs import Awaited, wait_while
from jobs.supervisor.run_context import RunContext, StepError, notice


def wait_until_ended(context: RunContext) -> bool:
    """Wait until every awaited run has ended for good, or the time is up.

    False if the process was asked to stop, or should end now and be started again later. Raises StepError for a wrong ENV_AWAIT.
    """
    awaited = _awaited(context)

    def look() -> list[Awaited]:
        unfinished = [run for run in _read(context, awaited["runs"]) if not has_ended(run, awaited["runs"][str(run.id)])]
        return [Awaited(str(run.id), not run.tries) for run in unfinished]

    return wait_while(look, context.stopped, awaited["until"])


def record_awaited_runs(context: RunContext, _: Sequence[str]) -> None:
    """Write what became of the awaited runs to this run's log."""
    awaited = _awaited(context)
    for run in _read(context, awaited["runs"]):
        if has_ended(run, awaited["runs"][str(run.id)]):
            notice(context, f"{run.id} {run.status}" + (f": {run.reason}" if run.reason else ""))
        else:
            notice(context, f"{run.id} has not ended in time: continuing without it")


def has_ended(run: Run, retries: int) -> bool:
    """Whether a run has its result, or its last failure: one that more tries cannot cure, or one too many."""
    if run.status == Status.SUCCEEDED or run.cancelled:
        return True
    return any(is_permanent(one_try) for one_try in run.tries) or failed_tries(run.tries) > retries


def _awaited(context: RunContext) -> dict[str, Any]:
    """The awaited runs with their retries, and until when (seconds since 1970); raises StepError."""
    try:
        awaited = json.loads(context.env.get(c.ENV_AWAIT, ""))
        return {"runs": {str(run): int(retries) for run, retries in awaited["runs"].items()}, "until": float(awaited["until"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StepError(
            f'{c.ENV_AWAIT} is not {{"runs": {{run: retries}}, "until": seconds}}: {error!r}', ExitCode.WRONG_INPUT
        ) from error


def _read(context: RunContext, runs: dict[str, int]) -> list[Run]:
    awaited = []
    for name in runs:
        run = c.any_run_id(name, context.run.experiment)
        if run is None:
            raise StepError(f"{c.ENV_AWAIT}: {name} is not a run of {context.run.experiment}", ExitCode.WRONG_INPUT)
        awaited.append(context.store.read(run))
    return awaited
