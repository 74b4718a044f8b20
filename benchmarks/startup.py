"""`--help` and `check` of the default file against an empty typer command's --help, in turn."""

from __future__ import annotations

import compileall
import statistics
import subprocess
import sys
import time
from pathlib import Path

EMPTY = "import typer\napp = typer.Typer(rich_markup_mode=None)\n@app.command()\ndef f() -> None:\n    pass\napp()"
OURS = "from scheduler.cli import main; main()"
COMMANDS = {
    "empty typer --help": [sys.executable, "-c", EMPTY, "--help"],
    "cronsemble --help": [sys.executable, "-c", OURS, "--help"],
    "cronsemble check": [sys.executable, "-c", OURS, "check"],
}


def main() -> None:
    # As installed: with byte code, which a checkout may lack.
    for package in ("scheduler", "cronjobs", "jobs"):
        compileall.compile_dir(Path(__file__).parents[1] / package, quiet=1)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(11):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - began)
    base = statistics.median(times["empty typer --help"])
    for name, each in times.items():
        print(f"{name}: median {statistics.median(each):.3f} s, ratio {statistics.median(each) / base:.2f}")


if __name__ == "__main__":
    main()
