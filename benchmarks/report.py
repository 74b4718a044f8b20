"""`report` of a year of four members nightly and of 100,000 runs, the whole process, beside `history --json` of the same store.

python benchmarks/report.py [--nights N] [--runs N]     365 and 100,000 by default; 0 leaves one out
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import history  # noqa: E402
import year_store  # noqa: E402

COMMAND = [sys.executable, "-c", "from scheduler.cli import main; main()"]
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--runs", type=int, default=100_000)
    options = parser.parse_args()
    for name, folder in stores(options.nights, options.runs):
        looks = {"history": ["history", "--json", "--limit", "0"], "report": ["report", "--out", "report.html"]}
        times: dict[str, list[tuple[float, float]]] = {look: [] for look in looks}
        for _ in range(ROUNDS + 1):  # the first builds the index, the byte code and the templates
            for look, arguments in looks.items():
                times[look].append(timed(arguments, folder))
        figures: dict[str, object] = {"store": name, "bytes": (folder / "report.html").stat().st_size}
        for look, own in times.items():
            figures[f"{look}: processor time, s"] = round(statistics.median(each[0] for each in own[1:]), 2)
            figures[f"{look}: s"] = round(statistics.median(each[1] for each in own[1:]), 2)
        ratio = statistics.median(each[0] for each in times["report"][1:]) / statistics.median(
            each[0] for each in times["history"][1:]
        )
        print(json.dumps({**figures, "report / history": round(ratio, 2)}), flush=True)


def stores(nights: int, runs: int) -> Iterator[tuple[str, Path]]:
    with tempfile.TemporaryDirectory(prefix="cronsemble-bench-") as scratch:
        if nights:
            folder = Path(scratch) / "nights"
            folder.mkdir()
            year_store.build(folder / "store", nights)
            year_store.write_config(folder)
            yield f"{nights} nights", folder
        if runs:
            folder = Path(scratch) / "runs"
            folder.mkdir()
            history.build(folder, runs)
            yield f"{runs} runs", folder


def timed(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Processor time and time of a whole command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([*COMMAND, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.perf_counter() - began


if __name__ == "__main__":
    main()
