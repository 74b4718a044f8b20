"""Looks at a store for what is to be told: the slots of its history since the last look, and what is known of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from jobs.contract import ENSEMBLE_TASK, Status, member_task
from jobs.schedule_periods import SchedulePeriod
from jobs.store import Store
from scheduler.history.query import HistoryQuery
from scheduler.history.slots import Row
from scheduler.notifications.events import Surroundings
from scheduler.notifications.incidents import Fact, ProblemKind, Situation, slots_of
from scheduler.stores.history_reader import HistoryReader

FIRST_LOOK = 35 * 86400
"""Seconds that the first look goes back: a monthly schedule has a slot in it."""
SETTLES = 2 * 86400
"""Seconds beyond a task's deadlines within which a slot that was looked at may still change."""
DEADLINE = 6 * 3600
"""The deadline of a run of which none is known, in seconds."""
ALIVE = 300.0
"""Seconds after its last heartbeat within which `serve` counts as running: what it has to try again, it will."""


@dataclass(frozen=True)
class View:
    """What was found: the situation, and what events say beside it; ``rows``: newest slot first."""

    situation: Situation
    around: Surroundings
    rows: Sequence[Row]


def view(
    store: Store,
    experiment: str,
    timezone: str,
    now: float,
    last_look: float | None,
    facts: Sequence[Fact] = (),
    judged: Collection[ProblemKind] = (),
    place: str = "",
) -> View:
    """Read what has changed since the last look (seconds since 1970; None for the first). Raises OSError, CronsembleError."""
    reader = HistoryReader(store, experiment, timezone, now)
    history = reader.history
    periods = history.schedule_periods
    longest = max([0.0, *(_limit(period) for own in periods.values() for period in own[-2:])])
    low = now - FIRST_LOOK if last_look is None else min(last_look, now) - SETTLES - longest
    rows = reader.rows(HistoryQuery(low=int(low // 60), high=int(now // 60)))
    tasks = [task for task, own in periods.items() if own and own[-1].end > now]
    members = [task.removeprefix(member_task("")) for task in history.tasks() if task != ENSEMBLE_TASK]
    is_open = set(_open_runs(store, reader, rows, now))
    slots = slots_of(rows, is_open, members)
    situation = Situation(experiment, slots, tasks, int(now // 60), facts, judged)
    return View(situation, Surroundings(history.clock, now, rows, reader.fact, place, members), rows)


def _limit(period: SchedulePeriod) -> float:
    """Seconds after a slot of a period by which its run has ended."""
    schedule = period.task_schedule
    return float((schedule.starting_deadline or 0) + (schedule.deadline or DEADLINE))


def _open_runs(store: Store, reader: HistoryReader, rows: Sequence[Row], now: float) -> Iterator[str]:
    """The runs whose last try has ended without success, and that get another one.

    A cluster's Job may wait for room until its deadline; this machine's `serve` tries again at once, or when it is started.
    """
    is_served: bool | None = None
    for row in rows:
        if row.status not in (Status.FAILED, Status.DIED, Status.INTERRUPTED) or row.run is None:
            continue
        period = _period_at(reader, row)
        if now >= row.minute * 60 + (DEADLINE if period is None else _limit(period)):
            continue
        run = next(
            (run for run in store.month_ids(reader.history.experiment, row.task, _month(row)) if str(run) == row.run), None
        )
        if run is None or not store.read(run).has_tries_left():
            continue
        if period is not None and period.engine.startswith("host:"):
            if is_served is None:
                alive = store.ledger.newest_heartbeat(reader.history.experiment)
                is_served = alive is not None and now - alive < ALIVE
            if not is_served:
                continue
        yield row.run


def _month(row: Row) -> str:
    return row.slot[:7]


def _period_at(reader: HistoryReader, row: Row) -> SchedulePeriod | None:
    own = reader.history.schedule_periods.get(row.task, ())
    return next((period for period in reversed(own) if period.start <= row.minute * 60), None)
