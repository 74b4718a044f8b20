"""serve with a thousand schedules: processor use when idle, and the lag from the minute to the claim with a hundred, or all, due.

python benchmarks/serve.py [DUE:CPUS...]      100:2, 100:100 and 1000:2 by default: how many are due at once, the budget of CPUs

The steps are no-ops (the interpreter is /bin/false): it is the engine that is measured. A run's lag has two parts: from its
minute until its claim is on the disk (the journal says so), and from there until its first try begins, which is the waiting for
the CPU budget. Beside it, just before and just after: as many claims by as many threads, and nothing else.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles

from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.process_identity import process_identity
from scheduler.server.claim_order import AT_ONCE

ALL, IDLE = 1000, 30


def main() -> None:
    cases = sys.argv[1:] or [f"100:{len(os.sched_getaffinity(0))}", "100:100", f"{ALL}:{len(os.sched_getaffinity(0))}"]
    for case in cases:
        due, _, budget = case.partition(":")
        with tempfile.TemporaryDirectory() as scratch:
            measure(Path(scratch), int(due), int(budget or 100))


def measure(folder: Path, due: int, budget: int) -> None:
    # Due in the second minute from now, so that an idle stretch comes first.
    minute = int(time.time() // 60) + 2
    when = time.strftime("%M %H %d %m *", time.gmtime(minute * 60))
    members = [f"m{n}: {{backend: jax, schedule: {when if n < due else '0 0 1 1 *'!r}}}" for n in range(ALL)]
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
    bare = [bare_claims(folder / "bare-before", due)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        began = time.monotonic()
        claims: list[float] = []
        for line in process.stdout:
            entry = json.loads(line)
            if entry["event"] == "started":
                load = os.getloadavg()[0]
                print(f"{ALL} schedules, {due} due, {budget} CPUs: ready after {time.monotonic() - began:.1f} s")
                used, since = cpu(process.pid), time.monotonic()
                time.sleep(max(1.0, min(IDLE, minute * 60 - time.time() - 2)))
                idle = (cpu(process.pid) - used) / (time.monotonic() - since)
                used = cpu(process.pid)
                print(f"  idle: {idle:.2%} of a CPU; load of this machine {load:.1f}")
            if entry["event"] == "begun":
                claims.append(datetime.fromisoformat(entry["time"]).timestamp() - minute * 60)
                if len(claims) == due:
                    print(f"  processor time to the last claim: {(cpu(process.pid) - used) / due * 1000:.2f} ms each")
                    report("minute to claim", claims)
                    break
        # The steps go on meanwhile; what is measured of them is their start.
        ended = 0
        for line in process.stdout:
            ended += json.loads(line)["event"] == "ended"
            if ended == min(due, 10):
                break
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    bare.append(bare_claims(folder / "bare-after", due))
    report("claim to start mark (waiting for CPUs)", starts(folder / "store", minute))
    ratio = max(claims) / min(bare)
    print(
        f"  the claims alone, {AT_ONCE} threads: {bare[0]:.3f} and {bare[1]:.3f} s; serve's last: {ratio:.1f} times", flush=True
    )


def bare_claims(folder: Path, number: int) -> float:
    """Seconds until so many runs are claimed by threads that do nothing else."""
    store = LocalStore(folder)
    mark = {"kind": "scheduled", "time": "2026-01-01T00:00:00.000Z", "process": process_identity()}
    minute = int(time.time() // 60)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        began = time.perf_counter()
        list(pool.map(lambda n: store.claim_attempt(RunId(minute, 1, "many", f"train-m{n}"), mark), range(number)))
    return time.perf_counter() - began


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def starts(store: Path, minute: int) -> list[float]:
    """Seconds from a run's claim to its first try, of each that has one."""
    seconds = []
    for mark in store.glob(f"runs/many/*/*/many-*-{minute}/try-*/start.json"):
        times = (json.loads(path.read_text())["time"] for path in (mark.parents[1] / "claim.json", mark))
        claimed, started = (datetime.fromisoformat(time).timestamp() for time in times)
        seconds.append(started - claimed)
    return seconds


def report(name: str, values: list[float]) -> None:
    print(f"  {name}: p50 {median(values):.3f} s, p99 {quantiles(values, n=100)[98]:.3f} s, {len(values)} runs", flush=True)


if __name__ == "__main__":
    main()
