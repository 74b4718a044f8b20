"""A pod's supervisor pings: start, success, failure with the end of its log; and no program of a step gets at the key."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cronjobs.tasks import ExperimentContext
from heartbeat.server import PING_KEY, Check, StandIn, stand_in
from jobs import contract as c
from jobs.contract import ExitCode, RunId
from jobs.store import LocalStore
from jobs.temporary import TemporaryFolder
from scheduler.config import load
from scheduler.engines.run_spec import resolve_tasks
from scheduler.snapshots.program import build_program
from supervised import supervise

RUN = RunId(29_924_640, 1, "e", "train-a")
TASK: dict[str, Any] = {"threads": 1, "data_seed": 1, "model": "mlp"}
FAILS = "def data(hyperparameters):\n    print('reading', 'the', 'data')\n    raise ValueError('no such table')\n"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.pyz"
    path.write_bytes(build_program())
    return path


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as started:
        started.checks = [Check(slug="e-train-a", grace=3600)]
        yield started


def prepare(tmp_path: Path, program: Path, source: str, server: StandIn | None, **env: str) -> tuple[int, str]:
    """A prepare step of a pod, with this file as the user's code."""
    store, data = LocalStore(tmp_path / "store"), io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("m.py", source)
    digest = store.put_snapshot("code", data.getvalue())
    described = {"dataset": "m.py:data", "predict": "holdout", "key": "k", "hyperparameters": {}}
    task = {**TASK, "data": described, "snapshot": {"program": "", "code": digest}}
    address = {} if server is None else {c.ENV_PING_URL: f"{server.url}/ping", c.ENV_PING_KEY: PING_KEY}
    process = supervise(program, store, RUN, "prepare", task, **{c.ENV_RETRIES: "1", **address, **env})
    said, _ = process.communicate()
    return process.returncode, said


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_failed_try_is_noted_and_the_last_is_the_failure(tmp_path: Path, program: Path, server: StandIn) -> None:
    check = server.of("e-train-a")
    code, said = prepare(tmp_path, program, FAILS, server)
    assert code == ExitCode.FAILED and [ping.kind for ping in check.pings] == ["start", "log"] and check.status == "new"
    code, again = prepare(tmp_path, program, FAILS, server, CRONSEMBLE_TRY="b")
    assert code == ExitCode.FAILED and [ping.kind for ping in check.pings[2:]] == ["start", "fail"] and check.status == "down"
    lines = check.pings[-1].body.splitlines()
    assert lines[0].startswith("e-train-a-29924640 failed: prepare: prepare: ValueError: no such table")
    assert "reading the data" in lines and len({ping.rid for ping in check.pings}) == 1
    assert "heartbeat" not in said + again and PING_KEY not in said + again
    assert PING_KEY.encode() not in everything(tmp_path / "store")


def test_a_fault_that_no_try_can_cure_is_the_failure_at_once(tmp_path: Path, program: Path, server: StandIn) -> None:
    source = "import sys\ndef data(hyperparameters):\n    sys.exit(3)\n"
    assert prepare(tmp_path, program, source, server)[0] == ExitCode.WRONG_INPUT
    assert [ping.kind for ping in server.of("e-train-a").pings] == ["start", "fail"]


@pytest.mark.parametrize("kind", ["manual", "rerun", "backfill"])
def test_only_a_run_that_the_schedule_started_pings(tmp_path: Path, program: Path, server: StandIn, kind: str) -> None:
    assert prepare(tmp_path, program, FAILS, server, CRONSEMBLE_KIND=kind)[0] == ExitCode.FAILED
    assert server.requests == []


def test_without_a_key_it_is_said_once(tmp_path: Path, program: Path, server: StandIn) -> None:
    code, said = prepare(tmp_path, program, FAILS, server, CRONSEMBLE_PING_KEY="")
    assert code == ExitCode.FAILED and said.count("heartbeat: no pings are sent: there is no ping key") == 1
    assert server.requests == []


@pytest.mark.parametrize("fault", ["silent", "gone", "500"])
def test_whatever_the_server_does_the_step_ends_as_without_it(tmp_path: Path, program: Path, server: StandIn, fault: str) -> None:
    began = time.monotonic()
    alone, _ = prepare(tmp_path / "alone", program, FAILS, None)
    seconds = time.monotonic() - began
    env: dict[str, str] = {}
    if fault == "silent":
        server.is_slow = True
    elif fault == "gone":
        env = {c.ENV_PING_URL: "http://127.0.0.1:1"}
    else:
        server.answers = [(500, {}, "")] * 10
    began = time.monotonic()
    code, said = prepare(tmp_path, program, FAILS, server, **env)
    assert code == alone and time.monotonic() - began < seconds + 15
    lines = [line for line in said.splitlines() if "heartbeat" in line]
    assert len(lines) == 2 and "has not got the ping of the start" in lines[0] and PING_KEY not in said
    end = json.loads((tmp_path / f"store/runs/e/train-a/2026-11/{RUN}/try-a/end.json").read_text())
    assert "ValueError: no such table" in end["reason"]


SPY = """#!/bin/sh
# In the place of a framework's interpreter: all that it can see of the supervisor.
env
cat "/proc/$PPID/environ" "/proc/$PPID/cmdline"
exit 1
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that another user can write."""
    with TemporaryFolder("test") as folder:
        folder.chmod(0o777)
        yield folder


@pytest.mark.holds("heartbeat-code")
def test_no_program_of_a_step_gets_the_key(shared: Path, program: Path, server: StandIn) -> None:
    (shared / "python").write_text(SPY)
    (shared / "python").chmod(0o755)
    (shared / "program.pyz").write_bytes(program.read_bytes())
    store = LocalStore(shared / "store")
    task = {"experiment": "e", "task": "train-a", "timezone": "UTC", **TASK, "snapshot": {"program": "", "code": ""}}
    task["data"] = {"dataset": "digits", "predict": "holdout", "key": "k"}
    env = {c.ENV_RUN: str(RUN), c.ENV_TRY: "a", c.ENV_STORE: str(store.root), c.ENV_TASK: json.dumps(task), c.ENV_RETRIES: "0"}
    env |= {c.ENV_PING_URL: f"{server.url}/ping", c.ENV_PING_KEY: PING_KEY, c.ENV_PYTHON: str(shared / "python")}
    # As in a pod, where nobody is root; the interpreter of these tests may lie where others cannot read.
    is_root = os.geteuid() == 0
    command = ["/usr/bin/python3" if is_root else sys.executable, str(shared / "program.pyz"), "supervise", "prepare"]
    as_nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if is_root else {}
    paths = {"PATH": os.environ["PATH"], "HOME": str(shared)}
    done = subprocess.run(command, env={**paths, **env}, capture_output=True, text=True, check=False, cwd=shared, **as_nobody)
    said = done.stdout + done.stderr
    assert (
        "environ: Permission denied" in said and "superviseprepare" in said.replace("\0", "") and f"{c.ENV_RUN}={RUN}" in said
    ), said
    assert PING_KEY not in said and c.ENV_PING_URL not in said
    (body,) = [ping.body for ping in server.of("e-train-a").pings if ping.kind == "fail"]
    assert PING_KEY not in body and PING_KEY.encode() not in everything(store.root)


CONFIG = """
experiment: e
data: {dataset: digits}
model: mlp
hyperparameters: {epochs: 1}
backends: {a: {backend: jax, schedule: "0 1 * * *"}}
"""


def test_a_training_with_keras_pings_its_start_and_its_success(
    tmp_path: Path, program: Path, server: StandIn, keras3: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    _, task = resolve_tasks(ExperimentContext(load(tmp_path / "config.yaml"), "", ""))["train-a"]
    store, said = LocalStore(tmp_path / "store"), ""
    env = {c.ENV_PING_URL: f"{server.url}/ping", c.ENV_PING_KEY: PING_KEY, c.ENV_PYTHON: str(keras3), c.ENV_RETRIES: "1"}
    check = server.of("e-train-a")
    for step, kinds in (("prepare", ["start"]), ("train", ["start", "success"]), ("train", ["start", "success", "success"])):
        # The last as in a pod after one that was killed between its result and its ping.
        process = supervise(program, store, RUN, step, task, **env)
        output, _ = process.communicate()
        said += output
        assert process.returncode == ExitCode.DONE and [ping.kind for ping in check.pings] == kinds, output
    assert check.status == "up" and check.last_start is None
    lines = check.pings[1].body.splitlines()
    assert lines[0].startswith("e-train-a-29924640 succeeded, accuracy 0.") and len(lines) > 3
    assert PING_KEY.encode() not in everything(tmp_path / "store") and PING_KEY not in said
