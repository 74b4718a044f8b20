"""The report of one experiment as of now: everything that the page shows, read from its history and its store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jobs.contract import ENSEMBLE_TASK
from scheduler.comparison.run_comparison import Comparison, RunComparer
from scheduler.history.query import HistoryQuery
from scheduler.history.slots import Row
from scheduler.report import slot_groups, slot_stories
from scheduler.report.calendar import CalendarMonth, calendar_months
from scheduler.report.changes import Change, merged_changes, record_changes, revision_changes
from scheduler.report.date_pairs import DatePair, chosen_pairs, compare_pairs, date_pair
from scheduler.report.ensemble_date import EnsembleDate, read_date
from scheduler.report.findings import Findings, accuracy_of, find, loss_of
from scheduler.report.line_chart import LineChart, Mark, Series
from scheduler.report.pictures import Sprite, read_sprite
from scheduler.report.slot_groups import SlotGroups
from scheduler.report.succeeded_runs import SucceededRuns
from scheduler.report.task_states import TaskState, task_states
from scheduler.report.trend import Trend, TrendRows, read_trend
from scheduler.stores.history_reader import HistoryReader

MOST_CELLS = 12_000
"""Cells (items times members) of the prediction tables of all dates together: what is older is not in the page."""
MOST_DATES = 10
"""Ensemble runs that are shown in full."""


@dataclass(frozen=True)
class Report:
    """What the page shows.

    ``now``: seconds since 1970. ``tasks``: every task, those that are scheduled first. ``dates``: ensemble runs in full, newest
    first, and ``other_dates`` how many more the trend has.
    """

    experiment: str
    timezone: str
    now: float
    local_now: str
    since: str
    until: str
    tasks: Sequence[str]
    groups: SlotGroups
    states: Sequence[TaskState]
    months: Sequence[CalendarMonth]
    trend: Trend
    changes: Sequence[Change]
    findings: Findings
    charts: Sequence[LineChart]
    dates: Sequence[EnsembleDate]
    other_dates: int
    pairs: Sequence[DatePair]
    sprites: dict[str, Sprite]
    stories: dict[str, object]
    unreadable: Sequence[str]


def read_report(
    reader: HistoryReader, low: int | None = None, high: int | None = None, compared: Sequence[Comparison] = ()
) -> Report:
    """The report of the slots between two minutes since 1970, both included; without them of all up to now.

    ``compared``: comparisons that are shown before those that the report chooses itself.
    """
    history, store = reader.history, reader.store
    rows = _RowsRead(history.experiment)
    groups = slot_groups.group_rows(rows.watch(reader.stream(HistoryQuery(low, high))))
    scheduled = _scheduled(reader)
    states = task_states(groups, scheduled, history.now)
    tasks = [state.task for state in states]
    trend = read_trend(store, history.experiment, rows.trend)
    changes = _changes(reader, rows)
    findings = find(states, trend, changes)
    dates, sprites = _dates(reader, trend, findings)
    pairs = [date_pair("chosen", history, comparison) for comparison in compared]
    pairs += compare_pairs(RunComparer(store, timezone=history.timezone), history, chosen_pairs(trend, findings))
    return Report(
        history.experiment,
        history.timezone,
        history.now,
        history.clock.local(int(history.now // 60)),
        groups.first_date() or "",
        groups.last_date() or "",
        tasks,
        groups,
        states,
        calendar_months(groups, tasks),
        trend,
        changes,
        findings,
        line_charts(trend, changes, rows.succeeded, tasks),
        dates,
        len(trend.points) + trend.folded - len(dates),
        pairs,
        sprites,
        slot_stories.slot_stories(history, store, groups, tasks, trend.points),
        list(reader.unreadable.values()),
    )


def read_charts(reader: HistoryReader, low: int | None = None, high: int | None = None) -> list[LineChart]:
    """The charts of :func:`read_report` alone."""
    history, store = reader.history, reader.store
    rows = _RowsRead(history.experiment)
    for _ in rows.watch(reader.stream(HistoryQuery(low, high))):
        pass
    trend = read_trend(store, history.experiment, rows.trend)
    return line_charts(trend, _changes(reader, rows), rows.succeeded, [*_trainings(rows.succeeded), ENSEMBLE_TASK])


class _RowsRead:
    """What is kept of rows that pass, newest slot first: there may be very many."""

    def __init__(self, experiment: str) -> None:
        self.trend, self.succeeded = TrendRows(), SucceededRuns(experiment)
        self.oldest: int | None = None
        """The minute of the last row."""

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, as they are."""
        for row in rows:
            if row.task == ENSEMBLE_TASK:
                self.trend.add(row)
            self.succeeded.add(row)
            self.oldest = row.minute
            yield row


def _changes(reader: HistoryReader, rows: _RowsRead) -> list[Change]:
    """What changed, by the revisions and by the records of the trainings."""
    by_revisions = _within(revision_changes(reader.history, reader.store), rows.oldest)
    trainings = {task: rows.succeeded.runs(task) for task in _trainings(rows.succeeded)}
    return merged_changes(by_revisions, record_changes(reader.store, reader.history, trainings))


def _scheduled(reader: HistoryReader) -> list[str]:
    """The tasks that have a schedule now, in the order of their declaration."""
    history = reader.history
    periods = history.scheduling_periods
    if not periods:
        return history.tasks()
    return [name for name, task in periods[-1].tasks.items() if task.get("schedule")]


def _trainings(succeeded: SucceededRuns) -> list[str]:
    return [task for task in succeeded.tasks() if task != ENSEMBLE_TASK]


def _within(changes: Sequence[Change], oldest: int | None) -> list[Change]:
    """The changes since the day of the oldest row's minute."""
    return [] if oldest is None else [change for change in changes if change.minute >= oldest - 1440]


def _dates(reader: HistoryReader, trend: Trend, findings: Findings) -> tuple[list[EnsembleDate], dict[str, Sprite]]:
    """The newest ensemble runs in full, and the one before each change of level, as many as there is room for."""
    points = list(reversed(trend.points))
    wanted = [change.last_before for change in findings.level_changes[:3]]
    chosen = {id(point): point for point in [*points[:2], *wanted, *points[2:]]}
    dates: list[EnsembleDate] = []
    cells = 0
    for point in list(chosen.values())[:MOST_DATES]:
        if dates and cells >= MOST_CELLS:
            break
        reader.store.download(point.result.run.id, "result/*.csv", "result/members/*.csv", "result/probabilities/*/*.npy")
        shown = read_date(point.row, point.result)
        cells += len(shown.items) * (3 + len(shown.member_names))
        dates.append(shown)
    dates.sort(key=lambda shown: shown.row.minute, reverse=True)
    return dates, _sprites(reader, dates)


def _sprites(reader: HistoryReader, dates: Sequence[EnsembleDate]) -> dict[str, Sprite]:
    """By fingerprint of the predicted data the pictures of the items that are shown, of at most three such data."""
    items: dict[str, tuple[dict[str, object], dict[int, None]]] = {}
    for shown in dates:
        pinned = shown.result.run.record.get("data") or {}
        if pinned.get("fingerprint") and shown.items:
            known = items.setdefault(str(pinned["fingerprint"]), (pinned, {}))[1]
            known.update(dict.fromkeys(item.number for item in shown.items))
    sprites = {}
    for fingerprint, (pinned, numbers) in list(items.items())[:3]:
        sprite = read_sprite(reader.store, pinned, list(numbers))
        if sprite is not None:
            sprites[fingerprint] = sprite
    return sprites


def line_charts(trend: Trend, changes: Sequence[Change], succeeded: SucceededRuns, tasks: Sequence[str]) -> list[LineChart]:
    """The charts over time: accuracy and loss on the same items, ages of models, and durations."""
    members = trend.members()
    minutes = [point.row.minute for point in trend.points]
    marks = [Mark(change.minute, str(n)) for n, change in enumerate(changes, 1)]
    charts = []
    for key, title, unit, value_of in (
        ("accuracy", "Accuracy on the ensemble's items", "accuracy", accuracy_of),
        ("loss", "Log loss on the ensemble's items", "log loss", loss_of),
    ):
        names = [*members, ENSEMBLE_TASK]
        series = [
            Series(name, [value_of(point, name) for point in trend.points], n, name == ENSEMBLE_TASK)
            for n, name in enumerate(names)
        ]
        charts.append(LineChart(key, title, unit, minutes, series, marks))
    ages = [Series(name, [point.model_age(name) for point in trend.points], n) for n, name in enumerate(members)]
    charts.append(LineChart("ages", "Age of each member's model when the ensemble took it", "hours", minutes, ages, marks, True))
    durations = succeeded.daily_durations()
    days = sorted({day for dates in durations.values() for day in dates})
    from datetime import date

    epoch = date(1970, 1, 1).toordinal()
    series = [
        Series(task, [durations[task].get(day) for day in days], _style(task, members, n))
        for n, task in enumerate(task for task in tasks if task in durations)
    ]
    noon = [(date.fromisoformat(day).toordinal() - epoch) * 1440 + 720 for day in days]
    charts.append(
        LineChart("durations", "Duration of runs that succeeded, mean of each date", "seconds", noon, series, marks, True)
    )
    return [chart for chart in charts if any(value is not None for series in chart.series for value in series.values)]


def _style(task: str, members: Sequence[str], n: int) -> int:
    """A task has the look of its member."""
    name = task.removeprefix("train-")
    if task == ENSEMBLE_TASK:
        return len(members)
    return members.index(name) if name in members else n
