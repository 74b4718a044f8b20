"""The await step: what counts as ended, and when a pod goes on, comes again or stops."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from jobs import contract as c
from jobs.contract import ExitCode
from jobs.store.files import publish_bytes, to_json
from jobs.supervisor import poll_runs
from jobs.supervisor.run_context import RunContext, StepError, read_context
from jobs.supervisor.wait_for_runs import has_ended, record_awaited_runs, wait_until_ended
from stores import Builder, minute

SLOT = minute("2026-11-20T01:00")
FAR = 4_000_000_000


def context(store: Path, runs: dict[str, int], until: float = FAR) -> RunContext:
    task = {"experiment": "e", "task": "ensemble", "members": [], "snapshot": {"program": "p", "code": ""}}
    env = {c.ENV_RUN: f"e-ensemble-{SLOT}", c.ENV_TRY: "one", c.ENV_STORE: str(store), c.ENV_TASK: json.dumps(task)}
    return read_context({**env, c.ENV_AWAIT: json.dumps({"runs": runs, "until": until})})


def fail(builder: Builder, status: str, code: int, name: str = "t") -> c.RunId:
    run = c.RunId(SLOT, 1, "e", "train-a")
    builder.store.begin_try(run, name, {"time": name})
    publish_bytes(builder.store.try_folder(run, name) / c.END, to_json({"status": status, "code": code}))
    return run


@pytest.mark.parametrize(
    ("status", "code", "retries", "ended"),
    [
        ("failed", ExitCode.FAILED, 0, True),
        ("failed", ExitCode.FAILED, 1, False),
        ("failed", ExitCode.WRONG_INPUT, 5, True),
        ("no quorum", ExitCode.WRONG_INPUT, 5, True),
        ("interrupted", ExitCode.INTERRUPTED, 0, False),
    ],
)
def test_a_run_has_ended_when_no_try_can_follow(tmp_path: Path, status: str, code: int, retries: int, ended: bool) -> None:
    builder = Builder(tmp_path)
    run = fail(builder, status, code)
    assert has_ended(builder.store.read(run), retries) is ended
    builder.store.cancel(run, {"reason": "cancelled by me"})
    assert has_ended(builder.store.read(run), retries)


def test_it_waits_for_the_result_and_says_so(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    name = f"e-train-a-{SLOT}"
    ctx = context(tmp_path, {name: 0})
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(wait_until_ended(ctx)))
    waiting.start()
    builder.run("train-a", "2026-11-20T01:00")
    waiting.join(30)
    assert answers == [True]
    ctx.store.begin_try(ctx.run, ctx.name, {"time": "now"})
    record_awaited_runs(ctx, None)
    assert (ctx.folder / c.LOG).read_text() == f"cronsemble: {name} succeeded\n"


def test_it_goes_on_when_the_time_is_up(tmp_path: Path) -> None:
    name = f"e-train-a-{SLOT}"
    ctx = context(tmp_path, {name: 0}, until=0)
    assert wait_until_ended(ctx)
    ctx.store.begin_try(ctx.run, ctx.name, {"time": "now"})
    record_awaited_runs(ctx, None)
    assert (ctx.folder / c.LOG).read_text() == f"cronsemble: {name} has not ended in time: continuing without it\n"


def test_it_ends_to_make_room_for_a_run_that_has_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll_runs, "YIELD_AFTER", 0.0)
    builder = Builder(tmp_path)
    assert not wait_until_ended(context(tmp_path, {f"e-train-a-{SLOT}": 0}))
    fail(builder, "interrupted", ExitCode.INTERRUPTED)
    stopped = context(tmp_path, {f"e-train-a-{SLOT}": 0})
    stopped.stopped.set()
    assert not wait_until_ended(stopped)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"runs": {"other-train-a-1": 0}, "until": 1}', '{"runs": 3, "until": 1}'])
def test_what_it_cannot_read_is_wrong_input(tmp_path: Path, text: str) -> None:
    ctx = context(tmp_path, {})
    ctx.env = {**ctx.env, c.ENV_AWAIT: text}
    with pytest.raises(StepError) as caught:
        wait_until_ended(ctx)
    assert caught.value.code == ExitCode.WRONG_INPUT and c.ENV_AWAIT in str(caught.value)
