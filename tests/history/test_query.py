"""The rows of an experiment from values alone: whatever is queried, every slot and run has its row, from the months needed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobs.contract import Evidence, RunId, RunKind, Status
from jobs.expected_slots import expected
from scheduler.history.notes import Notes
from scheduler.history.observed_runs import ClusterObservation, JobState, ObservedJob
from scheduler.history.query import (
    ExperimentHistory,
    Facts,
    HistoryQuery,
    Page,
    add_first_changes,
    first_change_pages,
    limited,
    month_pages,
    month_window,
    next_slots,
    rows,
    searched_months,
)
from scheduler.history.run_facts import MemberFact, RunFact
from scheduler.history.slots import Row
from stores import iso, minute

DAY = 1440
FIRST, LAST = minute("2026-08-20T00:00"), minute("2026-12-10T00:00")
TASKS = ["train-a", "train-b", "ensemble"]
MINUTES = st.integers(FIRST, LAST)
MONTHS = st.builds(
    lambda month, distance: minute(f"2026-{month:02}-01T00:00") + distance, st.integers(9, 12), st.integers(-2, 2) | st.just(60)
)
"""The last and first minutes of months of UTC."""
SCHEDULES = st.sampled_from(["0 1 * * *", "30 */9 * * *", "15 3 * * 1", "@every 50h"])
CONCURRENCY = st.sampled_from(["Forbid", "Allow", "Replace"])
Known = tuple[ExperimentHistory, Facts]
ENDED = [Status.SUCCEEDED, Status.FAILED, Status.DIED, Status.INTERRUPTED]


@st.composite
def revisions(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to three, each of which says what all tasks are to do from then on."""
    revisions = []
    for number, since in enumerate(sorted(draw(st.sets(MINUTES | MONTHS, max_size=3))), 1):
        tasks = {
            task: {"schedule": draw(SCHEDULES), "concurrency": draw(CONCURRENCY), "suspend": draw(st.booleans())}
            for task in draw(st.sets(st.sampled_from(TASKS)))
        }
        engine = draw(st.sampled_from(["host:h", "cluster:c/n"]))
        revisions.append(
            {"revision": number, "time": iso(since * 60), "what": "serve", "engine": engine, "tasks": tasks, "folded": 1}
        )
    return revisions


@st.composite
def facts(draw: st.DrawFn) -> dict[Page, list[RunFact]]:
    """Runs, some of them of several attempts or for more than a month, by page."""
    pages: dict[Page, list[RunFact]] = {}
    slots = st.builds(lambda day, hour: FIRST + day * DAY + hour * 60, st.integers(0, 111), st.sampled_from([0, 1, 3, 9]))
    for task, slot in draw(st.lists(st.tuples(st.sampled_from(TASKS), slots | MINUTES), max_size=15)):
        run = RunId(slot, 1, "e", task)
        page = pages.setdefault((task, run.month), [])
        status = draw(st.sampled_from([*ENDED, Status.RUNNING]))
        started = slot * 60.0 + draw(st.integers(0, 9_000))
        finished = None if status == Status.RUNNING else started + draw(st.integers(1, 5_000_000))
        attempt = 1 + sum(fact.minute == slot for fact in page)
        kind = draw(st.sampled_from([RunKind.SCHEDULED, RunKind.MANUAL, RunKind.BACKFILL]))
        accuracy = draw(st.sampled_from([None, 0.25, 0.5])) if status == Status.SUCCEEDED else None
        page.append(RunFact(slot, attempt, status, "", Evidence.RECORDED, kind, started, finished, accuracy))
    trainings = [(task, fact) for (task, _), page in pages.items() for fact in page if task != "ensemble"]
    for (task, _), page in pages.items():
        for fact in page if task == "ensemble" else ():
            earlier = [(own, run) for own, run in trainings if run.minute <= fact.minute and run.status == Status.SUCCEEDED]
            if fact.status == Status.SUCCEEDED and earlier:
                taken = dict(draw(st.lists(st.sampled_from(earlier), max_size=2)))
                fact.members = tuple(
                    MemberFact(
                        own.removeprefix("train-"), run.minute, run.attempt, 0.5, draw(st.sampled_from([None, 0.125, 0.75]))
                    )
                    for own, run in taken.items()
                )
    return pages


@st.composite
def histories(draw: st.DrawFn) -> Known:
    pages = draw(facts())
    now = draw(MINUTES | MONTHS) * 60.0
    observed = draw(st.lists(st.tuples(st.sampled_from(TASKS), MINUTES, st.sampled_from(list(JobState))), max_size=3))
    jobs = {(task, slot, 9): ObservedJob(RunId(slot, 9, "e", task), "uid", state) for task, slot, state in observed}
    months = {task: sorted(month for name, month in pages if name == task) for task, _ in pages}
    observation = ClusterObservation("ns", now, jobs)
    zone = draw(st.sampled_from(["Europe/Berlin", "Pacific/Kiritimati", "Pacific/Pago_Pago"]))
    stopped = draw(st.none() | MINUTES)
    notes = Notes(downtimes=[] if stopped is None else [(stopped * 60.0, inf)])
    return ExperimentHistory("e", zone, now, draw(revisions()), notes, months, observation), pages


@st.composite
def queries(draw: st.DrawFn) -> HistoryQuery:
    ends = draw(st.none() | MINUTES), draw(st.none() | MINUTES)
    low, high = sorted(ends) if None not in ends else ends  # type: ignore[type-var]
    tasks = draw(st.sets(st.sampled_from(TASKS), max_size=2))
    return HistoryQuery(low, high, tasks, draw(st.sets(st.sampled_from(list(Status)), max_size=3)), draw(st.integers(0, 9)))


def read_as_needed(history: ExperimentHistory, query: HistoryQuery, stored: Facts) -> tuple[list[Row], Counter[Page]]:
    """What a reader does that fetches only what is needed, and how often it fetched each page."""
    fetched: Counter[Page] = Counter()

    def fetch(pages: list[Page]) -> Facts:
        fetched.update(pages)
        return {page: stored.get(page, []) for page in pages}

    def all_rows() -> Any:
        yield from next_slots(history, query)
        for month in searched_months(history, query):
            window = month_window(history, query, month, fetch(month_pages(history, query, month)))
            yield from window.rows(fetch(window.earlier_pages()))

    chosen = limited(all_rows(), query)
    add_first_changes(history, chosen, fetch(first_change_pages(history, chosen)))
    return chosen, fetched


@given(histories(), queries())
def test_the_pages_that_are_asked_for_are_all_that_the_rows_need(known: Known, query: HistoryQuery) -> None:
    history, stored = known
    read, fetched = read_as_needed(history, query, stored)
    assert read == rows(history, query, stored)
    # The ensemble runs that took their models, and the trainings that ensemble runs did not take.
    needed = {"ensemble", *(TASKS if "ensemble" in query.tasks else query.tasks)} if query.tasks else TASKS
    assert {task for task, _ in fetched} <= set(needed)


@given(histories(), st.none() | MINUTES)
def test_without_an_end_the_rows_are_those_up_to_now(known: Known, low: int | None) -> None:
    """Open ends, months without any run, and the next slots: nothing up to now is lost, and nothing doubled."""
    history, stored = known
    now = int(history.now // 60)
    open_rows = rows(history, HistoryQuery(low), stored)
    bounded = rows(history, HistoryQuery(FIRST if low is None else low, LAST), stored)
    assert [row for row in open_rows if row.minute <= now] == [row for row in bounded if row.minute <= now]
    after = [row for row in open_rows if row.minute > now]
    assert all(row.run or row.status == Status.NOT_YET_DUE for row in after)
    assert [row for row in after if row.run] == [row for row in bounded if row.minute > now and row.run]
    coming = Counter(row.task for row in after if not row.run)
    assert set(coming.values()) <= {1}


@given(histories(), st.sets(st.sampled_from(TASKS), max_size=2))
def test_every_slot_and_every_run_has_one_row(known: Known, tasks: set[str]) -> None:
    history, stored = known
    all_rows = rows(history, HistoryQuery(FIRST, LAST, tasks), stored)
    chosen = tasks or set(TASKS)
    runs = {(task, fact.minute, fact.attempt): fact.kind for (task, _), page in stored.items() for fact in page if task in chosen}
    runs |= {key: job.kind for key, job in history.observation.jobs.items() if key[0] in chosen}
    assert Counter((row.task, row.minute, row.attempt) for row in all_rows if row.run) == Counter(list(runs))
    filled = {(task, slot) for (task, slot, _), kind in runs.items() if kind != RunKind.MANUAL}
    slots = {
        (task, slot)
        for task in chosen
        for slot, _ in expected(history.schedule_periods.get(task, ()), FIRST * 60 - 1, LAST * 60 + 59)
    }
    assert Counter((row.task, row.minute) for row in all_rows if not row.run) == Counter(list(slots - filled))
    assert [row.minute for row in all_rows] == sorted((row.minute for row in all_rows), reverse=True)


@given(histories(), queries(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_known_does_not_matter(known: Known, query: HistoryQuery, random: Any) -> None:
    history, stored = known
    shuffled = {page: random.sample(runs, len(runs)) for page, runs in random.sample(list(stored.items()), len(stored))}
    jobs = dict(random.sample(list(history.observation.jobs.items()), len(history.observation.jobs)))
    mixed = replace(
        history,
        revisions=random.sample(history.revisions, len(history.revisions)),
        observation=replace(history.observation, jobs=jobs),
    )
    assert rows(mixed, query, shuffled) == rows(history, query, stored)


@given(histories(), MINUTES)
def test_two_parts_of_the_time_have_the_rows_of_the_whole(known: Known, cut: int) -> None:
    history, stored = known
    later, earlier = (rows(history, HistoryQuery(*ends), stored) for ends in ((cut + 1, LAST), (FIRST, cut)))
    assert later + earlier == rows(history, HistoryQuery(FIRST, LAST), stored)


def test_a_limit_is_reached_without_the_months_before_it() -> None:
    slots = [minute(f"2026-{month:02}-{day:02}T01:00") for month in (9, 10, 11) for day in range(1, 31)]
    pages: dict[Page, list[RunFact]] = {}
    for slot in slots:
        fact = RunFact(slot, 1, Status.SUCCEEDED, kind=RunKind.SCHEDULED, started=slot * 60 + 5, finished=slot * 60 + 60)
        pages.setdefault(("train-a", RunId(slot, 1, "e", "train-a").month), []).append(fact)
    task = {"schedule": "0 1 * * *", "concurrency": "Forbid", "starting_deadline": 3600}
    revision = {"revision": 1, "time": "2026-09-01T00:00:00Z", "engine": "host:h", "tasks": {"train-a": task}, "folded": 1}
    history = ExperimentHistory(
        "e", "UTC", minute("2026-11-30T12:00") * 60.0, [revision], months={"train-a": ["2026-09", "2026-10", "2026-11"]}
    )
    read, fetched = read_as_needed(history, HistoryQuery(limit=20), pages)
    assert len(read) == 20 and fetched == {("train-a", "2026-11"): 1}
    # A slot without a run may have been skipped for one of an earlier month.
    del pages["train-a", "2026-11"][-1]
    read, fetched = read_as_needed(history, HistoryQuery(limit=20), pages)
    assert read[1].status == Status.MISSED and set(fetched) == set(pages)
