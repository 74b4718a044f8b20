"""Jobs that somebody made by hand from a CronJob: which run such a Job is, for its pods and for who looks at it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobs import contract as c
from jobs.contract import ExitCode, RunKind, run_of_job_name
from jobs.store import LocalStore
from jobs.store.jobs_by_hand import claimed_run
from jobs.supervisor.run_context import StepError, read_context
from scheduler.stores.find_run import find_run

MINUTE = int(time.time()) // 60


def env(store: Path, name: str, **more: str) -> dict[str, str]:
    """The environment of a pod's container."""
    task = {"experiment": "e", "task": "train-a", "seed": None, "snapshot": {"program": "", "code": ""}}
    pod = {c.ENV_TRY: "pod-1", c.ENV_REVISIONS: c.REVISIONS}
    return {c.ENV_RUN: name, c.ENV_STORE: str(store), c.ENV_TASK: json.dumps(task), **pod, **more}


def test_every_step_and_pod_of_a_job_is_one_run_by_hand(tmp_path: Path, capsys: Any) -> None:
    before = int(time.time()) // 60
    first = read_context(env(tmp_path, "try-it"))
    assert first.run.attempt == 2 and before <= first.run.minute <= int(time.time()) // 60
    assert capsys.readouterr().out == f"cronsemble: the Job try-it was made by hand: it is the run {first.run}\n"
    assert first.env[c.ENV_KIND] == RunKind.MANUAL and first.env[c.ENV_RUN] == str(first.run)
    assert read_context(env(tmp_path, "try-it", **{c.ENV_TRY: "pod-2"})).run == first.run
    other = read_context(env(tmp_path, "x")).run
    store = LocalStore(tmp_path)
    assert find_run(store, "e", "x").id == other != first.run
    assert store.read(first.run).kind == RunKind.MANUAL
    store.begin_try(first.run, "pod-1", {})
    # One of the same name, after the first was ended; the first's own pod stays with its run.
    assert claimed_run(store, "e", "train-a", "try-it", before + 20) == first.run
    store.cancel(first.run, {"reason": "cancelled"})
    assert claimed_run(store, "e", "train-a", "try-it", before + 20) is None
    assert read_context(env(tmp_path, "try-it")).run == first.run
    again = read_context(env(tmp_path, "try-it", **{c.ENV_TRY: "pod-3"})).run
    assert again not in (first.run, other)
    assert claimed_run(store, "e", "train-a", "try-it", again.minute) == again


@pytest.mark.parametrize(
    ("name", "is_run"),
    [
        ("e-train-a-{minute}", True),
        ("e-train-a-{minute}-r3", True),
        ("e-train-a-{in_an_hour}", True),
        # As dashboards name them: seconds since 1970, a date, letters.
        ("e-train-a-{second}", False),
        ("e-train-a-202611270041", False),
        ("e-train-a-manual-x7k2p", False),
        ("e-train-a-7", True),
        ("e-train-b-29929001", False),
        ("try-it", False),
    ],
)
def test_a_name_is_a_runs_only_if_it_ends_with_a_minute_that_may_be_its_slot(name: str, is_run: bool) -> None:
    name = name.format(minute=MINUTE, in_an_hour=MINUTE + 60, second=int(time.time()))
    assert (run_of_job_name(name, "e", "train-a", MINUTE) is not None) == is_run


def test_outside_a_cluster_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="CRONSEMBLE_RUN=try-it is not a run of e's train-a") as refused:
        read_context(env(tmp_path, "try-it", **{c.ENV_REVISIONS: ""}))
    assert refused.value.code == ExitCode.WRONG_INPUT


def test_a_store_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    command = [sys.executable, "-m", "jobs", "supervise", "prepare"]
    done = subprocess.run(command, env={**os.environ, **env(tmp_path, "try-it")}, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.FAILED
    assert done.stderr.startswith(f"cronsemble: {tmp_path}/runs") and "Traceback" not in done.stderr
