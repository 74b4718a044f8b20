"""Two weeks in which everything goes wrong once that is told at all: each is told once, by two who look, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cronjobs.notify import Channel, Notify
from jobs.store.notifications import NotificationLedger
from notifications.receivers import Receiver, receiving
from scheduler.history.notes import NoteEvent
from scheduler.notifications.incidents import Fact, ProblemKind
from scheduler.notifications.tell import Teller
from scheduler.watch.look_times import LookTimes
from stores import Builder, at

TASKS = {"train-a": {"schedule": "0 1 * * *"}, "train-b": {"schedule": "0 2 * * *"}, "ensemble": {"schedule": "0 6 * * *"}}
HOURS = {"train-a": 1, "train-b": 2, "ensemble": 6}
LOOKS = LookTimes("30 * * * *", "UTC")
EVENTS = (*(str(kind) for kind in ProblemKind), "well")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def fate(builder: Builder, task: str, day: int, slot: str) -> None:
    """What becomes of a slot on a day of November."""
    members = [{"member": "a", "run": None, "accuracy": 0.9}]
    if (day, task) == (3, "train-a"):
        builder.run(task, slot, "failed", reason="ValueError: bad data")
    elif (day, task) == (4, "train-b"):
        builder.run(task, slot, "interrupted", reason="serve was stopped")
    elif (day, task) == (5, "train-b"):
        builder.run(task, slot, lasts=25.5 * 3600)  # it still runs at the next slot, which is skipped
    elif (day, task) in ((6, "train-b"), (7, "train-a")):
        return  # skipped; missed
    elif (day, task) == (8, "train-a"):
        builder.run(task, slot, gate={"refused": "accuracy 0.51, and 0.9 before"})
    elif (day, task) == (9, "ensemble"):
        builder.run(task, slot, gate={"refused": "log loss 2.1"}, members=members)
    elif (day, task) == (10, "ensemble"):
        left_out = [*members, {"member": "b", "left_out": "no model"}]
        builder.run(task, slot, members=left_out, ensemble={"members": {"a": {"weight": 1.0}}})
    elif (day, task) == (11, "ensemble"):
        builder.run(task, slot, "no quorum", reason="no quorum: one of two members")
    elif (day, task) == (12, "train-b"):
        run = builder.run(task, slot)
        record = builder.store.run_folder(run) / "result" / "record.json"
        record.chmod(0o644)
        record.write_text(record.read_text()[:40])
    elif (day, task) == (13, "train-a"):
        builder.run(task, slot, "died", reason="its process ended without recording why")
    else:
        builder.run(task, slot)


def test_each_kind_is_told_once_and_nothing_else(small_disk: Path, receiver: Receiver) -> None:
    builder = Builder(small_disk / "store")
    builder.revise("2026-11-02T00:00", TASKS)
    builder.note("2026-11-01T00:00", NoteEvent.STARTED)
    settings = Notify(channels=(Channel(name="hook", kind="webhook", address=receiver.url("/hook"), events=EVENTS),))
    serve = Teller(builder.store, "e", "UTC", settings, {})
    start, filler = at("2026-11-02T00:00"), small_disk / "filler"
    for hour in range(14 * 24):
        moment = start + timedelta(hours=hour, minutes=30)
        for task, own in HOURS.items():
            if moment.hour == own:
                fate(builder, task, moment.day, moment.strftime("%Y-%m-%dT%H:00"))
        if moment.day == 14 and moment.hour in (8, 12):
            if moment.hour == 8:
                with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
                    while True:
                        file.write(b"\0" * 4096)
            else:
                filler.unlink()
        facts = []
        if moment.day == 14 and 15 <= moment.hour < 20:
            facts = [Fact(ProblemKind.CONFIGURATION, "backends: unknown key", int(at("2026-11-14T15:10").timestamp() // 60), "x")]
        serve.tell(moment.timestamp(), facts, (ProblemKind.STORE, ProblemKind.CONFIGURATION))
        # A pod of a watch, in the same minute.
        pod = Teller(builder.store, "e", "UTC", settings, {}, looks=LOOKS.last_two)
        pod.tell(moment.timestamp() + 20, (), (ProblemKind.STORE,))
    well = "[e] all is well again"
    assert receiver.subjects == [
        "[e] train-a failed: 2026-11-03 01:00 +00:00",
        well,
        "[e] train-b was interrupted: 2026-11-04 02:00 +00:00",
        well,
        "[e] train-b was skipped: 2026-11-06 02:00 +00:00",
        "[e] train-a was missed: 2026-11-07 01:00 +00:00",
        "[e] train-a was refused: 2026-11-08 01:00 +00:00",
        well,
        "[e] ensemble was refused: 2026-11-09 06:00 +00:00",
        "[e] ensemble is degraded: 2026-11-10 06:00 +00:00",
        "[e] ensemble had no quorum: 2026-11-11 06:00 +00:00",
        "[e] store damaged: 2026-11-12 02:00 +00:00",
        "[e] train-a died: 2026-11-13 01:00 +00:00",
        well,
        "[e] store full: 2026-11-14 07:30 +00:00",
        well,
        "[e] configuration refused: 2026-11-14 15:10 +00:00",
        well,
    ]


KILLED_WHEN_TAKEN = """
import os, sys
from pathlib import Path
from jobs.store import LocalStore
from cronjobs.notify import Channel, Notify
from scheduler.notifications.tell import Teller
store, folder, now = sys.argv[1:]
program = 'cat >> told; echo >> told; echo "$CRONSEMBLE_MESSAGE" >> ids; [ -e spare ] || kill -9 $PPID'
channel = Channel(name="desk", kind="command", command=("sh", "-c", program))
Teller(LocalStore(Path(store)), "e", "UTC", Notify(channels=(channel,)), os.environ, folder=Path(folder)).tell(float(now))
"""


def test_whoever_is_killed_after_a_message_was_taken_has_it_sent_again_with_the_same_id(tmp_path: Path) -> None:
    """The one moment in which something may be told twice: taken, and not yet written down."""
    builder = Builder(tmp_path / "store")
    builder.revise("2026-11-02T00:00", TASKS)

    def tell(time: str) -> int:
        arguments = [sys.executable, "-c", KILLED_WHEN_TAKEN, str(builder.store.root), str(tmp_path), str(at(time).timestamp())]
        return subprocess.run(arguments, check=False).returncode

    assert tell("2026-11-02T00:30") == 0
    builder.run("train-a", "2026-11-02T01:00", "failed", reason="x")
    assert tell("2026-11-02T01:30") == -9
    (delivery,) = NotificationLedger(builder.store.files, "e").deliveries("desk").values()
    assert not delivery.is_done
    (tmp_path / "spare").touch()
    assert tell("2026-11-02T01:31") == tell("2026-11-02T01:32") == 0
    ids = (tmp_path / "ids").read_text().split()
    assert len(ids) == 2 and len(set(ids)) == 1
