"""The wait for an ensemble's members: for whom, how long, and what is written of it. Over a real store, with no one's clock."""

from __future__ import annotations

import json
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cronjobs.objects.cronjob import cron_jobs
from cronjobs.objects.labels import CONFIGURATION
from cronjobs.revisions import revisions
from cronjobs.tasks import ExperimentContext
from jobs import contract as c
from jobs.contract import ExitCode, Status
from jobs.store import LocalStore, snapshot_digests
from jobs.store.files import to_document
from jobs.store.process_identity import process_identity
from jobs.store.waits import duration_text, waited, waited_lines, waited_text
from jobs.supervisor import poll_runs, wait_for_members
from jobs.supervisor.run_context import read_context
from jobs.supervisor.supervise import supervise
from jobs.supervisor.wait_for_members import MemberWait
from scheduler.config import load
from stores import ELSEWHERE, Builder, at, iso, minute

SLOT = "2026-11-20T06:00"
OWN = minute(SLOT)
TASK: dict[str, Any] = {
    "experiment": "e",
    "task": "ensemble",
    "timezone": "Europe/Berlin",
    "members": [{"member": "a"}, {"member": "b"}],
    "max_age": None,
    "wait": 7200,
    "snapshot": {"program": "p", "code": ""},
}
DIGEST = snapshot_digests(TASK)["task"]
SCHEDULES = {
    "ensemble": {"schedule": "0 6 * * *"},
    "train-a": {"schedule": "30 1 * * *", "deadline": 6 * 3600},
    "train-b": {"schedule": "30 5 * * *", "deadline": 6 * 3600},
}


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    builder = Builder(tmp_path)
    builder.revise("2026-11-01", {**SCHEDULES, "ensemble": {**SCHEDULES["ensemble"], "task": DIGEST}})
    return builder


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the clock by which the wait counts."""

    def set_to(text: str) -> None:
        instant = at(text).timestamp()
        monkeypatch.setattr(wait_for_members, "now", lambda: instant)
        monkeypatch.setattr(poll_runs, "now", lambda: instant)

    return set_to


def wait(builder: Builder, **more: Any) -> MemberWait:
    return MemberWait(builder.store, c.RunId(OWN, 1, "e", "ensemble"), {**TASK, **more})


def names(looked: list[poll_runs.Awaited]) -> list[str]:
    return [awaited.text for awaited in looked]


def test_it_waits_for_those_that_run_or_may_start_and_says_what_came_of_it(
    builder: Builder, set_clock: Callable[[str], None]
) -> None:
    builder.run("train-a", "2026-11-20T01:30", "running")
    set_clock("2026-11-20T06:00:01")
    waiting = wait(builder)
    # b may start until half past six.
    assert waiting.look() == [poll_runs.Awaited("a of 02:30", False), poll_runs.Awaited("b of 06:30", True)]
    run = builder.store.read(waiting.run)
    assert (run.status, run.reason) == (Status.RUNNING, "waiting for a (02:30), b (06:30)")
    builder.run("train-b", "2026-11-20T05:30", late=3000, lasts=60)
    set_clock("2026-11-20T06:42:01")
    assert names(waiting.look()) == ["a of 02:30"]
    set_clock("2026-11-20T08:00:00")
    waiting.finish()
    mark = builder.store.wait_of(waiting.run)
    record = waited(mark)
    assert (record["seconds"], record["until"]) == (7199.0, "2026-11-20T08:00:00.000Z")
    assert record["members"] == [
        {
            "member": "b",
            "slot": "2026-11-20T05:30Z",
            "local": "06:30",
            "run": f"e-train-b-{minute('2026-11-20T05:30')}",
            "outcome": "succeeded",
            "seconds": 2520.0,
        }
    ]
    assert [(each["member"], each["outcome"]) for each in record["missing"]] == [("a", "running")]
    assert waited_text(record) == "waited 42m for b of 06:30, 2h in vain for a of 02:30"
    a = f"e-train-a-{minute('2026-11-20T01:30')}"
    assert list(waited_lines(mark)) == [
        f"waited 42m for b of 06:30 (e-train-b-{minute('2026-11-20T05:30')}): succeeded",
        f"a of 02:30 ({a}): running when the wait was over: continuing without it",
    ]


def test_where_all_have_ended_it_goes_on_at_once(builder: Builder, set_clock: Callable[[str], None]) -> None:
    builder.run("train-a", "2026-11-20T01:30", "failed", reason="no memory")
    builder.run("train-b", "2026-11-20T05:30", gate={"refused": "too bad"})
    set_clock("2026-11-20T06:00:01")
    waiting = wait(builder)
    assert waiting.look() == []
    waiting.finish()
    record = waited(builder.store.wait_of(waiting.run))
    assert (record["seconds"], record["members"], record["missing"], waited_text(record)) == (0.0, [], [], "")


def test_a_member_that_never_starts_is_awaited_until_its_starting_deadline(
    builder: Builder, set_clock: Callable[[str], None]
) -> None:
    builder.run("train-a", "2026-11-20T01:30")
    # A pod makes the folder, and then what is in it.
    builder.store.run_folder(c.RunId(minute("2026-11-20T05:30"), 1, "e", "train-b")).mkdir(parents=True)
    for text, expected in [("06:00:01", ["b of 06:30"]), ("06:30:29", ["b of 06:30"]), ("06:30:31", [])]:
        set_clock(f"2026-11-20T{text}")
        assert names(wait(builder).look()) == expected
    set_clock("2026-11-20T06:30:31")
    waiting = wait(builder)  # whoever goes on with the run goes on with its wait
    waiting.look()
    waiting.finish()
    record = waited(builder.store.wait_of(waiting.run))
    assert waited_text(record) == "waited 30m 30s for b of 06:30" and record["members"][0]["outcome"] == "missed"


@pytest.mark.parametrize(("event", "is_over"), [("missed", True), ("skipped", True), ("dropped", True), ("refused", False)])
def test_what_an_engine_noted_ends_a_slot(builder: Builder, set_clock: Callable[[str], None], event: str, is_over: bool) -> None:
    builder.run("train-a", "2026-11-20T01:30")
    builder.note("2026-11-20T05:31", event, task="train-b", minute=minute("2026-11-20T05:30"), reason="r")
    set_clock("2026-11-20T06:00:01")
    assert names(wait(builder).look()) == ([] if is_over else ["b of 06:30"])


def start(
    builder: Builder, task: str, slot: str, name: str, process: dict[str, Any], end: dict[str, Any] | None, **mark: Any
) -> None:
    run = c.RunId(minute(slot), 1, "e", task)
    started = {"kind": "scheduled", "retries": 1, "time": iso(minute(slot) * 60), "process": process, **mark}
    builder.store.begin_try(run, name, started)
    if end is not None:
        (builder.store.try_folder(run, name) / c.END).write_bytes(to_document(end))


DEAD = {**process_identity(), "start": 1}
LOCAL = {"runtime": {"python": "p"}}


@pytest.mark.parametrize(
    ("process", "end", "mark", "is_open"),
    [
        (ELSEWHERE, None, {}, True),
        (DEAD, None, LOCAL, True),  # `serve` goes on with it when it is started again
        (DEAD, None, {**LOCAL, "kind": "backfill"}, False),
        (ELSEWHERE, {"status": "failed"}, {}, True),  # the Job makes another pod
        (ELSEWHERE, {"status": "failed"}, {"retries": 0}, False),
        (ELSEWHERE, {"status": "failed", "code": int(ExitCode.WRONG_INPUT)}, {}, False),
        (ELSEWHERE, {"status": "interrupted"}, {}, True),
        (ELSEWHERE, {"status": "interrupted", "final": True}, {}, False),
        (ELSEWHERE, None, {"kind": "manual"}, None),
    ],
)
def test_which_runs_may_still_give_a_model(
    builder: Builder,
    set_clock: Callable[[str], None],
    process: dict[str, Any],
    end: dict[str, Any] | None,
    mark: dict[str, Any],
    is_open: bool | None,
) -> None:
    builder.run("train-b", "2026-11-20T05:30")
    start(builder, "train-a", "2026-11-20T01:30", "x", process, end, **mark)
    set_clock("2026-11-20T06:00:01")
    assert names(wait(builder).look()) == (["a of 02:30"] if is_open else [])
    # Nothing holds it beyond its own deadline, whatever became of it.
    set_clock("2026-11-20T07:33:01")
    assert wait(builder).look() == []
    builder.store.cancel(c.RunId(minute("2026-11-20T01:30"), 1, "e", "train-a"), {"reason": "cancelled"})
    set_clock("2026-11-20T06:00:01")
    assert wait(builder).look() == []


def test_a_run_of_an_earlier_night_that_goes_on_may_be_the_newest(builder: Builder, set_clock: Callable[[str], None]) -> None:
    builder.revise(
        "2026-11-02",
        {
            "ensemble": {"schedule": "0 */2 * * *", "task": DIGEST},
            "train-a": {"schedule": "30 1 * * *", "deadline": 6 * 3600},
            "train-b": {"schedule": "30 5 * * *"},
        },
    )
    builder.run("train-b", "2026-11-20T05:30")
    builder.run("train-a", "2026-11-20T01:30", "running")
    set_clock("2026-11-20T06:00:01")
    assert names(wait(builder).look()) == ["a of 02:30"]
    # Once a later one succeeded, an earlier one changes nothing: runs by hand apart.
    builder.run("train-a", "2026-11-20T03:00", kind="manual")
    assert names(wait(builder).look()) == ["a of 02:30"]
    builder.run("train-a", "2026-11-20T03:01", kind="backfill")
    assert wait(builder).look() == []


def test_a_run_that_would_be_too_old_is_of_no_use(tmp_path: Path, set_clock: Callable[[str], None]) -> None:
    builder = Builder(tmp_path)
    digest = snapshot_digests({**TASK, "max_age": 5 * 3600})["task"]
    builder.revise("2026-11-01", {**SCHEDULES, "ensemble": {"schedule": "0 */2 * * *", "task": digest}})
    builder.run("train-a", "2026-11-20T00:59", "running")
    set_clock("2026-11-20T06:00:01")
    assert names(wait(builder, max_age=5 * 3600).look()) == ["b of 06:30"]
    builder.run("train-a", "2026-11-20T01:01", "running")
    assert names(wait(builder, max_age=5 * 3600).look()) == ["a of 02:01", "b of 06:30"]


def test_what_a_cluster_was_synced_to_counts_suspension_included(tmp_path: Path, set_clock: Callable[[str], None]) -> None:
    (tmp_path / "config.yaml").write_text("""
experiment: e
timezone: Europe/Berlin
store: {claim: c}
defaults: {timezone: UTC}
backends:
  a: {backend: jax, schedule: "30 1 * * *"}
  b: {backend: jax, schedule: "30 5 * * *"}
ensemble: {schedule: "0 6 * * *", wait: 2h}
cluster: {images: {keras3: "r/k:1"}}
""")
    context = ExperimentContext(load(tmp_path / "config.yaml"), "p" * 64, "")
    cronjobs = list(cron_jobs(context))
    cronjobs[0]["spec"]["suspend"] = True
    builder = Builder(tmp_path / "store")
    builder.revise("2026-11-01", revisions.tasks(cronjobs), "sync", "cluster:here/ns")
    set_clock("2026-11-20T06:00:01")
    task = json.loads(cronjobs[2]["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["annotations"][CONFIGURATION])
    run = c.RunId(OWN, 1, "e", "ensemble")
    assert names(MemberWait(builder.store, run, task).look()) == ["b of 06:30"]
    # In a pod of its own they may be newer than those of the store.
    mounted = Builder(tmp_path / "mounted")
    mounted.revise("2026-11-19", {**revisions.tasks(cronjobs), "train-a": {"schedule": "* * * * *"}}, "sync", "cluster:here/ns")
    looked = names(MemberWait(LocalStore(tmp_path / "empty"), run, task, lambda: mounted.store.ledger.revisions("e")).look())
    assert looked[:2] == ["a of 07:00", "a of 06:59"] and looked[-1] == "b of 06:30"


def test_a_slot_that_a_run_before_it_keeps_waiting_needs_no_room(builder: Builder, set_clock: Callable[[str], None]) -> None:
    builder.revise(
        "2026-11-02",
        {"ensemble": {"schedule": "0 6 * * *", "task": DIGEST}, "train-a": {"schedule": "*/30 * * * *", "deadline": 7200}},
    )
    builder.run("train-a", "2026-11-20T05:00", "running")
    set_clock("2026-11-20T06:00:01")
    looked = {each.text: each.needs_room for each in wait(builder).look()}
    assert looked == {"a of 07:00": False, "a of 06:30": False, "a of 06:00": False}
    # Its successor says that what lies between never will: a controller starts the latest alone.
    builder.run("train-a", "2026-11-20T06:00", "running")
    assert names(wait(builder).look()) == ["a of 07:00", "a of 06:00"]


@pytest.mark.parametrize("schedules", [SCHEDULES, {}])
def test_without_a_revision_of_it_its_own_configuration_counts(
    tmp_path: Path, set_clock: Callable[[str], None], schedules: dict[str, Any]
) -> None:
    builder = Builder(tmp_path)
    builder.revise("2026-11-01", {"ensemble": {"schedule": "0 * * * *", "task": "another"}, "train-a": {"schedule": "* * * * *"}})
    whole = {name: {"timezone": "UTC", "starting_deadline": 3600, **schedule} for name, schedule in schedules.items()}
    builder.run("train-a", "2026-11-20T01:30", "running")
    set_clock("2026-11-20T06:00:01")
    looked = names(wait(builder, schedules=whole).look())
    assert looked == (["a of 02:30", "b of 06:30"] if schedules else [])


def test_a_store_that_cannot_be_read_is_waited_for(builder: Builder, set_clock: Callable[[str], None]) -> None:
    set_clock("2026-11-20T06:00:01")
    waiting = wait(builder)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        (looked,) = waiting.look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert looked.text.startswith("the store: ") and looked.text.endswith("Too many open files") and not looked.needs_room
    assert names(waiting.look()) == ["b of 06:30"]


def test_its_pod_makes_room_only_if_it_is_back_in_time(builder: Builder, set_clock: Callable[[str], None]) -> None:
    set_clock("2026-11-20T07:00:00")
    waiting = wait(builder)
    for yields in range(8):
        assert waiting.can_yield()
        waiting.record_yield()
        assert builder.store.wait_of(waiting.run)["yields"] == yields + 1
    # Ten minutes is the Job controller's longest back-off.
    set_clock("2026-11-20T07:49:30")
    assert not waiting.can_yield()
    assert wait(builder).can_yield() is False
    assert poll_runs.back_off(0) == 10 and poll_runs.back_off(5) == 320 and poll_runs.back_off(6) == poll_runs.back_off(99) == 600


def env(store: Path, run: str, task: dict[str, Any], **more: str) -> dict[str, str]:
    return {c.ENV_RUN: run, c.ENV_TRY: "pod", c.ENV_STORE: str(store), c.ENV_TASK: json.dumps(task), c.ENV_PYTHON: "", **more}


def test_the_step_waits_begins_no_try_and_stops_when_it_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With the clock that there is: the ensemble's minute is this one, and its member's too."""
    builder, this_minute = Builder(tmp_path), int(time.time()) // 60
    every_day = {"schedule": "* * * * *", "timezone": "UTC", "starting_deadline": 3600, "deadline": 600}
    task = {**TASK, "members": [{"member": "a"}], "schedules": {"ensemble": every_day, "train-a": every_day}}
    run = f"e-ensemble-{this_minute}"
    codes: list[int] = []

    def step(**more: str) -> threading.Thread:
        context = read_context(env(tmp_path, run, task, **more))
        contexts.append(context)
        thread = threading.Thread(target=lambda: codes.append(_supervise(context)))
        thread.start()
        return thread

    contexts: list[Any] = []
    waiting = step()
    while not builder.store.wait_of(contexts[0].run):
        time.sleep(0.01)
    contexts[0].stopped.set()
    waiting.join(30)
    waiting = step()
    builder.run("train-a", this_minute)
    waiting.join(30)
    # What another run takes was chosen with it.
    for kind in ("rerun", "backfill", "manual"):
        step(**{c.ENV_KIND: kind}).join(30)
    assert codes == [ExitCode.INTERRUPTED, ExitCode.DONE, ExitCode.DONE, ExitCode.DONE, ExitCode.DONE]
    record = builder.store.read(contexts[0].run)
    assert (record.tries, record.status, record.reason) == ((), Status.RUNNING, "its wait is over")
    assert [each["outcome"] for each in record.wait["members"]] == ["succeeded"]
    assert capfd.readouterr().out.count("cronsemble: waiting for a of ") == 2


def _supervise(context: Any) -> int:
    """Without signals, which only a main thread may handle."""
    import signal

    original = signal.signal
    signal.signal = lambda *_: None  # type: ignore[assignment]
    try:
        return supervise(context, "await")
    finally:
        signal.signal = original


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (30.4, "30s"), (59.6, "1m"), (3900, "1h 5m"), (7200, "2h"), (90061, "1d 1h"), (3599, "1h"), (7199, "2h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
