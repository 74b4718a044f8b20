"""The ensemble's methods on data sets that scikit-learn ships: log loss and calibration error of each, over ten splits.

Members on real backends are trained by the tool's own programs, and predict what they never saw. theano and cntk need the legacy
image. Usage: ensembling.py [FOLDER]; the arrays are kept in FOLDER, and what is there is not trained again. It exits with 1 where
`calibrated` misses the bar: log loss no worse than `accuracy` on 9 of 10 splits of each data set, and 19 % lower in the mean.
Beside it there are members that are alike, one network on each backend: their figures are printed alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ensembling_members import CONDITIONS, MEMBERS, SIZES

from jobs.keras3.calibration import calibration_error, fit, log_loss
from jobs.keras3.pools import LinearPool, weights
from scheduler.runtimes import containers
from scheduler.runtimes.mounts import Mount
from scheduler.runtimes.venvs import make_venv

SPLITS, CORES, WINS, REDUCTION = 10, 2, 9, 0.19
FEW = 60
LEGACY = "localhost/cronsemble-legacy"
ROOT = Path(__file__).resolve().parents[1]
SCRIPT = Path(__file__).with_name("ensembling_members.py")


def train(folder: Path, python: Path, member: str) -> None:
    """Train a member on every split, in the runtime of its backend."""
    backend = str(MEMBERS[member]["backend"])
    env = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    if backend in ("theano", "cntk"):
        mounts = [Mount(folder, "/data", is_writable=True), Mount(ROOT / "jobs", "/code/jobs"), Mount(SCRIPT, "/code/members.py")]
        start = "cp -r /opt/legacy/theano /tmp/theano; exec python2.7 -W ignore /code/members.py train /data " + member
        name, user = f"ensembling-{os.getpid()}-{member}", f"{os.getuid()}:{os.getgid()}"
        command = containers.run_command(containers.find_engine(), LEGACY, name, ["sh", "-c", start], env, mounts, user)
    else:
        command = [str(python), "-W", "ignore", str(SCRIPT), "train", str(folder), member]
    subprocess.run(command, env={**os.environ, **env, "PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.DEVNULL)


def arrays_of(split: Path, members: Sequence[str]) -> tuple[dict[str, Any], list[Any], list[Any], list[float]]:
    """A split's data, what the members predict of the validation items and of the others, and their accuracies."""
    data = dict(np.load(split / "data.npz"))
    validation = [np.load(split / member / "predicted-validation.npy") for member in members]
    predicted = [np.load(split / member / "probabilities.npy") for member in members]
    accuracies = [json.loads((split / member / "metrics.json").read_text())["accuracy"] for member in members]
    return data, validation, predicted, accuracies


def compared(split: Path, members: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Of each method log loss, calibration error and accuracy on the items that are predicted."""
    data, validation, predicted, accuracies = arrays_of(split, members)
    labels = data["y_predict"].astype("int64")
    y_val = data["y_val"].astype("int64")
    few = slice(0, FEW)
    few_accuracies = [float((own[few].argmax(axis=1) == y_val[few]).mean()) for own in validation]
    pools = {
        "accuracy": LinearPool(weights("accuracy", accuracies)),
        "uniform": LinearPool(weights("uniform", accuracies)),
        "calibrated": fit(validation, y_val),
        "accuracy, 60": LinearPool(weights("accuracy", few_accuracies)),
        "calibrated, 60": fit([own[few] for own in validation], y_val[few]),
    }
    found = {}
    for name, pool in pools.items():
        combined = pool(predicted, slice(None))
        hits = float((combined.argmax(axis=1) == labels).mean())
        found[name] = (log_loss(combined, labels), calibration_error(combined, labels), hits)
    for member, own in zip(members, predicted, strict=True):
        found[member] = (log_loss(own, labels), calibration_error(own, labels), float((own.argmax(axis=1) == labels).mean()))
    return found


def report(folder: Path, condition: str) -> bool:
    """Print a table for each data set, of the members of a condition; whether the bar is met everywhere."""
    is_met = True
    for name in SIZES:
        splits = [folder / f"{name.replace(' ', '-')}-{split}" for split in range(SPLITS)]
        rows = [compared(split, CONDITIONS[condition]) for split in splits]
        print(f"\n{name}, members {condition}: means of {SPLITS} splits")
        print(f"  {'':<15}  log loss  calibration error  accuracy  no worse  mean reduction")
        for method in rows[0]:
            losses = np.array([row[method][0] for row in rows])
            baseline = np.array([row["accuracy, 60" if method.endswith("60") else "accuracy"][0] for row in rows])
            wins, reduction = int((losses <= baseline).sum()), float(1 - (losses / baseline).mean())
            error, hits = (float(np.mean([row[method][n] for row in rows])) for n in (1, 2))
            beside = f"{wins:>5}/{SPLITS}  {reduction:>13.1%}" if method in ("uniform", "calibrated", "calibrated, 60") else ""
            print(f"  {method:<15}  {losses.mean():>8.4f}  {error:>16.1%}  {hits:>9.2%}  {beside}")
            if method == "calibrated":
                is_met &= wins >= WINS and 1 - losses.mean() / baseline.mean() >= REDUCTION and reduction >= REDUCTION
    return is_met


def main() -> None:
    python = make_venv(lambda text: print(text, file=sys.stderr))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        if not (folder / "wine-0").exists():
            subprocess.run([str(python), str(SCRIPT), "data", str(folder), str(SPLITS)], check=True)
        # The longest first.
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(lambda member: train(folder, python, member), reversed(MEMBERS)))
        print(f"members trained in {time.monotonic() - began:.0f} s: {', '.join(MEMBERS)}", flush=True)
        is_met, *_ = [report(folder, condition) for condition in CONDITIONS]
        if not is_met:
            sys.exit("\nthe bar is missed")
        print("\nthe bar is met")


if __name__ == "__main__":
    main()
