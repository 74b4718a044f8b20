"""Runs in MLflow, read back with its own client: from an SQLite store and over HTTP from its server's application."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import contract as c
from jobs.store.files import publish_bytes, to_document
from stores import Builder, at

ROOT = Path(__file__).parents[2]
EXPORT = "from scheduler.cli import main; main()"
READ = """
import json, sys
from mlflow.tracking import MlflowClient
client = MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name("e")
runs = []
order = ["start_time ASC", "tags.`cronsemble.task` ASC"]
for run in client.search_runs([experiment.experiment_id], max_results=1000, order_by=order):
    id = run.info.run_id
    history = {key: [(m.step, m.timestamp, m.value) for m in client.get_metric_history(id, key)] for key in run.data.metrics}
    folders = ["", *(file.path for file in client.list_artifacts(id) if file.is_dir)]
    files = [file.path for folder in folders for file in client.list_artifacts(id, folder or None) if not file.is_dir]
    tags = {key: value for key, value in run.data.tags.items() if key.startswith("cronsemble.")}
    runs.append({"name": run.info.run_name, "status": run.info.status, "start": run.info.start_time, "end": run.info.end_time,
                 "params": run.data.params, "tags": tags, "metrics": history, "files": sorted(files)})
json.dump(runs, sys.stdout)
"""
KILLED = """
import os, signal, sys
from mlflow.tracking import MlflowClient
calls, log_batch = [], MlflowClient.log_batch
def counted(*arguments, **more):
    log_batch(*arguments, **more)
    calls.append(1)
    if len(calls) == int(os.environ["KILLED_AFTER"]):
        os.kill(os.getpid(), signal.SIGKILL)
MlflowClient.log_batch = counted
from scheduler.cli import main
main()
"""
"""The command, killed after so many of MLflow's requests: in the middle of a run."""
SERVER = """
import os, sys
store, folder, port = sys.argv[1:]
os.environ.update(
    _MLFLOW_SERVER_FILE_STORE=store, _MLFLOW_SERVER_REGISTRY_STORE=store, _MLFLOW_SERVER_ARTIFACT_ROOT="mlflow-artifacts:/",
    _MLFLOW_SERVER_ARTIFACT_DESTINATION=folder, _MLFLOW_SERVER_SERVE_ARTIFACTS="true",
)
from mlflow.server import app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", int(port), app)
print("ready", flush=True)
server.serve_forever()
"""

GATE = {
    "limits": {"max_drop": 0.03}, "previous": "e-train-a-29393340", "items": 300, "lost": 20, "gained": 5, "drop": 0.05,
    "interval": [0.02, 0.08], "p_value": 0.002, "refused": "accuracy 0.8500 is 0.0500 less than the 0.9000 of another",
}  # fmt: skip


def export(program: Any, folder: Path, uri: str, *more: str) -> str:
    done = program(EXPORT, "export", "mlflow", uri, *more, cwd=folder)
    assert (done.returncode, [line for line in done.stderr.splitlines() if not line.startswith("exporting to ")]) == (0, [])
    return str(done.stdout)


def read(program: Any, uri: str, folder: Path) -> list[dict[str, Any]]:
    done = program(READ, uri, cwd=folder)
    assert done.returncode == 0, done.stderr
    runs: list[dict[str, Any]] = json.loads(done.stdout)
    return runs


@pytest.fixture(scope="module")
def empty(program: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database before the first run: making one takes MLflow longer than all the rest."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    code = "import sys; from mlflow.tracking import MlflowClient; MlflowClient(sys.argv[1]).search_experiments()"
    assert program(code, f"sqlite:///{path}", cwd=path.parent).returncode == 0
    return path


@pytest.fixture(scope="module")
def exported(
    program: Any, folder: Path, empty: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[dict[str, Any]]]:
    """An SQLite store's URI, and what its client reads from it after an export with files."""
    place = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{shutil.copy(empty, place)}"
    # Its artifacts lie in the folder where it was made.
    (place / "config.yaml").symlink_to(folder / "config.yaml")
    (place / "store").symlink_to(folder / "store")
    assert export(program, place, uri, "--artifacts", "--until", "2025-11-24").endswith(
        ": 25 runs are new, 0 brought up to date, 0 were there\n"
    )
    return uri, read(program, uri, place)


def test_a_training_has_its_times_parameters_epochs_tags_and_files(exported: tuple[str, list[dict[str, Any]]]) -> None:
    run = exported[1][0]
    start = int(at("2025-11-20T01:00:05").timestamp() * 1000)
    assert (run["name"], run["status"], run["start"]) == ("train-a 2025-11-20T0100Z", "FINISHED", start)
    assert run["end"] == start + 340_000
    assert run["params"] == {
        "epochs": "4", "learning_rate": "0.001", "seed": "1", "backend": "jax", "model": "models.py:model",
    }  # fmt: skip
    assert run["metrics"]["val_loss"] == [[n, start + 1500 * n, pytest.approx(2.2 / n, abs=1e-4)] for n in (1, 2, 3, 4)]
    assert run["metrics"]["run/accuracy"] == [[0, start + 340_000, pytest.approx(0.9133)]] and run["metrics"]["run/duration"]
    tags = run["tags"]
    names = ("run", "task", "member", "slot", "attempt", "kind", "status", "revision")
    assert {name: tags[f"cronsemble.{name}"] for name in names} == {
        "run": "e-train-a-29393340", "task": "train-a", "member": "a", "slot": "2025-11-20T01:00Z", "attempt": "1",
        "kind": "scheduled", "status": "succeeded", "revision": "1",
    }  # fmt: skip
    assert tags["cronsemble.version.keras"] == "3.12.0"
    assert run["files"] == ["epochs.csv", "log.txt", "record.json", "start.json", "weights.h5"]


def test_an_ensemble_has_its_members_and_a_failure_its_reason(exported: tuple[str, list[dict[str, Any]]]) -> None:
    runs = exported[1]
    ensemble = next(run for run in runs if run["tags"]["cronsemble.task"] == "ensemble")
    assert ensemble["params"]["method"] == "accuracy" and ensemble["params"]["quorum"] == "2"
    assert ensemble["tags"]["cronsemble.model.c"] == "e-train-c-29393340"
    weights = [value for name, ((_, _, value),) in ensemble["metrics"].items() if name.endswith("/weight")]
    assert len(weights) == 4 and sum(weights) == pytest.approx(1)
    assert "predictions.csv" in ensemble["files"] and "members/a.csv" in ensemble["files"]
    (failed,) = [run for run in runs if run["status"] == "FAILED"]
    assert failed["tags"]["cronsemble.reason"] == "ran out of memory" and failed["name"] == "train-b2 2025-11-24T0100Z"
    assert failed["files"] == []


def test_each_run_is_there_once_and_what_changed_is_brought_up_to_date(
    program: Any, folder: Path, exported: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    uri, before = exported
    shutil.copytree(folder / "store", tmp_path / "store")
    shutil.copy(folder / "config.yaml", tmp_path)
    assert ": 0 runs are new, 0 brought up to date, 25 were" in export(
        program, tmp_path, uri, "--until", "2025-11-24", "--artifacts"
    )
    nights = Builder(tmp_path / "store")
    repeat = nights.run("train-a", "2025-11-20T01:00", attempt=2, kind="rerun", repeats="e-train-a-29393340")
    gated = nights.run("train-a", "2025-11-20T02:00", kind="manual", gate=GATE)
    calibration = {"temperature": 0.8, "validation_items": 300, "loss_before": 0.5, "loss_after": 0.2}
    summary = {"method": "calibrated", "calibration": calibration}
    limits = {"limits": {"min_accuracy": 0.9}}
    nights.run("ensemble", "2025-11-20T07:00", kind="manual", ensemble=summary, members=[], gate=limits)
    assert ": 3 runs are new, 0 brought up to date, 25 were there" in export(program, tmp_path, uri, "--until", "2025-11-24")
    # The verdict comes after the result.
    by_gate = {run["tags"]["cronsemble.run"]: run for run in read(program, uri, tmp_path) if "cronsemble.gate" in run["tags"]}
    assert by_gate[str(gated)]["tags"]["cronsemble.reason"] == GATE["refused"]
    nights.store.decide(gated, {"decision": "accepted", "reason": "new labels", "by": "ann", "time": "2025-11-21T06:00:00Z"})
    verdict = {"schema": 1, "run_id": str(repeat), "repeats": "e-train-a-29393340", "verdict": "changed"}
    publish_bytes(nights.store.run_folder(repeat) / c.VERDICT, to_document(verdict))
    assert ": 0 runs are new, 2 brought up to date, 26 were there" in export(program, tmp_path, uri, "--until", "2025-11-24")
    runs = read(program, uri, tmp_path)
    (again,) = [run for run in runs if run["tags"]["cronsemble.attempt"] == "2"]
    assert (again["tags"]["cronsemble.verdict"], again["tags"]["cronsemble.kind"]) == ("changed", "rerun")
    assert [run for run in runs if run["tags"]["cronsemble.run"] not in (str(repeat), *by_gate)] == before
    accepted, ensemble = (run for run in runs if run["tags"]["cronsemble.run"] in by_gate)
    assert accepted["params"]["gate.max_drop"] == "0.03" and ensemble["params"]["gate.min_accuracy"] == "0.9"
    values = {name: value for name, ((_, _, value),) in accepted["metrics"].items() if name.startswith("gate/")}
    assert values == pytest.approx(
        {"gate/drop": 0.05, "gate/interval_low": 0.02, "gate/interval_high": 0.08, "gate/p_value": 0.002, "gate/items": 300,
         "gate/lost": 20, "gate/gained": 5}
    )  # fmt: skip
    tags = accepted["tags"]
    assert (tags["cronsemble.gate"], tags["cronsemble.gate.refused"]) == ("refused", GATE["refused"])
    assert tags["cronsemble.decided"] == "accepted by ann at 2025-11-21T06:00:00Z: new labels"
    # Of a refusal that was taken back no reason is left.
    assert tags["cronsemble.status"] == "succeeded" and "cronsemble.reason" not in tags
    assert ensemble["tags"]["cronsemble.gate"] == "accepted"
    values = {name: value for name, ((_, _, value),) in ensemble["metrics"].items() if name.startswith("calibration/")}
    assert values == pytest.approx({f"calibration/{name}": value for name, value in calibration.items()})


def test_a_kill_in_the_middle_leaves_no_run_twice_and_none_in_part(
    program: Any,
    export_python: Path,
    folder: Path,
    empty: Path,
    exported: tuple[str, list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    """Between two requests of the fourth run: the same runs as without a kill."""
    uri = f"sqlite:///{shutil.copy(empty, tmp_path)}"
    period = ("--until", "2025-11-20")
    environment = {"PYTHONPATH": str(ROOT), "KILLED_AFTER": "7", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [str(export_python), "-c", KILLED, "export", "mlflow", uri, *period]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    new, updated, there = map(int, re.findall(r"\b\d+(?= (?:runs|brought|were))", export(program, folder, uri, *period)))
    assert updated == 1 and new + updated + there == 5
    for ours, theirs in zip(read(program, uri, folder), exported[1][:5], strict=True):
        theirs = {
            **theirs,
            "files": [],
            "tags": {name: value for name, value in theirs["tags"].items() if "artifacts" not in name},
        }
        assert ours == theirs


@pytest.fixture
def server(export_python: Path, empty: Path, tmp_path: Path) -> Iterator[str]:
    """The URI of MLflow's own server application on a free port, with a store of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(export_python),
        "-c",
        SERVER,
        f"sqlite:///{shutil.copy(empty, tmp_path)}",
        str(tmp_path / "artifacts"),
        str(port),
    ]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "MLFLOW_DISABLE_TELEMETRY": "true"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert any(line == "ready\n" for line in process.stdout)
        yield f"http://127.0.0.1:{port}"
        process.kill()


def test_a_tracking_server_takes_the_same(
    program: Any, folder: Path, server: str, exported: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    period = ("--until", "2025-11-20", "--artifacts")
    assert export(program, folder, server, *period) == f"{server}: 5 runs are new, 0 brought up to date, 0 were there\n"
    assert read(program, server, tmp_path) == exported[1][:5]
    (model, *_) = (tmp_path / "artifacts").rglob("weights.h5")
    assert model.read_bytes() == b"w"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mlflow"], "export mlflow: no MLflow store is named: type its URI, e.g. sqlite:///mlflow.db"),
        (["mlflow", "mlruns"], "mlruns: a folder of MLflow's keeps no run up to date: type a store's URI"),
        (["mlflow", "http://me:secret@127.0.0.1:1"], "http://127.0.0.1:1: MLflow cannot take the runs: "),
        (["tensorboard"], "export tensorboard: no folder is named: type one"),
        (["tensorboard", "x", "--artifacts"], "--artifacts and --name are for MLflow: leave them out"),
        (["tensorboard", "/dev/null/x"], "/dev/null/x/train-a/"),
    ],
)
def test_what_cannot_be_exported_is_one_line(program: Any, folder: Path, arguments: list[str], message: str) -> None:
    done = program(EXPORT, "export", *arguments, cwd=folder)
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("exporting to ")]
    assert done.returncode == 1 and line.startswith(message) and "secret" not in line


def test_without_the_package_the_line_says_what_to_type(folder: Path) -> None:
    """In the tests' own environment, which has neither."""
    for tool, where in (("mlflow", "sqlite:///x.db"), ("tensorboard", "x")):
        command = [sys.executable, "-c", EXPORT, "export", tool, where]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert (
            done.stderr == f"the package {tool} is not installed: type `pip install 'cronsemble[{tool}]'`, then the same again\n"
        )
