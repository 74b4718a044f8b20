"""A difference of what was pinned for two runs, and its line for people. Values only."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from jobs.contract import ENSEMBLE_TASK
from jobs.text import one_line

_LONGEST = 200
"""Characters of a value in a line."""


class DifferenceKind(StrEnum):
    """Of what two runs differ."""

    MEMBERS = "members"
    CONFIGURATION = "configuration"
    SEED = "seed"
    DATA = "data"
    CODE = "code"
    PROGRAM = "program"
    THREADS = "threads"
    IMAGE = "image"
    VERSION = "version"
    ENVIRONMENT = "environment"
    PROCESSOR = "processor"


@dataclass(frozen=True)
class Difference:
    """Something that is pinned and not the same: ``name`` is the key of the configuration, package, file or variable.

    ``before`` and ``after`` are JSON values, None where there was none; ``tasks`` are those that differ in it.
    """

    kind: DifferenceKind
    name: str
    before: Any
    after: Any
    tasks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """A line without the tasks: `hyperparameters.epochs 4 → 2`, `code: models.py changed`."""
        if self.kind == DifferenceKind.CODE:
            how = "added" if self.before is None else "removed" if self.after is None else "changed"
            return f"code: {self.name} {how}"
        if self.kind == DifferenceKind.MEMBERS:
            old, new = (value if isinstance(value, list) else [] for value in (self.before, self.after))
            gone = [f"{name} is gone" for name in old if name not in new]
            return f"{self.name}: {', '.join([*gone, *(f'{name} is new' for name in new if name not in old)]) or 'another order'}"
        return f"{self.name} {self._values}"

    @property
    def _values(self) -> str:
        return f"{_value(self.before)} → {_value(self.after)}"


def merge(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """Each difference once, with the tasks of all that are alike, in the order in which they came."""
    merged: dict[str, Difference] = {}
    for difference in differences:
        key = json.dumps([difference.kind, difference.name, difference.before, difference.after], sort_keys=True, default=str)
        known = merged.get(key)
        if known is None:
            merged[key] = difference
        else:
            merged[key] = replace(known, tasks=tuple(dict.fromkeys((*known.tasks, *difference.tasks))))
    return tuple(sorted(merged.values(), key=lambda difference: list(DifferenceKind).index(difference.kind)))


def describe(difference: Difference, tasks: Collection[str]) -> str:
    """A line with the tasks in front; ``tasks`` are all that were compared."""
    names = describe_tasks(difference.tasks, tasks)
    return f"{names}: {difference.text}" if names else difference.text


def describe_tasks(names: Collection[str], of: Collection[str]) -> str:
    """Which of the tasks ``of``, for people: their names, or all of them in a word."""
    trainings = {name for name in of if name != ENSEMBLE_TASK}
    own = set(names)
    if len(of) > 2 and own == set(of):
        return "all tasks"
    if len(trainings) > 2 and own == trainings:
        return "all trainings"
    return ", ".join(names)


def _value(value: Any) -> str:
    if value is None or value == "":
        return "none"
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), _LONGEST)
