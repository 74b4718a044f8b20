"""The predict step of several members: what a stop, a deadline and a fork server that fails do to them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs import contract as c
from jobs.contract import ExitCode, RunId
from jobs.keras3.prepare import Rules, fingerprint, resolve, write_npz
from jobs.store import LocalStore
from jobs.store.files import read_json, to_json, write_file
from jobs.store.process_identity import process_identity
from jobs.supervisor.process_tree import all_processes, command_line
from scheduler.snapshots.program import build_program
from stores import Builder
from supervised import supervise

INTERPRETER = """#!{python}
import os, pathlib, sys, time
program, arguments = sys.argv[5], sys.argv[6:]
print(program, "of", os.environ["CRONSEMBLE_TRY"])
folder = pathlib.Path({folder!r})
if program == {hangs!r}:
    (folder / "hangs").touch()
    time.sleep(600)
if program == "fork-server":
    sys.exit(1)
out = pathlib.Path(arguments[arguments.index("--out") + 1])
if out.parent.name == {fails!r}:
    sys.exit("no prediction of " + out.parent.name)
out.touch()
os.write(int(os.environ["CRONSEMBLE_REPORT"]), b'{{"event": "done"}}\\n')
"""
"""Stands for a framework's interpreter: one of the supervisor's programs hangs in it, the fork server ends without an answer."""


def two_members(tmp_path: Path) -> tuple[LocalStore, RunId, dict[str, Any]]:
    """An ensemble run of two members that have been trained, after its prepare step."""
    builder = Builder(tmp_path / "store")
    description = {"sha256": "0" * 64, "file": "weights.h5", "class_names": ["0", "1"]}
    for name in ("one", "two"):
        builder.run(f"train-{name}", "2026-11-23T05:00", model=description, accuracy=0.5)
    images = np.arange(150 * 16, dtype="float32").reshape(150, 4, 4)
    arrays = resolve({"x_train": images, "y_train": np.arange(150) % 2}, None, Rules(1)).arrays
    store, digest = builder.store, fingerprint(arrays)
    store.dataset_path(digest).parent.mkdir(parents=True)
    write_npz(store.dataset_path(digest), arrays)
    run = store.claim("e", "ensemble", 29_931_480)
    store.begin_try(run, "a", {"time": "2026-11-23T06:00:00Z", "process": process_identity()})
    write_file(store.try_folder(run, "a") / c.DATA, to_json({"fingerprint": digest}))
    members = [{"member": name, "backend": "jax", "threads": 1, "env": {}, "timeout": 600} for name in ("one", "two")]
    return store, run, {"members": members, "quorum": 1, "method": "accuracy", "max_age": None}


def interpreter(folder: Path, hangs: str = "", fails: str = "") -> str:
    path = folder / "python"
    path.write_text(INTERPRETER.format(python=sys.executable, folder=str(folder), hangs=hangs, fails=fails))
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.pyz"
    path.write_bytes(build_program())
    return path


@pytest.mark.parametrize("hangs", ["fork-server", "predict"])
@pytest.mark.parametrize("is_on_cluster", [False, True])
def test_a_step_that_is_stopped_leaves_no_mark_but_in_a_pod(
    tmp_path: Path, program: Path, hangs: str, is_on_cluster: bool
) -> None:
    """An engine stops all its steps at once, for no fault of theirs; a pod may be evicted for what a member takes."""
    store, run, task = two_members(tmp_path)
    owner = {} if is_on_cluster else {c.ENV_OWNER: json.dumps(process_identity())}
    process = supervise(
        program, store, run, "predict --member one --member two", task, CRONSEMBLE_PYTHON=interpreter(tmp_path, hangs), **owner
    )
    while not (tmp_path / "hangs").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == ExitCode.INTERRUPTED and time.monotonic() - began < 5
    marks = [path.parent.name for path in store.try_folder(run, "a").glob("probabilities/*/start.json")]
    assert marks == (["one"] if is_on_cluster else [])


def test_without_a_fork_server_each_member_has_its_own_process_and_its_own_log(tmp_path: Path, program: Path) -> None:
    store, run, task = two_members(tmp_path)
    step = "predict --member one --member two"
    python = interpreter(tmp_path, fails="one")
    process = supervise(program, store, run, step, task, CRONSEMBLE_PYTHON=python, CRONSEMBLE_MEMBER_LOGS="1")
    output, _ = process.communicate()
    assert process.returncode == ExitCode.DONE, output
    folder = store.try_folder(run, "a")
    ends = {name: read_json(folder / "probabilities" / name / c.END) or {} for name in ("one", "two")}
    assert ends["one"]["left_out"].startswith("predict ended with exit status 1") and "left_out" not in ends["two"]
    logs = {name: (folder / "probabilities" / name / "log.txt").read_text() for name in ends}
    assert "no prediction of one" in logs["one"] and logs["two"] == "predict of a\n"
    assert not (folder / "log.txt").exists()


def test_a_fork_that_hangs_is_ended_at_its_timeout_and_the_next_one_begins(tmp_path: Path, program: Path) -> None:
    """Both are forks of one process, whose import is in the log of each; nothing of them is left."""
    (tmp_path / "modules").mkdir()
    imports = tmp_path / "imports"
    keras = f"with open({str(imports)!r}, 'a') as file:\n    file.write('x')\nprint('the import says this')\n"
    (tmp_path / "modules" / "keras.py").write_text(keras)
    store, run, task = two_members(tmp_path)
    # Its model's file is a pipe, which nobody writes to; the other one's is missing.
    (model,) = (store.root / "runs" / "e" / "train-one").glob("*/*/result")
    os.mkfifo(model / "weights.h5")
    for spec in task["members"]:
        spec["timeout"] = 5
    env = {c.ENV_MEMBER_LOGS: "1", "PYTHONPATH": str(tmp_path / "modules"), c.ENV_TRY: "a"}
    process = supervise(program, store, run, "predict --member one --member two", task, CRONSEMBLE_PYTHON=sys.executable, **env)
    output, _ = process.communicate()
    assert process.returncode == ExitCode.DONE, output
    folder = store.try_folder(run, "a") / "probabilities"
    ends = {name: read_json(folder / name / c.END) or {} for name in ("one", "two")}
    assert ends["one"]["left_out"] == "predict: not done within its deadline of 5 s"
    assert ends["two"]["left_out"].startswith("predict: FileNotFoundError: ")
    assert imports.read_text() == "x"
    for name in ends:
        assert (folder / name / "log.txt").read_text().startswith("the import says this\n")
    assert not [line for line in map(command_line, all_processes()) if str(program) in line]


def test_members_of_a_step_share_its_deadline(tmp_path: Path, program: Path) -> None:
    store, run, task = two_members(tmp_path)
    python = interpreter(tmp_path, hangs="predict")
    began = time.monotonic()
    process = supervise(
        program, store, run, "predict --member one --member two", task, CRONSEMBLE_PYTHON=python, CRONSEMBLE_TIMEOUT="2"
    )
    output, _ = process.communicate()
    assert process.returncode == ExitCode.DONE, output
    reasons = [read_json(store.try_folder(run, "a") / "probabilities" / name / c.END) or {} for name in ("one", "two")]
    assert [reason["left_out"] for reason in reasons] == [
        "predict: not done within its deadline of 2 s",
        "predict: not done within its deadline of 1 s",
    ]
    assert time.monotonic() - began < 30
