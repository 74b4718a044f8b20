"""Each slot's story as compact values that the page's script shows: rows, tries, evidence, models taken and why not others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.contract import ENSEMBLE_TASK, SELECTION, RunId, Status, member_task, parse_run_id
from jobs.store import Store
from jobs.text import one_line
from scheduler.history import slot_report
from scheduler.history.query import ExperimentHistory
from scheduler.history.slots import Row
from scheduler.report.slot_groups import SlotGroups
from scheduler.report.status_looks import status_of, style_class
from scheduler.report.trend import EnsemblePoint
from scheduler.results.ensemble_result import EnsembleResult, read_ensemble
from scheduler.stores.run_details import read_run_details

MOST_NEWER = 5
"""Slots of a member after the model that an ensemble took, that are named."""
MOST_EXPLAINED = 3
"""Newest ensembles for which it is asked why a training that succeeded was not taken: it takes long where there are many."""
MOST_DETAILS = 150
"""Runs that took several tries or did not succeed, whose tries are read: the newest."""
LONGEST = 400
"""Characters of a reason or of a line of output that are shown."""


class Strings:
    """Texts that occur often, once each: a story has their numbers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        """The number of a text, as it can be shown."""
        return self._numbers.setdefault(one_line(text or "", LONGEST), len(self._numbers))

    def texts(self) -> list[str]:
        """All of them, by number."""
        return list(self._numbers)


def slot_stories(
    history: ExperimentHistory, store: Store, groups: SlotGroups, tasks: Sequence[str], points: Sequence[EnsemblePoint]
) -> dict[str, Any]:
    """The stories of all slots, as JSON values.

    ``rows``: by the number of a task and date its rows, each a list (see ``_row``). ``folded``: the same of dates without rows in
    full: lists of status, count and reason. ``details``: by a run's id, what is known beyond its row.
    """
    strings = Strings()
    numbers = {task: n for n, task in enumerate(tasks)}
    rows = {
        numbers[task]: {day: [_row(row, strings) for row in own] for day, own in dates.items()}
        for task, dates in groups.full.items()
    }
    folded = {
        numbers[task]: {
            day: [
                [strings.number(status), count, strings.number(own.reasons.get(status))] for status, count in own.counts.items()
            ]
            for day, own in dates.items()
        }
        for task, dates in groups.folded.items()
    }
    by_task = {task: [row for day in sorted(dates) for row in dates[day]] for task, dates in groups.full.items()}
    details = _ensembles(store, groups, by_task, points)
    details |= _details(history, store, by_task, details)
    for own in details.values():
        for model in own.get("models", ()):
            model[-1] = [[strings.number(text) for text in pair] for pair in model[-1]]
    styles = {strings.number(status): style_class(status) for status in sorted(_statuses(groups))}
    return {
        "experiment": history.experiment,
        "tasks": list(tasks),
        "schedules": {numbers[task]: _schedules(history, task) for task in tasks},
        "rows": rows,
        "folded": folded,
        "details": details,
        "styles": styles,
        "strings": strings.texts(),
    }


def _statuses(groups: SlotGroups) -> set[str]:
    rows = {status_of(row) for dates in groups.full.values() for own in dates.values() for row in own}
    return rows | {status for dates in groups.folded.values() for own in dates.values() for status in own.counts}


def _row(row: Row, strings: Strings) -> list[Any]:
    """Local time of day with offset, status, why, reason, evidence, minute, attempt, kind, duration, accuracy, loss, tries."""
    values: list[Any] = [
        row.local[11:],
        strings.number(status_of(row)),
        strings.number(row.why),
        strings.number(row.full_reason),
        strings.number(row.evidence),
        row.minute,
    ]
    if row.run is not None:
        values += [row.attempt, strings.number(row.kind), row.duration, _rounded(row.accuracy), _rounded(row.loss)]
        values += [row.try_number, row.max_tries]
    return values


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _schedules(history: ExperimentHistory, task: str) -> list[list[Any]]:
    """Each schedule that a task had: its first and last second, the expression, the zone, by whom it was set and where."""
    return [
        [
            int(period.start),
            int(period.end) if period.end < 1e15 else None,
            one_line(str(period.task_schedule.schedule or "")),
            one_line(period.task_schedule.timezone),
            one_line(period.by),
            one_line(period.engine),
        ]
        for period in history.schedule_periods.get(task, ())
    ]


def _ensembles(
    store: Store, groups: SlotGroups, by_task: Mapping[str, Sequence[Row]], points: Sequence[EnsemblePoint]
) -> dict[str, dict[str, Any]]:
    """By run what an ensemble took of each member, and why no newer training of it."""
    details = {}
    explained = 0
    for point in reversed(points):
        if point.row.local[:10] > groups.shown_from:
            models, is_explained = _models(point.result, point.row.minute, by_task)
            if not is_explained and explained < MOST_EXPLAINED and not groups.folded:
                explained += 1
                _explain(store, point.result.run.id, models)
            details[str(point.result.run.id)] = {"models": models}
    return details


def _models(result: EnsembleResult, minute: int, by_task: Mapping[str, Sequence[Row]]) -> tuple[list[list[Any]], bool]:
    """Of each member: name, model, weight, accuracy here, why left out, why degraded, and what became of its newer slots.

    And whether the rows explain why none of these was taken.
    """
    models, is_explained = [], True
    for member in result.members:
        newer: list[list[str]] = []
        if member.model is not None:
            newer, is_known = _newer(by_task.get(member_task(member.member), ()), minute, member.model)
            is_explained = is_explained and is_known
        model = None if member.model is None else str(member.model)
        reasons = (one_line(member.left_out, LONGEST), one_line(member.degraded, LONGEST))
        models.append([member.member, model, _rounded(member.weight), _rounded(member.accuracy), *reasons, newer])
    return models, is_explained


def _explain(store: Store, run: RunId, models: list[list[Any]]) -> None:
    """Put into ``models`` why each newer training was not taken, by the rules of the choice."""
    by_member = {model.member: model.not_taken for model in read_run_details(store, run).models}
    for model in models:
        model[6] = [[one_line(each.run), one_line(each.reason, LONGEST)] for each in by_member.get(model[0], ())]


def _newer(rows: Sequence[Row], minute: int, taken: RunId) -> tuple[list[list[str]], bool]:
    """The slots of a member after the model that was taken, up to the ensemble's, with what became of each.

    And whether that explains them: of one that succeeded too, its row does not say why it was not taken.
    """
    begin = bisect_right(rows, taken.minute, key=lambda row: row.minute)
    end = bisect_right(rows, minute, key=lambda row: row.minute)
    newer = rows[max(begin, end - MOST_NEWER) : end]
    is_explained = all(row.status != Status.SUCCEEDED for row in newer)
    return [[row.local[:16].replace("T", " "), _why_not(row)] for row in newer], is_explained


def _why_not(row: Row) -> str:
    if row.status == Status.SUCCEEDED:
        return "succeeded: cronsemble history with the ensemble's id says why it was not taken"
    return one_line(f"{row.status}: {row.reason}", 120)


def _details(
    history: ExperimentHistory, store: Store, by_task: Mapping[str, Sequence[Row]], known: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """By run the tries of the newest runs that did not succeed at once; of ensembles among them also the models."""
    chosen = [
        row
        for rows in by_task.values()
        for row in rows
        if row.run is not None and (row.status != Status.SUCCEEDED or (row.try_number or 1) > 1)
    ]
    chosen.sort(key=lambda row: (row.minute, row.task), reverse=True)
    details: dict[str, dict[str, Any]] = {}
    for row in chosen[:MOST_DETAILS]:
        run_id = parse_run_id(row.run or "", history.experiment, row.task)
        if run_id is None:
            continue
        store.download(run_id, f"*/{SELECTION}")
        run = store.read(run_id)
        own: dict[str, Any] = dict(known.get(str(run_id), {}))
        own["tries"] = [_try(one_try) for one_try in slot_report.tries(run, slot_report.observed_job(history, run_id))]
        if row.task == ENSEMBLE_TASK and "models" not in own:
            own["models"] = _models(read_ensemble(store, run), row.minute, by_task)[0]
        details[str(run_id)] = own
    return details


def _try(one_try: Mapping[str, Any]) -> list[Any]:
    """When it started and ended, where, how, why, and the last lines of its output."""
    reason = ": ".join(filter(None, (str(one_try["step"] or ""), str(one_try["reason"] or ""))))
    return [
        one_line(str(one_try["started"] or ""), 40),
        one_line(str(one_try["ended"] or ""), 40),
        one_line(str(one_try["host"] or ""), 80),
        one_line(str(one_try["status"] or "no end"), 80),
        one_line(reason, LONGEST),
        [one_line(str(line), LONGEST) for line in one_try["said"]],
    ]
