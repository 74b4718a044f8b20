"""Training through the tool against bare Keras scripts: one member; four members against the scripts, in a row and two at a time.

The same model, data, seed, layout, threads and environments. Usage: training.py [RUNS [BACKEND ...]], a backend perhaps twice;
theano and cntk need the legacy image. What the cores allow is taken from the scripts themselves: see `limit`. Beside other
work the CPU seconds and what is said of the limit can be relied on: whoever runs two at a time gets more of a busy machine.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.contract import seed_of
from scheduler.runtimes import containers
from scheduler.runtimes.mounts import Mount
from scheduler.runtimes.venvs import make_venv

EPOCHS, CORES = 8, 2
LEGACY = "localhost/cronsemble-legacy"
FORMATS = {"theano": "channels_first", "cntk": "channels_first", "tensorflow": "channels_last", "jax": "channels_last"}
CLI = [sys.executable, "-c", "from scheduler.cli import main; main()"]
BARE = Path(__file__).with_name("bare.py")


@dataclass(frozen=True)
class Cost:
    """The wall-clock seconds of something, and the CPU seconds of all processes that it has started, containers' too."""

    wall: float
    cpu: float


class Meter:
    """Measures what is run within it; one at a time."""

    def __enter__(self) -> Meter:
        self._began, self._cpu = time.perf_counter(), self._spent()
        return self

    def __exit__(self, *_: object) -> None:
        wall = time.perf_counter() - self._began
        # The monitor of a container outlives the engine's client, and has the container's CPU seconds.
        with suppress(ChildProcessError):
            while os.waitpid(-1, 0)[0]:
                pass
        self.cost = Cost(wall, self._spent() - self._cpu)

    @staticmethod
    def _spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime


def configure(folder: Path, members: Mapping[str, str], threads: int, epochs: int = EPOCHS, more: str = "") -> None:
    """Write a configuration; ``members``: their other keys by name, in YAML."""
    lines = "".join(f"  {name}: {{{keys}}}\n" for name, keys in members.items())
    (folder / "config.yaml").write_text(
        f"experiment: b\nhyperparameters: {{epochs: {epochs}, patience: {epochs}}}\ndefaults: {{threads: {threads}}}\n"
        f"{more}backends:\n{lines}ensemble: {{}}\n"
    )


def ours(folder: Path, *arguments: str) -> Cost:
    """A command of the tool, the whole process."""
    with Meter() as meter:
        subprocess.run([*CLI, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return meter.cost


def records(folder: Path, task: str) -> list[tuple[Path, dict[str, Any]]]:
    """The results of a task, the oldest first, each with its record."""
    found = [(path.parent, json.loads(path.read_text())) for path in folder.glob(f"store/runs/b/{task}/*/*/result/record.json")]
    return sorted(found, key=lambda result: str(result[1]["finished"]))


def bare(folder: Path, python: Path, backend: str, threads: int) -> float:
    """Run the bare script; the seconds of its fit."""
    (dataset,) = (folder / "store" / "datasets").glob("*.npz")
    seed = str(seed_of("b", f"train-{backend}", 1))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
    env = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", **{name: str(threads) for name in names}}
    tail = [backend, str(threads), str(EPOCHS), seed, FORMATS[backend]]
    if backend in ("theano", "cntk"):
        mounts = [Mount(dataset.parent, "/data"), Mount(BARE.parent, "/bare")]
        start = '[ $KERAS_BACKEND = cntk ] || cp -r /opt/legacy/theano /tmp/theano; exec python2.7 -W ignore /bare/bare.py "$@"'
        argv = ["sh", "-c", start, "bare", f"/data/{dataset.name}", *tail]
        user, name = f"{os.getuid()}:{os.getgid()}", f"bare-{os.getpid()}-{threading.get_ident()}"
        command = containers.run_command(containers.find_engine(), LEGACY, name, argv, env, mounts, user)
    else:
        # Without the shell's GPUs, as the tool's steps.
        env["CUDA_VISIBLE_DEVICES"] = "-1"
        command = [str(python), str(BARE), str(dataset), *tail]
    done = subprocess.run(command, env={**os.environ, **env}, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def best_assignment(seconds: Sequence[float]) -> float:
    """The shortest time in which tasks of these lengths are done on ``CORES`` cores, each on one of them."""
    places = itertools.product(range(CORES), repeat=len(seconds))
    return min(
        max(sum(each for each, on in zip(seconds, where, strict=True) if on == core) for core in range(CORES)) for where in places
    )


def limit(in_a_row: Sequence[Mapping[str, Cost]], two_at_a_time: Sequence[Cost]) -> float:
    """Print what the cores allow, and how that is derived; returns the seconds.

    In a row the scripts take the sum of their times. No schedule is shorter than the CPU seconds of all by the number of cores,
    nor than the best assignment of the scripts, which are not divided, to the cores. Two that run at once slow each other through
    what they share (memory, caches, hyperthreads), so that even that is out of reach: the limit is the same scripts, two at a
    time, the longest first. Whoever runs them can do no better; less is reached only by spending less CPU time than they do.
    """
    total = statistics.median(sum(cost.wall for cost in row.values()) for row in in_a_row)
    cpu = statistics.median(sum(cost.cpu for cost in row.values()) for row in in_a_row)
    assigned = statistics.median(best_assignment([cost.wall for cost in row.values()]) for row in in_a_row)
    measured = statistics.median(cost.wall for cost in two_at_a_time)
    print(f"{len(in_a_row[0])} scripts in a row: {total:.1f} s, {cpu:.1f} CPU s; what {CORES} cores allow them:")
    print(f"  their CPU seconds by {CORES}: {cpu / CORES:.1f} s ({cpu / CORES / total:.2f} of the row)")
    print(f"  the best assignment of the four to {CORES} cores: {assigned:.1f} s ({assigned / total:.2f})")
    spent = statistics.median(cost.cpu for cost in two_at_a_time)
    print(
        f"  the limit, the scripts {CORES} at a time, longest first: {measured:.1f} s ({measured / total:.2f}), {spent:.1f} CPU s"
    )
    return measured


def one_member(folder: Path, python: Path, backends: Sequence[str], runs: int) -> None:
    """The training of one member, and what a run does beside it."""
    for backend in backends:
        tool, script, rest = [], [], []
        for _ in range(runs):
            cost = ours(folder, "run", "--member", backend)
            known = json.loads((records(folder, f"train-{backend}")[-1][0] / "metrics.json").read_text())
            tool.append(known["train_seconds"])
            rest.append(cost.wall - known["train_seconds"] - known["import_seconds"])
            script.append(bare(folder, python, backend, 1))
        ratio = statistics.median(tool) / statistics.median(script)
        print(
            f"{backend}: {EPOCHS} epochs: tool {statistics.median(tool):.2f} s, script {statistics.median(script):.2f} s, "
            f"ratio {ratio:.3f}; beside training and import {statistics.median(rest):.2f} s "
            "(command, prepare, supervisor, container, saving and loading the model again, publishing)",
            flush=True,
        )


def all_members(folder: Path, python: Path, members: Mapping[str, str], runs: int) -> None:
    """`run` of all members without the ensemble against their scripts, in turn; each round begins with another of them."""
    rows: list[dict[str, Cost]] = []
    pairs: list[Cost] = []
    sides: dict[int, list[Cost]] = {1: [], 2: []}

    def in_a_row() -> dict[str, Cost]:
        row = {}
        for name, backend in members.items():
            with Meter() as meter:
                bare(folder, python, backend, 1)
            row[name] = meter.cost
        return row

    def two_at_a_time() -> Cost:
        longest_first = sorted(members, key=lambda name: -warm[name].wall)
        with Meter() as meter, ThreadPoolExecutor(CORES) as pool:
            list(pool.map(lambda name: bare(folder, python, members[name], 1), longest_first))
        return meter.cost

    def side_by_side(threads: int) -> Cost:
        configure(folder, keys_of(members), threads)
        return ours(folder, "run", "--no-ensemble", "--jobs", str(CORES))

    # Both know from a first time what takes longest.
    warm = in_a_row()
    side_by_side(1)
    kinds = [
        lambda: rows.append(in_a_row()),
        lambda: sides[1].append(side_by_side(1)),
        lambda: pairs.append(two_at_a_time()),
        lambda: sides[2].append(side_by_side(2)),
    ]
    for number in range(runs):
        for kind in kinds[number % 4 :] + kinds[: number % 4]:
            kind()
    allowed = limit(rows, pairs)
    total = statistics.median(sum(cost.wall for cost in row.values()) for row in rows)
    for threads, name in ((1, f"{CORES} members at a time, a thread each"), (2, "one member at a time, 2 threads")):
        wall, cpu = (
            statistics.median(values) for values in zip(*((cost.wall, cost.cpu) for cost in sides[threads]), strict=True)
        )
        print(f"run, {name}: {wall:.1f} s, {cpu:.1f} CPU s: {wall / total:.2f} of the row, {wall / allowed:.2f} of the limit")
    sys.stdout.flush()


def keys_of(members: Mapping[str, str]) -> dict[str, str]:
    """The keys of members in a configuration, by their backends."""
    return {name: f"backend: {backend}" for name, backend in members.items()}


def predictions(folder: Path, members: Mapping[str, str], runs: int) -> None:
    """An ensemble's predict steps: side by side and with shared imports, against an interpreter for each member in a row."""
    several = {f"m{n}": f"backend: tensorflow, hyperparameters: {{hidden: [{32 * n}]}}" for n in range(1, 5)}
    cases = {", ".join(members): keys_of(members), "four members on tensorflow": several}
    for name, keys in cases.items():
        # Members with another environment each share no process.
        alternative = {member: f"{own}, env: {{MEMBER: {member}}}" for member, own in keys.items()}
        costs: dict[str, list[float]] = {"now": [], "in a row": []}
        cpus: dict[str, list[float]] = {"now": [], "in a row": []}
        for case, declared, jobs in (("now", keys, CORES), ("in a row", alternative, 1)):
            place = folder / "".join(letter if letter.isalnum() else "-" for letter in f"{name} {case}")
            place.mkdir()
            configure(place, declared, 1, epochs=1, more="model: mlp\n")
            ours(place, "run", "--jobs", str(CORES))
            for _ in range(runs):
                cost = ours(place, "rerun", "latest", "--reuse-models", "--jobs", str(jobs))
                record = records(place, "ensemble")[-1][1]
                began, ended = (datetime.fromisoformat(record[key].replace("Z", "+00:00")) for key in ("started", "step_started"))
                costs[case].append((ended - began).total_seconds())
                cpus[case].append(cost.cpu)
        now, in_a_row = (statistics.median(costs[case]) for case in costs)
        print(
            f"predict steps of {name}: {now:.1f} s; an interpreter for each, one after the other: {in_a_row:.1f} s: "
            f"{now / in_a_row:.2f}; of the whole repeat {statistics.median(cpus['now']):.1f} and "
            f"{statistics.median(cpus['in a row']):.1f} CPU s",
            flush=True,
        )


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    # A backend may be named twice.
    backends = sys.argv[2:] or list(FORMATS)
    members = {f"{backend}-{number}": backend for number, backend in enumerate(backends, 1)}
    # Monitors of containers become children of this process.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    python = make_venv(lambda text: print(text, file=sys.stderr))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        configure(folder, {backend: "" for backend in backends}, 1)
        ours(folder, "run", "--member", backends[-1])
        print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores", flush=True)
        one_member(folder, python, [name for name in ("tensorflow", "theano") if name in backends], runs)
        all_members(folder, python, members, runs)
        predictions(folder, members, runs)


if __name__ == "__main__":
    main()
