"""Retries outlive `serve`: a try that failed with retries left is not the end, whoever starts next."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import CLI, run_command
from cronjobs.experiment import Member
from jobs import contract as c
from jobs.contract import RunId, Status
from jobs.store import LocalStore, Run
from jobs.store.files import publish_bytes, to_json
from jobs.store.open_runs import RunState, run_state, seconds_until_try
from jobs.store.process_identity import process_identity
from scheduler.config import load
from scheduler.server.journal import Journal
from scheduler.server.loop import ServerClock
from scheduler.server.run_thread import RunThread
from served import make_server, rows, served_since, serving, write
from stores import ELSEWHERE, iso

FAILS = """
import os
import numpy as np
def load(hyperparameters):
    if os.path.exists({mark!r}):
        raise RuntimeError("not yet")
    random = np.random.default_rng(1)
    return {{"x_train": random.random((600, 4), dtype="float32"), "y_train": np.arange(600) % 3}}
"""


def failing(folder: Path, keras3: Path, retries: int) -> Path:
    """A run that is due and fails until `mark` is removed."""
    (folder / "mark").touch()
    (folder / "d.py").write_text(FAILS.format(mark=str(folder / "mark")))
    minute = (datetime.now(UTC).minute - 2) % 60
    backend = f'jax: {{schedule: "{minute} * * * *", starting_deadline: 59m, retries: {retries}}}'
    path = write(folder, keras3, backend, "d.py:load")
    served_since(path, 30)
    return path


def test_a_stop_and_a_kill_between_tries_lose_none(tmp_path: Path, keras3: Path) -> None:
    failing(tmp_path, keras3, 2)
    with serving(tmp_path) as (process, until):
        run = until("retry")["run"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with serving(tmp_path) as (process, until):
        assert until("resumed")["run"] == run
        # The back-off goes on where it was.
        assert "try 2 of 3 failed" in until("retry")["text"]
        process.kill()
        process.wait()
    (tmp_path / "mark").unlink()
    with serving(tmp_path) as (process, until):
        assert until("resumed")["run"] == run
        ended = until("ended")
        assert (ended["status"], ended["try_number"], ended["max_tries"]) == ("succeeded", 3, 3)
    assert [(row.run, row.status) for row in rows(tmp_path)] == [(run, "succeeded")]


def test_after_the_last_try_there_is_none(tmp_path: Path, keras3: Path) -> None:
    failing(tmp_path, keras3, 0)
    for event in ("ended", "started"):
        with serving(tmp_path) as (process, until):
            until(event)
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None and "resumed" not in process.stdout.read()
    (row,) = rows(tmp_path)
    assert row.status == "failed" and len(LocalStore(tmp_path / "store").read(RunId(row.minute, 1, "e", "train-jax")).tries) == 1


def test_of_many_that_start_after_a_crash_one_goes_on(tmp_path: Path, keras3: Path) -> None:
    failing(tmp_path, keras3, 5)
    with serving(tmp_path) as (process, until):
        until("retry")
        process.kill()
        process.wait()
    command = [*CLI, "serve", "--log-format", "json"]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) for _ in range(4)]
    try:
        refused = []
        while len(refused) < 3:
            refused += [process for process in started if process not in refused and process.poll() is not None]
        assert {process.returncode for process in refused} == {1}
        (owner,) = [process for process in started if process not in refused]
        for process in refused:
            out, errors = process.communicate()
            assert "started" not in out and f"process {owner.pid}," in errors
        assert owner.stdout is not None
        assert "resumed" in {json.loads(line)["event"] for _, line in zip(range(2), owner.stdout, strict=False)}
    finally:
        for process in started:
            process.kill()
            process.communicate()


# -- which runs go on


SETTINGS: dict[str, Any] = {"retries": 1, "deadline": 3600}
RUN = RunId(29_924_640, 1, "e", "train-jax")
BEGAN = RUN.minute * 60.0
LOCAL = {"runtime": {"python": "p"}, "kind": "scheduled", "retries": 1}
DEAD = {**process_identity(), "start": 1}
FAILED, INTERRUPTED = {"status": "failed", "reason": "r"}, {"status": "interrupted", "reason": "r"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Member:
    path = write(tmp_path_factory.mktemp("settings"), Path(sys.executable), 'jax: {schedule: "* * * * *"}')
    return replace(load(path).members["jax"], **SETTINGS)


def store_run(root: Path, process: dict[str, Any], end: dict[str, Any] | None, **start: Any) -> Run:
    """A run with one try of that process."""
    store = LocalStore(root)
    store.claim_attempt(RUN, {"kind": "scheduled", "time": iso(BEGAN), "process": process})
    store.begin_try(RUN, "a", {**LOCAL, "time": iso(BEGAN), "process": process, **start})
    if end is not None:
        publish_bytes(store.try_folder(RUN, "a") / c.END, to_json({"time": iso(BEGAN + 5), **end}))
    return store.read(RUN)


@pytest.mark.parametrize(
    ("process", "end", "expected"),
    [
        (DEAD, FAILED, RunState.UNFINISHED),
        (DEAD, INTERRUPTED, RunState.UNFINISHED),
        (DEAD, None, RunState.UNFINISHED),
        # Of another machine, which may make the next try as well: whoever claims it first does.
        (ELSEWHERE, FAILED, RunState.UNFINISHED),
        (ELSEWHERE, INTERRUPTED, RunState.UNFINISHED),
        (ELSEWHERE, None, RunState.ELSEWHERE),
        # A process of this machine that waits for its next try, or makes one.
        (process_identity(), FAILED, RunState.ELSEWHERE),
        (process_identity(), None, RunState.ELSEWHERE),
        (DEAD, {**FAILED, "code": 3}, RunState.ENDED),
        (DEAD, {**INTERRUPTED, "final": True}, RunState.ENDED),
    ],
)
def test_which_runs_go_on(
    tmp_path: Path, settings: Member, process: dict[str, Any], end: dict[str, Any] | None, expected: RunState
) -> None:
    run = store_run(tmp_path, process, end)
    assert run_state(run, settings.deadline, 1, DEAD, BEGAN + 60) == expected
    late = RunState.ENDED if run.status != Status.RUNNING or process == ELSEWHERE else expected
    assert run_state(run, settings.deadline, 1, DEAD, BEGAN + 3600 + 300) == late


def test_a_claimed_try_of_another_machine_is_its_own(tmp_path: Path, settings: Member) -> None:
    store_run(tmp_path, ELSEWHERE, FAILED)
    store = LocalStore(tmp_path)
    assert store.claim_try(RUN, 2, {"process": ELSEWHERE})
    assert run_state(store.read(RUN), settings.deadline, 1, DEAD, BEGAN + 60) == RunState.ELSEWHERE


def test_the_tries_of_a_job_are_its_clusters(tmp_path: Path, settings: Member) -> None:
    store = LocalStore(tmp_path)
    store.begin_try(RUN, "pod", {"kind": "scheduled", "time": iso(BEGAN), "retries": 1, "process": ELSEWHERE})
    publish_bytes(store.try_folder(RUN, "pod") / c.END, to_json({**FAILED, "time": iso(BEGAN)}))
    assert run_state(store.read(RUN), settings.deadline, 1, DEAD, BEGAN + 60) == RunState.ENDED


@given(back_off=st.floats(0, 600), passed=st.floats(-1e6, 1e6))
def test_a_back_off_goes_on_where_it_was(back_off: float, passed: float) -> None:
    """Never longer than it is, whatever the clocks say, and over once it has passed."""
    tries = ({"name": "a", "start": {}, "end": {**FAILED, "time": iso(BEGAN)}, "damaged": ""},)
    seconds = seconds_until_try(Run(RUN, Path(), Status.FAILED, tries=tries), back_off, BEGAN + passed)
    assert 0 <= seconds <= back_off
    assert seconds == pytest.approx(min(back_off, max(0.0, back_off - passed)), abs=0.01)


def test_a_run_that_waits_for_its_next_try_can_be_cancelled(tmp_path: Path, keras3: Path) -> None:
    failing(tmp_path, keras3, 5)
    with serving(tmp_path) as (process, until):
        run = until("retry")["run"]
        process.kill()
        process.wait()
    done = run_command("cancel", "train-jax", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{run}: cancelled\n"), done.stderr
    with serving(tmp_path) as (process, until):
        until("started")
        process.send_signal(signal.SIGTERM)
        assert "resumed" not in process.communicate(timeout=30)[0]
    (row,) = rows(tmp_path)
    assert (row.run, row.status) == (run, "interrupted") and row.reason.startswith("cancelled by ")


FILLS = """
def load(hyperparameters):
    try:
        with open({filler!r}, "wb", buffering=0) as file:
            while file.write(b"0" * 4096):
                pass
    except OSError:
        pass
    raise RuntimeError("the disk is full now")
"""


def test_a_full_disk_costs_no_end_and_begins_nothing_anew(small_disk: Path, keras3: Path) -> None:
    """A run fills the disk: how it ends is known at once, and written when there is room; meanwhile nothing is begun."""
    filler = small_disk / "filler"
    (small_disk / "d.py").write_text(FILLS.format(filler=str(filler)))
    backend = 'jax: {schedule: "* * * * *", starting_deadline: 30s, retries: 1}'
    path = write(small_disk, keras3, backend, "d.py:load")
    now, out = [time.time() // 60 * 60 + 1], StringIO()
    server = make_server(path, Journal(True, out), ServerClock(lambda: now[0], lambda: now[0]))
    server.begin(False)
    (served,) = server.experiments
    served.engine.back_off = lambda _: 0.0

    def look(seconds: float) -> list[str]:
        """The events of the journal after some time, once each run has ended that began then."""
        now[0] += seconds
        server.look()
        for thread in list(served._threads.values()):
            thread.join()
        server.look()
        return [json.loads(line)["event"] for line in out.getvalue().splitlines()]

    try:
        events = look(60)
        assert (events.count("begun"), events.count("retry"), events.count("ended")) == (1, 1, 1)
        assert served.engine.ends.unwritten()
        for _ in range(5):
            events = look(10)
        assert (events.count("begun"), events.count("resumed"), events.count("ended")) == (1, 0, 1)
        filler.unlink()
        assert look(5).count("recorded") == 1 and not served.engine.ends.unwritten()
        (run,) = LocalStore(small_disk / "store").runs("e", "train-jax")
        assert (run.status, len(run.tries)) == (Status.FAILED, 2) and "No space left" in run.reason
        assert all(one_try["end"] for one_try in run.tries)
        assert look(15).count("resumed") == 0 and run.id.minute not in served.tasks["train-jax"].active
    finally:
        served.stop(now[0])


def test_no_more_threads_delay_a_start(tmp_path: Path, keras3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread of a run cannot be started: its slot is due again, and is no run that seems to go on."""
    path = write(tmp_path, keras3, 'jax: {schedule: "* * * * *", starting_deadline: 10m}')
    now, out = [time.time() // 60 * 60 + 1], StringIO()
    server = make_server(path, Journal(True, out), ServerClock(lambda: now[0], lambda: now[0]))
    server.begin(False)
    (served,) = server.experiments
    with monkeypatch.context() as patch:
        patch.setattr(RunThread, "start", no_thread)
        now[0] += 60
        server.look()
    assert not served.is_busy and "can't start new thread" in out.getvalue()
    now[0] += 20
    server.look()
    for thread in list(served._threads.values()):
        thread.join()
    server.look()
    assert [row.status for row in rows(tmp_path, now[0]) if row.run] == ["failed"]
    served.stop(now[0])


def no_thread(thread: threading.Thread) -> None:
    """As Python says it where the system has no more; a process cannot be brought to that without the others of this machine."""
    raise RuntimeError("can't start new thread")
