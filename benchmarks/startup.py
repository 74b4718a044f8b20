"""`--help` and `check` of the default file against `--help` of an empty typer command, in turn: whole processes.

`python benchmarks/startup.py [--before CHECKOUT]` measures an earlier version beside it, with the same interpreter.
"""

from __future__ import annotations

import argparse
import compileall
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 15
EMPTY = "import typer\napp = typer.Typer(rich_markup_mode=None)\n@app.command()\ndef f() -> None:\n    pass\napp()"
CLI = "from scheduler.cli import main; main()"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Of the processes: what they import of other packages has its byte code since the first round, as an installation has."""
LIMITS = {"--help": 1.3, "check": 2.0}
"""How many times as long as the empty command each may take."""


@dataclass
class Measured:
    """A command, the folder whose packages it imports, and what its processes took."""

    name: str
    code: str
    argument: str
    folder: Path
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Once more. With `-c` the current folder is the first on Python's path."""
        began = time.perf_counter()
        command = [sys.executable, "-c", self.code, self.argument]
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
        _, status, usage = os.wait4(process.pid, 0)
        self.seconds.append(time.perf_counter() - began)
        self.processor.append(usage.ru_utime + usage.ru_stime)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{self.name}: exit status {process.returncode}")

    def ratio(self, other: Measured) -> tuple[float, float]:
        """Of the medians of the seconds and of the processor time."""
        return (
            statistics.median(self.seconds) / statistics.median(other.seconds),
            statistics.median(self.processor) / statistics.median(other.processor),
        )


def compile_packages(checkout: Path) -> None:
    """Write byte code, as an installation does and a checkout may lack."""
    for package in ("cronsemble", "scheduler", "cronjobs", "jobs"):
        compileall.compile_dir(checkout / package, quiet=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="a checkout of an earlier version")
    options = parser.parse_args()
    compile_packages(ROOT)
    empty = Measured("empty typer --help", EMPTY, "--help", ROOT)
    commands = [Measured(f"cronsemble {argument}", CLI, argument, ROOT) for argument in LIMITS]
    earlier = []
    if options.before:
        compile_packages(options.before)
        earlier = [Measured(f"before: cronsemble {argument}", CLI, argument, options.before.resolve()) for argument in LIMITS]
    every = (empty, *commands, *earlier)
    for _ in range(ROUNDS + 1):
        for measured in every:
            measured.run()
    for measured in every:
        del measured.seconds[0], measured.processor[0]
    for measured in every:
        seconds, processor = measured.ratio(empty)
        limit = f", at most {LIMITS[measured.argument]}" if measured in commands else ""
        print(
            f"{measured.name}: {statistics.median(measured.seconds):.3f} s, {seconds:.2f} times the empty command's{limit}; "
            f"processor {statistics.median(measured.processor):.3f} s, {processor:.2f} times"
        )


if __name__ == "__main__":
    main()
