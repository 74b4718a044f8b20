"""`make chaos`: every kind by turns for MINUTES with a new seed, or one case that did not hold again."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from pathlib import Path

from chaos import kinds
from chaos.commands import Commands
from chaos.every_kind import KINDS

SLICE = 60.0
"""Seconds of one kind before the next has its turn."""


def main() -> int:
    """Try cases as the arguments say; returns 1 if one did not hold."""
    parser = argparse.ArgumentParser(prog="chaos", description="Try cases of every kind until the time is over.")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long, all kinds together")
    parser.add_argument("--seed", default="", help="a seed to repeat; a new one by default")
    parser.add_argument("--kind", action="append", choices=sorted(KINDS), help="only this kind (repeat for more)")
    parser.add_argument("--case", type=Path, help="the case.json of one that did not hold: only that is tried")
    options = parser.parse_args()
    commands = Commands()
    try:
        if options.case:
            return try_again(options.case, commands)
        return try_all(options.seed or secrets.token_hex(4), options.minutes * 60, options.kind or list(KINDS), commands)
    finally:
        commands.close()


def try_again(path: Path, commands: Commands) -> int:
    """Try one case again; returns 1 if it does not hold."""
    case = json.loads(path.read_text())
    problem = kinds.try_case(KINDS[case["kind"]](commands), case["parts"])
    print(problem or "it holds")
    return 1 if problem else 0


def try_all(seed: str, seconds: float, names: list[str], commands: Commands) -> int:
    """Try cases of the named kinds by turns; returns 1 if one did not hold."""
    print(f"seed {seed}: `make chaos SEED={seed} MINUTES={seconds / 60:g}` tries the same cases", flush=True)
    tallies = {name: kinds.Tally(name) for name in names}
    chosen = {name: KINDS[name](commands) for name in names}
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(len(tally.failures) < kinds.FAILURES for tally in tallies.values()):
        for name in names:
            until = min(end, time.monotonic() + min(SLICE, seconds / len(names)))
            kinds.try_cases(chosen[name], seed, tallies[name], lambda until=until: time.monotonic() > until)  # type: ignore[misc]
    print(*tallies.values(), sep="\n")
    return 1 if any(tally.failures for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
