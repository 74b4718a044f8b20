"""Retention: what gc may remove from a store, by age and count, why, and what will not be possible after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cronjobs.revisions import periods
from jobs import contract as c
from jobs.contract import RunId, Status
from jobs.store import LocalStore, Run, removal
from jobs.store.files import read_json
from scheduler.history.run_facts import run_fact

STAGING, MODELS, DATA, SNAPSHOTS, RUNS, ARCHIVE = "staging", "models", "data", "snapshots", "runs", "archive"
KINDS = {
    STAGING: "leftovers of work that was broken off, and the models and arrays of tries that did not succeed",
    MODELS: "the models of trainings",
    DATA: "prepared data that no kept run needs",
    SNAPSHOTS: "programs, code and configurations that no kept run needs",
    RUNS: "everything of a run but its row in the history",
    ARCHIVE: "dated CSVs",
}
DEFAULT_KINDS = (STAGING, MODELS)
SETTLING = 86400
"""Seconds for which leftovers, and data that nothing names yet, are left alone: somebody may be at work."""
_LIGHT = (".json", ".jsonl", ".csv", ".txt")


class UnreadableRun(Exception):
    """What a run needs cannot be told."""


@dataclass(frozen=True)
class RetentionRule:
    """What is asked for: older than ``age`` seconds, and not among the newest ``keep`` of a task."""

    kinds: Collection[str]
    age: float
    keep: int


@dataclass(frozen=True)
class RemovalItem:
    """Something to remove; ``name`` is its path in the run's folder, or in the store where there is no run."""

    kind: str
    path: Path
    name: str
    size: int
    reason: str
    run: RunId | None = None


@dataclass
class RemovalPlan:
    """What gc will do, and what that means."""

    items: list[RemovalItem] = field(default_factory=list)
    rows: dict[RunId, dict[str, Any]] = field(default_factory=dict)  # of runs that are removed as a whole
    consequences: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items)

    def counts(self) -> list[tuple[str, int, int]]:
        """By kind: how many, and how many bytes."""
        numbers, sizes = Counter[str](), Counter[str]()
        for item in self.items:
            numbers[item.kind] += 1
            sizes[item.kind] += item.size
        return [(kind, numbers[kind], sizes[kind]) for kind in KINDS if numbers[kind]]


def plan_removal(store: LocalStore, experiment: str, rule: RetentionRule, now: float) -> RemovalPlan:
    """What a rule removes of an experiment. Data and snapshots are shared: those that any experiment's runs name stay."""
    found = RemovalPlan()
    before = now - rule.age
    if STAGING in rule.kinds:
        for path in removal.leftovers(store, now - min(rule.age, SETTLING)):
            name = path.relative_to(store.root).as_posix()
            found.items.append(RemovalItem(STAGING, path, name, _size(path), "its writer ended before it was done"))
    for task in store.tasks(experiment):
        succeeded = 0
        for number, run in enumerate(store.runs(experiment, task)):
            is_old = run.id.minute * 60 < before
            if RUNS in rule.kinds and is_old and number >= rule.keep and run.status != Status.RUNNING:
                _whole(store, run, found)
            else:
                if STAGING in rule.kinds and run.status != Status.RUNNING:
                    found.items += _tries(run, now)
                if MODELS in rule.kinds and is_old and succeeded >= rule.keep and run.record:
                    found.items += _models(store, run)
            if ARCHIVE in rule.kinds and is_old and succeeded >= rule.keep and task == c.ENSEMBLE_TASK:
                found.items += _archived(store, run)
            succeeded += run.status == Status.SUCCEEDED
    _say_of_models(store, experiment, found)
    if DATA in rule.kinds or SNAPSHOTS in rule.kinds:
        _unneeded(store, rule, found, now)
    return found


def _tries(run: Run, now: float) -> Iterator[RemovalItem]:
    """What is heavy in the tries that are over: marks, logs and tables stay."""
    for each in run.tries:
        folder = run.folder / (c.TRY_PREFIX + each["name"])
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.suffix not in _LIGHT and not path.name.startswith("."):
                if path.stat().st_mtime > now - SETTLING:
                    continue
                name = path.relative_to(run.folder).as_posix()
                yield RemovalItem(STAGING, path, name, path.stat().st_size, "of a try that did not become the result", run.id)


def _models(store: LocalStore, run: Run) -> Iterator[RemovalItem]:
    """A training's model and whatever other weights lie beside it."""
    described = (run.record.get("model") or {}).get("file")
    for path in sorted((run.folder / c.RESULT).glob("*")):
        if path.is_file() and (path.name == described or path.suffix in (".h5", ".keras", ".ckpt", ".npz")):
            name = f"{c.RESULT}/{path.name}"
            yield RemovalItem(MODELS, path, name, path.stat().st_size, "older than what is kept", run.id)


def _whole(store: LocalStore, run: Run, found: RemovalPlan) -> None:
    paths = [path for path in sorted(run.folder.iterdir()) if path.name != c.REMOVED] if run.folder.is_dir() else []
    if not paths:
        return
    fact = run_fact(run)
    found.rows[run.id] = {
        "status": run.status,
        "reason": run.reason,
        "evidence": run.evidence,
        "kind": fact.kind,
        "started": run.record.get("started") or next((each["start"].get("time") for each in run.tries), None),
        "finished": run.record.get("finished") or next((each["end"].get("time") for each in run.tries if each["end"]), None),
        "accuracy": fact.accuracy,
        "loss": fact.loss,
    }
    found.items += [RemovalItem(RUNS, path, path.name, _size(path), "of an old run", run.id) for path in paths]


def _archived(store: LocalStore, run: Run) -> Iterator[RemovalItem]:
    """A run's CSV in the archive, and its members'; a stranger's of that name is left alone."""
    target, own = store.archive_path(run.id, run.record), run.folder / c.RESULT / c.CSV
    if target.is_file() and own.is_file() and target.read_bytes() == own.read_bytes():
        for path in (target, target.with_suffix(".members")):
            if path.exists():
                name = path.relative_to(store.root).as_posix()
                yield RemovalItem(ARCHIVE, path, name, _size(path), "older than what is kept", run.id)


def _say_of_models(store: LocalStore, experiment: str, found: RemovalPlan) -> None:
    """Which ensembles cannot be repeated any more, and which not with the models that they had."""
    if found.rows:
        days = sorted(run.slot.date() for run in found.rows)
        found.consequences.append(
            f"{len(found.rows)} runs from {days[0]} to {days[-1]} can never be repeated or shown: only their rows stay"
        )
    gone = {str(run) for run in found.rows}
    models = {str(item.run) for item in found.items if item.kind == MODELS}
    if not gone and not models:
        return
    never, without_models = [], []
    for run in store.runs(experiment, c.ENSEMBLE_TASK):
        taken = {each.get("run") for each in run.record.get("members", [])}
        if run.id not in found.rows and taken & gone:
            never.append(run.id)
        elif run.id not in found.rows and taken & models:
            without_models.append(run.id)
    for runs, meaning in (
        (never, "cannot be repeated any more: their members' runs go"),
        (without_models, "can be repeated, but not with rerun --reuse-models: their members are trained again"),
    ):
        if runs:
            found.consequences.append(f"{len(runs)} ensembles from {runs[-1].slot.date()} to {runs[0].slot.date()} {meaning}")


def _unneeded(store: LocalStore, rule: RetentionRule, found: RemovalPlan, now: float) -> None:
    """Data and snapshots that nothing kept names, and that are old enough not to be somebody's who is at work."""
    try:
        data, snapshots = _needed(store, set(found.rows))
    except UnreadableRun as error:
        found.consequences.append(f"no data and no snapshots are removed, for it cannot be told which are needed: {error}")
        return
    wanted = [(DATA, path, path.stem in data) for path in (store.root / "datasets").glob("*.npz")] if DATA in rule.kinds else []
    if SNAPSHOTS in rule.kinds:
        wanted += [(SNAPSHOTS, path, path.stem in snapshots) for path in (store.root / "snapshots").glob("*/*")]
    removed = set()
    for kind, path, is_needed in wanted:
        if not is_needed and path.is_file() and path.stat().st_mtime < now - max(min(rule.age, 7 * SETTLING), SETTLING):
            name = path.relative_to(store.root).as_posix()
            found.items.append(RemovalItem(kind, path, name, path.stat().st_size, "no kept run names it"))
            removed.add(path.stem)
    for path in sorted((store.root / "datasets").glob("*/*.json")):
        if (read_json(path) or {}).get("fingerprint") in removed:
            name = path.relative_to(store.root).as_posix()
            found.items.append(RemovalItem(DATA, path, name, _size(path), "it fixed data for a date that is removed"))


def _needed(store: LocalStore, gone: Collection[RunId]) -> tuple[set[str], set[str]]:
    """The data and the snapshots that the runs of any experiment name, but for those runs that go."""
    data, snapshots = set[str](), set[str]()
    for experiment in store.experiments():
        for task in store.tasks(experiment):
            for run in store.runs(experiment, task):
                if run.id in gone:
                    continue
                if run.status == Status.UNKNOWN:
                    raise UnreadableRun(f"{run.id}: {run.reason}")
                known = run.record.get("data") or store.pinned_data(run.id) or {}
                data.add(str(known.get("fingerprint")))
                marks = [run.record, *(each["start"] for each in run.tries), store.claim_of(run.id) or {}]
                for mark in marks:
                    snapshots |= {str(digest) for digest in (mark.get("snapshot") or {}).values() if digest}
        latest = {held.engine: held for held in periods.periods(store.ledger.revisions(experiment))}
        for held in latest.values():
            named = (task.get(key) for task in held.tasks.values() for key in ("program", "code", "task"))
            snapshots |= {str(digest) for digest in named if digest}
    return data, snapshots


def _size(path: Path) -> int:
    """Bytes of a file, or of all in a folder; none of what has gone."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(_size(each) for each in path.iterdir())
        return path.lstat().st_size
    except OSError:
        return 0


def execute_removal(store: LocalStore, what: RemovalPlan, time: str, by: str) -> Iterator[tuple[RemovalItem, OSError]]:
    """Remove it, each run's tombstone first; yields what could not be removed."""
    runs: dict[RunId, list[RemovalItem]] = {}
    for item in what.items:
        if item.run is not None:
            runs.setdefault(item.run, []).append(item)
    for run, items in runs.items():
        files = [{"path": item.name, "size": item.size, "why": item.reason} for item in items]
        removal.record_removal(store, run, files, time, by, what.rows.get(run))
    for item in what.items:
        try:
            removal.remove(store, item.path)
        except OSError as error:
            yield item, error
