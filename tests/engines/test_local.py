"""The engine of this machine: how a step that is killed before it has said anything is recorded."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest

from jobs.contract import RunKind, Status
from jobs.store import LocalStore
from scheduler.console.run_display import PlainDisplay
from scheduler.engines.local import CpuBudget, LocalEngine
from scheduler.engines.run_spec import RunSpec, Step
from scheduler.runtimes.runtime import Runtime
from scheduler.snapshots.program import build_program

KILLS_ITSELF = b"import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (KILLS_ITSELF, "prepare could not be supervised (killed by SIGKILL)"),
        (build_program(), "prepare was killed by SIGKILL"),
    ],
    ids=["supervisor", "framework"],
)
def test_a_step_killed_without_a_word_has_a_whole_sentence(tmp_path: Path, program: bytes, reason: str) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -KILL $$\n")
    python.chmod(0o755)
    engine = LocalEngine(LocalStore(tmp_path / "store"), PlainDisplay(StringIO()), CpuBudget(1))
    snapshot = {"program": engine.store_snapshot("program", program), "code": ""}
    data = {"dataset": "digits", "predict": "holdout", "refresh": "daily", "key": "k"}
    task = {"schema": 1, "experiment": "e", "task": "train-a", "threads": 1, "env": {}, "snapshot": snapshot}
    task |= {"timezone": "UTC", "data": data, "data_seed": 1, "seed": 1}
    step = Step(("prepare",), Runtime("keras3", python=str(python)))
    run = engine.run(RunSpec(task, 29_924_640, RunKind.MANUAL, (step,), tmp_path, threads=1, retries=0, deadline=60))
    assert run is not None and (run.status, run.reason) == (Status.FAILED, reason)
