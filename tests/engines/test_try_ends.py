"""Every end of a try is written down, if need be later: no process, no room, a bug; and a task of any length reaches its step."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from jobs.contract import RunKind, Status
from jobs.store import LocalStore, Run
from scheduler.console.run_display import PlainDisplay
from scheduler.engines.local import CpuBudget, LocalEngine
from scheduler.engines.run_spec import RunSpec, Step
from scheduler.runtimes.runtime import Runtime, StepCommand
from scheduler.snapshots.program import build_program


def make_engine(root: Path, out: StringIO | None = None) -> LocalEngine:
    return LocalEngine(LocalStore(root), PlainDisplay(out or StringIO()), CpuBudget(1))


def make_run(engine: LocalEngine, runtime: Runtime, retries: int = 0, program: bytes | None = None, **task: Any) -> Run:
    """A run of prepare."""
    snapshot = {"program": engine.store_snapshot("program", program or build_program()), "code": ""}
    data = {"dataset": "digits", "predict": "holdout", "refresh": "daily", "key": "k"}
    task = {"schema": 1, "experiment": "e", "task": "train-a", "threads": 1, "env": {}, "snapshot": snapshot, **task}
    task |= {"timezone": "UTC", "data": data, "data_seed": 1, "seed": 1}
    step = Step(("prepare",), runtime)
    spec = RunSpec(task, 29_924_640, RunKind.SCHEDULED, (step,), Path("/"), threads=1, retries=retries, deadline=60)
    run = engine.run(spec)
    assert run is not None
    return run


def script(folder: Path, text: str) -> Runtime:
    """A runtime whose interpreter is this shell script."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{text}\n")
    python.chmod(0o755)
    return Runtime("keras3", python=str(python))


def test_a_task_that_is_longer_than_a_variable_reaches_its_step(tmp_path: Path) -> None:
    runtime = script(tmp_path, f'for file; do case $file in */task.json) cp "$file" {tmp_path}/seen;; esac; done; exit 7')
    run = make_run(make_engine(tmp_path / "store"), runtime, hyperparameters={"long": "x" * 145_000})
    assert (run.status, run.reason) == (Status.FAILED, "prepare ended with exit status 7 and has reported nothing")
    assert b"x" * 145_000 in (tmp_path / "seen").read_bytes()


class LongCommand(Runtime):
    """Starts what the kernel refuses."""

    def command(self, *arguments: Any) -> StepCommand:
        return StepCommand([sys.executable, "x" * 140_000], {})


class BrokenRuntime(Runtime):
    """A bug."""

    def command(self, *arguments: Any) -> StepCommand:
        raise KeyError("no such key")


@pytest.mark.parametrize(
    ("kind", "tries", "reason"),
    [
        (LongCommand, 1, "the step's process cannot be started: Argument list too long"),
        (BrokenRuntime, 3, "KeyError: 'no such key' (a bug in cronsemble)"),
    ],
)
def test_what_keeps_a_step_from_starting_is_the_end_of_its_try(
    tmp_path: Path, kind: type[Runtime], tries: int, reason: str
) -> None:
    made = make_run(make_engine(tmp_path / "store"), kind("keras3", python=sys.executable), retries=2)
    stored = LocalStore(tmp_path / "store").read(made.id)
    assert stored == made and (stored.status, stored.reason, len(stored.tries)) == (Status.FAILED, reason, tries)
    assert not stored.has_tries_left() and [one_try["start"]["claim"] for one_try in stored.tries] == [1, 2, 3][:tries]


def test_an_interpreter_that_cannot_be_started_now_is_tried_again(tmp_path: Path) -> None:
    """Linux starts no file that is open for writing."""
    runtime = script(tmp_path, "exit 7")
    with open(runtime.python, "a"):
        run = make_run(make_engine(tmp_path / "store"), runtime, retries=1)
    assert run.reason.endswith("cannot be started: Text file busy") and len(run.tries) == 2


def test_an_end_that_the_store_does_not_take_is_written_later_with_its_reason(tmp_path: Path) -> None:
    """The step puts a file in the place of its try's folder, so that neither its supervisor nor the engine can write there."""
    out = StringIO()
    engine = make_engine(tmp_path / "store", out)
    tries = f"{tmp_path}/store/runs/e/train-a/2026-11/*/try-*"
    runtime = script(tmp_path, f"for one in {tries}; do rm -r $one; touch $one; done; exit 7")
    made = make_run(engine, runtime)
    (unwritten,) = engine.ends.unwritten(made.id)
    assert made.status == Status.FAILED and made.reason == unwritten.end["reason"] and "Not a directory" in made.reason
    assert f"{made.id}: its end cannot be written yet" in out.getvalue()
    assert "Not a directory" in engine.ends.write()
    (blocking,) = made.folder.glob("try-*")
    blocking.unlink()
    assert engine.ends.write() == "" and not engine.ends.unwritten()
    stored = LocalStore(tmp_path / "store").read(made.id)
    assert (stored.status, stored.reason, len(stored.tries)) == (Status.FAILED, made.reason, 1)
    assert stored.tries[0]["end"]["step"] == "prepare"
    assert not [name for name in os.listdir(stored.folder) if name.startswith(".try")]


def test_a_full_disk_is_the_end_of_each_try_and_written_when_there_is_room(small_disk: Path, tmp_path: Path) -> None:
    engine = make_engine(small_disk / "store")
    runtime = script(tmp_path, f"cat /dev/zero > {small_disk}/filler; exit 7")
    made = make_run(engine, runtime, retries=1)
    assert made.status == Status.FAILED and made.reason.endswith("No space left on device")
    assert engine.ends.unwritten(made.id) and "No space left" in engine.ends.write()
    (small_disk / "filler").unlink()
    assert engine.ends.write() == ""
    stored = engine.store.read(made.id)
    assert (stored.status, stored.reason, len(stored.tries)) == (Status.FAILED, made.reason, 2)


def test_a_store_that_cannot_be_written_has_the_end_before_the_next_try(small_disk: Path, tmp_path: Path) -> None:
    """It is full when the run begins, and no longer at its second try."""
    engine = make_engine(small_disk / "store")
    engine.store_snapshot("program", build_program())
    filler = small_disk / "filler"

    def free(_: int) -> float:
        filler.unlink()
        return 0.0

    engine.back_off = free
    runtime = script(tmp_path, "exit 7")

    class FullAtFirst(Runtime):
        def command(self, *arguments: Any) -> StepCommand:
            if not filler.exists() and not engine.ends.unwritten() and len(list(store.root.rglob("start.json"))) == 1:
                with suppress(OSError), open(filler, "wb", buffering=0) as file:
                    while file.write(b"0" * 4096):
                        pass
                raise OSError(28, "No space left on device", str(store.root))
            return super().command(*arguments)

    store = engine.store
    made = make_run(engine, FullAtFirst("keras3", python=runtime.python), retries=1)
    assert not engine.ends.unwritten()
    assert [one_try["end"]["reason"] for one_try in made.tries] == [
        f"{store.root}: No space left on device",
        "prepare ended with exit status 7 and has reported nothing",
    ]
