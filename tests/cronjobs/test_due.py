"""What is due, as values: against the controller's own algorithm, and that every slot has one fate and no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronjobs.revisions.due import DEADLINE, EDIT, LATER, TaskHistory, decide, most_recent_schedule_time
from jobs.fire_times.fires import instants
from jobs.fire_times.schedule import parse
from jobs.fire_times.zones import zone
from jobs.schedule_periods import SchedulePeriod, TaskSchedule

START = 1_790_000_040  # a whole minute in 2026
SCHEDULES = st.sampled_from(["* * * * *", "*/5 * * * *", "7 * * * *", "30 2 * * *", "0 0 31 2 *"])
PLANS = st.builds(
    TaskSchedule,
    schedule=SCHEDULES,
    timezone=st.sampled_from(["UTC", "Europe/Berlin"]),
    suspend=st.booleans(),
    concurrency=st.sampled_from(["Forbid", "Allow", "Replace"]),
    starting_deadline=st.sampled_from([20, 90, 600, 3600]),
)


def controller(plan: TaskSchedule, created: float, last: int | None, active: bool, now: float) -> int | None:
    """The minute that syncCronJob of Kubernetes 1.34 would start; from its source, for one CronJob that is never edited."""
    if plan.suspend or plan.schedule is None:
        return None
    earliest = created if last is None else last * 60.0
    assert plan.starting_deadline is not None
    earliest = max(earliest, now - plan.starting_deadline)
    latest = None
    for each in instants(parse(plan.schedule), zone(plan.timezone), int(earliest // 1)):
        if each > now:
            break
        latest = each
    if latest is None or latest + plan.starting_deadline < now or (active and plan.concurrency == "Forbid"):
        return None
    return latest // 60


@given(PLANS, st.floats(0, 90_000), st.integers(0, 200_000), st.booleans())
def test_it_starts_what_the_controller_would(plan: TaskSchedule, passed: float, back: int, active: bool) -> None:
    now, created = START + passed, START - 100_000
    last = (START - back) // 60 if back < 100_000 else None
    started = set() if last is None else {last}
    told = decide(
        TaskHistory([SchedulePeriod(created, inf, plan, "host:a", "me")], started, started if active else (), None, 0), now
    )
    assert told.start == controller(plan, created, last, active and last is not None, now)


HOUR = timedelta(hours=1)
NINE = datetime(2026, 11, 24, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "since", "now", "deadline", "expected"),
    [
        ("0 * * * *", NINE, NINE + HOUR / 2, None, None),
        ("0 * * * *", NINE, NINE + HOUR, None, NINE + HOUR),
        ("0 * * * *", NINE, NINE + 5.5 * HOUR, None, NINE + 5 * HOUR),
        ("0 * * * *", NINE, NINE + 200 * HOUR, None, NINE + 200 * HOUR),
        ("0 * * * *", NINE, NINE + 200.5 * HOUR, 3600, NINE + 200 * HOUR),
        ("0 * * * *", NINE, NINE + 200.5 * HOUR, 600, None),
        ("@every 1h", NINE + HOUR / 3, NINE + 3 * HOUR, None, NINE + 2 * HOUR + HOUR / 3),
        ("0 0 31 2 *", NINE, NINE + 9000 * HOUR, None, None),
        # Two times an hour apart each day: the controller's estimate lies beyond the last one.
        ("0 9,10 * * *", NINE - HOUR, NINE + 30 * HOUR, None, None),
    ],
)
def test_the_time_that_a_controller_would_start(
    expression: str, since: datetime, now: datetime, deadline: int | None, expected: datetime | None
) -> None:
    assert most_recent_schedule_time(parse(expression), "UTC", since, now, deadline) == expected


class World:
    """One task over time: decided at any moments, runs that last as they like, edits of its plan."""

    def __init__(self, plan: TaskSchedule) -> None:
        self.periods = [SchedulePeriod(START, inf, plan, "host:a", "me")]
        self.started: set[int] = set()
        self.active: dict[int, float] = {}
        self.waiting: int | None = None
        self.settled = START // 60
        self.lost: dict[int, str] = {}
        self.deadlines: dict[int, int] = {}  # of a lost slot, when it was lost
        self.starts: list[tuple[int, float]] = []

    def edit(self, plan: TaskSchedule, now: float) -> None:
        last = self.periods[-1]
        self.periods[-1] = SchedulePeriod(last.start, now, last.task_schedule, last.engine, last.by)
        self.periods.append(SchedulePeriod(now, inf, plan, "host:a", "me"))

    def decide(self, now: float, lasts: float) -> None:
        self.active = {slot: end for slot, end in self.active.items() if end > now}
        told = decide(TaskHistory(self.periods, self.started, self.active, self.waiting, self.settled), now)
        plan = self.periods[-1].task_schedule
        for slot, why in told.lost:
            assert slot not in self.lost and slot not in self.started and why in (DEADLINE, EDIT, LATER)
            self.lost[slot], self.deadlines[slot] = why, plan.starting_deadline or 0
        for slot in {told.start, told.waiting} & self.lost.keys():
            assert self.lost.pop(slot) == DEADLINE and self.deadlines[slot] < (plan.starting_deadline or 0)
        if told.start is not None:
            assert told.start not in self.started and not plan.suspend
            assert now - (plan.starting_deadline or inf) < told.start * 60 <= now
            assert not (self.active and plan.concurrency == "Forbid")
            assert set(told.replaced) == (set(self.active) if plan.concurrency == "Replace" else set())
            for slot in told.replaced:
                del self.active[slot]
            self.started.add(told.start)
            self.active[told.start] = now + lasts
            self.starts.append((told.start, now))
        self.waiting, self.settled = told.waiting, told.settled
        assert told.wake > now


MOMENTS = st.lists(st.tuples(st.floats(0.1, 4000), st.floats(0, 5000), st.none() | PLANS), min_size=1, max_size=25)


def slots(world: World, until: float) -> Iterator[int]:
    """Every slot of a plan that was not suspended, up to a moment."""
    for period in world.periods:
        assert period.task_schedule.schedule is not None
        for each in instants(parse(period.task_schedule.schedule), zone(period.task_schedule.timezone), int(period.start // 1)):
            if each > min(until, period.end):
                break
            if not period.task_schedule.suspend:
                yield each // 60


@given(PLANS, MOMENTS)
def test_every_slot_has_one_fate(plan: TaskSchedule, moments: list[tuple[float, float, TaskSchedule | None]]) -> None:
    world, now = World(plan), float(START)
    for wait, lasts, new in moments:
        now += wait
        if new is not None:
            world.edit(new, now)
        world.decide(now, lasts)
    if world.periods[-1].task_schedule.suspend:
        return
    expected = set(slots(world, now))
    fates = world.started | set(world.lost) | ({world.waiting} if world.waiting is not None else set())
    # Of a great many at once only the newest are told.
    missing = expected - fates
    assert len(missing) == 0 or len(world.lost) >= 100


@given(PLANS, st.lists(st.floats(-7200, 7200), min_size=2, max_size=30))
def test_a_clock_that_jumps_either_way_starts_nothing_twice(plan: TaskSchedule, jumps: list[float]) -> None:
    world, now = World(plan), START + 90_000.0
    for jump in jumps:
        now += jump
        before = len(world.started)
        told = decide(TaskHistory(world.periods, world.started, (), None, world.settled), now)
        if told.start is not None:
            world.started.add(told.start)
            assert len(world.started) == before + 1
        world.settled = told.settled


def test_a_slot_left_latent_by_an_edit_is_dropped() -> None:
    world = World(TaskSchedule("* * * * *", "UTC", False, "Forbid", 3600))
    world.decide(START + 61, 1000)
    world.decide(START + 125, 0)
    assert world.waiting == START // 60 + 2
    world.edit(TaskSchedule("0 0 1 1 *", "UTC", False, "Forbid", 3600), START + 130)
    world.decide(START + 131, 0)
    assert (world.waiting, world.lost) == (None, {START // 60 + 2: EDIT})


def test_an_edit_of_anything_else_leaves_due_what_was_due() -> None:
    world = World(TaskSchedule("* * * * *", "UTC", False, "Forbid", 3600))
    world.decide(START + 61, 1000)
    world.decide(START + 125, 0)
    world.edit(TaskSchedule("* * * * *", "UTC", False, "Allow", 3600), START + 130)
    world.decide(START + 131, 0)
    assert world.starts[-1] == (START // 60 + 2, START + 131)


def test_what_was_due_while_suspended_is_made_up_for_when_it_goes_on() -> None:
    world = World(TaskSchedule("0 * * * *", "UTC", True, "Forbid", 7200))
    world.decide(START + 7100, 0)
    assert not world.starts
    world.edit(TaskSchedule("0 * * * *", "UTC", False, "Forbid", 7200), START + 7110)
    world.decide(START + 7111, 0)
    assert len(world.starts) == 1 and not world.lost
