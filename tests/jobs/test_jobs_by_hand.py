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


def env(store: Path, name: str, uid: str = "uid-1", **more: str) -> dict[str, str]:
    task = {"experiment": "e", "task": "train-a", "seed": None, "snapshot": {"program": "", "code": ""}}
    return {c.ENV_RUN: name, c.ENV_JOB: uid, c.ENV_STORE: str(store), c.ENV_TASK: json.dumps(task), c.ENV_TRY: "pod-1", **more}


def test_every_step_and_pod_of_a_job_is_one_run_by_hand(tmp_path: Path, capsys: Any) -> None:
    first = read_context(env(tmp_path, "try-it"))
    assert first.run.attempt == 2 and MINUTE <= first.run.minute <= MINUTE + 1
    assert capsys.readouterr().out == f"cronsemble: the Job try-it was made by hand: it is the run {first.run}\n"
    assert first.env[c.ENV_KIND] == RunKind.MANUAL and first.env[c.ENV_RUN] == str(first.run)
    assert read_context(env(tmp_path, "try-it", **{c.ENV_TRY: "pod-2"})).run == first.run
    # One of the same name, after the first was deleted, and one of another name.
    others = [read_context(env(tmp_path, name, uid)).run for name, uid in (("try-it", "uid-2"), ("x", "uid-3"))]
    assert len({first.run, *others}) == 3
    store = LocalStore(tmp_path)
    assert claimed_run(store, "e", "train-a", MINUTE, "uid-3") == others[1]
    assert claimed_run(store, "e", "train-a", MINUTE, "uid-4") is None
    assert store.read(first.run).kind == RunKind.MANUAL
    assert find_run(store, "e", "x").id == others[1]


@pytest.mark.parametrize(
    ("name", "is_run"),
    [
        (f"e-train-a-{MINUTE}", True),
        (f"e-train-a-{MINUTE}-r3", True),
        (f"e-train-a-{MINUTE + 60}", True),
        # As dashboards name them: seconds since 1970, a date, letters.
        (f"e-train-a-{int(time.time())}", False),
        ("e-train-a-202611270041", False),
        ("e-train-a-manual-x7k2p", False),
        ("e-train-a-7", True),
        ("e-train-b-29929001", False),
        ("try-it", False),
    ],
)
def test_a_name_is_a_runs_only_if_it_ends_with_a_minute_that_may_be_its_slot(name: str, is_run: bool) -> None:
    assert (run_of_job_name(name, "e", "train-a", MINUTE) is not None) == is_run


def test_without_the_jobs_uid_it_is_refused_with_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="try-it is not the name of a run of e's train-a.*`cronsemble run --cluster`") as refused:
        read_context(env(tmp_path, "try-it", ""))
    assert refused.value.code == ExitCode.WRONG_INPUT


def test_a_store_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    command = [sys.executable, "-m", "jobs", "supervise", "prepare"]
    done = subprocess.run(command, env={**os.environ, **env(tmp_path, "try-it")}, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.FAILED
    assert done.stderr.startswith(f"cronsemble: {tmp_path}/runs") and "Traceback" not in done.stderr
