"""Tellers on real stores and real receivers: each event once, whatever fails, by however many tellers; the clock is given."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cronjobs.notify import Channel, Notify
from jobs.contract import NoteEvent
from jobs.store import LocalStore
from jobs.store.check import find_damage
from jobs.store.gc import RemovalKind, RetentionRule, execute_removal, plan_removal
from jobs.store.notifications import NotificationLedger
from notifications.receivers import Receiver, check_schema, receiving
from scheduler.notifications.incidents import Fact, ProblemKind
from scheduler.notifications.messages import message_schema
from scheduler.notifications.tell import GIVES_UP, Teller
from stores import Builder, at

TASKS = {
    "train-a": {"schedule": "0 1 * * *"},
    "train-b": {"schedule": "0 2 * * *"},
    "ensemble": {"schedule": "0 6 * * *"},
}
HOUR, DAY = 3600.0, 86400.0
JUDGED = (ProblemKind.STORE, ProblemKind.CONFIGURATION)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    builder = Builder(tmp_path / "store")
    builder.revise("2026-11-02T00:00", TASKS)
    return builder


def webhook(receiver: Receiver, name: str = "hook", **more: Any) -> Channel:
    return Channel(name=name, kind="webhook", address=receiver.url("/hook"), **more)


def teller(store: LocalStore, *channels: Channel, link: str = "", **environment: str) -> Teller:
    said: list[str] = []
    one = Teller(
        store, "e", "Europe/Berlin", Notify(channels=channels, link=link), environment, lambda *line: said.append(" ".join(line))
    )
    one.said = said  # type: ignore[attr-defined]
    return one


def night(builder: Builder, day: str, **status: str) -> None:
    for task, hour in (("train-a", "01"), ("train-b", "02"), ("ensemble", "06")):
        how = status.get(task.removeprefix("train-"), "succeeded")
        if how == "missed":
            continue
        if how == "degraded":
            members = [{"member": "a", "run": f"e-train-a-{int(at(f'{day}T01:00').timestamp() // 60)}", "accuracy": 0.9}]
            members += [{"member": "b", "left_out": "no model"}]
            builder.run(task, f"{day}T{hour}:00", members=members, ensemble={"members": {"a": {"weight": 1.0}}})
        elif how == "succeeded":
            builder.run(task, f"{day}T{hour}:00")
        else:
            builder.run(task, f"{day}T{hour}:00", how, reason="ValueError: bad data")


def test_what_was_wrong_before_is_told_only_if_it_still_is(builder: Builder, receiver: Receiver) -> None:
    night(builder, "2026-11-02", a="failed")
    night(builder, "2026-11-03", b="failed")
    one = teller(builder.store, webhook(receiver))
    now = at("2026-11-03T07:00").timestamp()
    one.tell(now)
    assert receiver.subjects == ["[e] train-b failed: 2026-11-03 03:00 +01:00"]
    one.tell(now + 60)
    assert len(receiver.requests) == 1


def test_a_message_has_what_a_person_needs(builder: Builder, receiver: Receiver) -> None:
    one = teller(builder.store, webhook(receiver), link="https://reports.example/{experiment}/{task}?run={run}&day={date}")
    one.tell(at("2026-11-02T00:30").timestamp())
    night(builder, "2026-11-02")
    night(builder, "2026-11-03", b="failed", ensemble="degraded")
    one.tell(at("2026-11-03T07:00").timestamp())
    run = f"e-train-b-{int(at('2026-11-03T02:00').timestamp() // 60)}"
    failed, degraded = (request.document for request in receiver.requests)
    assert failed["schema"] == 1 and failed["type"] == "problem" and failed["experiment"] == "e"
    (incident,) = failed["incidents"]
    assert incident["task"] == "train-b" and incident["run"] == run and incident["kind"] == "failed"
    assert incident["slot"] == "2026-11-03T02:00Z" and incident["local"] == "2026-11-03T03:00+01:00"
    assert (incident["reason"], incident["evidence"]) == ("ValueError: bad data", "recorded")
    assert incident["still_works"] == [
        "the ensemble of 2026-11-03 07:00 +01:00 went on with one of two members: a",
        "its newest model is of 2026-11-02 03:00 +01:00, 1d 5h old",
    ]
    assert incident["commands"] == [
        f"cronsemble show {run}",
        f"cronsemble logs {run}",
        "cronsemble backfill 2026-11-03T02:00Z --task train-b",
    ]
    assert incident["link"] == f"https://reports.example/e/train-b?run={run}&day=2026-11-03"
    for text in (incident["reason"], incident["still_works"][0], *incident["commands"], incident["link"]):
        assert text in failed["text"]
    assert degraded["incidents"][0]["kind"] == "degraded" and degraded["severity"] == "warning"
    assert "b left out: no model" in degraded["text"]
    keys = [request.headers["Idempotency-Key"] for request in receiver.requests]
    assert keys == [failed["id"], degraded["id"]]


def test_two_weeks_with_known_faults_every_one_is_told_once_and_nothing_else(builder: Builder, receiver: Receiver) -> None:
    builder.note("2026-11-01T00:00", NoteEvent.STARTED)
    faults = {
        3: {"a": "failed", "ensemble": "degraded"},
        4: {"a": "failed", "ensemble": "degraded"},
        7: {"b": "missed", "ensemble": "degraded"},
        8: {"ensemble": "no quorum"},
        11: {"a": "missed", "b": "missed", "ensemble": "missed"},
        13: {"b": "died"},
    }
    one = teller(builder.store, webhook(receiver, events=("failed", "missed", "degraded", "no quorum", "died", "well")))
    start = at("2026-11-02T00:00")
    for hour in range(14 * 24):
        moment = start + timedelta(hours=hour, minutes=30)
        fates = faults.get(moment.day, {})
        for task, own in (("train-a", 1), ("train-b", 2), ("ensemble", 6)):
            if moment.hour == own and (how := fates.get(task.removeprefix("train-"), "succeeded")) != "missed":
                night_of(builder, task, moment.strftime("%Y-%m-%dT%H:00"), how)
        if moment.hour % 3 == 0 or moment.hour in (1, 2, 6):
            one.tell(moment.timestamp())
            teller(builder.store, *one.settings.channels).tell(moment.timestamp())  # another one, at the same time
    assert receiver.subjects == [
        "[e] train-a failed: 2026-11-03 02:00 +01:00",
        "[e] ensemble is degraded: 2026-11-03 07:00 +01:00",
        "[e] all is well again",
        "[e] train-b was missed: 2026-11-07 03:00 +01:00",
        "[e] ensemble is degraded: 2026-11-07 07:00 +01:00",
        "[e] ensemble had no quorum: 2026-11-08 07:00 +01:00",
        "[e] all is well again",
        "[e] train-a was missed: 2026-11-11 02:00 +01:00",
        "[e] train-b was missed: 2026-11-11 03:00 +01:00",
        "[e] ensemble was missed: 2026-11-11 07:00 +01:00",
        "[e] all is well again",
        "[e] train-b died: 2026-11-13 03:00 +01:00",
        "[e] all is well again",
    ]
    for request in receiver.requests:
        check_schema(message_schema(), request.document)


def night_of(builder: Builder, task: str, slot: str, how: str) -> None:
    if how == "degraded":
        members = [{"member": "a", "run": None, "accuracy": 0.9}, {"member": "b", "left_out": "no model"}]
        builder.run(task, slot, members=members, ensemble={"members": {"a": {"weight": 1.0}}})
    elif how == "died":
        builder.run(task, slot, "died", reason="its process ended without recording why")
    else:
        builder.run(task, slot, how, reason="" if how == "succeeded" else "ValueError: bad data")


def test_a_receiver_that_answers_500_for_an_hour_is_told_afterwards_each_once_and_in_order(
    builder: Builder, receiver: Receiver
) -> None:
    with receiving() as other:
        one = teller(builder.store, webhook(receiver), webhook(other, "other"))
        start = at("2026-11-02T00:30").timestamp()
        one.tell(start)
        receiver.status = 500
        night(builder, "2026-11-02", a="failed", b="no quorum")
        now = start + 6 * HOUR
        one.tell(now)
        assert len(other.taken) == 2 and len(receiver.requests) == 1  # the second waits: one is enough to see that it is down
        tried = len(receiver.requests)
        for minute in range(1, 61):
            one.tell(now + minute * 60)
            if minute == 30:
                one = teller(builder.store, *one.settings.channels)  # restarted
        assert tried < len(receiver.requests) <= 8  # 1, 2, 4, 8, 16, 32 minutes
        receiver.status = 200
        for minute in range(61, 200):
            one.tell(now + minute * 60)
        assert [subject.partition(":")[0] for subject in receiver.subjects] == ["[e] train-a failed", "[e] train-b had no quorum"]
        assert len(other.taken) == 2
        assert receiver.taken[0].document["id"] == other.taken[0].document["id"]


def test_a_receiver_that_stays_away_is_given_up_and_that_is_said(builder: Builder, receiver: Receiver) -> None:
    receiver.status, receiver.text = 404, "no_service"
    one = teller(builder.store, webhook(receiver, events=("failed",)))
    now = at("2026-11-02T01:30").timestamp()
    one.tell(now - HOUR)
    builder.run("train-a", "2026-11-02T01:00", "failed", reason="x")
    wait = now
    while wait < now + GIVES_UP + 2 * HOUR:
        told = one.tell(wait)
        wait = max(wait + 60, min(told.again, wait + 2 * HOUR))
    said: list[str] = one.said  # type: ignore[attr-defined]
    assert said[-1].startswith("given up hook: [e] train-a failed: 2026-11-02 02:00 +01:00: 127.0.0.1:")
    assert "answers 404 Not Found: no_service: given up after 3d" in said[-1]
    assert len(receiver.requests) < 85
    receiver.status = 200
    one.tell(wait + DAY)
    assert receiver.taken == []


def test_a_slow_receiver_costs_its_time_limit_and_no_more(builder: Builder, receiver: Receiver) -> None:
    import threading
    import time

    done = threading.Event()

    def drip(handler: Any, body: bytes) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not done.wait(0.05):  # a header line each time: no read of it ever times out
            try:
                handler.wfile.write(b"X-More: 1\r\n")
                handler.wfile.flush()
            except OSError:
                return

    receiver.behaviour = drip
    one = teller(builder.store, webhook(receiver, timeout=1))
    builder.run("train-a", "2026-11-02T01:00", "failed", reason="x")
    began = time.monotonic()
    told = one.tell(at("2026-11-02T01:30").timestamp())
    done.set()
    assert time.monotonic() - began < 10
    assert f"127.0.0.1:{receiver.port} gave no answer within 1s" in told.failed[0]


def test_a_new_channel_is_told_of_what_is_wrong_now_and_not_of_the_past(builder: Builder, receiver: Receiver) -> None:
    one = teller(builder.store, webhook(receiver))
    one.tell(at("2026-11-02T00:30").timestamp())
    night(builder, "2026-11-02", a="failed")
    one.tell(at("2026-11-02T07:00").timestamp())
    night(builder, "2026-11-03", b="failed")
    one.tell(at("2026-11-03T07:00").timestamp())
    with receiving() as other:
        both = teller(builder.store, webhook(receiver), webhook(other, "other"))
        both.tell(at("2026-11-03T08:00").timestamp())
        assert other.subjects == ["[e] train-b failed: 2026-11-03 03:00 +01:00"]
    assert [subject.partition(":")[0] for subject in receiver.subjects] == [
        "[e] train-a failed",
        "[e] train-b failed",
        "[e] ended",
    ]


TELL = """
import sys
from pathlib import Path
from jobs.store import LocalStore
from jobs.store.check import find_damage
from jobs.store.gc import RemovalKind, RetentionRule, execute_removal, plan_removal
from cronjobs.notify import Channel, Notify
from scheduler.notifications.tell import Teller
store, url, now = sys.argv[1:]
teller = Teller(LocalStore(Path(store)), "e", "UTC", Notify(channels=(Channel(name="hook", kind="webhook", address=url),)), {})
sys.stdin.readline()
teller.tell(float(now))
"""


def test_several_tellers_at_once_tell_each_event_once(builder: Builder, receiver: Receiver, tmp_path: Path) -> None:
    channel = webhook(receiver)
    teller(builder.store, channel).tell(at("2026-11-02T00:30").timestamp())
    for task, hour, reason in (("train-a", "01", "x"), ("train-b", "02", "y"), ("ensemble", "06", "z")):
        builder.run(task, f"2026-11-02T{hour}:00", "failed", reason=reason)
    command = [
        sys.executable,
        "-c",
        TELL,
        str(builder.store.root),
        receiver.url("/hook"),
        str(at("2026-11-02T07:00").timestamp()),
    ]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.wait(60) == 0
        assert process.stdin is not None
        process.stdin.close()
    assert sorted(document["incidents"][0]["task"] for document in (request.document for request in receiver.requests)) == [
        "ensemble",
        "train-a",
        "train-b",
    ]


def test_a_teller_that_is_killed_between_claim_and_answer_loses_nothing(builder: Builder, receiver: Receiver) -> None:
    teller(builder.store, webhook(receiver)).tell(at("2026-11-02T00:30").timestamp())
    builder.run("train-a", "2026-11-02T01:00", "failed", reason="x")
    now = at("2026-11-02T01:30").timestamp()
    command = [sys.executable, "-c", TELL, str(builder.store.root), receiver.url("/hook"), str(now)]
    victim = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)

    def kill(handler: Any, body: bytes) -> None:
        victim.send_signal(signal.SIGKILL)

    receiver.behaviour = kill
    assert victim.stdin is not None
    victim.stdin.write("\n")
    victim.stdin.close()
    assert victim.wait(60) == -signal.SIGKILL
    first = receiver.requests[-1]
    receiver.behaviour = None
    assert NotificationLedger(builder.store.files, "e").deliveries("hook")
    teller(builder.store, webhook(receiver)).tell(now + 1)
    teller(builder.store, webhook(receiver)).tell(now + 600)
    assert len(receiver.taken) == 1
    # The receiver can tell that it is the same message.
    assert receiver.taken[0].headers["Idempotency-Key"] == first.headers["Idempotency-Key"]


def test_a_claim_of_another_machine_is_taken_over_when_no_delivery_can_take_as_long(builder: Builder, receiver: Receiver) -> None:
    one = teller(builder.store, webhook(receiver))
    one.tell(at("2026-11-02T00:30").timestamp())
    builder.run("train-a", "2026-11-02T01:00", "failed", reason="x")
    now = at("2026-11-02T01:30").timestamp()
    (event,) = one.look(now)
    assert one.ledger.add_event(event)
    elsewhere = {"host": "elsewhere", "boot": "b", "pid": 1, "start": 1}
    assert one.ledger.claim("hook", event["id"], 1, {"time": "2026-11-02T01:30:00Z", "process": elsewhere})
    one.tell(now + 60)
    assert receiver.requests == []
    one.tell(now + 400)
    assert len(receiver.taken) == 1


def test_a_full_disk_is_told_once_and_what_was_told_is_written_down_afterwards(receiver: Receiver, small_disk: Path) -> None:
    builder = Builder(small_disk / "store")
    builder.revise("2026-11-02T00:00", TASKS)
    one = teller(builder.store, webhook(receiver))
    now = at("2026-11-02T01:30").timestamp()
    one.tell(now)
    assert (small_disk / "store/experiments/e/notifications/reserve").is_file()
    fill(small_disk)
    fact = Fact(ProblemKind.STORE, "full", int(now // 60), "No space left on device")
    for minute in range(1, 4):
        one.tell(now + 60 * minute, (fact,), JUDGED)
        # A watch task is another process each time: what was kept free holds what it has told.
        teller(builder.store, webhook(receiver)).tell(now + 60 * minute + 5)
    assert receiver.subjects == ["[e] store full: 2026-11-02 02:30 +01:00"]
    (small_disk / "filler").unlink()
    one.tell(now + 600, (), JUDGED)
    one.tell(now + 660, (), JUDGED)
    assert receiver.subjects[1:] == ["[e] ended: store full", "[e] all is well again"]


def test_a_store_that_is_gone_is_told_once_and_what_was_told_is_written_down_afterwards(
    builder: Builder, receiver: Receiver
) -> None:
    one = teller(builder.store, webhook(receiver))
    now = at("2026-11-02T01:30").timestamp()
    one.tell(now, (), JUDGED)
    root, aside = builder.store.root, builder.store.root.with_name("aside")
    root.rename(aside)
    root.write_text("")  # no folder: what is listed is an error, and not nothing
    for minute in range(1, 4):
        assert one.tell(now + 60 * minute, (), JUDGED).trouble
    assert [subject.partition(":")[0] for subject in receiver.subjects] == ["[e] store out of reach"]
    root.unlink()
    aside.rename(root)
    one.tell(now + 600, (), JUDGED)
    one.tell(now + 660, (), JUDGED)
    assert receiver.subjects[1:] == ["[e] ended: store out of reach", "[e] all is well again"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


def test_alerts_fire_until_it_is_over_and_are_posted_again_for_one_that_has_forgotten(
    builder: Builder, receiver: Receiver
) -> None:
    """The receiver stands in for Alertmanager's API v2."""
    one = teller(builder.store, Channel(name="am", kind="alertmanager", address=receiver.url("/prefix/")))
    one.tell(at("2026-11-02T00:30").timestamp())
    assert receiver.requests == []
    builder.run("train-a", "2026-11-02T01:00", "failed", reason="x")
    now = at("2026-11-02T01:30").timestamp()
    told = one.tell(now)
    assert receiver.requests[0].path == "/prefix/api/v2/alerts"
    (first,) = receiver.requests[0].document
    assert first["labels"] == {
        "alertname": "CronsembleIncident",
        "experiment": "e",
        "task": "train-a",
        "problem": "failed",
        "severity": "error",
        "incident": first["labels"]["incident"],
    }
    assert (first["startsAt"], first["endsAt"]) == ("2026-11-02T01:00:00Z", "2026-11-02T03:30:00Z")
    assert first["annotations"]["summary"] == "[e] train-a failed: 2026-11-02 02:00 +01:00"
    assert told.again == now + 240
    one.tell(now + 60)
    assert len(receiver.requests) == 1
    one.tell(now + 240)
    assert receiver.requests[1].document[0]["labels"] == first["labels"]
    assert receiver.requests[1].document[0]["endsAt"] == "2026-11-02T03:34:00Z"
    receiver.status = 503
    for task, slot in (("train-b", "2026-11-02T02:00"), ("ensemble", "2026-11-02T06:00"), ("train-a", "2026-11-03T01:00")):
        builder.run(task, slot)
    one.tell(at("2026-11-03T01:30").timestamp())
    receiver.status = 200
    one.tell(at("2026-11-03T01:31:30").timestamp())
    (last,) = receiver.requests[-1].document
    assert last["labels"] == first["labels"] and last["endsAt"] == "2026-11-03T01:31:30Z"
    count = len(receiver.requests)
    one.tell(at("2026-11-03T01:50").timestamp())
    assert len(receiver.requests) == count


def test_documents_of_the_ledger_are_checked_when_they_are_read(builder: Builder, receiver: Receiver) -> None:
    one = teller(builder.store, webhook(receiver))
    now = at("2026-11-02T01:30").timestamp()
    one.tell(now - HOUR)
    builder.run("train-a", "2026-11-02T01:00", "failed", reason="x")
    one.tell(now)
    for path in (builder.store.root / "experiments/e/notifications").rglob("*.json"):
        text = json.loads(path.read_text())
        assert text["schema"] == 1 and text["checksum"]
        path.write_text(path.read_text().replace('"schema": 1', '"schema": 2').replace('"schema":1', '"schema":2'))
    one.tell(now + 60)  # all of it is damaged: nothing is told twice for that
    assert len(receiver.requests) == 1


def test_gc_removes_what_is_over_and_nothing_is_told_again_for_that(builder: Builder, receiver: Receiver) -> None:
    one = teller(builder.store, webhook(receiver, events=("failed", "well")))
    one.tell(at("2026-11-02T00:30").timestamp())
    night(builder, "2026-11-02", a="failed")
    receiver.status = 500
    one.tell(at("2026-11-02T07:00").timestamp())
    receiver.status = 200
    night(builder, "2026-11-03")
    one.tell(at("2026-11-03T07:00").timestamp())
    assert receiver.subjects == ["[e] train-a failed: 2026-11-02 02:00 +01:00", "[e] all is well again"]
    folder = one.ledger.folder
    rule = RetentionRule((RemovalKind.STAGING,), 90 * DAY, 3)

    def remove(time: str) -> list[str]:
        now = at(time).timestamp()
        planned = [item for item in plan_removal(builder.store, "e", rule, now).items if "notifications" in item.name]
        assert not any(done.problem for done in execute_removal(builder.store, "e", rule, planned, now, time, "me"))
        return [item.path.name.partition("-")[0] for item in planned]

    assert remove("2026-11-03T08:00") == ["opened"]  # the try that failed
    assert len(list((folder / "events").iterdir())) == 3
    builder.revise("2026-11-03T12:00", {})  # nothing is scheduled any more
    one.tell(at("2027-03-03T07:00").timestamp())
    assert remove("2027-03-03T08:00") == ["opened", "resolved", "well", "opened", "well"]
    assert list((folder / "events").iterdir()) == []
    one.tell(at("2027-03-03T09:00").timestamp())
    teller(builder.store, *one.settings.channels).tell(at("2027-03-03T09:05").timestamp())
    assert len(receiver.taken) == 2


def test_fsck_knows_what_was_told_and_says_what_is_damaged(builder: Builder, receiver: Receiver) -> None:
    one = teller(builder.store, webhook(receiver))
    builder.run("train-a", "2026-11-02T01:00", "failed", reason="x")
    one.tell(at("2026-11-02T01:30").timestamp())

    def findings() -> list[tuple[str, str]]:
        found = find_damage(builder.store, "e", at("2026-11-02T02:00").timestamp(), True)
        return [(finding.path.name, finding.what) for finding in found if "notifications" in str(finding.path)]

    assert findings() == []
    (event,) = (one.ledger.folder / "events").iterdir()
    (delivery,) = (one.ledger.folder / "channels/hook").glob("opened*")
    event.write_text(event.read_text().replace("failed", "wailed"))
    delivery.write_text(delivery.read_text()[:-20])
    (one.ledger.folder / "events/notes.txt").touch()
    assert sorted(findings()) == sorted([(event.name, "wrong content"), ("notes.txt", "foreign"), (delivery.name, "truncated")])


def test_a_refused_member_and_its_ensemble_are_told_and_end_when_they_are_accepted(builder: Builder, receiver: Receiver) -> None:
    one = teller(builder.store, webhook(receiver, events=("refused", "well")))
    one.tell(at("2026-11-02T00:30").timestamp())
    run = builder.run("train-a", "2026-11-02T01:00", gate={"refused": "accuracy 0.51, and 0.9 before"})
    one.tell(at("2026-11-02T01:30").timestamp())
    (incident,) = receiver.requests[0].document["incidents"]
    assert (incident["kind"], incident["severity"]) == ("refused", "warning")
    assert "accuracy 0.51, and 0.9 before" in incident["reason"]
    assert incident["commands"] == [f"cronsemble show {run}", f"cronsemble accept {run}"]
    decision = {"decision": "accepted", "by": "me", "reason": "new labels", "time": "2026-11-02T01:40:00Z"}
    assert builder.store.decide(run, decision)
    one.tell(at("2026-11-02T01:45").timestamp())
    assert receiver.subjects == ["[e] train-a was refused: 2026-11-02 02:00 +01:00", "[e] all is well again"]
    builder.run("ensemble", "2026-11-02T06:00", gate={"refused": "log loss 2.1"})
    builder.run("train-b", "2026-11-02T02:00")
    one.tell(at("2026-11-02T06:30").timestamp())
    assert receiver.requests[-1].document["severity"] == "error"
