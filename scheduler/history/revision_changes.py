"""What a revision changed, in words: each edit once, with the tasks that it reaches.

Values in, lines out; configurations and code, which a revision names by their hashes, are given by whoever reads the store.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from cronjobs.revisions.revisions import Tasks
from jobs.contract import ENSEMBLE_TASK
from scheduler.config.configuration_changes import differences
from scheduler.snapshots.code_changes import code_changes
from scheduler.times import format_single_unit

_LISTED = 5
"""Names of tasks that a line lists; more are counted."""
_DURATIONS = ("starting_deadline", "deadline")
_HYPERPARAMETERS = "hyperparameters."
_OF_MEMBER = re.compile(r"backends\.([^.]+)\.(.*)", re.DOTALL)
_SNAPSHOT = ("program", "code")


class Snapshots(Protocol):
    """What a revision names by its hash; None where the store has it no longer."""

    def task(self, digest: str) -> Mapping[str, Any] | None:
        """The resolved configuration of a task."""

    def code(self, digest: str) -> bytes | None:
        """The archive of the user's code."""


class NoSnapshots:
    """No store at hand: configurations and code are known by their hashes alone."""

    def task(self, digest: str) -> Mapping[str, Any] | None:
        """None."""
        return None

    def code(self, digest: str) -> bytes | None:
        """None."""
        return None


def revision_changes(before: Tasks, after: Tasks, snapshots: Snapshots) -> list[str]:
    """What changed from one state of all tasks to the next, a line each; no line where nothing did."""
    codes: dict[tuple[str, str], None] = {}
    edits: dict[str, list[str]] = {}  # by what was edited its tasks
    added, removed = sorted(set(after) - set(before)), sorted(set(before) - set(after))
    lines = [f"{name}: removed" for name in removed]
    lines += [f"{name}: added, {_describe_added(name, after[name], before, removed, snapshots)}" for name in added]
    own_edits = {name: _task_edits(before[name], task, snapshots, codes) for name, task in after.items() if name in before}
    for name, task_edits in own_edits.items():
        for edit in task_edits:
            if not _is_said_by_member(name, edit, own_edits):
                edits.setdefault(edit, []).append(name)
    lines += [f"{_names(names, after)}: {edit}" for edit, names in edits.items()]
    if before and after:
        programs, hashes = (
            [sorted({task.get(key, "") for task in tasks.values()}) for tasks in (before, after)] for key in _SNAPSHOT
        )
        if programs[0] != programs[1]:
            was, now = (", ".join(map(_hash, each)) for each in programs)
            lines.append(f"program: another version of cronsemble's own ({was} → {now})")
        if hashes[0] != hashes[1] and not codes:
            codes[hashes[0][0], hashes[1][0]] = None
    for old, new in codes:
        lines += _code_lines(old, new, snapshots)
    return lines


def _task_edits(
    before: Mapping[str, Any], after: Mapping[str, Any], snapshots: Snapshots, codes: dict[tuple[str, str], None]
) -> list[str]:
    """What changed of one task; what its configuration says of code that changed is added to ``codes``."""
    edits = []
    for key in dict.fromkeys([*before, *after]):
        was, now = before.get(key), after.get(key)
        if key == "deadline":
            was, now = (_deadline(task, snapshots) for task in (before, after))
        if was == now or key in _SNAPSHOT:
            continue
        if key == "task":
            edits += _configuration_edits(str(was), str(now), snapshots, codes)
        elif key == "suspend":
            edits.append("suspended" if now else "no longer suspended")
        elif key == "concurrency":
            edits.append(_edit(key, str(was or "Forbid").lower(), str(now or "Forbid").lower()))
        elif key in _DURATIONS:
            edits.append(_edit(key, *(None if value is None else format_single_unit(value) for value in (was, now))))
        else:
            edits.append(_edit(key, was, now))
    return edits


def _deadline(task: Mapping[str, Any], snapshots: Snapshots) -> Any:
    """A task's deadline as it is configured: that of a revision covers an ensemble's wait, too."""
    deadline = task.get("deadline")
    if deadline is None:
        return None
    return int(deadline) - int((snapshots.task(str(task.get("task"))) or {}).get("wait") or 0)


def _configuration_edits(old: str, new: str, snapshots: Snapshots, codes: dict[tuple[str, str], None]) -> list[str]:
    before, after = snapshots.task(old), snapshots.task(new)
    if before is None or after is None:
        missing = old if before is None else new
        return [f"its configuration ({_hash(old)} → {_hash(new)}; the store has no copy of {_hash(missing)})"]
    edits = []
    for key, was, now in differences(before, after):
        if key == "code":
            codes[str(was or ""), str(now or "")] = None
        elif key != "program":
            edits.append(_edit(key, was, now))
    return edits


def _edit(key: str, was: Any, now: Any) -> str:
    """An edit in the words of the configuration: ``epochs 4 → 2``."""
    key = "members" if key == "backends" else key.removeprefix(_HYPERPARAMETERS)
    if was is None and now is None:
        return key
    if was is None:
        return f"{key} {_text(now)}, which was not set before"
    if now is None:
        return f"{key} no longer set (it was {_text(was)})"
    return f"{key} {_text(was)} → {_text(now)}"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value) or "none"
    return json.dumps(value, ensure_ascii=False)


def _is_said_by_member(task: str, edit: str, edits: Mapping[str, Sequence[str]]) -> bool:
    """Whether what changed of the ensemble is what changed of a member, and that says so itself."""
    match = _OF_MEMBER.match(edit) if task == ENSEMBLE_TASK else None
    return match is not None and match[2] in edits.get(f"train-{match[1]}", ())


def _describe_added(name: str, task: Mapping[str, Any], before: Tasks, removed: Sequence[str], snapshots: Snapshots) -> str:
    suspended = ", suspended" if task.get("suspend") else ""
    when = f"{task.get('schedule') or 'without a schedule'} {task.get('timezone') or 'UTC'}{suspended}"
    configuration = _without_names(snapshots.task(str(task.get("task"))))
    for old in removed:
        if configuration is not None and configuration == _without_names(snapshots.task(str(before[old].get("task")))):
            return f"{when}, configured as {old} was"
    return when


def _without_names(configuration: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A training's configuration without its member's name and what the tool's version has."""
    if configuration is None or "member" not in configuration:
        return None
    return {key: value for key, value in configuration.items() if key not in ("task", "member", "snapshot", "data_seed")}


def _code_lines(old: str, new: str, snapshots: Snapshots) -> Iterator[str]:
    archives = [b"" if digest == "" else snapshots.code(digest) for digest in (old, new)]
    before, after = archives
    try:
        if before is not None and after is not None:
            yield from (f"code: {change.describe()}" for change in code_changes(before, after))
            return
    except ValueError:
        pass
    yield f"code: {_hash(old)} → {_hash(new)} (the store has no whole copy of it)"


def _names(names: Sequence[str], tasks: Tasks) -> str:
    trainings = [name for name in tasks if name != ENSEMBLE_TASK]
    if len(names) > 1 and set(names) == set(tasks):
        return "all tasks"
    if len(names) > 1 and set(names) == set(trainings):
        return "all trainings"
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _hash(digest: str) -> str:
    return digest[:12] or "none"
