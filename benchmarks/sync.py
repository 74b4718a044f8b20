"""Plan and sync against kubectl, side by side on one server: medians of five whole processes, from start to exit.

A control plane of its own. `python benchmarks/sync.py [TASKS] [--before CHECKOUT] [--small] [--floor]`: another number of tasks
than 1,000; `plan` of four objects and a sync with nothing to do of an earlier version, in turn with this one's; only these two;
only the first sync, in turn with the same objects by bare requests (`bare_requests.py`): the server's own work is the floor.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cluster.access import Cluster  # noqa: E402
from cluster.control_plane import ControlPlane  # noqa: E402
from scheduler.sync.apply import CONCURRENCY  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5
FIRSTS = 3
ROUNDS = 15
"""Of this version and an earlier one in turn: their difference is small."""
SIZES = (10, 100, 1000, 3000)
CLI = [sys.executable, "-c", "from scheduler.cli import main; main()"]


@dataclass
class Took:
    """Seconds and MiB of one process; ``cpu`` is less noisy than ``seconds`` beside other work."""

    seconds: float
    peak: float
    first_byte: float
    cpu: float


@dataclass
class Bench:
    """A control plane, and the commands that are measured on it."""

    cluster: Cluster
    folder: Path

    def __post_init__(self) -> None:
        assert self.cluster.plane is not None
        self.kubectl = str(self.cluster.plane.binaries / "kubectl")
        self.env = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig)}

    def run(self, *command: str, good: tuple[int, ...] = (0,), checkout: Path = ROOT) -> Took:
        """Measure a process; ``good``: exit statuses of a success.

        With `-c` Python imports from the current folder first: ``checkout`` decides whose packages are used.
        """
        began = time.perf_counter()
        with subprocess.Popen(command, cwd=checkout, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stderr is not None
            process.stdout.read(1)
            first = time.perf_counter() - began
            process.stdout.read()
            wrong = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        if process.returncode not in good:
            raise SystemExit(f"{' '.join(command)}: {process.returncode}: {wrong.decode()}")
        return Took(seconds, usage.ru_maxrss / 1024, first, usage.ru_utime + usage.ru_stime)

    def sync(self, file: Path, checkout: Path = ROOT) -> Took:
        return self.run(*CLI, "sync", "-f", str(file), checkout=checkout)

    def plan(self, file: Path, checkout: Path = ROOT) -> Took:
        return self.run(*CLI, "plan", "-f", str(file), checkout=checkout)

    def write(self, namespace: str, tasks: int, changed: bool = False) -> Path:
        """A configuration of so many members, which never fire meanwhile."""
        members = {f"m{n:04}": {"backend": "jax", "schedule": f"{n % 60} {n % 24} 31 12 *"} for n in range(tasks)}
        if changed:
            members["m0000"]["schedule"] = "59 23 31 12 *"
        content = {
            "experiment": f"b{namespace.rpartition('-')[2]}",
            "store": {"claim": "store"},
            "cluster": {"namespace": namespace, "images": {"keras3": "registry.example/keras3:1"}},
            "backends": members,
        }
        path = self.folder / f"{namespace}-{tasks}{'-changed' if changed else ''}.yaml"
        path.write_text(json.dumps(content))
        return path

    def render(self, file: Path) -> Path:
        path = file.with_suffix(".objects")
        with open(path, "wb") as out:
            subprocess.run([*CLI, "render", "-f", str(file)], env=self.env, stdout=out, stderr=subprocess.DEVNULL, check=True)
        return path


def median(name: str, run: Callable[[], Took], runs: int = RUNS) -> float:
    """Prints and returns the median of the seconds."""
    took = [run() for _ in range(runs)]
    seconds = [process.seconds for process in took]
    first = statistics.median(process.first_byte for process in took)
    peak = max(process.peak for process in took)
    middle = statistics.median(seconds)
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    cpu = statistics.median(process.cpu for process in took)
    print(f"{name}: median {middle:.3f} s ({spread}), CPU {cpu:.3f} s, first byte {first:.3f} s, peak {peak:.0f} MiB", flush=True)
    return middle


def beside_before(bench: Bench, name: str, count: int, before: Path, measure: Callable[[Path, Path], Took]) -> None:
    """This version and an earlier one in turn, each on objects that it has synced itself."""
    files = {}
    for checkout in (ROOT, before):
        files[checkout] = bench.write(bench.cluster.new_namespace(), count)
        bench.sync(files[checkout], checkout)
    took: dict[Path, list[Took]] = {ROOT: [], before: []}
    for _ in range(ROUNDS):
        for checkout in took:
            took[checkout].append(measure(files[checkout], checkout))
    seconds = {checkout: statistics.median(each.seconds for each in took[checkout]) for checkout in took}
    cpu = {checkout: statistics.median(each.cpu for each in took[checkout]) for checkout in took}
    print(
        f"{name}: {seconds[ROOT]:.3f} s, before {seconds[before]:.3f} s: {seconds[ROOT] / seconds[before]:.2f} times as long; "
        f"CPU {cpu[ROOT]:.3f} s, before {cpu[before]:.3f} s: {cpu[ROOT] / cpu[before]:.2f} times",
        flush=True,
    )


def first_sync(bench: Bench, count: int) -> None:
    def ours() -> Took:
        namespace = bench.cluster.new_namespace()
        took = bench.sync(bench.write(namespace, count))
        bench.cluster.kubectl("delete", "namespace", namespace)
        return took

    def theirs() -> Took:
        namespace = bench.cluster.new_namespace()
        objects = bench.render(bench.write(namespace, count))
        took = bench.run(bench.kubectl, "apply", "--server-side", "-f", str(objects))
        bench.cluster.kubectl("delete", "namespace", namespace)
        return took

    own = median(f"first sync, {count}", ours)
    print(f"  kubectl takes {median(f'kubectl apply --server-side, first, {count}', theirs) / own:.1f} times as long")


def floor(bench: Bench, count: int) -> None:
    """The first sync beside the server's own work: the same objects by bare requests, over as many connections, in turn."""
    took: dict[str, list[float]] = {"sync": [], "create": [], "apply": []}
    for _ in range(FIRSTS):
        for how in took:
            # Nothing is deleted meanwhile: that would be work for the server, too.
            namespace = bench.cluster.new_namespace()
            file = bench.write(namespace, count)
            if how == "sync":
                took[how].append(bench.sync(file).seconds)
            else:
                command = [sys.executable, str(ROOT / "benchmarks" / "bare_requests.py"), str(bench.cluster.kubeconfig)]
                command += [str(bench.render(file)), how, str(CONCURRENCY)]
                took[how].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    seconds = {how: statistics.median(values) for how, values in took.items()}
    print(
        f"first sync, {count}: {seconds['sync']:.2f} s; bare requests over {CONCURRENCY} connections: "
        f"apply {seconds['apply']:.2f} s, {seconds['sync'] / seconds['apply']:.2f} times as long; "
        f"create {seconds['create']:.2f} s, {seconds['sync'] / seconds['create']:.2f} times; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    print(f"  fastest of {FIRSTS}: " + ", ".join(f"{how} {min(values):.2f} s" for how, values in took.items()), flush=True)


def nothing_to_do(bench: Bench, count: int) -> None:
    file = bench.write(bench.cluster.new_namespace(), count)
    bench.sync(file)
    with bench.cluster.counted("cronsemble") as asked:
        bench.sync(file)
    print(f"requests with nothing to do, {count}: {dict(asked)}")
    own = median(f"sync, nothing to do, {count}", lambda: bench.sync(file))
    namespace = bench.cluster.new_namespace()
    objects = bench.render(bench.write(namespace, count))
    bench.run(bench.kubectl, "apply", "--server-side", "-f", str(objects))
    commands = {
        "apply --server-side": ("apply", "--server-side"),
        "diff --server-side": ("diff", "--server-side"),
    }
    for name, words in commands.items():
        took = median(
            f"kubectl {name}, nothing to do, {count}", lambda words=words: bench.run(bench.kubectl, *words, "-f", str(objects))
        )
        print(f"  {took / own:.1f} times ours")


def one_change(bench: Bench, count: int) -> None:
    namespace = bench.cluster.new_namespace()
    files = [bench.write(namespace, count), bench.write(namespace, count, changed=True)]
    bench.sync(files[0])

    def change() -> Took:
        files.reverse()
        return bench.sync(files[0])

    own = median(f"sync, one change among {count}", change)
    other = bench.cluster.new_namespace()
    objects = [bench.render(bench.write(other, count)), bench.render(bench.write(other, count, changed=True))]
    bench.run(bench.kubectl, "apply", "--server-side", "-f", str(objects[0]))

    def kubectl() -> Took:
        objects.reverse()
        return bench.run(bench.kubectl, "apply", "--server-side", "-f", str(objects[0]))

    print(f"  {median(f'kubectl apply --server-side, one change among {count}', kubectl) / own:.1f} times ours")


def small_plan(bench: Bench) -> None:
    file = bench.write(bench.cluster.new_namespace(), 4)
    bench.sync(file)
    empty = median("an empty typer command", lambda: bench.run(sys.executable, "-c", EMPTY), 4 * RUNS)
    plan = median("plan of 4", lambda: bench.plan(file), 4 * RUNS)
    print(f"  {plan / empty:.2f} times an empty typer command")
    objects = bench.render(file)
    # A difference, so that there is a first byte.
    objects.write_text(objects.read_text().replace("31 12 *", "30 12 *"))
    median("kubectl diff --server-side of 4", lambda: bench.run(bench.kubectl, *DIFF, "-f", str(objects), good=(1,)))


EMPTY = """
import typer

app = typer.Typer()


@app.command()
def nothing() -> None:
    pass


app()
"""
DIFF = ("diff", "--server-side", "--force-conflicts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="?", type=int, default=1000)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="a checkout of an earlier version")
    parser.add_argument("--small", action="store_true", help="only the comparison with the earlier version")
    parser.add_argument("--floor", action="store_true", help="only the first sync beside the server's own work")
    options = parser.parse_args()
    count: int = options.tasks
    before: Path | None = options.before and options.before.resolve()
    for checkout in filter(None, (ROOT, before)):
        # As an installation has it: with byte code.
        for package in ("cronsemble", "scheduler", "cronjobs", "jobs"):
            compileall.compile_dir(checkout / package, quiet=1)
    with tempfile.TemporaryDirectory() as scratch, ControlPlane(Path(scratch) / "plane") as plane:
        bench = Bench(Cluster(plane.kubeconfig, plane.folder, plane), Path(scratch))
        if before:
            beside_before(bench, "plan of 4", 4, before, bench.plan)
            beside_before(bench, f"sync, nothing to do, {count}", count, before, bench.sync)
        if options.small:
            return
        floor(bench, count)
        if options.floor:
            return
        median("python, nothing else", lambda: bench.run(sys.executable, "-c", "pass"))
        median("cronsemble --help", lambda: bench.run(*CLI, "--help"))
        small_plan(bench)
        nothing_to_do(bench, count)
        first_sync(bench, count)
        one_change(bench, count)
        for size in SIZES:
            if size != count:
                file = bench.write(bench.cluster.new_namespace(), size)
                bench.sync(file)
                median(f"sync, nothing to do, {size}", lambda file=file: bench.sync(file))


if __name__ == "__main__":
    main()
