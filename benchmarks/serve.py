"""serve with a thousand schedules: processor use when idle, and the lag from the minute to the start mark with a hundred due.

The steps are no-ops (the interpreter is /bin/false): it is the engine that is measured. A run's lag has two parts: from its
minute until it is claimed, and from there until its first try begins, which is the waiting for the CPU budget. Budgets of all
CPUs and of a hundred are measured, for with the second nothing waits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles

ALL, DUE, IDLE = 1000, 100, 60


def main() -> None:
    for budget in (len(os.sched_getaffinity(0)), DUE):
        with tempfile.TemporaryDirectory() as scratch:
            measure(Path(scratch), budget)


def measure(folder: Path, budget: int) -> None:
    # Due in the second minute from now, so that an idle stretch comes first.
    minute = int(time.time() // 60) + 3
    when = time.strftime("%M %H %d %m *", time.gmtime(minute * 60))
    members = [f"m{n}: {{backend: jax, schedule: {when if n < DUE else '0 0 1 1 *'!r}}}" for n in range(ALL)]
    text = "experiment: many\nruntimes: {keras3: {python: /bin/false}}\ndefaults: {retries: 0}\nbackends:\n  " + "\n  ".join(
        members
    )
    (folder / "config.yaml").write_text(text + "\n")
    command = [
        sys.executable,
        "-c",
        "from scheduler.cli import main; main()",
        "serve",
        "--jobs",
        str(budget),
        "--log-format",
        "json",
    ]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        began = time.monotonic()
        ended, used, idle = 0, 0.0, 0.0
        for line in process.stdout:
            event = json.loads(line)["event"]
            if event == "started":
                print(f"{ALL} schedules, {budget} CPUs: ready after {time.monotonic() - began:.1f} s")
                used, since = cpu(process.pid), time.monotonic()
                time.sleep(min(IDLE, minute * 60 - time.time() - 2))
                idle = (cpu(process.pid) - used) / (time.monotonic() - since)
                print(f"  idle: {idle:.2%} of a CPU")
            ended += event == "ended"
            if ended == DUE:
                break
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    claims, starts = lags(folder / "store", minute)
    report("minute to claim", claims)
    report("claim to start mark (waiting for CPUs)", starts)


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lags(store: Path, minute: int) -> tuple[list[float], list[float]]:
    claims, starts = [], []
    for path in store.glob(f"runs/many/*/*/many-*-{minute}/claim.json"):
        (mark,) = path.parent.glob("try-*/start.json")
        claimed, started = (datetime.fromisoformat(json.loads(each.read_text())["time"]).timestamp() for each in (path, mark))
        claims.append(claimed - minute * 60)
        starts.append(started - claimed)
    return claims, starts


def report(name: str, values: list[float]) -> None:
    print(f"  {name}: p50 {median(values):.3f} s, p99 {quantiles(values, n=100)[98]:.3f} s, {len(values)} runs")


if __name__ == "__main__":
    main()
