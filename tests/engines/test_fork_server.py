"""Members of one backend, predicted by forks of a process that has imported it once: with real Keras."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from commands import run_command
from scheduler.snapshots.program import build_program

MODEL = """
import os, signal

def model(input_shape, classes, hyperparameters):
    import keras
    with open("/proc/self/cmdline") as file:
        program = [word for word in file.read().split(chr(0)) if word in ("train", "predict", "fork-server")][0]
    with open(os.environ["SEEN"], "a") as file:
        print(os.environ["CRONSEMBLE_RUN"].split("-")[1], program, hyperparameters["units"], keras.config.floatx(), file=file)
    if hyperparameters["units"] == 7 and "-ensemble-" in os.environ["CRONSEMBLE_RUN"]:
        os.kill(os.getpid(), signal.SIGSEGV)
    # What one member sets is not there for the next one.
    keras.config.set_floatx("float64" if hyperparameters["units"] == 5 else "float32")
    layers = [keras.layers.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(hyperparameters["units"], "relu")]
    built = keras.Sequential([*layers, keras.layers.Dropout(0.5), keras.layers.Dense(classes, activation="softmax")])
    built.compile("adam", loss="categorical_crossentropy")
    return built
"""


def test_forks_predict_as_processes_of_their_own_and_fail_alone(tmp_path: Path, keras3: Path) -> None:
    """One member sets a type for all of Keras, one crashes in compiled code."""
    seen = tmp_path / "seen"
    (tmp_path / "m.py").write_text(MODEL)
    (tmp_path / "config.yaml").write_text(f"""
experiment: small
runtimes: {{keras3: {{python: {keras3}}}}}
model: "m.py:model"
hyperparameters: {{epochs: 1, units: 5}}
defaults: {{env: {{SEEN: {seen}}}, retries: 0}}
backends:
  first: {{backend: jax}}
  crash: {{backend: jax, hyperparameters: {{units: 7}}}}
  last: {{backend: jax, hyperparameters: {{units: 9}}}}
ensemble: {{quorum: 2}}
""")
    done = run_command("run", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    predicted = [line.split()[1:] for line in seen.read_text().splitlines() if line.startswith("ensemble ")]
    assert predicted == [["fork-server", units, "float32"] for units in ("5", "7", "9")]
    (result,) = tmp_path.glob("store/runs/small/ensemble/*/*/result")
    members = {member["member"]: member for member in json.loads((result / "selection.json").read_text())["members"]}
    assert members["crash"]["left_out"].startswith("predict crashed in compiled code (SIGSEGV, a segmentation fault) (m.py:")
    assert [name for name, member in members.items() if "left_out" not in member] == ["first", "last"]
    # The same bytes as from a process of its own.
    program = tmp_path / "program.pyz"
    program.write_bytes(build_program())
    (data,) = tmp_path.glob("store/datasets/*.npz")
    variables = {**members["last"]["environment"]["variables"], "PATH": os.environ["PATH"], "CRONSEMBLE_RUN": "small-repeat-1"}
    for name in ("first", "last"):
        (training,) = tmp_path.glob(f"store/runs/small/train-{name}/*/*/result")
        arguments = ["--model", str(training), "--data", str(data), "--code", str(tmp_path), "--out", str(tmp_path / "p.npy")]
        subprocess.run([str(keras3), str(program), "predict", *arguments], env=variables, check=True)
        assert (tmp_path / "p.npy").read_bytes() == (result / "probabilities" / name / "probabilities.npy").read_bytes()
