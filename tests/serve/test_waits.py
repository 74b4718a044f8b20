"""An ensemble that `serve` has wait for its members: late, missing and killed ones, and a `serve` that is stopped meanwhile."""

from __future__ import annotations

import os
import re
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from commands import run_command
from jobs.store import LocalStore
from served import rows, served_since, serving, write

FUNCTIONS = """
import os
import keras
import numpy as np
def load(hyperparameters):
    random = np.random.default_rng(1)
    return {{"x_train": random.random((600, 4), dtype="float32"), "y_train": np.arange(600) % 3}}
def build(input_shape, classes, hyperparameters):
    mark = {mark!r}
    if os.path.exists(mark):
        open(mark).read()  # a FIFO: whoever opens it waits
    model = keras.Sequential([keras.Input(input_shape), keras.layers.Dense(classes, activation="softmax")])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""


def due(folder: Path, keras3: Path, ensemble: str, minutes_ago: int = 2) -> int:
    """The slot, minutes ago, of a member and an ensemble that begin to be served; the member's training blocks."""
    os.mkfifo(folder / "mark")
    (folder / "own.py").write_text(FUNCTIONS.format(mark=str(folder / "mark")))
    slot = int(time.time()) // 60 - minutes_ago
    schedule = f'schedule: "{datetime.fromtimestamp(slot * 60, UTC):%M} * * * *", starting_deadline: 59m'
    path = write(folder, keras3, f"jax: {{{schedule}}}", "own.py:load")
    text = path.read_text().replace("model: mlp", "model: own.py:build")
    path.write_text(text + f"ensemble: {{{schedule}, {ensemble}}}\n")
    served_since(path, 30)
    return slot


def by_task(folder: Path) -> dict[str, Any]:
    return {row.task: row for row in rows(folder)}


def test_it_takes_the_late_member_however_often_serve_is_stopped(tmp_path: Path, keras3: Path) -> None:
    slot = due(tmp_path, keras3, "wait: 1h")
    clock = f"{datetime.fromtimestamp(slot * 60, UTC):%H:%M}"
    # It takes no CPU while it waits: else the member would have none.
    with serving(tmp_path, "--jobs", "1") as (process, until):
        waits = until("waits")
        assert (waits["task"], waits["text"]) == ("ensemble", f"e-ensemble-{slot}: waiting for jax of {clock}")
        row = by_task(tmp_path)["ensemble"]
        assert (row.status, row.reason) == ("running", f"waiting for jax ({clock})")
        listed = run_command("history", folder=tmp_path, check=True).stdout
        assert f"waiting for jax ({clock})" in " ".join(listed.split())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert [row.status for row in by_task(tmp_path).values()] == ["interrupted", "interrupted"]
    with serving(tmp_path, "--jobs", "1") as (process, until):
        until("waits")
        process.kill()
        process.wait()
    (tmp_path / "mark").unlink()
    with serving(tmp_path, "--jobs", "1") as (process, until):
        assert re.fullmatch(rf"e-ensemble-{slot}: waited (\d+m ?)?(\d+s)? for jax of {clock}", until("waited")["text"])
        ended = until("ended")
        assert (ended["task"], ended["status"]) == ("ensemble", "succeeded"), ended
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    row = by_task(tmp_path)["ensemble"]
    assert row.status == "succeeded" and re.fullmatch(rf"2m.* late; waited .* for jax of {clock}", row.why)
    (run,) = LocalStore(tmp_path / "store").runs("e", "ensemble")
    waited = run.record["waited"]
    assert [(each["member"], each["run"], each["outcome"]) for each in waited["members"]] == [
        ("jax", f"e-train-jax-{slot}", "succeeded")
    ]
    end = datetime.fromtimestamp(slot * 60 + 3600, UTC)
    assert (waited["missing"], waited["until"]) == ([], f"{end:%Y-%m-%dT%H:%M:%S}.000Z")
    assert run.record["members"][0]["run"] == f"e-train-jax-{slot}"
    shown = run_command("logs", str(run.id), folder=tmp_path, check=True).stdout
    assert f"for jax of {clock} (e-train-jax-{slot}): succeeded" in shown


def test_when_its_time_is_over_it_goes_on_with_what_there_is(tmp_path: Path, keras3: Path) -> None:
    # As much as there is since its minute, and what `serve` needs to begin.
    seconds = 120 + int(time.time()) % 60 + 20
    slot = due(tmp_path, keras3, f"wait: {seconds}s")
    # The quorum is one: without any model there is none.
    with serving(tmp_path) as (process, until):
        until("waits")
        assert "in vain for jax of" in until("waited")["text"]
        assert time.time() >= slot * 60 + seconds
        ended = until("ended")
        assert (ended["task"], ended["status"]) == ("ensemble", "no quorum")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    row = by_task(tmp_path)["ensemble"]
    assert row.status == "no quorum" and "in vain for jax of" in row.why


def test_a_waiting_ensemble_can_be_cancelled_and_one_whose_member_fails_goes_on(tmp_path: Path, keras3: Path) -> None:
    slot = due(tmp_path, keras3, "wait: 1h")
    with serving(tmp_path) as (process, until):
        until("waits")
        done = run_command("cancel", "ensemble", folder=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"e-ensemble-{slot}: cancelled\n"), done.stderr
        ended = until("ended")
        assert (ended["task"], ended["status"]) == ("ensemble", "interrupted")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert by_task(tmp_path)["ensemble"].reason.startswith("cancelled by")
