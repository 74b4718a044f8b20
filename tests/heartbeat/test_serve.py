"""`serve` keeps its checks and pings for its runs; killed between two slots, it is missed within the grace and a minute."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from heartbeat.server import API_KEY, PING_KEY, StandIn, stand_in
from scheduler.config import load
from scheduler.server.heartbeat import ServedHeartbeat
from scheduler.server.journal import Journal
from served import rows, served_since, serving, write

FAILS = """
import os
def load(hyperparameters):
    print("no table today")
    raise RuntimeError("not yet")
"""
TRAINS = """
import glob, os
import numpy as np
def load(hyperparameters):
    seen = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            seen.append(open(path).read())
        except OSError:
            pass
    seen += [f"{name}={value}" for name, value in os.environ.items()]
    seen.append(open(f"/proc/{os.getppid()}/environ").read())
    with open(os.environ["SEEN"], "w") as file:
        file.write("\\n".join(seen))
    random = np.random.default_rng(1)
    return {"x_train": random.random((600, 4), dtype="float32"), "y_train": np.arange(600) % 3}
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setenv("HEALTHCHECKS_API_KEY", API_KEY)
    monkeypatch.setenv("PROJECT_PING_KEY", PING_KEY)
    with stand_in() as started:
        yield started


def due(folder: Path, keras3: Path, server: StandIn, source: str, more: str = "") -> Path:
    """A configuration with a run that is due; its next slot is almost an hour away."""
    (folder / "d.py").write_text(source)
    minute = (datetime.now(UTC).minute - 2) % 60
    path = write(folder, keras3, f'jax: {{schedule: "{minute} * * * *", starting_deadline: 59m{more}}}', "d.py:load")
    with path.open("a") as file:
        file.write(f"heartbeat: {{server: {server.url}, ping_key: {{secret: hc, key: PROJECT_PING_KEY}}}}\n")
    served_since(path, 30)
    return path


def wait_for(happened: Callable[[], Any], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.holds("heartbeat-secret")
def test_a_run_pings_and_a_serve_that_is_killed_is_missed(tmp_path: Path, keras3: Path, server: StandIn) -> None:
    path = due(tmp_path, keras3, server, TRAINS, ", deadline: 10m, env: {SEEN: " + str(tmp_path / "seen") + "}")
    said = []
    with serving(tmp_path) as (process, until):
        said.append(until("heartbeat")["text"])
        assert until("ended")["status"] == "succeeded"
        check = server.of("e-train-jax")
        wait_for(lambda: len([ping for ping in check.pings if ping.rid]) == 2)
        schedule = load(path).members["jax"].schedule
        assert (check.schedule, check.tz, check.grace, check.tags) == (schedule, "UTC", 69 * 60, "cronsemble experiment=e")
        kinds = [ping.kind for ping in check.pings if ping.rid]
        assert kinds == ["start", "success"] and check.last_start is None
        assert check.pings[-1].body.startswith(f"e-train-jax-{rows(tmp_path)[0].minute} succeeded")
        # Between two slots.
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None and process.stderr is not None
        said += [process.stdout.read(), process.stderr.read()]
    slot = check.grace_start()
    assert slot is not None and 50 * 60 < slot - time.time() < 60 * 60
    server.now = lambda: slot + check.grace - 1
    server.look()
    assert server.alarms == []
    for minute in range(30):
        server.now = lambda minute=minute: slot + check.grace + minute * 60  # type: ignore[misc]
        server.look()
    ((slug, at),) = server.alarms
    assert slug == "e-train-jax" and at <= slot + check.grace + 60
    # The keys were in no list of processes, no step's environment, no file of the store and nothing that was said.
    seen = (tmp_path / "seen").read_text() + "".join(said)
    seen += "".join(file.read_bytes().decode(errors="replace") for file in (tmp_path / "store").rglob("*") if file.is_file())
    assert "supervise" in seen and "CRONSEMBLE_RUN" in seen
    assert PING_KEY not in seen and API_KEY not in seen


def test_a_failed_try_is_noted_and_the_last_one_fails(tmp_path: Path, keras3: Path, server: StandIn) -> None:
    due(tmp_path, keras3, server, FAILS, ", retries: 1")
    with serving(tmp_path) as (process, until):
        until("ended")
        check = server.of("e-train-jax")
        wait_for(lambda: check.status == "down")
        assert [ping.kind for ping in check.pings if ping.rid] == ["start", "log", "fail"]
        assert "RuntimeError: not yet" in check.pings[-1].body and "no table today" in check.pings[-1].body
        # A clean stop says nothing: whoever stops it for good is missed.
        count = len(server.requests)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0 and len(server.requests) == count


def test_a_server_that_is_down_holds_no_run(tmp_path: Path, keras3: Path, server: StandIn) -> None:
    due(tmp_path, keras3, server, FAILS)
    server.is_slow = True
    began = time.monotonic()
    with serving(tmp_path) as (process, until):
        ended = until("ended")
        assert ended["status"] == "failed" and "not yet" in ended["reason"] and time.monotonic() - began < 40
        assert "has not got the ping of the start" in until("heartbeat")["text"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


class Heartbeat:
    """A served heartbeat whose looks a test makes, and what its journal said."""

    def __init__(self, env: dict[str, str]) -> None:
        self.out = StringIO()
        self.served = ServedHeartbeat(Journal(False, self.out).of("e"), env)

    def look(self, path: Path, now: float = 0.0) -> str:
        before = len(self.out.getvalue())
        self.served.look(load(path), now)
        self.served.wait(30)
        return self.out.getvalue()[before:]


def test_checks_follow_the_configuration(tmp_path: Path, server: StandIn) -> None:
    path = write(tmp_path, Path("python3"), 'jax: {schedule: "0 1 * * *"}, torch: {schedule: "0 2 * * *"}', "digits")
    without = path.read_text()
    served = f"heartbeat: {{server: {server.url}}}\n"
    heartbeat = Heartbeat({"HEALTHCHECKS_API_KEY": API_KEY, "HEALTHCHECKS_PING_KEY": PING_KEY + "\n"})
    assert heartbeat.look(path) == "" and server.requests == []
    path.write_text(without + served)
    assert "+ check e-train-torch" in heartbeat.look(path)
    path.write_text(without.replace('"0 1 * * *"', '"0 1 * * *", suspend: true') + served)
    assert "- check e-train-jax: paused" in heartbeat.look(path)
    path.write_text(without + served)
    assert "check e-train-jax: resumed" in heartbeat.look(path)
    # What fails is tried again, in five minutes.
    path.write_text(without.replace('"0 2 * * *"', '"0 3 * * *"') + served)
    experiment = load(path)
    server.answers = [(503, {"Retry-After": "0"}, "")] * 3
    heartbeat.served.look(experiment, 1000)
    heartbeat.served.wait(30)
    assert "it answers 503: it is tried again" in heartbeat.out.getvalue()
    for now in (1060, 1120):
        heartbeat.served.look(experiment, now)
        heartbeat.served.wait(30)
    assert server.of("e-train-torch").schedule == "0 2 * * *"
    heartbeat.served.look(experiment, 1400)
    heartbeat.served.wait(30)
    assert server.of("e-train-torch").schedule == "0 3 * * *"
    # A configuration that has no heartbeat any more.
    path.write_text(without)
    heartbeat.look(path, 2000)
    assert {check.status for check in server.checks} == {"paused"}


def test_without_a_key_no_check_is_made(tmp_path: Path, server: StandIn) -> None:
    path = write(tmp_path, Path("python3"), 'jax: {schedule: "0 1 * * *"}', "digits")
    path.write_text(path.read_text() + f"heartbeat: {{server: {server.url}}}\n")
    for env, words in (
        ({"HEALTHCHECKS_API_KEY": API_KEY}, "HEALTHCHECKS_PING_KEY: there is no ping key"),
        ({"HEALTHCHECKS_PING_KEY": PING_KEY}, "HEALTHCHECKS_API_KEY is not set"),
    ):
        heartbeat = Heartbeat(env)
        assert words in heartbeat.look(path) and server.requests == []
        # Said once.
        assert heartbeat.look(path) == ""
