"""The rows of an experiment's history: from values alone, a month at a time, so that a reader fetches only what a query needs.

Who reads the store asks :func:`searched_months`, then for each month :func:`month_pages` and :meth:`MonthWindow.earlier_pages`
for the runs to fetch, until it has rows enough (``scheduler/stores/history_reader.py``). :func:`rows` has all runs at hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from math import inf
from operator import attrgetter

from cronjobs.revisions.revisions import Revision
from jobs import schedule_periods
from jobs.contract import ENSEMBLE_TASK, RunKind, Status, member_task
from jobs.expected_slots import expected, following
from jobs.fire_times.fires import seconds
from jobs.fire_times.zones import DAY
from jobs.schedule_periods import RevisionPeriod, SchedulePeriod
from scheduler.history.changes import Figures, add_change, is_comparable, latest_figures
from scheduler.history.cronjob_warnings import explanation
from scheduler.history.degraded import DueSlots, OlderModel, describe_end, describe_older_model, older_models, why_not_taken
from scheduler.history.notes import Notes
from scheduler.history.observed_runs import ClusterObservation
from scheduler.history.run_facts import MemberFact, RunFact, RunKey
from scheduler.history.slots import LocalClock, Row, TaskContext, TaskWindow, task_rows, task_window
from scheduler.times import format_local

EARLIER_MONTHS = 3
"""Months that are searched for a run that was still running when a slot of a later month came."""

_RUN_KEY = attrgetter("minute", "attempt")

Page = tuple[str, str]
"""The unit in which runs are fetched: a task and a month of UTC (``2026-11``)."""
Facts = Mapping[Page, Sequence[RunFact]]
"""The runs that the store holds, by page, in any order."""


@dataclass(frozen=True)
class HistoryQuery:
    """Which rows are asked for.

    ``low`` and ``high``: minutes since 1970, both included. No tasks or statuses given means all; a ``limit`` of 0 means
    no limit.
    """

    low: int | None = None
    high: int | None = None
    tasks: Collection[str] = ()
    statuses: Collection[str] = ()
    limit: int = 0


@dataclass(frozen=True)
class ExperimentHistory:
    """What the rows of one experiment are computed from, its runs apart.

    ``timezone``: the IANA name of the zone in which dates are. ``now``: seconds since 1970. ``revisions``: those of the
    store. ``months``: by task that has runs in the store, the months that it has any in, oldest first.
    ``observation``: what its cluster showed. ``known_until``: until when the store is known, in seconds since 1970.
    """

    experiment: str
    timezone: str
    now: float
    revisions: Sequence[Revision] = ()
    notes: Notes = field(default_factory=Notes)
    months: Mapping[str, Sequence[str]] = field(default_factory=dict)
    observation: ClusterObservation = field(default_factory=lambda: ClusterObservation("", 0.0))
    known_until: float = inf
    unreadable: Mapping[Page, str] = field(default_factory=dict)
    """The pages whose folders cannot be listed, and why; a month of "" stands for all of a task's. Filled as pages are read."""

    @cached_property
    def clock(self) -> LocalClock:
        """The clock of the history's zone."""
        return LocalClock(self.timezone)

    @cached_property
    def revision_periods(self) -> list[RevisionPeriod]:
        """Every revision, of the store and of the cluster, with what it changed, oldest first."""
        return schedule_periods.periods(self._all_revisions, self.now)

    @cached_property
    def scheduling_periods(self) -> list[RevisionPeriod]:
        """The same of the revisions that schedule something."""
        return schedule_periods.scheduling_periods(self._all_revisions, self.now)

    @cached_property
    def schedule_periods(self) -> dict[str, list[SchedulePeriod]]:
        """By task, which schedule it had when, oldest first."""
        return schedule_periods.schedule_periods(self.scheduling_periods)

    @property
    def _all_revisions(self) -> list[Revision]:
        return [*self.revisions, *self.observation.revisions]

    def tasks(self) -> list[str]:
        """Every task that a revision names, or that has runs or Jobs."""
        return sorted({*self.schedule_periods, *self.months, *self.observation.tasks()})

    def months_of(self, task: str) -> list[str]:
        """The months in which a task has runs or Jobs, oldest first."""
        months = {*self.months.get(task, ()), *self.observation.months(task)}
        return sorted(month for month in months if 1970 <= int(month[:-3]) < 9999 and 1 <= int(month[-2:]) <= 12)

    def task_context(self, task: str) -> TaskContext:
        """What the rows of one task are computed from, its runs apart."""
        periods = self.schedule_periods.get(task, ())
        warnings = [warning for warning in self.observation.warnings if warning.task == task]
        unreadable = {month: why for (of_task, month), why in self.unreadable.items() if of_task == task}
        return TaskContext(
            self.experiment, task, periods, self.notes, self.clock, self.now, warnings, self.known_until, unreadable
        )


def rows(history: ExperimentHistory, query: HistoryQuery, facts: Facts) -> list[Row]:
    """The rows that are asked for, newest slot first; without an end, up to now and each task's next slot.

    ``facts`` holds all runs of the experiment; a page that it lacks has none.
    """
    chosen = limited(_all_rows(history, query, facts), query)
    add_first_changes(history, chosen, facts)
    return chosen


def _all_rows(history: ExperimentHistory, query: HistoryQuery, facts: Facts) -> Iterator[Row]:
    yield from next_slots(history, query)
    for month in searched_months(history, query):
        yield from month_window(history, query, month, facts).rows(facts)


def limited(rows: Iterable[Row], query: HistoryQuery) -> list[Row]:
    """The first rows with the statuses that are asked for, as many as are asked for; no more are computed."""
    chosen = (row for row in rows if not query.statuses or row.has_status(query.statuses))
    return list(islice(chosen, query.limit or None))


def next_slots(history: ExperimentHistory, query: HistoryQuery) -> list[Row]:
    """Each task's next slot, the latest first; none where an end is asked for, which counts as it is."""
    if query.high is not None:
        return []
    slots: list[Row] = []
    for task in _queried_tasks(history, query):
        minute = following(history.schedule_periods.get(task, ()), history.now)
        if minute is not None:
            window = task_window(history.task_context(task), (), minute, minute)
            slots += [row for row in task_rows(window) if row.status == Status.NOT_YET_DUE]
    return sorted(slots, key=_order, reverse=True)


def searched_months(history: ExperimentHistory, query: HistoryQuery) -> list[str]:
    """The months that may have rows of a query, newest first: those with runs, and those with slots that have come."""
    low, high, last_slot = _bounds(history, query)
    months: set[str] = set()
    for task in _queried_tasks(history, query):
        months.update(history.months_of(task))
        for period in history.schedule_periods.get(task, ()):
            # Not //, which makes no number of the infinity at which an open period ends.
            minute, end = max(period.start // 60, low), min(period.end / 60, last_slot)
            while minute <= end:
                month = _month_of(int(minute))
                months.add(month)
                minute = _last_minute(month) + 1
    return sorted((month for month in months if _first_minute(month) <= high and _last_minute(month) >= low), reverse=True)


def month_pages(history: ExperimentHistory, query: HistoryQuery, month: str) -> list[Page]:
    """The pages that the rows of a month are computed from: the tasks' own, and the ensemble runs that took their models."""
    tasks = [task for task in _queried_tasks(history, query) if month in history.months.get(task, ())]
    pages = dict.fromkeys((task, month) for task in tasks)
    if any(task != ENSEMBLE_TASK for task in tasks):
        pages.update(dict.fromkeys(_evaluation_pages(history, month)))
    return list(pages)


def _evaluation_pages(history: ExperimentHistory, month: str) -> list[Page]:
    """The pages of the ensemble runs that may have taken a training of a month: those of it, and of the next that has any."""
    later = [own for own in history.months.get(ENSEMBLE_TASK, ()) if own >= month]
    return [(ENSEMBLE_TASK, own) for own in later[: 2 if month in later[:1] else 1]]


def _on_items(history: ExperimentHistory, month: str, facts: Facts) -> dict[str, dict[RunKey, MemberFact]]:
    """By member and training, what the first ensemble run that took its model has of it; one by hand only if no other has."""
    by_member: defaultdict[str, dict[RunKey, MemberFact]] = defaultdict(dict)
    by_hand: list[RunFact] = []
    until = _last_minute(month)
    for page in _evaluation_pages(history, month):
        in_order = sorted(facts.get(page, ()), key=_RUN_KEY)
        _collect_evaluations(by_member, (fact for fact in in_order if fact.kind != RunKind.MANUAL), until)
        by_hand += (fact for fact in in_order if fact.kind == RunKind.MANUAL)
    _collect_evaluations(by_member, by_hand, until)
    return {member_task(name): runs for name, runs in by_member.items()}


def _collect_evaluations(by_member: Mapping[str, dict[RunKey, MemberFact]], ensembles: Iterable[RunFact], until: int) -> None:
    """Add what ensemble runs have of the trainings up to a minute that are not there yet."""
    for fact in ensembles:
        for member in fact.members:
            minute = member.minute
            if minute is None or minute > until or member.accuracy is None or member.attempt is None:
                continue
            trainings, key = by_member[member.member], (minute, member.attempt)
            if key not in trainings:
                trainings[key] = member


def refused_slots(history: ExperimentHistory, facts: Facts) -> list[tuple[str, int, str]]:
    """Task, minute and reason of each slot for which the cluster was seen to create no Job, and no note says so yet.

    ``facts`` holds the runs of the months that have warnings.
    """
    refused = []
    for task, low in _warned_since(history).items():
        context = history.task_context(task)
        slots = expected(context.periods, low - 1, history.now)
        runs = {fact.minute for month in history.months_of(task) for fact in facts.get((task, month), ())}
        runs |= {minute for of_task, minute, _ in history.observation.jobs if of_task == task}
        for n, (minute, period) in enumerate(slots):
            following_slot = slots[n + 1][0] if n + 1 < len(slots) else None
            deadline = period.task_schedule.starting_deadline
            warning = explanation(context.warnings, minute, following_slot, deadline)
            if warning is not None and minute not in runs and (task, minute) not in history.notes.slots:
                refused.append((task, minute, warning.reason))
    return refused


def refusal_pages(history: ExperimentHistory) -> list[Page]:
    """The pages that :func:`refused_slots` depends on."""
    since = {task: _month_of(int(low // 60)) for task, low in _warned_since(history).items()}
    return [(task, month) for task, first in since.items() for month in history.months.get(task, ()) if month >= first]


def _warned_since(history: ExperimentHistory) -> dict[str, float]:
    """By task with warnings, the instant of the first slot that they may be about."""
    since: dict[str, float] = {}
    for warning in history.observation.warnings:
        # A slot may be refused at the end of a starting deadline of a day.
        first = warning.first - DAY if warning.minute is None else warning.minute * 60
        since[warning.task] = max(0.0, min(first, since.get(warning.task, inf)))
    return since


@dataclass(frozen=True)
class MonthWindow:
    """The slots and runs of a query's tasks in one month. ``earlier_months``: by task, those to search for its runs before."""

    history: ExperimentHistory
    tasks: Sequence[TaskWindow]
    earlier_months: Mapping[str, Sequence[str]]
    older_models: Sequence[OlderModel] = ()

    def earlier_pages(self) -> list[Page]:
        """The pages that the rows depend on beside the month's own.

        Those of earlier months of tasks that have a slot without a run, and those that say why an older model was taken.
        """
        stored = self.history.months
        pages = [page for older in self.older_models for page in _pages_of_offer(self.history, older)]
        return [page for page in dict.fromkeys([*self._earlier(), *pages]) if page[1] in stored.get(page[0], ())]

    def rows(self, facts: Facts) -> list[Row]:
        """The month's rows, newest slot first; ``facts`` holds the :meth:`earlier_pages`."""
        earlier: dict[str, list[RunFact]] = {}
        for page in self._earlier():
            earlier.setdefault(page[0], []).extend(_merged(self.history, page, facts))
        reasons = _reasons(self.history, self.older_models, facts)
        rows = [row for window in self.tasks for row in task_rows(window, earlier.get(window.context.task, ()), reasons)]
        return sorted(rows, key=_order, reverse=True)

    def _earlier(self) -> list[Page]:
        return [
            (window.context.task, month)
            for window in self.tasks
            if self.earlier_months[window.context.task] and window.has_slot_without_run
            for month in self.earlier_months[window.context.task]
        ]


def month_window(history: ExperimentHistory, query: HistoryQuery, month: str, facts: Facts) -> MonthWindow:
    """The queried part of a month; ``facts`` holds the :func:`month_pages`."""
    query_low, query_high, last_slot = _bounds(history, query)
    first, last = _first_minute(month), _last_minute(month)
    low, high = int(max(first, query_low)), int(min(last, query_high))
    slots_until = int(min(high, last_slot))
    windows: list[TaskWindow] = []
    earlier_months: dict[str, list[str]] = {}
    on_items = _on_items(history, month, facts)
    for task in _queried_tasks(history, query):
        months = history.months_of(task)
        in_month = _merged(history, (task, month), facts) if month in months else []
        periods = history.schedule_periods.get(task, ())
        if not in_month and not any(period.start < slots_until * 60 + 60 and period.end > low * 60 for period in periods):
            continue
        is_whole = low <= first and high >= last
        queried = in_month if is_whole else [fact for fact in in_month if low <= fact.minute <= high]
        before = [] if is_whole else [fact for fact in in_month if fact.minute < low]
        window = _window(history.task_context(task), queried, low, slots_until, before)
        windows.append(replace(window, on_items=on_items.get(task, {})))
        earlier_months[task] = _months_before(months, month)
    return MonthWindow(history, windows, earlier_months, _older_models(history, windows, low))


def _months_before(months: Sequence[str], month: str) -> list[str]:
    return [earlier for earlier in months if earlier < month][-EARLIER_MONTHS:]


def _older_models(history: ExperimentHistory, windows: Sequence[TaskWindow], low: int) -> list[OlderModel]:
    """The older models that the ensemble runs among the windows took; ``low``: the first minute of the windows."""
    by_task = {window.context.task: window for window in windows}
    ensembles = by_task[ENSEMBLE_TASK].facts if ENSEMBLE_TASK in by_task else ()

    # Where a clock was wrong, an ensemble run's minute may lie after now: no slot of then was due.
    now = int(history.now // 60)
    low = min(low, now + 1)

    def due_slots(task: str) -> DueSlots:
        periods = history.schedule_periods.get(task, ())
        if task in by_task:
            slots = [slot for slot in by_task[task].slots if slot[0] <= now]
        else:
            slots = expected(periods, low * 60 - 1, min(ensembles[-1].minute, now) * 60)
        return DueSlots(periods, low, slots)

    return list(older_models(ensembles, due_slots))


def _pages_of_offer(history: ExperimentHistory, older: OlderModel) -> list[Page]:
    """The pages that say what became of the slot that was not taken."""
    month = _month_of(older.offered)
    months = history.months_of(older.task)
    needed = [month] if older.is_by_hand else [month, *_months_before(months, month)]
    return [(older.task, needed_month) for needed_month in needed]


def _reasons(history: ExperimentHistory, older_models: Sequence[OlderModel], facts: Facts) -> dict[RunKey, str]:
    """By ensemble run, which older models it took and why; ``facts`` holds the pages of all offers."""
    trainings: dict[Page, dict[int, list[RunFact]]] = {}
    without_run: dict[Page, dict[int, Row]] = {}
    by_run: dict[RunKey, dict[str, str]] = {}

    def slot(minute: int) -> str:
        return format_local(history.clock.local(minute), history.timezone)

    for older in older_models:
        name, page = older.member.member, (older.task, _month_of(older.offered))
        reasons = by_run.setdefault((older.ensemble.minute, older.ensemble.attempt), {})
        if name in reasons:
            continue
        if page not in trainings:
            trainings[page] = {}
            for fact in _merged(history, page, facts):
                trainings[page].setdefault(fact.minute, []).append(fact)
        runs = [fact for fact in trainings[page].get(older.offered, ()) if (fact.kind == RunKind.MANUAL) == older.is_by_hand]
        if runs:
            why = why_not_taken(older.ensemble, runs)
        elif older.is_by_hand:
            continue
        else:
            if page not in without_run:
                without_run[page] = _rows_without_run(history, page, facts)
            row = without_run[page].get(older.offered)
            why = describe_end(row.status, row.reason) if row is not None else describe_end("", "")
        reasons[name] = describe_older_model(name, slot(older.member.minute or 0), slot(older.offered), why)
    return {run: "; ".join(reasons.values()) for run, reasons in by_run.items() if reasons}


def _rows_without_run(history: ExperimentHistory, page: Page, facts: Facts) -> dict[int, Row]:
    """By minute, the rows of a task's month for the slots that have no run."""
    task, month = page
    rows = month_window(history, HistoryQuery(tasks=(task,)), month, facts).rows(facts)
    return {row.minute: row for row in rows if row.run is None}


def first_change_pages(history: ExperimentHistory, rows: Iterable[Row]) -> list[Page]:
    """The pages that :func:`add_first_changes` looks at."""
    pages: dict[Page, None] = {}
    for row in _without_change(rows):
        page = _page_before(history, row)
        if page is not None:
            pages[page] = None
            if row.task != ENSEMBLE_TASK:
                pages.update(dict.fromkeys(_evaluation_pages(history, page[1])))
    return list(pages)


def add_first_changes(history: ExperimentHistory, rows: Iterable[Row], facts: Facts) -> None:
    """Set the changes of rows whose slot before is of an earlier month: of the latest in which their task has runs."""
    figures: dict[Page, Figures] = {}
    for row in _without_change(rows):
        page = _page_before(history, row)
        if page is None:
            continue
        if page not in figures:
            on_items = _on_items(history, page[1], facts).get(row.task, {})
            figures[page] = latest_figures(_merged(history, page, facts), on_items, row.task)
        add_change(row, figures[page])


def _without_change(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.change is None and is_comparable(row)]


def _page_before(history: ExperimentHistory, row: Row) -> Page | None:
    months = _months_before(history.months_of(row.task), _month_of(row.minute))
    return (row.task, months[-1]) if months else None


def _window(context: TaskContext, facts: Sequence[RunFact], low: int, slots_until: int, earlier: Sequence[RunFact]) -> TaskWindow:
    """The window of a task's runs from the minute ``low`` on; slots after ``slots_until`` count only where they have a run."""
    filled = {fact.minute for fact in facts if fact.kind != RunKind.MANUAL}
    window = task_window(context, facts, low, max([slots_until, *filled]), earlier)
    return replace(window, slots=[slot for slot in window.slots if slot[0] <= slots_until or slot[0] in filled])


def _merged(history: ExperimentHistory, page: Page, facts: Facts) -> list[RunFact]:
    """The runs of a page with what the cluster showed of them, in order."""
    return history.observation.merge(history.experiment, *page, facts.get(page, ()))


def _queried_tasks(history: ExperimentHistory, query: HistoryQuery) -> list[str]:
    return [task for task in history.tasks() if not query.tasks or task in query.tasks]


def _bounds(history: ExperimentHistory, query: HistoryQuery) -> tuple[float, float, float]:
    """The first and last minute of the rows, and the last one of slots without a run.

    A run's minute may lie after now where a clock was wrong: unless an end is given, it has a row all the same.
    """
    low = -inf if query.low is None else query.low
    high = inf if query.high is None else query.high
    return low, high, history.now // 60 if query.high is None else query.high


def _order(row: Row) -> tuple[int, str, int]:
    return row.minute, row.task, row.attempt or 0


def _month_of(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m")


def _first_minute(month: str) -> int:
    year, _, number = month.partition("-")
    return seconds(datetime(int(year), int(number), 1, tzinfo=UTC)) // 60


def _last_minute(month: str) -> int:
    year, _, number = month.partition("-")
    following_month = datetime(int(year) + int(number) // 12, int(number) % 12 + 1, 1, tzinfo=UTC)
    return seconds(following_month) // 60 - 1
