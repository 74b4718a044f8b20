"""A look of `watch` at a store of many runs, the whole process: seconds, processor time, memory; with the index and without.

python benchmarks/watch.py [--runs N] [--nights N]     10,000 runs and 365 nights of four members by default; 0 leaves one out
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from report import stores, timed  # noqa: E402

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--nights", type=int, default=365)
    options = parser.parse_args()
    for name, folder in stores(options.nights, options.runs):
        figures: dict[str, object] = {"store": name}
        file = folder / "config.yaml"
        config = yaml.safe_load(file.read_text())
        file.write_text(json.dumps({**config, "notify": {"channels": {"nobody": {"command": ["true"]}}}}))
        timed(["watch"], folder)  # byte code and templates
        for index in ("without the index", "with the index"):
            times = []
            for _ in range(ROUNDS):
                if index == "without the index":
                    shutil.rmtree(folder / "store" / ".index", ignore_errors=True)
                times.append(timed(["watch"], folder))
            figures[f"{index}: processor time, s"] = round(statistics.median(each[0] for each in times), 2)
            figures[f"{index}: s"] = round(statistics.median(each[1] for each in times), 2)
        figures["memory of the largest, MiB"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
        figures["page, bytes"] = sum(page.stat().st_size for page in (folder / "store" / "reports").rglob("latest.html"))
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
