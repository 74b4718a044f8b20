"""Combining 3 models x 1,000,000 items x 10 classes into four CSVs, against a csv.writer loop over the same arrays."""

from __future__ import annotations

import csv
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ITEMS, CLASSES, MODELS, RUNS = 1_000_000, 10, 3, 3


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        generator = np.random.default_rng(1)
        names = [str(number) for number in range(CLASSES)]
        members = []
        for number in range(MODELS):
            path = folder / f"{number}.npy"
            np.save(path, generator.dirichlet(np.ones(CLASSES), ITEMS).astype("float32"))
            members.append({"member": f"m{number}", "accuracy": 0.9, "probabilities": str(path), "class_names": names})
        plan = folder / "plan.json"
        plan.write_text(json.dumps({"method": "accuracy", "members": members, "data": None}))
        command = [sys.executable, "-m", "jobs", "combine", "--plan", str(plan), "--out", scratch]
        arrays = [np.load(folder / f"{number}.npy") for number in range(MODELS)]
        arrays.append(np.mean(arrays, axis=0))
        ours, loops, first = [], [], []
        for _ in range(RUNS):
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            ours.append(time.perf_counter() - began)
            seconds = [loop(folder / "loop.csv", array) for array in arrays]
            loops.append(sum(seconds))
            first.append(seconds[0])
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"combine, whole process, {MODELS + 1} CSVs: median {statistics.median(ours):.2f} s, peak {peak:.0f} MiB")
        for name, times in (("the same four CSVs", loops), ("one CSV alone", first)):
            ratio = statistics.median(times) / statistics.median(ours)
            print(f"csv.writer loop, {name}: median {statistics.median(times):.2f} s, {ratio:.1f} times combine's")


def loop(path: Path, array: np.ndarray) -> float:  # type: ignore[type-arg]
    began = time.perf_counter()
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        for number, row in enumerate(array):
            best = row.argmax()
            writer.writerow([number, best, row[best], *row])
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
