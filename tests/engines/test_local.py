"""The engine of this machine: what becomes of a step whose supervisor is killed."""

from __future__ import annotations

import os
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from jobs.contract import RunKind, Status
from jobs.store import LocalStore, Run
from jobs.supervisor.process_tree import all_processes, command_line
from scheduler.console.run_display import PlainDisplay
from scheduler.engines.local import CpuBudget, LocalEngine
from scheduler.engines.run_spec import RunSpec, Step
from scheduler.runtimes.runtime import Runtime, StepCommand
from scheduler.snapshots.program import build_program

KILLS_ITSELF = b"import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (KILLS_ITSELF, "prepare could not be supervised (killed by SIGKILL)"),
        (build_program(), "prepare was killed by SIGKILL, by another process or by the kernel for memory"),
    ],
    ids=["supervisor", "framework"],
)
def test_a_step_killed_without_a_word_has_a_whole_sentence(tmp_path: Path, program: bytes, reason: str) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -KILL $$\n")
    python.chmod(0o755)
    run = make_run(tmp_path, program, Runtime("keras3", python=str(python)))
    assert (run.status, run.reason.partition("; it had used ")[0]) == (Status.FAILED, reason)


def make_run(tmp_path: Path, program: bytes, runtime: Runtime) -> Run:
    """A run of prepare by this program."""
    engine = LocalEngine(LocalStore(tmp_path / "store"), PlainDisplay(StringIO()), CpuBudget(1))
    snapshot = {"program": engine.store_snapshot("program", program), "code": ""}
    data = {"dataset": "digits", "predict": "holdout", "refresh": "daily", "key": "k"}
    task = {"schema": 1, "experiment": "e", "task": "train-a", "threads": 1, "env": {}, "snapshot": snapshot}
    task |= {"timezone": "UTC", "data": data, "data_seed": 1, "seed": 1}
    step = Step(("prepare",), runtime)
    run = engine.run(RunSpec(task, 29_924_640, RunKind.MANUAL, (step,), tmp_path, threads=1, retries=0, deadline=60))
    assert run is not None
    return run


LEAVES_HELPER = b"""
import os, signal, subprocess, sys
subprocess.run(["setsid", "-f", "sleep", "5000.%d" % os.getppid()])
os.kill(os.getpid(), signal.SIGKILL)
"""
"""A supervisor that is killed and cannot end what its step has started."""


class ClientRuntime(Runtime):
    """As with a container, the step's environment is among the arguments of a client that has another."""

    def command(self, program: Path, *arguments: Any) -> StepCommand:
        env = super().command(program, *arguments).env
        assignments = [f"{name}={value}" for name, value in env.items() if name.startswith("CRONSEMBLE_")]
        return StepCommand(["env", *assignments, sys.executable, str(program)], dict(os.environ))


@pytest.mark.parametrize("kind", [Runtime, ClientRuntime])
def test_the_engine_ends_what_a_killed_supervisor_has_left_behind(tmp_path: Path, kind: type[Runtime]) -> None:
    assert make_run(tmp_path, LEAVES_HELPER, kind("keras3", python=sys.executable)).status == Status.FAILED
    assert not [line for line in map(command_line, all_processes()) if f"sleep 5000.{os.getpid()}" in line]


def test_a_failed_try_is_reported_before_the_next_one(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    out = StringIO()
    engine = LocalEngine(LocalStore(tmp_path / "store"), PlainDisplay(out), CpuBudget(1))
    snapshot = {"program": engine.store_snapshot("program", build_program()), "code": ""}
    data = {"dataset": "digits", "predict": "holdout", "refresh": "daily", "key": "k"}
    task = {"schema": 1, "experiment": "e", "task": "train-a", "threads": 1, "env": {}, "snapshot": snapshot}
    task |= {"timezone": "UTC", "data": data, "data_seed": 1, "seed": 1}
    step = Step(("prepare",), Runtime("keras3", python=str(python)))
    run = engine.run(RunSpec(task, 29_924_640, RunKind.MANUAL, (step,), tmp_path, threads=1, retries=1, deadline=60))
    assert run is not None
    assert out.getvalue().splitlines() == [
        "train-a: waiting",
        "train-a: prepare",
        f"train-a: try 1 of 2 failed: {run.reason}; the next one begins",
        "train-a: waiting",
        "train-a: prepare (try 2 of 2)",
        f"train-a: failed after 2 tries: {run.reason}",
    ]
    assert [one_try["start"]["retries"] for one_try in run.tries] == [1, 1]
