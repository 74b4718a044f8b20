"""Training through the tool against a bare Keras script; four members side by side against four scripts in a row.

The same model, data, seed, layout and threads. Usage: training.py [RUNS]; needs the legacy image.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jobs.contract import seed_of
from scheduler.runtimes import containers
from scheduler.runtimes.mounts import Mount
from scheduler.runtimes.venvs import make_venv

EPOCHS = 8
LEGACY = "localhost/cronsemble-legacy"
FORMATS = {"tensorflow": "channels_last", "jax": "channels_last", "theano": "channels_first", "cntk": "channels_first"}
CLI = [sys.executable, "-c", "from scheduler.cli import main; main()"]
BARE = Path(__file__).with_name("bare.py")


def configuration(folder: Path, threads: int) -> None:
    (folder / "config.yaml").write_text(
        f"experiment: b\nhyperparameters: {{epochs: {EPOCHS}, patience: {EPOCHS}}}\ndefaults: {{threads: {threads}}}\n"
        "backends: {theano: {}, cntk: {}, tensorflow: {}, jax: {}}\nensemble: {}\n"
    )


def ours(folder: Path, *arguments: str) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of the whole process, and the history's newest rows."""
    began = time.perf_counter()
    subprocess.run([*CLI, "run", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    shown = subprocess.run([*CLI, "history", "--json"], cwd=folder, check=True, capture_output=True, text=True)
    rows: list[dict[str, Any]] = json.loads(shown.stdout)
    return seconds, rows


def bare(folder: Path, python: Path, backend: str, threads: int) -> tuple[float, float]:
    """Seconds of the whole process, and of its fit."""
    (dataset,) = (folder / "store" / "datasets").glob("*.npz")
    seed = str(seed_of("b", f"train-{backend}", 1))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
    env = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", **{name: str(threads) for name in names}}
    tail = [backend, str(threads), str(EPOCHS), seed, FORMATS[backend]]
    if backend in ("theano", "cntk"):
        mounts = [Mount(dataset.parent, "/data"), Mount(BARE.parent, "/bare")]
        start = '[ $KERAS_BACKEND = cntk ] || cp -r /opt/legacy/theano /tmp/theano; exec python2.7 -W ignore /bare/bare.py "$@"'
        argv = ["sh", "-c", start, "bare", f"/data/{dataset.name}", *tail]
        user = f"{os.getuid()}:{os.getgid()}"
        command = containers.run_command(containers.find_engine(), LEGACY, f"bare-{os.getpid()}", argv, env, mounts, user)
    else:
        command = [str(python), str(BARE), str(dataset), *tail]
    began = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **env}, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, float(done.stdout.split()[-1])


def metrics(folder: Path, row: dict[str, Any]) -> dict[str, Any]:
    (path,) = folder.glob(f"store/runs/*/*/*/{row['run']}/result/metrics.json")
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    python = make_venv(lambda text: print(text, file=sys.stderr))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        configuration(folder, 1)
        ours(folder, "--member", "tensorflow")
        for backend in ("tensorflow", "theano"):
            tool, script, rest = [], [], []
            for _ in range(runs):
                seconds, rows = ours(folder, "--member", backend)
                known = metrics(folder, rows[0])
                tool.append(known["train_seconds"])
                rest.append(seconds - known["train_seconds"] - known["import_seconds"])
                script.append(bare(folder, python, backend, 1)[1])
            ratio = statistics.median(tool) / statistics.median(script)
            print(
                f"{backend}: {EPOCHS} epochs: tool {statistics.median(tool):.2f} s, script {statistics.median(script):.2f} s, "
                f"ratio {ratio:.3f}; beside training and import {statistics.median(rest):.2f} s "
                "(command, prepare, supervisor, container, publishing)",
                flush=True,
            )
        row, sides = [], {"2 members at a time, a thread each": [], "one at a time, 2 threads": []}
        for _ in range(runs):
            row.append(sum(bare(folder, python, backend, 1)[0] for backend in FORMATS))
            for threads, times in zip((1, 2), sides.values(), strict=True):
                configuration(folder, threads)
                times.append(ours(folder, "--no-ensemble", "--jobs", "2")[0])
        for name, times in sides.items():
            print(f"four members, {name}: {statistics.median(times):.1f} s")
            in_a_row = statistics.median(row)
            print(f"  against four scripts in a row, {in_a_row:.1f} s: {statistics.median(times) / in_a_row:.2f}")


if __name__ == "__main__":
    main()
