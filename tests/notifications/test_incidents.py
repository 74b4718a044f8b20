"""Incidents as values: each fault once, ended once, none twice, in whatever order and however often somebody looks."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.history.slots import LocalClock, Row
from scheduler.notifications.events import OPENED, RESOLVED, WELL, Surroundings, known_incidents, new_events
from scheduler.notifications.incidents import (
    FULL,
    Fact,
    ProblemKind,
    Situation,
    Slot,
    cause_of,
    incident_id,
    look,
    slots_of,
)

CLOCK = LocalClock("Europe/Berlin")
TASKS = ("train-a", "train-b", "ensemble")


def row(task: str, minute: int, status: str, reason: str = "", **more: Any) -> Row:
    utc, local = CLOCK.both(minute)
    values: dict[str, Any] = {"kind": "scheduled", "attempt": 1, "evidence": "recorded", **more}
    run = None if status in ("missed", "skipped", "suspended", "due") else f"e-{task}-{minute}"
    kind = values.pop("kind")
    kind = kind if run else None
    attempt = values.pop("attempt")
    numbers = (None, None, None, attempt if run else None)
    return Row(utc, local, task, status, *numbers, kind, run, "", reason, values.pop("evidence"), minute, **values)


class EventLog:
    """The events of a store, as looks add them."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def look(
        self, slots: list[Slot], minute: int, facts: tuple[Fact, ...] = (), tasks: tuple[str, ...] = TASKS
    ) -> list[dict[str, Any]]:
        judged = (ProblemKind.CONFIGURATION, ProblemKind.STORE)
        situation = Situation("e", slots, tasks, minute, facts, judged)
        outlook = look(situation, known_incidents(self.events))
        new = new_events(outlook, self.events, Surroundings(CLOCK, minute * 60.0, members=("a", "b")))
        present = {event["id"] for event in self.events}
        new = [event for event in new if event["id"] not in present]
        self.events += new
        return new

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]


def told(new: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (event["type"], *(str(event["incident"][key]) for key in ("task", "kind"))) if "incident" in event else (event["type"],)
        for event in new
    ]


def test_forty_slots_of_one_cause_are_one_message_and_well_again_another() -> None:
    state = EventLog()
    for n in range(1, 41):
        rows = [row("train-a", 60 * k, "failed", f"ValueError: {k} items at 0x{k:08x}") for k in range(1, n + 1)]
        new = state.look(slots_of(rows), 60 * n + 5)
        assert told(new) == ([(OPENED, "train-a", "failed")] if n == 1 else [])
    assert state.events[0]["incident"]["reason"] == "ValueError: 1 items at 0x00000001"
    new = state.look(slots_of([*rows, row("train-a", 60 * 41, "succeeded")]), 60 * 41 + 5)
    assert told(new) == [(RESOLVED, "train-a", "failed"), (WELL,)]
    assert new[0]["incident"]["last"] == 60 * 40
    assert state.look(slots_of([*rows, row("train-a", 60 * 41, "succeeded")]), 60 * 42) == []


def test_another_reason_is_another_incident_and_one_success_ends_both() -> None:
    state = EventLog()
    rows = [
        row("train-a", 60, "failed", "killed for memory"),
        row("train-a", 120, "missed"),
        row("train-a", 180, "failed", "killed for memory"),
    ]
    assert told(state.look(slots_of(rows), 200)) == [(OPENED, "train-a", "failed"), (OPENED, "train-a", "missed")]
    assert told(state.look(slots_of([*rows, row("train-a", 240, "succeeded")]), 250)) == [
        (RESOLVED, "train-a", "failed"),
        (RESOLVED, "train-a", "missed"),
        (WELL,),
    ]


def test_a_full_store_is_one_incident_of_all_the_tasks_that_it_touches() -> None:
    state = EventLog()
    full = "OSError: [Errno 28] No space left on device"
    rows = [row("train-a", 60, "failed", full), row("train-b", 90, "failed", full)]
    new = state.look(slots_of(rows), 100)
    assert told(new) == [(OPENED, "", "store")]
    assert new[0]["incident"]["tasks"] == ["train-a", "train-b"]
    rows += [row("train-a", 120, "succeeded"), row("ensemble", 130, "failed", full)]
    assert state.look(slots_of(rows), 140) == []
    rows += [row("train-b", 150, "succeeded"), row("ensemble", 190, "succeeded")]
    assert told(state.look(slots_of(rows), 200)) == [(RESOLVED, "", "store"), (WELL,)]


def test_what_serve_sees_itself_and_the_slots_that_it_spoils_are_one() -> None:
    state = EventLog()
    fact = Fact(ProblemKind.STORE, FULL, 50, "No space left on device")
    assert told(state.look([], 50, (fact,))) == [(OPENED, "", "store")]
    rows = [row("train-a", 60, "failed", "No space left on device")]
    assert state.look(slots_of(rows), 70, (fact,)) == []
    assert told(state.look(slots_of(rows), 80)) == [(RESOLVED, "", "store")]  # its newest slot is not well yet
    assert told(state.look(slots_of([*rows, row("train-a", 120, "succeeded")]), 130)) == [(WELL,)]


def test_a_refused_configuration_is_told_by_who_has_read_it_alone() -> None:
    state = EventLog()
    fact = Fact(ProblemKind.CONFIGURATION, "x", 50, "config.yaml:3:1 unknown key")
    assert told(state.look([], 50, (fact,))) == [(OPENED, "", "configuration")]
    assert look(Situation("e", [], TASKS, 60), known_incidents(state.events)).resolved == []
    assert told(state.look([], 61)) == [(RESOLVED, "", "configuration"), (WELL,)]


@pytest.mark.parametrize(
    ("status", "more", "expected"),
    [
        ("failed", {}, ProblemKind.FAILED),
        ("died", {}, ProblemKind.DIED),
        ("no quorum", {}, ProblemKind.NO_QUORUM),
        ("missed", {}, ProblemKind.MISSED),
        ("skipped", {}, ProblemKind.SKIPPED),
        ("refused", {}, ProblemKind.REFUSED),
        ("succeeded", {"degraded": "b left out: no model"}, ProblemKind.DEGRADED),
        ("unknown", {"reason": "unreadable: record.json: not JSON: see cronsemble fsck"}, ProblemKind.STORE),
        ("interrupted", {"reason": "interrupted"}, ProblemKind.INTERRUPTED),
        ("succeeded", {}, None),
    ],
)
def test_each_status_has_its_kind(status: str, more: dict[str, Any], expected: ProblemKind | None) -> None:
    (slot,) = slots_of([row("ensemble", 60, status, **more)], members=("a", "b"))
    assert slot.kind == expected


@pytest.mark.parametrize(
    "what",
    [
        row("train-a", 60, "running"),
        row("train-a", 60, "due"),
        row("train-a", 60, "failed", kind="manual"),
        row("train-a", 60, "failed", kind="rerun", attempt=2),
        row("train-a", 60, "interrupted", "cancelled by me@here"),
        row("train-a", 60, "interrupted", "replaced by e-train-a-2 (concurrency: replace)"),
        row("train-a", 60, "missed", "the schedule was edited: changed"),
        row("train-a", 60, "unknown", "the store was last read at 01:00"),
    ],
)
def test_what_is_open_or_on_purpose_is_nothing(what: Row) -> None:
    assert slots_of([what]) == []


def test_a_run_that_is_tried_again_is_open_and_a_repaired_slot_is_well() -> None:
    failed = row("train-a", 60, "failed", "x")
    assert slots_of([failed], is_open={str(failed.run)}) == []
    state = EventLog()
    assert told(state.look(slots_of([failed]), 70)) == [(OPENED, "train-a", "failed")]
    again = row("train-a", 60, "failed", "y", kind="backfill", attempt=2)
    assert state.look(slots_of([failed, again]), 80) == []
    good = row("train-a", 60, "succeeded", kind="backfill", attempt=3)
    assert told(state.look(slots_of([failed, again, good]), 90)) == [(RESOLVED, "train-a", "failed"), (WELL,)]


def test_a_task_that_is_suspended_or_removed_ends_its_incidents() -> None:
    for rows, tasks in (([row("train-a", 120, "suspended")], TASKS), ([], ("train-b",))):
        state = EventLog()
        failed = row("train-a", 60, "failed", "x")
        state.look(slots_of([failed]), 70)
        assert told(state.look(slots_of([failed, *rows]), 130, tasks=tasks)) == [(RESOLVED, "train-a", "failed"), (WELL,)]


def test_causes_differ_by_words_and_not_by_numbers_days_or_addresses() -> None:
    assert cause_of("took Fri 2026-11-20 06:00, 0xdeadbeef") == cause_of("took Mon 2026-11-23 06:00, 0xdeadbee0")
    assert cause_of("MemoryError") != cause_of("ValueError")
    assert incident_id("e", "t", "failed", "c", 1) != incident_id("e", "t", "failed", "c", 2)


KINDS = ["well", "failed a", "failed b", "missed", "degraded", "full", "closed"]


def slot_of(task: str, minute: int, fate: str) -> Slot:
    if fate in ("well", "closed"):
        return Slot(task, minute, is_closed=fate == "closed")
    kind, _, cause = fate.partition(" ")
    if kind == "full":
        return Slot(task, minute, ProblemKind.STORE, FULL)
    return Slot(task, minute, ProblemKind(kind), cause)


@given(
    st.lists(st.tuples(st.sampled_from(TASKS), st.integers(0, 8), st.sampled_from(KINDS), st.integers(0, 3)), max_size=24),
    st.integers(0, 2**32),
    st.integers(1, 12),
)
def test_whatever_settles_when_each_fault_is_told_once_and_ended_once(
    written: list[tuple[str, int, str, int]], seed: int, looks: int
) -> None:
    fates = {(task, minute * 60): (fate, delay) for task, minute, fate, delay in written}
    order, state = random.Random(seed), EventLog()
    times = sorted(order.randrange(0, 800) for _ in range(looks))
    for now in [*times, 10_000]:
        seen = [
            slot_of(task, minute, fate)
            for (task, minute), (fate, delay) in fates.items()
            if minute + delay * 70 <= now  # it settles late: a later slot may be settled before it
        ]
        order.shuffle(seen)
        state.look(seen, now)
        assert state.look(seen, now) == []  # the next who looks finds nothing new
    names = [event["id"] for event in state.events]
    assert len(names) == len(set(names))
    opened, resolved = state.of(OPENED), state.of(RESOLVED)
    assert {event["incident"]["id"] for event in resolved} <= {event["incident"]["id"] for event in opened}
    # Every fault is of a class that was told, at its slot or before it; and nothing was told that was not.
    for (task, minute), (fate, _) in fates.items():
        slot = slot_of(task, minute, fate)
        scope = "" if slot.kind == ProblemKind.STORE else task
        own = [
            e["incident"]
            for e in opened
            if (e["incident"]["task"], e["incident"]["kind"], e["incident"]["cause"]) == (scope, slot.kind, slot.cause)
        ]
        assert slot.kind is None or own
    for event in opened:
        incident = event["incident"]
        assert any(
            slot.kind == incident["kind"] and slot.cause == incident["cause"] and minute == incident["first"]
            for (task, minute), (fate, _) in fates.items()
            for slot in [slot_of(task, minute, fate)]
        )
    # When all is well at last, every incident has ended, and that was the last that was said.
    final = [slot_of(task, minute, fate) for (task, minute), (fate, _) in fates.items()]
    final += [Slot(task, 20_000) for task in TASKS]
    state.look(final, 20_001)
    assert len(state.of(RESOLVED)) == len(opened)
    assert not opened or state.events[-1]["type"] == WELL
    listed = [id for event in state.of(WELL) for id in event["incidents"]]
    assert sorted(listed) == sorted(event["incident"]["id"] for event in opened)
    assert state.look(final, 20_002) == []
