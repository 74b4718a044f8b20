"""`history` of many runs, the whole process: cold, warm, growth; beside MLflow's search_runs of as many in its SQLite store.

python benchmarks/history.py [RUNS...]            1,000, 10,000 and 100,000 by default
python benchmarks/history.py --mlflow PYTHON      an interpreter with mlflow, for the comparison
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
from datetime import UTC, datetime
from pathlib import Path

from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.files import to_json

OURS = [sys.executable, "-c", "from scheduler.cli import main; main()", "history"]
FROM_PYTHON = [sys.executable, "-c", "import cronsemble; cronsemble.open('config.yaml').history()"]
LOOKS = {
    "history": [],
    "history --since 7d": ["--since", "7d"],
    "history --calendar": ["--calendar"],
    "history --status failed": ["--status", "failed"],
    "history --limit 0 --json": ["--limit", "0", "--json"],
}
MEMBERS = ["tensorflow", "jax", "torch", "theano", "cntk"]
CONFIG = "experiment: digits\nstore: ./store\nbackends: {%s}\nensemble: {quorum: 2}\n"

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


def build(root: Path, runs: int) -> None:
    """A store as so many hourly runs of five members and their ensemble leave it, to the last hour; two in a hundred failed."""
    names = [*(f"train-{name}" for name in MEMBERS), "ensemble"]
    store = LocalStore(root / "store")
    (root / "config.yaml").write_text(CONFIG % ", ".join(f"{name}: {{}}" for name in MEMBERS))
    now = int(time.time() // 3600) * 60
    plan = {"schedule": "0 * * * *", "timezone": "UTC", "concurrency": "Forbid", "starting_deadline": 3600, "deadline": 3600}
    began = now - (runs // len(names) + 1) * 60
    revision = {"revision": 1, "time": _iso(began * 60 + 60), "engine": "host:bench", "what": "serve", "by": "bench", "folded": 1}
    store.ledger.add_revision("digits", {**revision, "program": "p", "code": "c", "tasks": {name: plan for name in names}})
    months: dict[Path, int] = {}
    for n in range(runs):
        minute, task = now - n // len(names) * 60, names[n % len(names)]
        folder = store.run_folder(RunId(minute, 1, "digits", task))
        failed = n % 50 == 7
        own = folder / ("try-a" if failed else "result")
        own.mkdir(parents=True)
        started, finished = _iso(minute * 60 + 3), _iso(minute * 60 + 600)
        (own / "start.json").write_bytes(
            to_json({"schema": 1, "time": started, "kind": "scheduled", "process": {"host": "bench"}})
        )
        if failed:
            (own / "end.json").write_bytes(
                to_json({"time": finished, "status": "failed", "reason": "train ended with exit status 1"})
            )
        else:
            (own / "record.json").write_bytes(_record(task, minute, started, finished))
        # The folder of a month changed last when its last run began.
        months[folder.parent] = max(months.get(folder.parent, 0), minute * 60)
    for folder, changed in months.items():
        os.utime(folder, (changed, changed))


def _record(task: str, minute: int, started: str, finished: str) -> bytes:
    is_ensemble = task == "ensemble"
    metrics = {"metrics": {"accuracy": 0.97, "loss": 0.11, "epochs": 50}, "accuracy": 0.97}
    members = [{"member": name, "run": f"digits-train-{name}-{minute}", "accuracy": 0.9} for name in MEMBERS]
    combined = {name: {"weight": 0.2, "accuracy": 0.9, "accuracy_here": 0.95, "loss": 0.2} for name in MEMBERS}
    return to_json(
        {
            "schema": 1,
            "task": task,
            "kind": "scheduled",
            "started": started,
            "finished": finished,
            "snapshot": {"program": "a" * 64, "code": "b" * 64, "task": "c" * 64},
            "hyperparameters": {"epochs": 50, "batch_size": 32, "patience": 1, "optimizer": "rmsprop", "learning_rate": 0.001},
            "data": {"fingerprint": "d" * 64, "files": {}, "class_names": [str(n) for n in range(10)]},
            "versions": {"keras": "3.12.0", "numpy": "2.3.5", "python": "3.12.8", "tensorflow": "2.20.0"},
            **(
                {"ensemble": {"accuracy": 0.98, "loss": 0.1, "members": combined}, "members": members} if is_ensemble else metrics
            ),
        }
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def timed(command: list[str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="*", type=int, default=[1_000, 10_000, 100_000])
    parser.add_argument("--mlflow", help="an interpreter that has mlflow")
    options = parser.parse_args()
    for runs in options.runs:
        with tempfile.TemporaryDirectory(prefix="cronsemble-bench-") as scratch:
            folder = Path(scratch)
            build(folder, runs)
            results = {"runs": runs, "cold index, history --limit 0": round(timed([*OURS, "--limit", "0"], folder), 2)}
            for name, arguments in LOOKS.items():
                times = [timed([*OURS, *arguments], folder) for _ in range(7)]
                results[name] = round(statistics.median(times), 3)
            times = [timed(FROM_PYTHON, folder) for _ in range(7)]
            results["cronsemble.open().history()"] = round(statistics.median(times), 3)
            results["the same / history --limit 0 --json"] = round(
                results["cronsemble.open().history()"] / results["history --limit 0 --json"], 2
            )
            shutil.rmtree(folder / "store" / ".index")
            results["cold index, history"] = round(timed(OURS, folder), 2)
            if options.mlflow:
                command = [options.mlflow, "-c", MLFLOW, str(folder / "mlflow.db"), str(runs)]
                output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout.split()
                assert int(output[0]) == runs
                results["mlflow search_runs, all"], results["mlflow search_runs, 50"] = (
                    round(float(output[1]), 3),
                    round(float(output[3]), 3),
                )
                results["mlflow / history"] = round(results["mlflow search_runs, all"] / results["history"], 1)
                results["mlflow / history --limit 0 --json"] = round(
                    results["mlflow search_runs, all"] / results["history --limit 0 --json"], 1
                )
            print(json.dumps(results, indent=1), flush=True)


if __name__ == "__main__":
    main()
