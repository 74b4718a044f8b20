"""What is wrong in a configuration: problems with their places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.text import one_line
from scheduler.errors import CronsembleError

LONGEST = 2000
"""Characters of a problem's line: a value may be as long as the file."""


@dataclass(frozen=True)
class Problem:
    """One error: line and column count from 1, 0 where there is no place; key is dotted."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return one_line(f"{place} {self.key}: {self.message}" if self.key else f"{place}: {self.message}", LONGEST)


class ConfigErrors(CronsembleError):
    """Every problem, by file and in the order of its lines; ``text`` is what one file holds, empty if it cannot be read."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.text = ""
        unsorted = list(problems)
        files = {file: n for n, file in enumerate(dict.fromkeys(problem.file for problem in unsorted))}
        self.problems = sorted(unsorted, key=lambda problem: (files[problem.file], problem.line, problem.column, problem.key))
        super().__init__(*map(str, self.problems))


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint "did you mean …" with the nearest known name, else the list of names."""
    import difflib

    names = list(known)
    matches = difflib.get_close_matches(name, names, 1, 0.6)
    if matches:
        return f"did you mean {matches[0]}?"
    return "there are " + ", ".join(names[:20]) if names else "there are none"
