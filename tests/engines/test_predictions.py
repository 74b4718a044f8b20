"""The predict steps of an ensemble on this machine: which members share one, which run side by side, what ends with what."""

from __future__ import annotations

import sys
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.contract import RunKind, Status
from jobs.store import LocalStore, Run
from jobs.store.log_files import read_log
from scheduler.console.run_display import PlainDisplay
from scheduler.engines.local import CpuBudget, CpuShare, LocalEngine
from scheduler.engines.predictions import append_member_logs, predict_steps
from scheduler.engines.run_spec import RunSpec, Step
from scheduler.errors import RuntimeUnavailable
from scheduler.runtimes.containers import ContainerEngine
from scheduler.runtimes.runtime import Runtime
from scheduler.snapshots.program import build_program, deterministic_zip

HERE = Runtime("keras3", python="python")
IMAGE = Runtime("legacy", image="i", engine=ContainerEngine("podman", ("podman",)))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "now.pyz"
    path.write_bytes(build_program())
    return path


def member(name: str, backend: str = "jax", **other: Any) -> dict[str, Any]:
    return {"member": name, "backend": backend, "threads": 1, "env": {}, **other}


def steps_of(members: list[tuple[dict[str, Any], Runtime | RuntimeUnavailable]], program: Path) -> list[list[tuple[str, ...]]]:
    steps = [Step(("predict", "--member", spec["member"]), runtime) for spec, runtime in members]
    return [[step.members for step in wave] for wave in predict_steps({"members": [spec for spec, _ in members]}, steps, program)]


def test_members_that_import_the_same_in_the_same_environment_share_a_step(program: Path) -> None:
    same = [(member("a"), HERE), (member("b"), HERE)]
    others = [
        (member("backend", "tensorflow"), HERE),
        (member("threads", threads=2), HERE),
        (member("env", env={"A": "1"}), HERE),
        (member("secrets", secrets=["S"]), HERE),
        (member("python"), Runtime("keras3", python="another")),
    ]
    in_image = [(member("theano", "theano"), IMAGE), (member("cntk", "cntk"), IMAGE), (member("cntk-2", "cntk"), IMAGE)]
    absent = [(member("absent"), RuntimeUnavailable("no such interpreter"))]
    alone = [(spec["member"],) for spec, _ in others]
    # What runs in containers begins when what runs on this machine has ended.
    expected = [[("a", "b"), *alone], [("cntk", "cntk-2"), ("theano",)]]
    assert steps_of([*same[:1], *in_image, *others, *absent, *same[1:]], program) == expected


def test_a_program_of_an_earlier_version_predicts_with_one_member_at_a_time(tmp_path: Path) -> None:
    earlier = tmp_path / "before.pyz"
    earlier.write_bytes(deterministic_zip([("__main__.py", b"")]))
    assert steps_of([(member("a"), HERE), (member("b"), HERE), (member("c"), IMAGE)], earlier) == [[("a",)], [("b",)], [("c",)]]


def test_the_logs_of_members_are_appended_whole_and_within_the_limit(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"prepare\n")
    for name, size in (("a", 3), ("b", 3000)):
        (tmp_path / "probabilities" / name).mkdir(parents=True)
        (tmp_path / "probabilities" / name / "log.txt").write_bytes(f"{name}\n".encode() * size)
    append_member_logs(tmp_path, ["a", "none", "b"], 1000)
    log = b"".join(data for _, data in read_log(tmp_path))
    assert log.startswith(b"prepare\na\na\na\nb\n") and b"bytes of output left out (log_limit)" in log and len(log) < 1200
    assert not list(tmp_path.glob("probabilities/*/log*"))


@given(st.integers(1, 4), st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_steps_take_no_more_than_the_budget_and_all_get_their_turn(total: int, threads: list[int]) -> None:
    """With others waiting for all of it: the share that the run has is for one step at a time."""
    budget, lock, running, most = CpuBudget(total), threading.Lock(), [0], [0]

    def step(cpus: int, share: CpuShare) -> None:
        with budget.take(cpus, lambda: False, share):
            with lock:
                running[0] += min(cpus, total)
                most[0] = max(most[0], running[0])
            with lock:
                running[0] -= min(cpus, total)

    def run() -> None:
        with budget.take(total, lambda: False):
            share = CpuShare()
            steps = [threading.Thread(target=step, args=(cpus, share)) for cpus in threads]
            for each in steps:
                each.start()
            for each in steps:
                each.join()

    runs = [threading.Thread(target=run) for _ in range(2)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    # A run that has the whole budget has its steps one at a time.
    assert most[0] <= total


def test_cpus_are_given_in_the_order_in_which_they_were_waited_for() -> None:
    budget, order, threads = CpuBudget(1), [], []

    def wait(number: int) -> None:
        with budget.take(1, lambda: False):
            order.append(number)

    with budget.take(1, lambda: False):
        for number in range(20):
            threads.append(threading.Thread(target=wait, args=(number,)))
            threads[-1].start()
            while budget.waiting <= number:
                pass
    for thread in threads:
        thread.join()
    assert order == list(range(20))


PROGRAM = b"""
import os, pathlib, signal, sys, time
if sys.argv[2] == "predict":
    members, folder = sys.argv[4::2], pathlib.Path(os.environ["CRONSEMBLE_FOLDER"])
    own = pathlib.Path(os.environ["CRONSEMBLE_STORE"], "runs", "e", "ensemble", "2026-11", os.environ["CRONSEMBLE_RUN"])
    own = own / ("try-" + os.environ["CRONSEMBLE_TRY"]) / "probabilities" / members[0]
    own.mkdir(parents=True)
    if os.environ.get("CRONSEMBLE_MEMBER_LOGS"):
        (own / "log.txt").write_text("log of %s\\n" % members)
    (folder / ("began-" + members[0])).touch()
    others = [name for name in os.environ["CRONSEMBLE_FOLDER"].split("wait-for-")[1:]]
    end = time.monotonic() + 20
    while others and not (folder / ("began-" + others[0])).exists() and time.monotonic() < end:
        time.sleep(0.01)
    if members[0] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if others == ["killed"]:
        # In which it would be ended with the other.
        time.sleep(1)
    (folder / ("ended-" + members[0])).write_text(str(not others or (folder / ("began-" + others[0])).exists()))
"""
"""Stands for the job program: its predict steps wait until the member in the name of their folder has begun."""


def predict(tmp_path: Path, cpus: int, names: list[str], folder: str) -> tuple[Run, Path]:
    engine = LocalEngine(LocalStore(tmp_path / "store"), PlainDisplay(StringIO()), CpuBudget(cpus))
    files = [("__main__.py", PROGRAM), ("jobs/portable/fork_server.py", b"")]
    snapshot = {"program": engine.store_snapshot("program", deterministic_zip(files)), "code": ""}
    members = [member(name, threads=1, backend=name[0]) for name in names]
    task = {"schema": 1, "experiment": "e", "task": "ensemble", "env": {}, "snapshot": snapshot, "members": members}
    runtime = Runtime("keras3", python=sys.executable)
    steps = tuple(Step(("predict", "--member", name), runtime) for name in names)
    place = tmp_path / folder
    place.mkdir()
    run = engine.run(RunSpec(task, 29_924_640, RunKind.MANUAL, steps, place, threads=1, retries=0, deadline=60))
    assert run is not None
    return run, place


def test_steps_run_side_by_side_where_cpus_are_free(tmp_path: Path) -> None:
    run, place = predict(tmp_path, 2, ["a", "b"], "wait-for-b")
    assert (place / "ended-a").read_text() == "True"
    log = next(run.folder.glob("try-*/log.txt")).read_text()
    assert sorted(log.splitlines()) == ["log of ['a']", "log of ['b']"]


def test_members_of_one_backend_are_given_to_one_step(tmp_path: Path) -> None:
    run, place = predict(tmp_path, 2, ["a", "b", "a2"], "place")
    assert sorted(path.name for path in place.glob("began-*")) == ["began-a", "began-b"]
    assert "log of ['a', 'a2']" in next(run.folder.glob("try-*/log.txt")).read_text()


def test_a_killed_step_ends_nothing_but_itself(tmp_path: Path) -> None:
    """Else the next try would leave out the member beside it too; its try ends when the other step has ended."""
    run, place = predict(tmp_path, 2, ["killed", "b"], "wait-for-killed")
    assert (place / "ended-b").exists()
    assert (run.status, run.reason) == (Status.FAILED, "predict could not be supervised (killed by SIGKILL)")
