"""`history`, `gc`, `fsck --quick` and others on a store of many runs, each a whole process: seconds, processor time, memory.

python benchmarks/history.py [RUNS...]                  1,000, 10,000 and 100,000 by default
python benchmarks/history.py --store FOLDER RUNS        a store that `benchmarks/large_store.py FOLDER RUNS` has made
python benchmarks/history.py --mlflow PYTHON            beside MLflow's search_runs of as many in its SQLite store

What has an index is measured with it, beside without it, when each run is read. What a loaded machine does to the seconds it does
not do to the processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from large_store import build

OURS = [sys.executable, "-c", "from scheduler.cli import main; main()"]
FROM_PYTHON = [sys.executable, "-c", "import cronsemble; cronsemble.open('config.yaml').history()"]
LOOKS = [
    "history",
    "history --since 7d",
    "history --calendar",
    "history --status failed",
    "history --limit 0 --json",
    "metrics",
    "show ensemble-{newest}",
    "logs ensemble-{newest}",
    "check",
    "next",
]
MLFLOW = """
import sys, time, uuid, warnings
warnings.filterwarnings("ignore")
import mlflow, sqlalchemy as sa
from mlflow.tracking import MlflowClient
uri, runs = "sqlite:///" + sys.argv[1], int(sys.argv[2])
mlflow.set_tracking_uri(uri)
client = MlflowClient()
experiment = client.create_experiment("digits")
first = client.create_run(experiment)
client.log_metric(first.info.run_id, "accuracy", 0.9); client.log_metric(first.info.run_id, "loss", 0.3)
client.log_param(first.info.run_id, "epochs", 50)
# The rows of the first run, again under other names: what its own client would have written, without the hours.
engine = sa.create_engine(uri)
tables = sa.MetaData(); tables.reflect(engine)
with engine.begin() as connection:
    for name in ("runs", "metrics", "latest_metrics", "params", "tags"):
        table = tables.tables[name]
        rows = [dict(row._mapping) for row in connection.execute(sa.select(table).where(table.c.run_uuid == first.info.run_id))]
        copies = []
        for n in range(1, runs):
            for row in rows:
                copy = dict(row, run_uuid="%032x" % n)
                if name == "runs":
                    copy.update(name="run-%d" % n, start_time=row["start_time"] + n, artifact_uri=row["artifact_uri"] + str(n))
                copies.append(copy)
        for at in range(0, len(copies), 10000):
            connection.execute(sa.insert(table), copies[at:at + 10000])
began = time.perf_counter()
token, found = None, 0
while True:
    page = client.search_runs([experiment], max_results=50000, page_token=token)
    found += len(page); token = page.token
    if not token: break
print(found, time.perf_counter() - began)
began = time.perf_counter()
page = client.search_runs([experiment], max_results=50)
print(len(page), time.perf_counter() - began)
"""


def measured(command: list[str], folder: Path) -> dict[str, float]:
    """Seconds, seconds of processor time and MiB of a whole process."""
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {process.returncode}")
    seconds, cpu = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    return {"s": round(seconds, 2), "cpu s": round(cpu, 2), "MiB": round(usage.ru_maxrss / 1024)}


def medians(command: list[str], folder: Path, rounds: int) -> dict[str, float]:
    took = [measured(command, folder) for _ in range(rounds)]
    return {key: statistics.median(one[key] for one in took) for key in took[0]}


def compare(folder: Path, rounds: int) -> dict[str, object]:
    """What each command takes with its index, beside without: each reads every run then."""
    results: dict[str, object] = {}
    for name in ("fsck --quick", "gc --dry-run --what staging --what data --what snapshots", "history --limit 0"):
        shutil.rmtree(folder / "store" / ".index", ignore_errors=True)
        cold = measured([*OURS, *name.split()], folder)
        warm = medians([*OURS, *name.split()], folder, rounds)
        results[name] = {**warm, "without index": cold, "times as much cpu without": round(cold["cpu s"] / warm["cpu s"], 1)}
    return results


def measure(folder: Path, runs: int, mlflow: str | None, rounds: int) -> None:
    results: dict[str, object] = {"runs": runs, "load": round(os.getloadavg()[0], 1), **compare(folder, rounds)}
    print(json.dumps(results), flush=True)
    newest = max((folder / "store" / "runs" / "digits" / "ensemble").glob("*/*")).name.rpartition("-")[2]
    looks = {name: medians([*OURS, *name.format(newest=newest).split()], folder, rounds) for name in LOOKS}
    looks["cronsemble.open().history()"] = medians(FROM_PYTHON, folder, rounds)
    shutil.rmtree(folder / "store" / ".index")
    looks["history, without index"] = measured([*OURS, "history"], folder)
    for name, took in looks.items():
        print(json.dumps({name: took}), flush=True)
    if mlflow:
        command = [mlflow, "-c", MLFLOW, str(folder / "mlflow.db"), str(runs)]
        output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout.split()
        assert int(output[0]) == runs
        everything, newest_50 = float(output[1]), float(output[3])
        print(f"mlflow search_runs: all {everything:.3f} s, 50 {newest_50:.3f} s; beside history", end=" ")
        print(f"{everything / looks['history']['s']:.1f} times, --limit 0 --json", end=" ")
        print(f"{everything / looks['history --limit 0 --json']['s']:.1f} times", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=int, default=[1_000, 10_000, 100_000])
    parser.add_argument("--mlflow", help="an interpreter that has mlflow")
    parser.add_argument("--store", type=Path, metavar="FOLDER", help="of benchmarks/large_store.py; RUNS is its number then")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.store:
        measure(options.store, options.runs[0], options.mlflow, options.rounds)
        return
    for runs in options.runs:
        with tempfile.TemporaryDirectory(prefix="cronsemble-bench-") as scratch:
            build(Path(scratch), runs)
            # What has just changed is read at every look.
            time.sleep(70)
            measure(Path(scratch), runs, options.mlflow, options.rounds)


if __name__ == "__main__":
    main()
