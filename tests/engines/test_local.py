"""The engine of this machine: what becomes of a step whose supervisor is killed."""

from __future__ import annotations

import os
import re
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.contract import RunKind, Status
from jobs.store import LocalStore, Run
from jobs.supervisor.process_tree import all_processes, command_line
from scheduler.console.run_display import PlainDisplay
from scheduler.engines.local import CpuBudget, LocalEngine, step_timeout
from scheduler.engines.run_spec import RunSpec, Step
from scheduler.runtimes.runtime import Runtime, StepCommand
from scheduler.snapshots.program import build_program, deterministic_zip
from scheduler.snapshots.program_copy import program_copy

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
    # How long it took is said from a second on.
    lines = re.sub(r" \(\d+s\)$", "", out.getvalue(), flags=re.MULTILINE).splitlines()
    assert lines == [
        "train-a: waiting",
        "train-a: prepare",
        f"train-a: try 1 of 2 failed: {run.reason}; the next one begins",
        "train-a: waiting",
        "train-a: prepare (try 2 of 2)",
        f"train-a: failed after 2 tries: {run.reason}",
    ]
    assert [one_try["start"]["retries"] for one_try in run.tries] == [1, 1]


@pytest.mark.holds("code-program")
def test_a_program_that_was_planted_in_the_store_is_not_run_and_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where the machine has its own copy, nor where it has none."""
    # Not in the user's cache, whose copy of this program steps of other tests may be running.
    monkeypatch.setenv("CRONSEMBLE_CACHE", str(tmp_path / "cache"))
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    store = LocalStore(tmp_path / "store")
    engine = LocalEngine(store, PlainDisplay(StringIO()), CpuBudget(1))
    program = build_program()
    digest = engine.store_snapshot("program", program)
    copy = program_copy(store, digest)
    planted = f"open({str(tmp_path / 'planted')!r}, 'w')\n".encode()
    stored = store.snapshot_path("program", digest)
    data = {"dataset": "digits", "predict": "holdout", "refresh": "daily", "key": "k"}
    task = {"schema": 1, "experiment": "e", "task": "train-a", "threads": 1, "env": {}, "timezone": "UTC", "data": data}
    task |= {"data_seed": 1, "seed": 1, "snapshot": {"program": digest, "code": ""}}
    step = Step(("prepare",), Runtime("keras3", python=str(python)))
    spec = RunSpec(task, 29_924_640, RunKind.MANUAL, (step,), tmp_path, threads=1, retries=0, deadline=60)
    for damaged in ([stored], [copy], [stored, copy]):
        for path in damaged:
            path.write_bytes(planted)
        run = engine.run(spec)
        assert run is not None and not (tmp_path / "planted").exists()
        if len(damaged) == 1:
            assert stored.read_bytes() == copy.read_bytes() == program
            assert run.reason.startswith("prepare ended with exit status 1")
        else:
            assert run.reason == f"its program {stored} cannot be run: it is damaged: its sha256 is not the recorded one"
    # The next command has the program itself, and repairs both.
    assert engine.store_snapshot("program", program) == digest
    assert stored.read_bytes() == program_copy(store, digest).read_bytes() == program


def test_code_that_was_damaged_in_the_store_since_it_was_put_there_is_replaced(tmp_path: Path) -> None:
    engine = LocalEngine(LocalStore(tmp_path / "store"), PlainDisplay(StringIO()), CpuBudget(1))
    code = deterministic_zip([("d.py", b"def data(hyperparameters):\n    raise SystemExit(7)\n")])
    snapshot = {"program": engine.store_snapshot("program", build_program()), "code": engine.store_snapshot("code", code)}
    stored = engine.store.snapshot_path("code", snapshot["code"])
    stored.write_bytes(b"damaged")
    data = {"dataset": "d.py:data", "predict": "holdout", "refresh": "daily", "key": "k"}
    task = {"schema": 1, "experiment": "e", "task": "train-a", "threads": 1, "env": {}, "timezone": "UTC", "data": data}
    task |= {"data_seed": 1, "seed": 1, "snapshot": snapshot}
    step = Step(("prepare",), Runtime("keras3", python=sys.executable))
    run = engine.run(RunSpec(task, 29_924_640, RunKind.MANUAL, (step,), tmp_path, threads=1, retries=0, deadline=60))
    assert run is not None and "damaged" not in run.reason and stored.read_bytes() == code


@given(st.floats(0, 1e7), st.floats(0, 1e5))
def test_a_step_may_take_all_that_is_left_of_its_deadline(now: float, left: float) -> None:
    # Rounded down it ended before the deadline of its tries, and was tried again: 1.4 s as 1.
    timeout = float(step_timeout(now + left, now))
    assert (now + left) - now <= timeout and (timeout == 1 or timeout < (now + left) - now + 0.01)
