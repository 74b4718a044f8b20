"""What a kind of case is, and how cases are tried, reduced to a small input, and written to a folder that repeats them."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from chaos.commands import ROOT, Commands

Part = Any
"""A part of a case, as JSON: a case fails by few of its parts, and what is left of a reduced one is only those."""
REDUCING_TRIES, REDUCING_SECONDS = 150, 120.0
FAILURES = 10
"""Failures of a kind after which no more cases of it are tried."""


class Kind(ABC):
    """One kind of cases: makes them of a random number generator, and says of each what did not hold."""

    name: ClassVar[str]
    counted_in_tests: ClassVar[int]
    """How many cases `make test` tries."""

    def __init__(self, commands: Commands) -> None:
        self.commands = commands

    @abstractmethod
    def case(self, random: Random) -> list[Part]:
        """The parts of a case."""

    @abstractmethod
    def problem(self, parts: Sequence[Part], folder: Path) -> str:
        """What did not hold, as ``what: details``; empty if all did. ``folder``: an empty one of its own."""

    def finer(self, parts: list[Part]) -> list[Part] | None:
        """The same case in smaller parts; None if there are none."""
        return None

    def files(self, parts: Sequence[Part]) -> dict[str, bytes]:
        """What of a case is better read as files, by name."""
        return {}


@dataclass
class Failure:
    """A case that did not hold, reduced, and the folder that repeats it."""

    problem: str
    folder: Path


@dataclass
class Tally:
    """How many cases of a kind were tried, and those that did not hold."""

    kind: str
    tried: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind}: {self.tried} cases, {self.tried - len(self.failures)} held ({self.seconds:.0f} s)"


def try_case(kind: Kind, parts: Sequence[Part]) -> str:
    """What did not hold of a case, in a temporary folder that any user may read."""
    with tempfile.TemporaryDirectory(prefix="cronsemble-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        return kind.problem(parts, folder)


def try_cases(kind: Kind, seed: str, tally: Tally, until: Callable[[], bool]) -> None:
    """Try the next cases of a kind and seed until ``until`` says so; each case depends on its number alone."""
    began = time.monotonic()
    while not until() and len(tally.failures) < FAILURES:
        number = tally.tried
        tally.tried += 1
        parts = kind.case(Random(f"{seed}:{kind.name}:{number}"))
        problem = try_case(kind, parts)
        if problem:
            reduced, problem = reduce_case(kind, parts, problem)
            tally.failures.append(Failure(problem, write_failure(kind, seed, number, reduced, problem)))
            print(f"{kind.name}: {problem}\n  {tally.failures[-1].folder}", flush=True)
    tally.seconds += time.monotonic() - began


def reduce_case(kind: Kind, parts: list[Part], problem: str) -> tuple[list[Part], str]:
    """The parts without which the case would hold, and what it then does not hold by."""
    last, what, until = [problem], problem.partition(":")[0], time.monotonic() + REDUCING_SECONDS
    tries = iter(range(REDUCING_TRIES))

    def fails(candidate: list[Part]) -> bool:
        if next(tries, None) is None or time.monotonic() > until:
            return False
        found = try_case(kind, candidate)
        if found.partition(":")[0] == what:
            last[0] = found
            return True
        return False

    reduced = reduce_parts(parts, fails)
    finer = kind.finer(reduced)
    if finer is not None:
        reduced = reduce_parts(finer, fails)
    return reduced, last[0]


def reduce_parts(parts: list[Part], fails: Callable[[list[Part]], bool]) -> list[Part]:
    """Some of the parts that still fail: halves are left out, then quarters, down to single ones."""
    size = max(1, len(parts) // 2)
    while parts:
        start, smaller = 0, False
        while start < len(parts):
            rest = parts[:start] + parts[start + size :]
            if rest and fails(rest):
                parts, smaller = rest, True
            else:
                start += size
        if size == 1 and not smaller:
            break
        size = max(1, size // 2)
    return parts


def write_failure(kind: Kind, seed: str, number: int, parts: list[Part], problem: str) -> Path:
    """Write a case with the command that repeats it; returns its folder."""
    folder = ROOT / "build" / "chaos" / f"{kind.name}-{seed}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case = {"kind": kind.name, "seed": seed, "number": number, "parts": parts}
    (folder / "case.json").write_text(json.dumps(case, indent=1) + "\n")
    for name, data in kind.files(parts).items():
        (folder / name).write_bytes(data)
    command = f"make chaos CASE={folder.relative_to(ROOT)}/case.json"
    (folder / "README").write_text(f"{problem}\n\nrepeat it: {command}\n", errors="backslashreplace")
    return folder
