"""What changed when, in words: configurations and code by the revisions, data, images and versions by the runs' records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from jobs.contract import RunId
from jobs.schedule_periods import RevisionPeriod
from jobs.store import Store
from jobs.store.regular_files import Unreadable
from scheduler.config.configuration_changes import differences
from scheduler.history.query import ExperimentHistory
from scheduler.snapshots.code_changes import code_changes

SAMPLES = 24
"""Runs of a task whose records are read first; where two neighbours of them differ, the runs between are searched."""
_SCHEDULE_KEYS = ("schedule", "timezone", "suspend", "concurrency", "starting_deadline", "deadline")


@dataclass(frozen=True)
class Change:
    """What differs from a minute (since 1970) on, a line each; ``local`` is that minute in the experiment's zone."""

    minute: int
    local: str
    lines: tuple[str, ...]
    by: str = ""


def revision_changes(history: ExperimentHistory, store: Store) -> list[Change]:
    """What each revision changed of the one before, oldest first; the first one changed nothing."""
    snapshots = _Snapshots(store)
    changes = []
    for period in history.scheduling_periods:
        lines = tuple(_revision_lines(period, snapshots)) if period.before else ()
        if lines:
            minute = int(period.start // 60)
            changes.append(Change(minute, history.clock.local(minute), lines, str(period.revision.get("by", ""))))
    return changes


class _Snapshots:
    """Configurations and code by their hashes, each read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], bytes | None] = {}

    def read(self, kind: str, digest: str) -> bytes | None:
        """None for one that is not there or cannot be read."""
        key = (kind, digest)
        if key not in self._known:
            try:
                self._known[key] = self._store.read_snapshot(kind, digest)
            except (OSError, Unreadable, ValueError):
                self._known[key] = None
        return self._known[key]

    def configuration(self, digest: str) -> dict[str, Any] | None:
        """A task's resolved configuration."""
        data = self.read("task", digest) if digest else None
        try:
            value = msgspec.json.decode(data) if data else None
        except msgspec.DecodeError:
            return None
        return value if isinstance(value, dict) else None


def _revision_lines(period: RevisionPeriod, snapshots: _Snapshots) -> Iterator[str]:
    tasks_by_line: dict[str, list[str]] = {}
    for name in sorted({*period.before, *period.tasks}):
        old, new = period.before.get(name), period.tasks.get(name)
        if old is None or new is None:
            yield f"{name}: {'new' if old is None else 'gone'}"
            continue
        for line in _task_lines(old, new, snapshots):
            tasks_by_line.setdefault(line, []).append(name)
    for line, names in tasks_by_line.items():
        everywhere = len(names) > 1 and len(names) == len({*period.before} & {*period.tasks})
        yield f"{'all tasks' if everywhere else ', '.join(names)}: {line}"
    if not any(line.startswith("code: ") for line in tasks_by_line):
        digests = [{str(task.get("code", "")) for task in tasks.values()} for tasks in (period.before, period.tasks)]
        if digests[0] != digests[1] and len(digests[0]) == len(digests[1]) == 1:
            yield from _code_lines(next(iter(digests[0])), next(iter(digests[1])), snapshots)


def _task_lines(old: Mapping[str, Any], new: Mapping[str, Any], snapshots: _Snapshots) -> Iterator[str]:
    for key in _SCHEDULE_KEYS:
        if old.get(key) != new.get(key):
            yield f"{key} {_text(old.get(key))} → {_text(new.get(key))}"
    if old.get("task") == new.get("task"):
        return
    before, after = (snapshots.configuration(str(task.get("task") or "")) for task in (old, new))
    if before is None or after is None:
        yield "its configuration (one of the two is not in the store)"
        return
    for key, left, right in differences(before, after):
        if key in ("program", *_SCHEDULE_KEYS):
            continue
        if key == "code":
            yield from _code_lines(str(left or ""), str(right or ""), snapshots)
            continue
        words = key.removeprefix("hyperparameters.")
        yield words if left is None and right is None else f"{words} {_text(left)} → {_text(right)}"


def _code_lines(old: str, new: str, snapshots: _Snapshots) -> Iterator[str]:
    before, after = (snapshots.read("code", digest) if digest else b"" for digest in (old, new))
    try:
        found = None if before is None or after is None else code_changes(before, after)
    except ValueError:
        found = None
    if found is None:
        yield f"code: {old[:12] or 'none'} → {new[:12] or 'none'} (one of the two is not in the store)"
        return
    for change in found:
        yield f"code: {change.describe()}"


def record_changes(store: Store, history: ExperimentHistory, by_task: Mapping[str, Sequence[RunId]]) -> list[Change]:
    """Where the data, the image or the versions of a task's runs changed, oldest first.

    ``by_task``: the runs of each task that succeeded, oldest slot first. Of a task with more than SAMPLES runs, a change back
    within two samples goes unseen.
    """
    lines_by_minute: dict[int, dict[str, list[str]]] = {}
    for task, runs in by_task.items():
        for run, lines in _record_changes(store, runs):
            for line in lines:
                lines_by_minute.setdefault(run.minute, {}).setdefault(line, []).append(task)
    changes = []
    for minute, tasks in sorted(lines_by_minute.items()):
        texts = tuple(f"{', '.join(names)}: {line}" for line, names in tasks.items())
        changes.append(Change(minute, history.clock.local(minute), texts))
    return changes


def _record_changes(store: Store, runs: Sequence[RunId]) -> Iterator[tuple[RunId, list[str]]]:
    known: dict[int, dict[str, str]] = {}

    def facts(n: int) -> dict[str, str]:
        if n not in known:
            known[n] = _pinned(store.result(runs[n]) or {})
        return known[n]

    if len(runs) < 2:
        return
    step = max(1, len(runs) // SAMPLES)
    samples = [*range(0, len(runs) - 1, step), len(runs) - 1]
    for low, high in zip(samples, samples[1:], strict=False):
        for n in _changes_between(facts, low, high):
            yield runs[n], _differences(facts(n - 1), facts(n))


def _changes_between(facts: Callable[[int], dict[str, str]], low: int, high: int) -> Iterator[int]:
    """The positions after ``low``, up to ``high``, at which the facts differ from those before, where the two ends differ."""
    if not facts(low) or not facts(high) or facts(low) == facts(high):
        return
    if high - low == 1:
        yield high
        return
    middle = (low + high) // 2
    yield from _changes_between(facts, low, middle)
    yield from _changes_between(facts, middle, high)


def _pinned(record: Mapping[str, Any]) -> dict[str, str]:
    """What of a record is compared, by name."""
    data, image, model = (record.get(key) or {} for key in ("data", "image", "model"))
    facts = {"data": str(data.get("fingerprint") or "")[:12], "image": str(image.get("reference") or "")}
    identity = image.get("identity") or {}
    facts["build of the image"] = str(identity.get("inputs") or "")[:12] if isinstance(identity, dict) else ""
    versions = model.get("versions") or {}
    facts |= {str(name): str(version) for name, version in versions.items()}
    return {name: value for name, value in facts.items() if value}


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {_text(old.get(name))} → {_text(new.get(name))}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def merged_changes(*groups: Sequence[Change]) -> list[Change]:
    """All changes in the order of time; those of one minute together."""
    by_minute: dict[int, Change] = {}
    for change in sorted((change for group in groups for change in group), key=lambda change: change.minute):
        known = by_minute.get(change.minute)
        lines = (*known.lines, *change.lines) if known else change.lines
        by_minute[change.minute] = Change(change.minute, change.local, lines, change.by or (known.by if known else ""))
    return list(by_minute.values())


def _text(value: Any) -> str:
    if value in (None, ""):
        return "none"
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)
