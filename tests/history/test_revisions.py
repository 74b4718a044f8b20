"""Revisions: which holds when, what changed, and that folding and merging lose nothing."""

from __future__ import annotations

from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cronjobs.revisions.revisions import delta, fold, merge, states
from jobs.schedule_periods import at, periods, schedule_periods, scheduling_periods
from scheduler.history.revision_changes import NoSnapshots, revision_changes
from scheduler.stores.revisions import end_of_schedules
from stores import iso

HELD = {"program": "p", "code": "c"}
SCHEDULES = st.sampled_from(["0 1 * * *", "30 2 * * *", "@every 90m", "*/20 * * * *"])
TASK = st.fixed_dictionaries({"schedule": SCHEDULES, "task": st.sampled_from("xyz")}, optional={"suspend": st.booleans()})
TASKS = st.dictionaries(st.sampled_from(["train-a", "train-b", "ensemble"]), TASK, max_size=3)


def revision(number: int, time: float, engine: str = "host:h", what: str = "serve", **more: Any) -> dict[str, Any]:
    return {"revision": number, "time": iso(time), "engine": engine, "what": what, **more}


def chain(tasks_by_revision: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Revisions that say only what differs, an hour apart."""
    revisions: list[dict[str, Any]] = []
    for number, tasks in enumerate(tasks_by_revision, 1):
        before = next(reversed([after for _, _, after in states(revisions)]), {})
        revisions.append(revision(number, number * 3600, **delta(before, tasks, HELD)))
    return revisions


def plain(tasks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {k: v for k, v in task.items() if k not in HELD} for name, task in tasks.items()}


@given(st.lists(TASKS, min_size=1, max_size=8))
def test_differences_lead_from_one_to_the_next(tasks_by_revision: list[dict[str, Any]]) -> None:
    expected: dict[str, Any] = {}
    for declared, (_, before, after) in zip(tasks_by_revision, states(chain(tasks_by_revision)), strict=True):
        # Suspension that is left open stays as it was.
        expected = {
            name: {**{k: v for k, v in expected.get(name, {}).items() if k == "suspend"}, **declared[name]} for name in declared
        }
        assert plain(after) == expected
        assert (not revision_changes(before, after, NoSnapshots())) == (before == after)


@given(st.lists(TASKS, min_size=2, max_size=8), st.integers(200, 2000))
def test_folding_keeps_what_the_last_say(tasks_by_revision: list[dict[str, Any]], size: int) -> None:
    whole = chain(tasks_by_revision)
    folded = fold(whole, size, None)
    by_number = {revision["revision"]: after for revision, _, after in states(whole)}
    assert [after for _, _, after in states(folded)] == [by_number[revision["revision"]] for revision in folded]
    assert sum(revision.get("folded", 1) for revision in folded) == len(whole)
    # With those that the store has already, everything is as it was.
    assert merge(folded, whole) == whole


@given(st.lists(TASKS, min_size=1, max_size=6), st.lists(st.integers(0, 5), max_size=12))
def test_a_merge_knows_no_order_and_no_doubles(tasks_by_revision: list[dict[str, Any]], picks: list[int]) -> None:
    whole = chain(tasks_by_revision)
    again = [whole[n % len(whole)] for n in picks]
    assert merge(again, whole) == merge(whole, again) == whole


def test_the_newest_of_any_engine_holds() -> None:
    tasks = {"train-a": {"schedule": "0 1 * * *"}}
    revisions = [
        revision(1, 100, tasks=tasks, **HELD),
        revision(1, 200, "cluster:c/n", tasks=tasks, **HELD),
        revision(2, 300, "host:h", "run", tasks=tasks, **HELD),
        revision(2, 400, "cluster:c/n", "delete", gone=["train-a"]),
    ]
    revision_periods = scheduling_periods(revisions)
    assert [(period.start, period.end, period.engine) for period in revision_periods] == [
        (100, 200, "host:h"),
        (200, 400, "cluster:c/n"),
        (400, inf, "cluster:c/n"),
    ]
    period = at(revision_periods, 399)
    assert period is not None and period.revision["revision"] == 1
    assert at(revision_periods, 99) is None
    assert [(period.start, period.end) for period in schedule_periods(revision_periods)["train-a"]] == [(100, 200), (200, 400)]


def test_what_changes_no_schedule_parts_no_span() -> None:
    first = {"train-a": {"schedule": "0 1 * * *", "task": "x"}}
    second = {"train-a": {"schedule": "0 1 * * *", "task": "y"}}
    revision_periods = scheduling_periods([revision(1, 100, tasks=first, **HELD), revision(2, 200, tasks=second)])
    assert [(period.start, period.end) for period in schedule_periods(revision_periods)["train-a"]] == [(100, inf)]


def test_clocks_that_were_wrong_reorder_nothing() -> None:
    tasks = {"train-a": {"schedule": "0 1 * * *"}}
    behind = [revision(1, 1000, tasks=tasks), revision(2, 500, tasks=tasks), revision(3, 2000, tasks=tasks)]
    assert [(period.revision["revision"], period.start) for period in periods(behind)] == [(1, 1000), (2, 1000), (3, 2000)]
    ahead = [revision(1, 1000, tasks=tasks), revision(2, 9e9, tasks=tasks), revision(3, 2000, tasks=tasks)]
    assert [(period.revision["revision"], period.start) for period in periods(ahead, 5000)] == [(1, 1000), (2, 2000), (3, 2000)]


def test_a_new_count_goes_on_after_the_old() -> None:
    tasks = {"train-a": {"schedule": "0 1 * * *"}}
    revisions = [revision(n, 100 * n, tasks=tasks) for n in (1, 2, 3)] + [revision(n, 1000 + n, tasks=tasks) for n in (1, 2)]
    assert [revision["revision"] for revision in merge(revisions)] == [1, 2, 3, 1, 2]


def test_what_is_synced_in_the_second_of_a_deletion_comes_after_it() -> None:
    """A cluster's times are whole seconds, and its ConfigMap, which counts, is deleted with the experiment."""
    engine, tasks = "cluster:https://one/n", {"train-a": {"schedule": "0 1 * * *"}}
    old = [revision(n, 100, engine, "sync", tasks=tasks) for n in (1, 2, 3)]
    end = end_of_schedules(old, engine, 200.9)
    assert end is not None and (end["revision"], end["time"]) == (4, "1970-01-01T00:03:20Z")
    synced = revision(1, 200, engine, "sync", tasks=tasks)
    assert [period.tasks for period in scheduling_periods([*old, synced, end])][-2:] == [{}, tasks]
    deleted = revision(2, 200, engine, "delete", gone=["train-a"])
    assert scheduling_periods([*old, end, synced, deleted])[-1].tasks == {}


def test_nonsense_is_left_out() -> None:
    broken: list[dict[str, Any]] = [{}, {"revision": 1}, {"revision": 1, "time": "yesterday"}, revision(1, 1, tasks=[1])]
    assert merge(broken, [revision(2, 5, tasks={})]) == [revision(2, 5, tasks={})]


def test_a_deleted_experiment_is_ended_once_and_only_where_it_was_deleted() -> None:
    engine = "cluster:https://one/n"
    synced = revision(1, 100, engine, "sync", tasks={"train-a": {"schedule": "0 1 * * *"}})
    end = end_of_schedules([synced], engine, 500.0)
    assert end is not None and (end["revision"], end["what"], end["gone"]) == (2, "delete", ["train-a"])
    assert [period.tasks for period in scheduling_periods([synced, end])][-1] == {}
    assert end_of_schedules([synced, end], engine, 600.0) is None and end_of_schedules([], engine, 600.0) is None
    # Reached at another address it is the same namespace; another namespace, or a machine that took over, is not.
    other = end_of_schedules([synced], "cluster:https://two/n", 500.0)
    assert other is not None and scheduling_periods([synced, other])[-1].tasks == {}
    assert end_of_schedules([synced], "cluster:https://one/m", 500.0) is None
    served = revision(1, 200, "host:h", "serve", tasks={"train-a": {"schedule": "0 1 * * *"}})
    assert end_of_schedules([synced, served], engine, 500.0) is None
    # By a clock that is behind, it comes after what it ends.
    late = end_of_schedules([synced], engine, 50.0)
    assert late is None or scheduling_periods([synced, late])[-1].tasks == {}
