"""In which keys of the configuration file two resolved tasks differ, and of which task the key is. Values only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.contract import member_task
from scheduler.comparison.difference import Difference, DifferenceKind
from scheduler.config.configuration_changes import differences

_APART = ("hyperparameters.seed", "threads", "program", "code")
"""Keys of which the run's record says more: they have a difference of another kind."""
_OF_MEMBER = re.compile(r"backends\.([^.]+)\.(.*)", re.DOTALL)


def configuration_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """What differs of two resolved tasks, by the keys that a user types; of an ensemble's members too.

    A key that a task takes from `defaults` or from the top of the file has the same name as in the task's own section.
    """
    own = str(after.get("task") or before.get("task") or "")
    for key, old, new in differences(dict(before), dict(after)):
        of_member = _OF_MEMBER.fullmatch(key)
        # It is the member's own key, and its training has it too.
        task, name = (member_task(of_member[1]), of_member[2]) if of_member else (own, key)
        if name == "threads" and of_member:
            yield Difference(DifferenceKind.THREADS, name, old, new, (task,))
            continue  # as the record of its training has it
        if name in _APART or (old is None and new is None):
            continue  # what has no values follows from the data's, or is another version of the tool
        kind = DifferenceKind.MEMBERS if name == "backends" else DifferenceKind.CONFIGURATION
        yield Difference(kind, name, old, new, (task,) if task else ())
