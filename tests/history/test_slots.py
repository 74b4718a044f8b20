"""Slots: each expected one has one row, each run is a row, and no edit changes what came before it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.expected_slots import expected, following
from jobs.schedule_periods import SchedulePeriod, TaskSchedule
from scheduler.history.notes import Notes
from scheduler.history.run_facts import RunFact
from scheduler.history.slots import LATE, LINGERS, LocalClock, Row, TaskContext, task_rows, task_window

DAY = 1440
START = 29_900_160  # 2026-11-07T00:00Z
PLANS = st.builds(
    TaskSchedule,
    schedule=st.sampled_from(["0 1 * * *", "30 */6 * * *", "15 3 * * 1", "@every 5h", "0 0 31 2 *", None, "nonsense"]),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/Santiago"]),
    suspend=st.booleans(),
    concurrency=st.sampled_from(["Forbid", "Allow", "Replace"]),
    starting_deadline=st.sampled_from([None, 60, 3600]),
    deadline=st.sampled_from([None, 7200]),
)


@st.composite
def schedule_periods(draw: st.DrawFn) -> list[SchedulePeriod]:
    cuts = sorted(draw(st.sets(st.integers(START * 60, (START + 6 * DAY) * 60), min_size=1, max_size=4)))
    engines = st.sampled_from(["host:h", "cluster:c/n"])
    return [SchedulePeriod(a, b, draw(PLANS), draw(engines), "me") for a, b in zip(cuts, [*cuts[1:], inf], strict=True)]


@st.composite
def facts_of(draw: st.DrawFn, periods: list[SchedulePeriod]) -> list[RunFact]:
    near = [minute for minute, _ in expected(periods, START * 60, (START + 8 * DAY) * 60)]
    slots = st.integers(START, START + 8 * DAY) | st.sampled_from(near) if near else st.integers(START, START + 8 * DAY)
    facts: dict[tuple[int, int], RunFact] = {}
    for minute in draw(st.lists(slots, max_size=12)):
        attempt = 1 + sum(key[0] == minute for key in facts)
        status = draw(st.sampled_from(["succeeded", "failed", "running", "died", "interrupted"]))
        kind = draw(st.sampled_from(["scheduled", "manual", "backfill"]))
        started = minute * 60 + draw(st.integers(0, 90_000))
        finished = None if status in ("running", "died") else started + draw(st.integers(1, 90_000))
        facts[minute, attempt] = RunFact(minute, attempt, status, "", "recorded", kind, started, finished)
    return [facts[key] for key in sorted(facts)]


@st.composite
def contexts(draw: st.DrawFn) -> tuple[TaskContext, list[RunFact]]:
    periods = draw(schedule_periods())
    now = draw(st.integers((START + DAY) * 60, (START + 9 * DAY) * 60))
    # The last pause may have no end.
    pauses = sorted(draw(st.sets(st.integers(START, START + 9 * DAY), max_size=4)))
    ends = [*pauses[1:], inf][: len(pauses)]
    notes = Notes(downtimes=[(start * 60, end * 60) for start, end in list(zip(pauses, ends, strict=True))[::2]])
    return TaskContext("e", "train-a", periods, notes, LocalClock("Europe/Berlin"), now), draw(facts_of(periods))


def rows_of(context: TaskContext, facts: list[RunFact], low: int = START, high: int = START + 9 * DAY) -> list[Row]:
    in_window = [fact for fact in facts if low <= fact.minute <= high]
    return task_rows(task_window(context, in_window, low, high), [fact for fact in facts if fact.minute < low])


@given(contexts())
def test_every_slot_and_every_run_has_one_row(known: tuple[TaskContext, list[RunFact]]) -> None:
    context, facts = known
    rows = rows_of(context, facts)
    assert [(row.minute, row.attempt or 0) for row in rows if row.run] == [(fact.minute, fact.attempt) for fact in facts]
    filled = {fact.minute for fact in facts if fact.kind != "manual"}
    slots = {minute for minute, _ in expected(context.periods, START * 60 - 1, (START + 9 * DAY) * 60 + 59)}
    assert Counter(row.minute for row in rows if not row.run) == Counter(slots - filled)
    assert [row.minute for row in rows] == sorted(row.minute for row in rows)


@given(contexts(), PLANS, st.integers(0, 8 * DAY))
def test_an_edit_changes_nothing_before_it(known: tuple[TaskContext, list[RunFact]], plan: TaskSchedule, after: int) -> None:
    context, facts = known
    last = context.periods[-1]
    edit = max(last.start, (START + after) * 60)
    if edit > context.now:
        return
    edited_periods = [*context.periods[:-1], replace(last, end=edit), SchedulePeriod(edit, inf, plan, "host:h", "me")]
    edited = replace(context, periods=edited_periods)
    before = [row for row in rows_of(context, facts) if row.minute * 60 <= edit]
    since = [row for row in rows_of(edited, facts) if row.minute * 60 <= edit]
    # What is still due when the edit comes is dropped by it.
    assert [(r.minute, r.run) for r in since] == [(r.minute, r.run) for r in before]
    for old, new in zip(before, since, strict=True):
        assert old.status in (new.status, "due", "skipped")
        # A run that had no slot may have got one by the edit: its row says late, and it is never hidden.
        assert old.why == new.why or new.why == "late, after an edit"


@given(contexts(), st.integers(0, 9 * DAY))
def test_a_part_of_the_time_has_the_same_rows(known: tuple[TaskContext, list[RunFact]], cut: int) -> None:
    context, facts = known
    whole = rows_of(context, facts)
    assert rows_of(context, facts, START, START + cut - 1) + rows_of(context, facts, START + cut) == whole


@given(contexts(), st.integers(0, 40 * DAY))
def test_time_alone_makes_no_past_slot_better(known: tuple[TaskContext, list[RunFact]], more: int) -> None:
    context, facts = known
    later = replace(context, now=context.now + more * 60)
    for old, new in zip(rows_of(context, facts), rows_of(later, facts), strict=True):
        waiting = old.status in ("due", "not yet due", "running") or old.status == "skipped"
        assert old == new or waiting


def context(*periods: SchedulePeriod, now: int = START + 3 * DAY, notes: Notes | None = None) -> TaskContext:
    return TaskContext("e", "train-a", periods, notes or Notes(), LocalClock("UTC"), now * 60)


def daily(start: int = START, end: float = inf, engine: str = "host:h", **plan: Any) -> SchedulePeriod:
    return SchedulePeriod(
        start * 60, end if end == inf else end * 60, TaskSchedule("0 1 * * *", starting_deadline=3600, **plan), engine, "me"
    )


def status(rows: list[Row]) -> list[tuple[str, str, str]]:
    return [(row.status, row.why, row.evidence) for row in rows]


FIRST = START + 60


def fact(minute: int, status: str = "succeeded", late: float = 5, lasts: float | None = 60, **more: Any) -> RunFact:
    started = minute * 60 + late
    finished = None if lasts is None else started + lasts
    return RunFact(minute, 1, status, started=started, finished=finished, **{"kind": "scheduled", **more})


def test_the_reasons_of_slots_without_a_run() -> None:
    assert status(rows_of(context(daily()), [], FIRST, FIRST)) == [("missed", "", "inferred")]
    assert status(rows_of(context(daily(engine="cluster:c/n")), [], FIRST, FIRST)) == [("missed", "", "unknown")]
    assert status(rows_of(context(daily(suspend=True)), [], FIRST, FIRST)) == [("suspended", "", "recorded")]
    assert status(rows_of(context(daily(), now=FIRST + 30), [], FIRST, FIRST)) == [("due", "", "inferred")]
    assert status(rows_of(context(daily(), now=FIRST + 60), [], FIRST, FIRST)) == [("missed", "", "inferred")]
    assert status(rows_of(context(daily(), now=FIRST - 1), [], FIRST, FIRST)) == [("not yet due", "", "recorded")]
    away = Notes(downtimes=[(START * 60, (START + 120) * 60)])
    assert status(rows_of(context(daily(), notes=away), [], FIRST, FIRST)) == [("missed", "", "recorded")]
    stopped = Notes(downtimes=[(START * 60, inf)])
    (row,) = rows_of(context(daily(), notes=stopped), [], FIRST, FIRST)
    assert (row.status, row.reason.split(" from ")[0]) == ("missed", "serve was not running")
    # The next start of serve makes up for it.
    (row,) = rows_of(context(daily(), now=FIRST + 30, notes=stopped), [], FIRST, FIRST)
    assert (row.status, row.evidence) == ("due", "recorded")
    assert row.reason.startswith("serve has not been running since ") and "; it may start until " in row.reason
    noted = Notes({("train-a", FIRST): {"event": "skipped", "reason": "another ran"}})
    assert [(row.status, row.reason) for row in rows_of(context(daily(), notes=noted), [], FIRST, FIRST)] == [
        ("skipped", "another ran")
    ]
    dropped = Notes({("train-a", FIRST): {"event": "dropped", "reason": "by an edit"}})
    assert [(row.status, row.reason) for row in rows_of(context(daily(), notes=dropped), [], FIRST, FIRST)] == [
        ("missed", "by an edit")
    ]


@pytest.mark.parametrize(
    ("lasts", "concurrency", "expected"),
    [
        (DAY * 60 + 4000, "Forbid", "skipped"),
        (DAY * 60 + 4000, "Allow", "missed"),
        # It ended in time for the slot to begin late, and nothing did.
        (DAY * 60 + 600, "Forbid", "missed"),
        (DAY * 60 - 600, "Forbid", "missed"),
    ],
)
def test_a_run_that_still_runs_skips_the_next(lasts: int, concurrency: str, expected: str) -> None:
    rows = rows_of(context(daily(concurrency=concurrency)), [fact(FIRST, lasts=lasts)], FIRST, FIRST + DAY)
    assert [row.status for row in rows] == ["succeeded", expected]


@pytest.mark.parametrize(
    ("first", "statuses"),
    [
        # Its pod began after the next slot had come: its Job existed.
        (fact(FIRST, late=DAY * 60 + 300, lasts=DAY * 60), ["succeeded", "skipped"]),
        # Its record ends some seconds before the slot's deadline, its Job after it.
        (fact(FIRST, lasts=DAY * 60 + 3600 - 5 - LINGERS / 2), ["succeeded", "skipped"]),
        (fact(FIRST, lasts=DAY * 60 + 3600 - 5 - LINGERS * 2), ["succeeded", "missed"]),
    ],
)
def test_on_a_cluster_the_job_is_what_skips_the_next(first: RunFact, statuses: list[str]) -> None:
    rows = rows_of(context(daily(engine="cluster:c/n", concurrency="Forbid")), [first], FIRST, FIRST + DAY)
    assert [row.status for row in rows] == statuses


@pytest.mark.parametrize(
    ("lasts", "concurrency", "reason"),
    [
        (DAY * 60 + 10, "Replace", f"replaced by e-train-a-{FIRST + DAY} (concurrency: replace)"),
        (DAY * 60 + 10, "Forbid", "interrupted"),
        (DAY * 60 - 10, "Replace", "interrupted"),
    ],
)
def test_the_row_of_a_replaced_run_says_by_which(lasts: int, concurrency: str, reason: str) -> None:
    first = fact(FIRST, "interrupted", lasts=lasts, reason="interrupted")
    (row,) = rows_of(context(daily(engine="cluster:c/n", concurrency=concurrency)), [first], FIRST, FIRST)
    assert row.reason == reason


def test_a_run_whose_slot_an_edit_made_is_late_not_missed() -> None:
    # At 10:00 the schedule becomes 08:00, which has passed: Kubernetes runs it at the next event.
    before = SchedulePeriod(START * 60, (START + 600) * 60, TaskSchedule("0 12 * * *"), "cluster:c/n", "me")
    after = SchedulePeriod((START + 600) * 60, inf, TaskSchedule("0 8 * * *"), "cluster:c/n", "me")
    slot = START + 480
    rows = rows_of(context(before, after), [fact(slot, late=3 * 3600)], START, START + DAY - 1)
    assert [(row.minute, row.why, row.status) for row in rows] == [(slot, "late, after an edit", "succeeded")]


def test_why_a_run_ran() -> None:
    assert status(rows_of(context(daily()), [fact(FIRST, late=LATE - 1)], FIRST, FIRST))[0][1] == ""
    assert status(rows_of(context(daily()), [fact(FIRST, late=2580)], FIRST, FIRST))[0][1] == "43m late"
    assert status(rows_of(context(daily()), [fact(FIRST + 7)], FIRST + 7, FIRST + 7))[0][1] == "no revision expected it"
    assert status(rows_of(context(daily(FIRST)), [fact(START)], START, START))[0][1] == "before the first revision"
    assert status(rows_of(context(), [fact(START)], START, START))[0][1] == ""
    rows = rows_of(context(daily()), [fact(FIRST, kind="manual")], FIRST, FIRST)
    assert [(row.status, row.why) for row in rows] == [("succeeded", "manual"), ("missed", "")]


def test_another_machines_run_that_records_no_end_has_died() -> None:
    silent = fact(FIRST, "running", lasts=None, reason="on elsewhere")
    assert status(rows_of(context(daily(deadline=3600), now=FIRST + 65), [silent], FIRST, FIRST))[0][0] == "running"
    assert status(rows_of(context(daily(deadline=3600), now=FIRST + 75), [silent], FIRST, FIRST))[0][0] == "died"
    assert status(rows_of(context(now=FIRST + 29 * DAY), [silent], FIRST, FIRST))[0][0] == "running"
    assert status(rows_of(context(now=FIRST + 31 * DAY), [silent], FIRST, FIRST))[0][0] == "died"


def test_every_counts_from_the_last_time_or_the_beginning() -> None:
    first = SchedulePeriod(START * 60, (START + 400) * 60, TaskSchedule("0 */2 * * *"), "host:h", "me")
    second = SchedulePeriod((START + 400) * 60, (START + 900) * 60, TaskSchedule("@every 3h"), "host:h", "me")
    third = SchedulePeriod((START + 900) * 60, inf, TaskSchedule("@every 3h", suspend=True), "host:h", "me")
    slots = [minute - START for minute, _ in expected([first, second, third], START * 60, (START + 1200) * 60)]
    # 02:00, 04:00, 06:00; then three hours on from 06:00, whatever else is edited.
    assert slots == [120, 240, 360, 540, 720, 900, 1080]
    alone = SchedulePeriod(START * 60 + 90, inf, TaskSchedule("@every 1h"), "host:h", "me")
    assert following([alone], START * 60 + 100) == START + 61
