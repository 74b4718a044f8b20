"""Weeks of simulated time: with runs as late as they may be no alarm, and with a fault one for each task that it hits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from heartbeat.server import API_KEY, Check, StandIn, at, stand_in
from jobs.fire_times.fires import instants
from jobs.fire_times.schedule import parse
from jobs.fire_times.zones import zone
from scheduler.config import load
from scheduler.heartbeat.client import HeartbeatApi
from scheduler.heartbeat.update import carry_out, plan_update
from scheduler.heartbeat.watched_task import WatchedTask, tasks_of_experiment

DAY = 86400
CONFIG = """
experiment: e
timezone: Europe/Berlin
defaults: {starting_deadline: 30m, deadline: 4h}
backends:
  jax: {schedule: "0 2 * * *"}
  torch: {schedule: "30 2 * * *"}
  tensorflow: {schedule: "*/20 8-18 * * 1-5", deadline: 10m, starting_deadline: 5m}
  theano: {schedule: "@hourly", deadline: 20m}
  cntk: {schedule: "0 0 */3 * mon"}
  often: {backend: jax, schedule: "@every 90m"}
  weekly: {backend: jax, schedule: "30 2 * * 0"}
ensemble: {schedule: "0 6 * * *", timezone: America/New_York}
"""


@pytest.fixture
def tasks(tmp_path: Path) -> list[WatchedTask]:
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tasks_of_experiment(load(tmp_path / "config.yaml"))


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as started:
        yield started


def synced(server: StandIn, tasks: list[WatchedTask], now: float) -> None:
    server.now = lambda: now
    api = HeartbeatApi(server.url, f"{server.url}/ping", API_KEY, {})
    carry_out(api, "e", plan_update(api, "e", tasks, now), lambda _: None)


def runs(task: WatchedTask, begin: float, end: float, seed: int) -> Iterator[tuple[float, float, float]]:
    """(slot, start, end) of each run, as a controller starts them: just within ``seconds`` of the slot, none beside another."""
    dice, free = random.Random(f"{seed} {task.task}"), begin
    for slot in instants(parse(task.schedule), zone(task.timezone), int(begin), int(begin)):
        if slot >= end:
            return
        if slot < free:
            continue  # concurrency: forbid
        start = slot + dice.choice([0, 1, 10, 0.2 * task.seconds])
        free = min(start + dice.choice([1, 60, 0.5 * task.seconds, task.seconds]), slot + task.seconds - 10)
        yield slot, start, free


def live(server: StandIn, tasks: list[WatchedTask], begin: float, end: float, dead: float, seed: int) -> dict[str, float]:
    """Have the tasks run from ``begin`` on, and nothing happen after ``dead``; the first slot of each that has no success."""
    pings, missed = [], {}
    for task in tasks:
        check = server.of(f"e-{task.task}")
        for slot, start, finish in runs(task, begin, end, seed):
            pings += [(start, "start", str(slot), check)] if start < dead else []
            pings += [(finish, "success", str(slot), check)] if finish < dead else []
            if finish >= dead:
                missed.setdefault(check.slug, slot)
    for now, kind, rid, check in sorted(pings, key=lambda ping: (ping[0], ping[1] == "start")):
        down(server, check, now)
        check.ping(kind, now, "", rid)
    for check in server.checks:
        down(server, check, end)
    return missed


def down(server: StandIn, check: Check, now: float) -> None:
    """What the server has noticed of a check until then: its alerting process looks at each all the time."""
    at = check.goes_down_at()
    if at is not None and at <= now:
        server.now = lambda: at
        server.look_at(check)


BEGINS = ["2027-03-20T12:00+00:00", "2026-10-18T12:00+00:00", "2027-03-07T12:00+00:00", "2026-08-01T00:00+00:00"]


@pytest.mark.parametrize("begin", BEGINS)
@pytest.mark.parametrize("seed", [1, 2])
def test_two_quiet_weeks_alarm_nobody(server: StandIn, tasks: list[WatchedTask], begin: str, seed: int) -> None:
    synced(server, tasks, at(begin))
    assert live(server, tasks, at(begin), at(begin) + 14 * DAY, float("inf"), seed) == {} and server.alarms == []


@pytest.mark.parametrize("hours", [0.5, 30, 31.3, 100, 215])
def test_what_dies_is_missed_once_by_each_task(server: StandIn, tasks: list[WatchedTask], hours: float) -> None:
    begin = at("2026-08-01T00:00+00:00")
    synced(server, tasks, begin)
    missed = live(server, tasks, begin, begin + 40 * DAY, begin + hours * 3600, 3)
    assert set(missed) == {check.slug for check in server.checks}
    alarms = dict(server.alarms)
    assert len(alarms) == len(server.alarms) and set(alarms) == set(missed)
    for slug, slot in missed.items():
        check = server.of(slug)
        # A period begins with the last ping, which a slot's run may have sent as late as it may end.
        late = 90 * 60 + check.grace if check.schedule is None else 0
        assert slot < alarms[slug] <= slot + check.grace + late + 60, slug
    # It goes on: the first success of each is the end of it, and nothing else is said.
    for check in server.checks:
        check.ping("success", begin + 40 * DAY, "", "")
        assert check.status == "up"


def test_an_edit_makes_nothing_late_and_hides_no_failure(server: StandIn) -> None:
    begin = at("2026-08-03T00:30+00:00")
    task = WatchedTask("ensemble", "0 1 * * *", "UTC", 7200)
    synced(server, [task], begin)
    check = server.of("e-ensemble")
    check.ping("success", begin + 3600, "", "")
    # By the new schedule a run was due hours ago.
    noon = begin + 12 * 3600
    synced(server, [WatchedTask("ensemble", "0 3 * * *", "UTC", 7200)], noon)
    assert check.goes_down_at() == at("2026-08-04T05:00+00:00")
    check.ping("fail", noon + 60, "", "")
    synced(server, [WatchedTask("ensemble", "0 4 * * *", "UTC", 7200)], noon + 120)
    assert check.status == "down" and check.schedule == "0 4 * * *"


def test_a_run_that_ends_after_its_task_was_suspended_resumes_nothing(server: StandIn) -> None:
    begin = at("2026-08-03T00:30+00:00")
    task = WatchedTask("ensemble", "0 1 * * *", "UTC", 7200)
    synced(server, [task], begin)
    check = server.of("e-ensemble")
    check.ping("start", begin + 1800, "", "r")
    synced(server, [WatchedTask("ensemble", "0 1 * * *", "UTC", 7200, is_suspended=True)], begin + 2000)
    check.ping("success", begin + 2400, "", "r")
    assert check.status == "paused" and check.goes_down_at() is None
    synced(server, [task], begin + 5 * DAY)
    assert check.status == "up" and check.goes_down_at() == at("2026-08-08T03:00+00:00")
