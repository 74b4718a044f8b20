"""The whole thing on this machine: real backends train, the ensemble combines, the CSV is archived."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from commands import CLI, run_command
from scheduler.cli import COMMANDS
from scheduler.snapshots.program import build_program

EXPERIMENT = """
experiment: small
store: ./store
runtimes: {{keras3: {{python: {keras3}}}, legacy: {{image: localhost/cronsemble-legacy}}}}
hyperparameters: {{epochs: {epochs}, patience: 9, filters: [8], dense: 16, seed: 7}}
backends: {{{members}}}
ensemble: {{quorum: {quorum}}}
"""


def write(folder: Path, keras3: Path, members: str, quorum: int = 1, epochs: int = 2) -> None:
    text = EXPERIMENT.format(keras3=keras3, members=members, quorum=quorum, epochs=epochs)
    (folder / "config.yaml").write_text(text)


def cronsemble(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(*arguments, folder=folder)


def history(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(cronsemble(folder, "history", "--json").stdout)
    return rows


def probabilities(folder: Path, member: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob(f"store/predictions/small/*.members/{member}.csv"))]


def check_repeats(folder: Path, members: list[str]) -> None:
    for _ in range(2):
        done = cronsemble(folder, "run")
        assert done.returncode == 0, done.stdout + done.stderr
    archived = sorted(folder.glob("store/predictions/small/*.csv"))
    assert len(archived) == 2
    assert archived[0].read_bytes() == archived[1].read_bytes()
    for member in members:
        first, second = probabilities(folder, member)
        assert first == second
        model, same_model = folder.glob(f"store/runs/small/train-{member}/*/*/result/weights.h5")
        assert model.read_bytes() == same_model.read_bytes()
    with open(archived[0], newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    assert list(rows[0]) == ["item", "prediction", "probability", *map(str, range(10))]
    for row in rows:
        assert row["probability"] == row[row["prediction"]]
        assert abs(sum(float(row[str(n)]) for n in range(10)) - 1) < 1e-5
    assert {row["status"] for row in history(folder)} == {"succeeded"}


def test_todays_backends_twice_bit_by_bit(tmp_path: Path, keras3: Path) -> None:
    write(tmp_path, keras3, "tensorflow: {}, jax: {}", 2)
    check_repeats(tmp_path, ["tensorflow", "jax"])


def test_the_dead_backends_twice_bit_by_bit(tmp_path: Path, keras3: Path, legacy: str) -> None:
    write(tmp_path, keras3, "theano: {}, cntk: {}", 2)
    check_repeats(tmp_path, ["theano", "cntk"])
    for member in ("theano", "cntk"):
        for path in tmp_path.glob(f"store/runs/small/train-{member}/*/*/result/model.json"):
            assert json.loads(path.read_text())["backend"] == member


def test_a_failing_member_takes_down_no_other(tmp_path: Path, keras3: Path) -> None:
    (tmp_path / "m.py").write_text(
        "def f(input_shape, classes, hyperparameters):\n    raise RuntimeError('broken on purpose %r' % dict(hyperparameters))\n"
    )
    write(tmp_path, keras3, "jax: {}, bad: {backend: jax, model: 'm.py:f', retries: 0}")
    done = cronsemble(tmp_path, "run")
    assert done.returncode == 1
    by_task = {str(row["task"]): row for row in history(tmp_path)}
    assert by_task["train-jax"]["status"] == by_task["ensemble"]["status"] == "succeeded"
    assert by_task["train-bad"]["status"] == "failed"
    assert "broken on purpose" in str(by_task["train-bad"]["reason"])
    assert "broken on purpose" in cronsemble(tmp_path, "logs", str(by_task["train-bad"]["run"])).stdout


ONCE_BROKEN = """
import os
def f(input_shape, classes, hyperparameters):
    if not os.path.exists({mark!r}):
        open({mark!r}, "w").close()
        raise RuntimeError("broken at first")
    import keras
    layers = [keras.layers.Flatten(input_shape=input_shape), keras.layers.Dense(classes, activation="softmax")]
    model = keras.Sequential(layers)
    model.compile("sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""


def test_a_second_try_is_the_same_run(tmp_path: Path, keras3: Path) -> None:
    (tmp_path / "m.py").write_text(ONCE_BROKEN.format(mark=str(tmp_path / "mark")))
    head = f"experiment: small\nruntimes: {{keras3: {{python: {keras3}}}}}\nmodel: m.py:f\n"
    (tmp_path / "config.yaml").write_text(head + "backends: {jax: {retries: 1}}\nhyperparameters: {epochs: 1}\n")
    done = cronsemble(tmp_path, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = history(tmp_path)
    shown = json.loads(cronsemble(tmp_path, "show", str(row["run"]), "--json").stdout)
    (failed,) = [each for each in shown["tries"] if each["end"]]
    assert "broken at first" in failed["end"]["reason"] and any("broken at first" in line for line in failed["end"]["tail"])
    assert shown["record"]["try"] != failed["name"]


def test_a_deadline_ends_a_run_and_all_its_tries(tmp_path: Path, keras3: Path) -> None:
    write(tmp_path, keras3, "tensorflow: {deadline: 2s, retries: 5}")
    assert cronsemble(tmp_path, "run", "--member", "tensorflow").returncode == 1
    (row,) = history(tmp_path)
    assert row["status"] == "failed" and "deadline" in str(row["reason"])
    assert len(json.loads(cronsemble(tmp_path, "show", str(row["run"]), "--json").stdout)["tries"]) == 1


def test_a_prediction_out_of_time_is_left_out(tmp_path: Path, keras3: Path) -> None:
    write(tmp_path, keras3, "tensorflow: {}")
    (tmp_path / "config.yaml").write_text((tmp_path / "config.yaml").read_text().replace("quorum: 1", "timeout: 1s"))
    done = cronsemble(tmp_path, "run")
    assert done.returncode == 1
    assert "no quorum: 0 of the 1 members it needs (tensorflow: predict: not done within" in done.stderr
    assert "tensorflow is left out" in done.stdout


def test_killed_itself_its_children_end_and_say_so(tmp_path: Path, keras3: Path) -> None:
    write(tmp_path, keras3, "jax: {}", epochs=5000)
    process = subprocess.Popen([*CLI, "run"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        assert any("epoch 1/" in line for line in lines)
        process.kill()
        # The pipe closes when the last process that holds it has ended.
        lines.read()
    process.wait()
    ends = time.monotonic() + 30
    while (status := history(tmp_path)[0]["status"]) == "running":
        assert time.monotonic() < ends
    assert status in ("interrupted", "died")
    write(tmp_path, keras3, "jax: {}", epochs=1)
    assert cronsemble(tmp_path, "run").returncode == 0


def test_no_quorum_archives_nothing(tmp_path: Path, keras3: Path) -> None:
    write(tmp_path, keras3, "jax: {}, other: {backend: jax}", 2)
    done = cronsemble(tmp_path, "run", "--member", "jax", "--ensemble")
    assert done.returncode == 1
    assert "no quorum: 1 of the 2 members it needs (other: " in done.stderr
    assert list(tmp_path.glob("store/predictions/small/*.csv")) == []


def test_an_interrupt_is_recorded_and_the_next_run_works(tmp_path: Path, keras3: Path) -> None:
    write(tmp_path, keras3, "tensorflow: {}", epochs=5000)
    process = subprocess.Popen([*CLI, "run"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        assert any("epoch 1/" in line for line in lines)
        process.send_signal(signal.SIGINT)
        lines.read()
    assert process.wait(timeout=6) == 130
    (row,) = history(tmp_path)
    assert row["status"] == "interrupted"
    write(tmp_path, keras3, "tensorflow: {}", epochs=1)
    assert cronsemble(tmp_path, "run").returncode == 0


def test_the_program_is_reproducible_and_explains_itself(tmp_path: Path) -> None:
    program = build_program()
    assert program == build_program()
    path = tmp_path / "program.pyz"
    path.write_bytes(program)
    assert zipfile.ZipFile(path).testzip() is None
    for step in ("supervise", "prepare", "train", "predict", "combine"):
        done = subprocess.run([sys.executable, str(path), step, "--help"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"usage: {step}")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_documented(command: str) -> None:
    text = (Path(__file__).parents[1] / "docs" / "commands.md").read_text()
    assert f"## cronsemble {command}" in text
    done = run_command(command, "--help", check=True)
    assert "Example: cronsemble" in " ".join(done.stdout.split())
