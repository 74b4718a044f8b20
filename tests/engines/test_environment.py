"""What of the shell's environment and of the user's home reaches a step on this machine, and what a run records of it."""

from __future__ import annotations

import json
import os
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from jobs import contract as c
from jobs.contract import RunKind
from jobs.store import LocalStore
from jobs.supervisor.environment import recorded
from scheduler.console.run_display import PlainDisplay
from scheduler.engines.local import CpuBudget, LocalEngine
from scheduler.engines.run_spec import RunSpec, Step, step_secrets
from scheduler.runtimes import containers
from scheduler.runtimes.environment import absent_variable_hint, ignored_variables
from scheduler.runtimes.runtime import Runtime
from scheduler.snapshots.program import build_program, deterministic_zip

FUNCTION = """
import json, os, sys
def data(hyperparameters):
    home = os.environ["KERAS_HOME"]
    keras = {name: os.path.realpath(os.path.join(home, name)) for name in os.listdir(home)}
    print("REACHED", json.dumps({"env": dict(os.environ), "path": sys.path, "keras": keras}), flush=True)
    sys.exit(3)
"""
HOSTILE = {
    "CNTK_X": "1", "CRONSEMBLE_REPEATS": "e-train-a-1", "CRONSEMBLE_IMAGE": "i", "CUDA_VISIBLE_DEVICES": "0",
    "JAX_ENABLE_X64": "1",
    "KERAS_BACKEND": "theano", "LANG": "de_DE.ISO-8859-1", "LC_ALL": "C", "LD_LIBRARY_PATH": "/nowhere", "MKL_NUM_THREADS": "9",
    "OMP_NUM_THREADS": "9", "OTHER_SECRET": "o", "PYTHONHASHSEED": "5", "PYTHONWARNINGS": "error", "TF_X": "1",
    "THEANO_FLAGS": "floatX=float16", "THEANORC": "x", "TZ": "Asia/Tokyo", "XLA_FLAGS": "--no_such_flag",
}  # fmt: skip
"""What a shell may hold, and no step gets."""


def reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Runtime | None = None, **spec: Any) -> dict[str, Any]:
    """What the data function of a run saw that was started from a shell full of variables; in this interpreter by default."""
    home, site = tmp_path / "home", tmp_path / "site"
    (home / ".keras").mkdir(parents=True)
    (home / ".keras" / "keras.json").write_text('{"floatx": "float16"}')
    site.mkdir()
    (site / "sitecustomize.py").write_text("raise SystemExit('sitecustomize of the shell was imported')")
    for name, value in {**HOSTILE, "HOME": str(home), "KERAS_HOME": str(home), "PYTHONPATH": str(site)}.items():
        monkeypatch.setenv(name, value)
    engine = LocalEngine(LocalStore(tmp_path / "store"), PlainDisplay(StringIO()), CpuBudget(1))
    code = engine.store_snapshot("code", deterministic_zip([("d.py", FUNCTION.encode())]))
    snapshot = {"program": engine.store_snapshot("program", build_program()), "code": code}
    data = {"dataset": "d.py:data", "predict": "holdout", "refresh": "daily", "key": "k"}
    task = {"schema": 1, "experiment": "e", "task": "train-a", "threads": 1, "env": {}, "snapshot": snapshot}
    task |= {"timezone": "UTC", "data": data, "data_seed": 1, "seed": 1, **spec}
    step = Step(("prepare",), runtime or Runtime("keras3", python=sys.executable))
    run = engine.run(RunSpec(task, 29_924_640, RunKind.MANUAL, (step,), tmp_path, threads=1, retries=0, deadline=60))
    assert run is not None
    log = "".join(path.read_text() for path in engine.store.run_folder(run.id).glob(f"*/{c.LOG}"))
    lines = [line for line in log.splitlines() if line.startswith("REACHED ")]
    assert lines, log
    value: dict[str, Any] = json.loads(lines[0].removeprefix("REACHED "))
    value["log"] = log
    return value


@pytest.mark.holds("author-shell")
def test_nothing_of_the_shell_decides_how_a_step_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saw = reached(tmp_path, monkeypatch)
    ours = {
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "numpy",
        "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "THEANORC": os.devnull,
    }
    assert {name: value for name, value in saw["env"].items() if name in HOSTILE} == ours
    assert not any(str(tmp_path / "site") in folder for folder in saw["path"])
    # What Keras has downloaded is there, and goes there; how it is configured is not.
    caches = {name: str(tmp_path / "home" / ".keras" / name) for name in ("datasets", "models")}
    assert saw["keras"] == caches and not Path(saw["env"]["KERAS_HOME"]).exists()


def test_what_the_configuration_says_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = {"JAX_ENABLE_X64": "0", "KERAS_HOME": str(tmp_path), "LD_LIBRARY_PATH": "/some", "PYTHONHASHSEED": "7"}
    saw = reached(tmp_path, monkeypatch, env=declared, secrets=["OTHER_SECRET", "ABSENT"])
    assert saw["env"].items() >= {**declared, "OTHER_SECRET": "o"}.items()
    assert "env.ABSENT: there is no variable ABSENT where cronsemble was started" in saw["log"]


@pytest.mark.holds("author-inspect")
@pytest.mark.holds("author-shell", "author-secrets")
def test_a_container_gets_its_secrets_and_nothing_else_of_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keras3_image: str
) -> None:
    (tmp_path / "containers.conf").write_text("[containers]\nenv_host = true\n")
    monkeypatch.setenv("CONTAINERS_CONF", str(tmp_path / "containers.conf"))
    secret = "two lines\n and no text in any encoding: \udcff"
    monkeypatch.setenv("DB", secret)
    runtime = Runtime("keras3", image=keras3_image, engine=containers.find_engine())
    saw = reached(tmp_path, monkeypatch, runtime, secrets=["DB", "OTHER_SECRET", "ABSENT"])
    assert (saw["env"]["DB"], saw["env"]["OTHER_SECRET"]) == (secret, "o")
    own = {"CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "numpy", "PYTHONHASHSEED": "0", "CRONSEMBLE_IMAGE": keras3_image}
    assert {name: value for name, value in saw["env"].items() if HOSTILE.get(name) == value} == {"OTHER_SECRET": "o"}
    assert saw["env"].items() >= own.items()
    assert "env.ABSENT: there is no variable ABSENT where cronsemble was started" in saw["log"]


@pytest.mark.parametrize(
    ("reason", "has_hint"),
    [
        ("prepare: KeyError: 'DB_URL' (d.py:3)", True),
        ("prepare: KeyError: 'other'", False),
        ("KeyError: 'HOME'", False),
        ("", False),
    ],
)
def test_a_variable_that_only_the_shell_has_is_named(reason: str, has_hint: bool) -> None:
    hint = absent_variable_hint(reason, {"DB_URL": "x", "HOME": "/"})
    assert hint.startswith("DB_URL is set in the environment of cronsemble") == has_hint and bool(hint) == has_hint


def test_variables_that_somebody_meant_for_a_framework_are_named() -> None:
    shell = {
        "HOME": "/",
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": "x",
        "JAX_A": "1",
        "TF_A": "1",
        "PYTHONPATH": "/",
        "OMP_NUM_THREADS": "1",
    }
    assert ignored_variables(shell, ["TF_A"]) == (
        "of your shell, JAX_A, PYTHONPATH, XLA_FLAGS reach no step: what a step needs goes into `env:`"
    )
    assert ignored_variables({"HOME": "/", "TF_A": "1", "TF_VAR_b": "1"}, ["TF_A"]) == ""
    assert "TF_4 and 2 more reach no step" in ignored_variables({f"TF_{n}": "1" for n in range(7)}, [])


@pytest.mark.holds("author-secrets")
def test_values_of_secrets_are_never_recorded() -> None:
    environment = {"A": "1", "DB": "x", "HF_TOKEN": "x", "HOME": "/", "KERAS_HOME": "/t", "TORCH_API_KEY": "x", "XLA_FLAGS": "f"}
    assert recorded(environment, ["A", "HF_TOKEN"], ["DB", "ABSENT"]) == {
        "variables": {"A": "1", "XLA_FLAGS": "f"},
        "secrets": ["DB"],
    }


@pytest.mark.holds("author-secrets")
def test_a_step_gets_the_secrets_of_its_member_alone() -> None:
    task = {"secrets": ["E"], "members": [{"member": "a", "secrets": ["A"]}, {"member": "b"}]}
    steps = (("prepare",), ("predict", "--member", "a"), ("predict", "--member", "b"), ("combine",))
    assert [step_secrets(task, step) for step in steps] == [["E"], ["A"], [], ["E"]]


@pytest.mark.holds("author-inspect")
@pytest.mark.holds("author-secrets")
def test_the_value_of_a_containers_secret_is_on_no_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in the container's variables, which its engine shows to all who may ask it."""
    monkeypatch.setenv("DB", "a secret")
    monkeypatch.setenv("CRONSEMBLE_TRY", "of the shell")
    monkeypatch.setenv("OTHER", "no secret of this step")
    runtime = Runtime("keras3", image="i", engine=containers.ContainerEngine("podman", ("podman",)))
    now, before = tmp_path / "now.pyz", tmp_path / "before.pyz"
    now.write_bytes(build_program())
    before.write_bytes(deterministic_zip([("__main__.py", b"")]))
    contract = {c.ENV_TRY: "t", c.ENV_OWNER: "{}"}
    command = runtime.command(now, tmp_path, tmp_path / "runs/e/t", tmp_path, ["train"], contract, ["DB", "ABSENT"], "n")
    assert not any("DB" in each or "a secret" in each for each in command.argv)
    assert json.loads(command.stdin) == {"DB": "a secret"} and "--interactive" in command.argv
    assert not any(name.startswith("CRONSEMBLE_") for name in command.env)
    # A repeated run's program of an earlier version reads no stdin.
    command = runtime.command(before, tmp_path, tmp_path / "runs/e/t", tmp_path, ["train"], contract, ["DB", "ABSENT"], "n")
    assert command.argv[command.argv.index("DB") - 1] == "--env" and "a secret" not in command.argv and command.stdin == b""
