"""A store that cannot be written: told once where anybody remembers that, else by few of many looks; full, until it is not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronjobs.notify import Channel, Notify
from notifications.receivers import Receiver, receiving
from scheduler.notifications.incidents import ProblemKind
from scheduler.notifications.tell import Teller
from scheduler.notifications.unwritten import is_turn
from scheduler.watch.look_times import LookTimes
from stores import Builder, at

HOUR, DAY = 3600.0, 86400.0
TIMES = LookTimes("*/10 * * * *", "Europe/Berlin")
BEGIN = at("2026-11-02T01:30").timestamp()
TASKS = {"train-a": {"schedule": "0 0 1 1 *"}}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def builder(small_disk: Path) -> Builder:
    builder = Builder(small_disk / "store")
    builder.revise("2026-11-02T00:00", TASKS)
    return builder


def tell(builder: Builder, receiver: Receiver, now: float, kind: str = "webhook", **how: Any) -> None:
    """A look by a process of its own, as a watch's pod makes it unless it has a memory."""
    channel = Channel(name="hook", kind=kind, address=receiver.url("/hook"))
    how.setdefault("looks", None if "memory" in how else TIMES.last_two)
    one = Teller(builder.store, "e", "UTC", Notify(channels=(channel,)), {}, **how)
    one.tell(now, (), (ProblemKind.STORE,))


def remount(builder: Builder, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(builder.store.root.parent)], check=True)


def fill(builder: Builder) -> Path:
    path = builder.store.root.parent / "filler"
    with open(path, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(b"\0" * 4096)
    return path


def test_pods_of_a_watch_tell_few_times_that_a_store_is_read_only(builder: Builder, receiver: Receiver) -> None:
    tell(builder, receiver, BEGIN + 3)
    remount(builder, "ro")
    told = []
    for look in range(1, 3 * 144 + 2):
        tell(builder, receiver, BEGIN + look * 600 + look % 7)
        told += [look / 6] * (len(receiver.requests) - len(told))
    # Hours after the last look that was written down: the first look, and the first after one hour, six, and each day.
    assert told == [1 / 6, 1 + 1 / 6, 6 + 1 / 6, 24 + 1 / 6, 48 + 1 / 6, 72 + 1 / 6]
    first = receiver.taken[0].document
    assert first["subject"].startswith("[e] store out of reach: 2026-11-02 01:30")
    assert "while it lasts it is told again" in first["text"] and "Read-only file system" in first["text"]
    assert {request.headers["Idempotency-Key"] for request in receiver.taken} == {first["id"]}
    remount(builder, "rw")
    tell(builder, receiver, BEGIN + 4 * DAY)
    assert len(receiver.requests) == 6


def test_a_machine_remembers_it_and_writes_it_down_when_it_can(builder: Builder, receiver: Receiver, tmp_path: Path) -> None:
    memory = tmp_path / "cache" / "memory.json"
    tell(builder, receiver, BEGIN, memory=memory)
    remount(builder, "ro")
    for look in range(1, 50):
        tell(builder, receiver, BEGIN + look * HOUR, memory=memory)
    (subject,) = receiver.subjects
    assert subject.startswith("[e] store out of reach") and memory.exists()
    remount(builder, "rw")
    for look in range(50, 55):
        tell(builder, receiver, BEGIN + look * HOUR, memory=memory)
    assert receiver.subjects[1:] == ["[e] ended: store out of reach", "[e] all is well again"] and not memory.exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"facts": [{"kind": "x"}, 1], "told": [[1]]}', '{"facts": 3}'])
def test_a_damaged_memory_is_none(builder: Builder, receiver: Receiver, tmp_path: Path, text: str) -> None:
    memory = tmp_path / "memory.json"
    memory.write_text(text)
    remount(builder, "ro")
    for look in range(3):
        tell(builder, receiver, BEGIN + look * HOUR, memory=memory)
    assert len(receiver.taken) == 1


def test_a_full_store_is_told_once_by_pods_and_its_end_when_it_has_come(builder: Builder, receiver: Receiver) -> None:
    tell(builder, receiver, BEGIN)
    filler = fill(builder)
    for look in range(1, 20):
        tell(builder, receiver, BEGIN + look * 600)
    assert [subject.partition(":")[0] for subject in receiver.subjects] == ["[e] store full"]
    filler.unlink()
    for look in range(20, 25):
        tell(builder, receiver, BEGIN + look * 600)
    assert receiver.subjects[1:] == ["[e] ended: store full", "[e] all is well again"]


def test_a_full_store_is_told_before_a_write_fails(builder: Builder, receiver: Receiver) -> None:
    tell(builder, receiver, BEGIN)
    with open(fill(builder), "r+b") as file:
        file.truncate(file.seek(0, 2) - 128 * 1024)
    tell(builder, receiver, BEGIN + 600)
    (request,) = receiver.taken
    assert "store full" in request.document["subject"] and "KiB are free" in request.document["text"]
    assert "cronsemble gc" in request.document["text"]


def test_what_is_full_to_the_last_byte_is_not_told_again_by_those_who_read_that_it_was(
    builder: Builder, receiver: Receiver
) -> None:
    tell(builder, receiver, BEGIN)
    fill(builder)
    tell(builder, receiver, BEGIN + 600)
    with open(builder.store.root.parent / "more", "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(b"\0" * 4096)
    for look in range(2, 200):
        tell(builder, receiver, BEGIN + look * 600)
    assert len(receiver.taken) == 1


def test_an_alert_is_one_and_posted_at_each_look(builder: Builder, receiver: Receiver) -> None:
    tell(builder, receiver, BEGIN, kind="alertmanager")
    remount(builder, "ro")
    for look in range(1, 10):
        tell(builder, receiver, BEGIN + look * 600, kind="alertmanager")
    assert len(receiver.requests) == 9
    assert len({str(request.document[0]["labels"]) for request in receiver.requests}) == 1


def test_of_a_store_that_cannot_even_be_read_the_first_look_of_an_hour_tells() -> None:
    looks = [TIMES.last_two(BEGIN + 600 * look + 5) for look in range(60)]
    assert sum(is_turn(times, None) for times in looks) == 10
    assert is_turn(None, None) and is_turn(None, BEGIN)


@given(
    st.sampled_from(
        ["* * * * *", "*/10 * * * *", "0 * * * *", "5 */7 * * *", "0 6 * * *", "0 6 * * 1", "@every 90m", "30 2 * * *"]
    ),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
    st.integers(0, 400 * 86400),
    st.floats(0, 1),
)
def test_of_all_looks_the_first_tells_and_few_others(schedule: str, timezone: str, later: int, late: float) -> None:
    times = LookTimes(schedule, timezone)
    last = times.following(BEGIN + later)
    assert last is not None
    looks, now = [], last
    while now < last + 4 * DAY or len(looks) < 3:
        following = times.following(now)
        assert following is not None
        looks.append(following)
        now = following
        if len(looks) > 700:
            break
    # A look begins a little late, and writes down its own time.
    delay = late * min(looks[0] - last, 60) * 0.9
    told = [is_turn(times.last_two(look + delay), last + delay) for look in looks]
    assert told[0]
    assert sum(told) <= 1 + 2 + (looks[-1] - last) / DAY


def test_times_of_looks() -> None:
    times = LookTimes("0 6 * * 1", "Europe/Berlin")
    noon = at("2026-11-25T12:00").timestamp()
    assert times.last_two(noon) == (at("2026-11-16T05:00").timestamp(), at("2026-11-23T05:00").timestamp())
    assert times.following(noon) == at("2026-11-30T05:00").timestamp()
    for broken in (
        LookTimes("", "UTC"),
        LookTimes("no", "UTC"),
        LookTimes("0 6 * * *", "Nowhere/At_all"),
        LookTimes("0 0 31 2 *", "UTC"),
    ):
        assert broken.last_two(noon) is None and broken.following(noon) is None
