"""`serve` is killed between two slots and started again: what it missed is told once, with the command that makes up for it."""

from __future__ import annotations

import json
import shlex
import signal
import threading
import time
from pathlib import Path

import pytest

from commands import run_command
from jobs.store import LocalStore
from jobs.store.notifications import NotificationLedger
from notifications.receivers import receiving
from served import serving, write

DATA = """
import numpy as np
def load(hyperparameters):
    return {"x_train": np.random.default_rng(1).random((600, 4), dtype="float32"), "y_train": np.arange(600) % 3}
"""
STARTS = 10
"""Seconds within which a run may start."""


def wait_until(moment: float) -> None:
    threading.Event().wait(max(0.0, moment - time.time()))


def test_what_a_dead_serve_has_missed_is_told_once_and_made_up_for(
    tmp_path: Path, keras3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if time.time() % 60 > 40:  # it is started and killed within one minute
        wait_until((time.time() // 60 + 1) * 60)
    slot = int(time.time() // 60) + 1
    (tmp_path / "d.py").write_text(DATA)
    # Once an hour: nothing else is due while this runs.
    path = write(tmp_path, keras3, f'jax: {{schedule: "{slot % 60} * * * *", starting_deadline: {STARTS}s}}', "d.py:load")
    path.write_text(path.read_text() + "notify: {channels: {hook: {webhook: {secret: n, key: HOOK_URL}}}}\n")
    ledger = NotificationLedger(LocalStore(tmp_path / "store").files, "e")
    with receiving() as receiver:
        monkeypatch.setenv("HOOK_URL", receiver.url("/hook"))

        def serve_until(event: str) -> None:
            with serving(tmp_path) as (process, until):
                until(event)
                if event == "started":
                    while ledger.last_look() is None:
                        assert process.poll() is None
                        time.sleep(0.05)
                process.send_signal(signal.SIGKILL)
                process.wait()

        serve_until("started")
        assert time.time() < slot * 60 and receiver.requests == []
        # The slot comes, and nobody is there who could begin.
        wait_until(slot * 60 + STARTS + 1)
        serve_until("sent")
        (request,) = receiver.requests
        (incident,) = request.document["incidents"]
        assert (incident["kind"], incident["task"], incident["slots"]) == ("missed", "train-jax", 1)
        assert incident["slot"] == f"{time.strftime('%Y-%m-%dT%H:%MZ', time.gmtime(slot * 60))}"
        (backfill,) = [each for each in incident["commands"] if each.startswith("cronsemble backfill ")]
        run_command(*shlex.split(backfill)[1:], check=True)
        with serving(tmp_path) as (process, until):
            assert "[e] ended: train-jax was missed" in until("sent")["text"]
            assert "[e] all is well again" in until("sent")["text"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    types = [json.loads(request.body)["type"] for request in receiver.requests]
    assert types == ["problem", "resolved", "well"], receiver.subjects
