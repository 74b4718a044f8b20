"""Which rows of the history a user asks for: periods, tasks and statuses as they are typed, checked."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.contract import Status
from scheduler.errors import CronsembleError
from scheduler.history.query import ExperimentHistory, HistoryQuery
from scheduler.history.slots import DEGRADED, STATUSES
from scheduler.times import parse_period


def parse_query(
    history: ExperimentHistory, since: str | None, until: str | None, tasks: Sequence[str], statuses: Sequence[str]
) -> HistoryQuery:
    """The rows that the options ask for; raises CronsembleError for one that is wrong."""
    status_names = parse_statuses(statuses)
    known = history.tasks()
    for task in tasks:
        if task not in known:
            choice = f"it has {', '.join(known)}" if known else "it is empty"
            raise CronsembleError(f"--task {task}: no such task in the history: {choice}")
    low = parse_period(since, history.timezone, history.now, "--since")[0] if since else None
    high = parse_period(until, history.timezone, history.now, "--until")[1] if until else None
    if low is not None and high is not None and low > high:
        raise CronsembleError(f"--since {since} --until {until}: the end is before the beginning")
    return HistoryQuery(low, high, tuple(tasks), status_names)


def parse_statuses(statuses: Sequence[str]) -> tuple[str, ...]:
    """The statuses that are meant, also with a hyphen for a space; raises CronsembleError for one that there is not."""
    names = tuple(status.replace("-", " ") for status in statuses)
    for name in names:
        if name not in STATUSES and name != DEGRADED:
            raise CronsembleError(f"--status {name}: not a status: type one of {', '.join([*Status, DEGRADED])}")
    return names
