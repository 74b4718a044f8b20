"""`cancel` and followed logs on this machine: a running run is ended by its name, and the history says by whom."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from commands import CLI, run_command
from jobs.store import LocalStore
from stores import Builder, iso, minute
from test_end_to_end import cronsemble, history, write


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*CLI, *arguments], cwd=folder, text=True, stdout=pipe, stderr=pipe)


def until(process: subprocess.Popen[str], text: str) -> None:
    """Read what a process says up to a line with this text."""
    assert process.stdout is not None
    assert any(text in line for line in process.stdout), process.stderr and process.stderr.read()


def check_cancelled(folder: Path, task: str) -> None:
    run = start(folder, "run")
    until(run, f"{task}: epoch 1/")
    follower = start(folder, "logs", "--follow")
    until(follower, "epoch 1/")
    cancelled = cronsemble(folder, "cancel", task)
    (row,) = history(folder)
    assert (cancelled.returncode, cancelled.stdout) == (0, f"{row['run']}: cancelled\n"), cancelled.stderr
    out, errors = run.communicate(timeout=30)
    assert run.returncode == 1, out + errors
    assert f"{task}: interrupted: cancelled by " in out
    log, _ = follower.communicate(timeout=30)
    assert follower.returncode == 1
    assert log.splitlines()[-1] == f"interrupted: {row['reason']}"
    assert (row["status"], row["kind"], row["evidence"]) == ("interrupted", "manual", "observed")
    assert str(row["reason"]).startswith("cancelled by ")
    (stored_run,) = LocalStore(folder / "store").runs("small", task)
    assert len(stored_run.tries) == 1
    again = cronsemble(folder, "cancel", str(row["run"]))
    assert (again.returncode, again.stderr) == (1, f"{row['run']}: it has ended already: interrupted: {row['reason']}\n")


def test_a_training_is_cancelled_and_not_tried_again(tmp_path: Path, keras3: Path) -> None:
    write(tmp_path, keras3, "jax: {retries: 3}", epochs=100_000)
    (tmp_path / "config.yaml").write_text((tmp_path / "config.yaml").read_text().replace("ensemble: {quorum: 1}", ""))
    check_cancelled(tmp_path, "train-jax")


def test_a_training_in_a_container_is_cancelled(tmp_path: Path, keras3: Path, legacy: str) -> None:
    write(tmp_path, keras3, "cntk: {retries: 3}", epochs=100_000)
    (tmp_path / "config.yaml").write_text((tmp_path / "config.yaml").read_text().replace("ensemble: {quorum: 1}", ""))
    check_cancelled(tmp_path, "train-cntk")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Builder:
    """A store with a running run on another machine."""
    (tmp_path / "config.yaml").write_text("experiment: e\nbackends: {jax: {}}\n")
    builder = Builder(tmp_path / "store")
    builder.run("train-jax", "2026-11-20T01:00", "running")
    return builder


def test_another_machines_run_is_left_alone(tmp_path: Path, elsewhere: Builder) -> None:
    done = cronsemble(tmp_path, "cancel", "train-jax")
    (run,) = elsewhere.store.runs("e", "train-jax")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{run.id}: it runs on elsewhere: cancel it there, or with --cluster if that is a pod\n"
    assert run.cancelled == {} and run.status == "running"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "nothing: no such run in {store}: `cronsemble history` lists them\n"),
        ("ensemble", "ensemble: no run of it is running\n"),
    ],
)
def test_what_is_not_running_is_one_line(tmp_path: Path, elsewhere: Builder, name: str, message: str) -> None:
    elsewhere.run("ensemble", "2026-11-20T02:00")
    done = cronsemble(tmp_path, "cancel", name)
    assert (done.returncode, done.stderr) == (1, message.format(store=tmp_path / "store"))


def test_a_cancelled_result_is_a_result(tmp_path: Path) -> None:
    """Whoever was first counts: a run that succeeded before it was told to stop succeeded."""
    builder = Builder(tmp_path)
    builder.run("train-jax", "2026-11-20T01:00")
    (run,) = builder.store.runs("e", "train-jax")
    builder.store.cancel(run.id, {"reason": "cancelled by me", "time": iso(minute("2026-11-20T01:01") * 60)})
    assert builder.store.read(run.id).status == "succeeded"


def test_logs_read_f_as_follow_and_as_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("experiment: e\nbackends: {jax: {}}\n")
    builder = Builder(tmp_path / "store")
    builder.run("train-jax", "2026-11-20T01:00", "failed")
    (run,) = builder.store.runs("e", "train-jax")
    name = str(run.id)
    asked = [["logs", name, "-f"], ["logs", "-f", name], ["logs", "-f"], ["logs", "-f", "config.yaml", name, "--follow"]]
    assert [cronsemble(tmp_path, *each).returncode for each in asked] == [1, 1, 1, 1]
    plain = [["logs", name], ["logs"], ["logs", "-f", "config.yaml", name], ["logs", "--file", "config.yaml"]]
    assert [cronsemble(tmp_path, *each).returncode for each in plain] == [0, 0, 0, 0]
    wrong = run_command("logs", name, name, folder=tmp_path)
    assert wrong.returncode == 64
