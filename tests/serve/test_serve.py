"""`serve` as a process and as a loop: owners, stops, kills, clocks, edits, a full disk; nothing runs twice or is lost unsaid."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest

from commands import run_command
from jobs.store import LocalStore
from scheduler.engines import local_revisions
from scheduler.errors import CronsembleError
from scheduler.server.journal import Journal
from scheduler.server.loop import ServerClock
from served import make_server, rows, served_since, serving, write
from stores import at

DATA = """
import os
import numpy as np
def load(hyperparameters):
    mark = {mark!r}
    if os.path.exists(mark):
        open(mark).read()  # a FIFO: whoever opens it waits
    random = np.random.default_rng(1)
    return {{"x_train": random.random((600, 4), dtype="float32"), "y_train": np.arange(600) % 3}}
"""


def blocking(folder: Path, keras3: Path, backends: str) -> Path:
    """Runs that wait in their prepare step until `mark` is removed and they are started anew."""
    os.mkfifo(folder / "mark")
    (folder / "d.py").write_text(DATA.format(mark=str(folder / "mark")))
    return write(folder, keras3, backends, "d.py:load")


def test_stopped_and_killed_it_goes_on_with_the_same_run(tmp_path: Path, keras3: Path) -> None:
    path = blocking(tmp_path, keras3, 'jax: {schedule: "0 * * * *", starting_deadline: 59m}')
    minutes = datetime.now(UTC).minute
    path.write_text(path.read_text().replace('"0 *', f'"{(minutes - 2) % 60} *'))
    served_since(path, 30)
    with serving(tmp_path) as (process, until):
        run = until("begun")["run"]
        process.send_signal(signal.SIGTERM)
        assert until("ended")["status"] == "interrupted"
        assert process.wait(30) == 0
    assert [(row.run, row.status) for row in rows(tmp_path)] == [(run, "interrupted")]
    with serving(tmp_path) as (process, until):
        assert until("resumed")["run"] == run
        process.kill()
        process.wait()
    (tmp_path / "mark").unlink()
    with serving(tmp_path) as (process, until):
        assert until("resumed")["run"] == run
        assert until("ended")["status"] == "succeeded"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert [(row.run, row.status) for row in rows(tmp_path)] == [(run, "succeeded")]


def test_a_cancelled_run_is_neither_tried_again_nor_resumed(tmp_path: Path, keras3: Path) -> None:
    path = blocking(tmp_path, keras3, 'jax: {schedule: "0 * * * *", starting_deadline: 59m, retries: 5}')
    minutes = datetime.now(UTC).minute
    path.write_text(path.read_text().replace('"0 *', f'"{(minutes - 2) % 60} *'))
    served_since(path, 30)
    with serving(tmp_path) as (process, until):
        run = until("begun")["run"]
        done = run_command("cancel", "train-jax", folder=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"{run}: cancelled\n"), done.stderr
        assert until("ended")["status"] == "interrupted"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with serving(tmp_path) as (process, until):
        until("started")
        process.send_signal(signal.SIGTERM)
        assert "resumed" not in process.communicate(timeout=30)[0]
    (row,) = rows(tmp_path)
    assert (row.run, row.status, row.evidence) == (run, "interrupted", "observed")
    assert row.reason.startswith("cancelled by ")


def test_a_second_one_says_who_runs_and_may_take_over(tmp_path: Path, keras3: Path) -> None:
    write(tmp_path, keras3, 'jax: {schedule: "0 0 1 1 *"}')
    with serving(tmp_path, "--listen", "127.0.0.1:0") as (first, until):
        port = until("listens")["port"]
        until("started")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
            assert json.load(answer)["experiments"] == ["e"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert 'cronsemble_configuration_ok{experiment="e"} 1.0' in answer.read().decode()
        second = run_command("serve", folder=tmp_path)
        assert second.returncode == 1 and f"process {first.pid}" in second.stderr and "--take-over" in second.stderr
        with serving(tmp_path, "--take-over") as (_, heard):
            heard("started")
            # The first looks at its owner's file once a minute.
            assert until("taken over") and first.wait(90) == 1


def test_what_a_cluster_runs_is_refused_unless_taken_over(tmp_path: Path, keras3: Path) -> None:
    path = write(tmp_path, keras3, 'jax: {schedule: "0 0 1 1 *"}')
    store, owner = (
        LocalStore(tmp_path / "store"),
        {"engine": "cluster:https://there/ns", "by": "you@there", "time": "2026-11-20"},
    )
    assert store.ledger.take_ownership("e", owner) is None
    server = make_server(path, Journal(False, StringIO()))
    with pytest.raises(CronsembleError, match="e is run by you@there .cluster:https://there/ns, since 2026-11-20"):
        server.begin(False)
    assert (store.ledger.owner("e") or {})["engine"] == owner["engine"]
    server.begin(True)
    assert (store.ledger.owner("e") or {})["engine"] == local_revisions.engine()


class ManualClock(ServerClock):
    """A clock that is set by hand."""

    def __init__(self, wall: float) -> None:
        self.now = wall
        self.passed = 0.0
        super().__init__(lambda: self.now, lambda: self.passed)

    def go(self, seconds: float) -> None:
        self.now += seconds
        self.passed += seconds


class SteppedServer:
    """A server whose loop the test steps, with what its journal said."""

    def __init__(self, path: Path, clock: ManualClock | None = None) -> None:
        self.out = StringIO()
        self.clock = clock or ManualClock(time.time() // 60 * 60 + 1)
        self.server = make_server(path, Journal(True, self.out), self.clock)
        self.server.begin(False)
        self.server.look()

    def events(self) -> list[tuple[str, str]]:
        return [(line["event"], line["text"]) for line in map(json.loads, self.out.getvalue().splitlines())]

    def names(self) -> list[str]:
        return [event for event, _ in self.events()]

    def settle(self) -> None:
        """Until every run that began has ended and was heard of."""
        for served in self.server.experiments:
            for thread in list(served._threads.values()):
                thread.join()
        self.server.look()

    def minute(self) -> None:
        self.clock.go(60)
        self.server.look()


@pytest.fixture
def start_server() -> Iterator[Callable[..., SteppedServer]]:
    servers: list[SteppedServer] = []

    def make(path: Path, clock: ManualClock | None = None) -> SteppedServer:
        servers.append(SteppedServer(path, clock))
        return servers[-1]

    yield make
    for server in servers:
        for served in server.server.experiments:
            served.stop(server.clock.now)


EVERY = 'jax: {schedule: "* * * * *", starting_deadline: 10m}'


def test_a_clock_that_is_set_back_and_forth_runs_nothing_twice(
    tmp_path: Path, keras3: Path, start_server: Callable[..., SteppedServer]
) -> None:
    stepped_server = start_server(write(tmp_path, keras3, EVERY))
    stepped_server.minute()
    stepped_server.settle()
    stepped_server.clock.now -= 3600
    stepped_server.server.look()
    stepped_server.clock.go(58)
    stepped_server.server.look()
    stepped_server.settle()
    stepped_server.clock.now += 3600
    stepped_server.server.look()
    stepped_server.settle()
    assert stepped_server.names().count("clock") == 2
    runs = Counter(row.minute for row in rows(tmp_path, stepped_server.clock.now) if row.run)
    assert set(runs.values()) == {1} and stepped_server.names().count("begun") == len(runs)


def test_a_machine_that_slept_makes_up_for_the_latest_time_alone(
    tmp_path: Path, keras3: Path, start_server: Callable[..., SteppedServer]
) -> None:
    stepped_server = start_server(write(tmp_path, keras3, EVERY))
    stepped_server.clock.now += 5 * 60
    stepped_server.server.look()
    stepped_server.settle()
    history_rows = rows(tmp_path, stepped_server.clock.now)
    assert [row.status for row in history_rows] == ["failed", "missed", "missed", "missed", "missed"]
    assert all(row.reason for row in history_rows)


def test_an_edited_configuration_holds_or_is_refused(
    tmp_path: Path, keras3: Path, start_server: Callable[..., SteppedServer]
) -> None:
    path = write(tmp_path, keras3, EVERY)
    stepped_server = start_server(path)
    good = path.read_text()
    path.write_text(good.replace("* * * * *", "* * * *"))
    stepped_server.minute()
    stepped_server.settle()
    assert "refused" in stepped_server.names() and "config.yaml" in dict(stepped_server.events())["refused"]
    stepped_server.minute()
    stepped_server.settle()
    # Said once; and the old one goes on.
    assert stepped_server.names().count("refused") == 1 and stepped_server.names().count("begun") == 2
    path.write_text(good.replace("* * * * *", "0 0 1 1 *"))
    stepped_server.minute()
    stepped_server.settle()
    assert "revised" in stepped_server.names()
    stepped_server.minute()
    assert stepped_server.names().count("begun") == 3
    assert len(LocalStore(tmp_path / "store").ledger.revisions("e")) == 2
    path.unlink()
    stepped_server.minute()
    assert stepped_server.names().count("refused") == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [("suspend: true, starting_deadline: 10m", "starting_deadline: 10m"), ("starting_deadline: 1s", "starting_deadline: 10m")],
)
def test_a_slot_that_an_edit_releases_is_announced_before_it_starts(
    tmp_path: Path, keras3: Path, start_server: Callable[..., SteppedServer], before: str, after: str
) -> None:
    path = write(tmp_path, keras3, f"jax: {{schedule: '0 0 1 1 *', {before}}}")
    passed = at("2027-01-01T00:00").timestamp()
    clock = ManualClock(passed - 119)
    stepped_server = start_server(path, clock)
    # With a deadline of a second the time is missed while the machine sleeps.
    clock.now = passed + 61
    stepped_server.server.look()
    assert "begun" not in stepped_server.names() and "late" not in stepped_server.names()
    path.write_text(path.read_text().replace(before, after))
    stepped_server.minute()
    stepped_server.settle()
    names = [name for name in stepped_server.names() if name in ("revised", "late", "begun")]
    assert names == ["revised", "late", "begun"]
    expected = "2027-01-01T00:00Z starts at once, 2m 1s after its time: it is within its starting deadline of 10m"
    assert dict(stepped_server.events())["late"] == expected


def test_forbid_waits_and_replace_ends_the_run_before(
    tmp_path: Path, keras3: Path, start_server: Callable[..., SteppedServer]
) -> None:
    members = 'a: {backend: jax, schedule: "* * * * *"}, b: {backend: jax, schedule: "* * * * *", concurrency: replace}'
    stepped_server = start_server(blocking(tmp_path, keras3, members))
    for _ in range(3):
        stepped_server.minute()
    (served,) = stepped_server.server.experiments
    assert sorted(name for name, _ in served._threads)[0] == "train-a"
    assert [name for name, _ in served._threads].count("train-a") == 1
    (tmp_path / "mark").unlink()
    for (task, minute), thread in sorted(served._threads.items()):
        if task == "train-b" and minute != max(at for name, at in served._threads if name == "train-b"):
            thread.join()
    stepped_server.server.look()
    for served in stepped_server.server.experiments:
        served.engine.interrupt()
    stepped_server.settle()
    shown = {(row.task, row.minute): row for row in rows(tmp_path, stepped_server.clock.now)}
    first = int(stepped_server.clock.now // 60) - 2
    assert shown["train-a", first + 1].status == "skipped" and "concurrency: forbid" in shown["train-a", first + 1].reason
    assert shown["train-b", first].status == "interrupted" and "concurrency: replace" in shown["train-b", first].reason


def test_a_full_disk_delays_a_start_and_is_said(
    small_disk: Path, keras3: Path, start_server: Callable[..., SteppedServer]
) -> None:
    stepped_server = start_server(write(small_disk, keras3, EVERY))
    filler = small_disk / "filler"
    with suppress(OSError), open(filler, "wb") as file:
        while True:
            file.write(b"0" * 4096)
    stepped_server.minute()
    stepped_server.settle()
    assert "begun" not in stepped_server.names() and "No space left" in dict(stepped_server.events())["trouble"]
    filler.unlink()
    stepped_server.clock.go(20)
    stepped_server.server.look()
    stepped_server.settle()
    assert stepped_server.names().count("begun") == 1
    assert [row.status for row in rows(small_disk, stepped_server.clock.now)] == ["failed"]


DRIVER = """
import sys, time
from pathlib import Path
from scheduler.config import load
from scheduler.server.journal import Journal
from scheduler.server.metrics import Metrics
from scheduler.server.loop import ScheduleServer, ServerClock
base, pace = float(sys.argv[2]), float(sys.argv[3])
class FastClock(ServerClock):
    def wait(self, changed, happened, seconds):
        changed.wait_for(happened, seconds / pace)
now = lambda: base + (time.time() - base) * pace
server = ScheduleServer([load(Path(sys.argv[1]))], 2, Journal(True), Metrics(), FastClock(now, now))
server.begin(False)
server.run()
"""


def test_killed_again_and_again_every_slot_runs_once_or_has_its_reason(tmp_path: Path, keras3: Path) -> None:
    """A clock that goes thirty times as fast, and kills at any moment, until five runs have begun."""
    path = write(tmp_path, keras3, 'a: {backend: jax, schedule: "* * * * *"}, b: {backend: jax, schedule: "*/2 * * * *"}')
    base, pace, dice = time.time(), 30.0, random.Random(7)
    begun, kills = set[str](), 0
    # On a busy machine a start may find so many missed slots that it is killed before it begins a run.
    while kills < 5 or len(begun) < 5:
        command = [sys.executable, "-c", DRIVER, str(path), str(base), str(pace)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process.stdout as lines:
            for wanted, line in enumerate(lines):
                if wanted > dice.randrange(4, 12):
                    break
                event = json.loads(line)
                assert event["event"] != "trouble", line
                if event["event"] == "begun":
                    begun.add(event["run"])
            process.kill()
        process.wait()
        kills += 1
    # What passed since the last kill is told by the next start.
    now = base + (time.time() - base) * pace
    last = make_server(path, Journal(True, StringIO()), ManualClock(now))
    last.begin(False)
    last.look()
    last.experiments[0].stop(now)
    shown = rows(tmp_path, now)
    assert set(Counter((row.task, row.minute) for row in shown).values()) == {1}
    assert {row.run for row in shown if row.run} >= begun
    for row in shown:
        assert row.run is None or row.attempt == 1
        assert row.status in ("failed", "interrupted", "died", "running", "due", "missed", "skipped")
        assert row.run or row.status == "due" or (row.reason and "no record of why" not in row.reason), row
