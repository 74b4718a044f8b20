"""`gc`: what may be removed from a store by age and count, why, what will not be possible after it; and its removal.

Standard library alone, Python 3.9: it runs where the store is.
"""

from __future__ import annotations

import json
import os
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs import revisions
from jobs.compact_list import CompactList
from jobs.contract import RunId, Status
from jobs.store import removal
from jobs.store.document_files import read_document, why_unreadable
from jobs.store.files import have_same_bytes
from jobs.store.latest_model import is_candidate
from jobs.store.latest_predictions import accepted_runs
from jobs.store.local_store import LocalStore
from jobs.store.needed_models import has_ended_since, needed_models
from jobs.store.notifications import NotificationLedger
from jobs.store.reading import Run
from jobs.store.regular_files import Unreadable, is_folder, is_regular
from jobs.store.report_pages import dated_pages
from jobs.store.run_summaries import KEPT_SUFFIXES, MODEL_SUFFIXES, RunSummaries, RunSummary
from jobs.store.tombstones import is_tombstone


class RemovalKind(str, Enum):  # noqa: UP042 (Python 3.9 has no StrEnum)
    """What gc may remove: the values of ``--what``."""

    STAGING = "staging"
    MODELS = "models"
    DATA = "data"
    SNAPSHOTS = "snapshots"
    RUNS = "runs"
    ARCHIVE = "archive"
    REPORTS = "reports"

    def __str__(self) -> str:
        return str(self.value)


DESCRIPTIONS = {
    RemovalKind.STAGING: (
        "leftovers of unfinished work, the models and arrays of tries that did not succeed, and notifications that are over"
    ),
    RemovalKind.MODELS: "the models of trainings",
    RemovalKind.DATA: "prepared data that no kept run needs",
    RemovalKind.SNAPSHOTS: "programs, code and configurations that no kept run needs",
    RemovalKind.RUNS: "everything of a run but its row in the history",
    RemovalKind.ARCHIVE: "dated CSVs and what lies beside them",
    RemovalKind.REPORTS: "dated report pages",
}
DEFAULT_KINDS = (RemovalKind.STAGING, RemovalKind.MODELS)
_LATEST_KINDS = {RemovalKind.RUNS, RemovalKind.ARCHIVE}
"""What may take away what the latest predictions are of."""
SETTLING = 86400
"""Seconds for which leftovers, and data that nothing names yet, are left alone: a process may still need them."""


class UnknownNeed(Exception):
    """What something needs is unknown, for it cannot be read; the text says what and why."""


@dataclass(frozen=True)
class RetentionRule:
    """What is removed: older than ``age`` seconds, and not among the newest ``keep`` of a task."""

    kinds: Collection[RemovalKind]
    age: float
    keep: int


@dataclass(frozen=True)
class RemovalItem:
    """Something to remove; ``name`` is its path in the run's folder, or in the store where there is no run; ``size`` in bytes.

    ``path`` is where the store is.
    """

    kind: RemovalKind
    path: Path
    name: str
    size: int
    reason: str
    run: RunId | None = None


def item_list(root: Path, items: Iterable[RemovalItem] = ()) -> CompactList[RemovalItem]:
    """Items of the store ``root``, in as little memory as those of years of runs may take."""
    prefix = f"{root}{os.sep}"

    def pack(item: RemovalItem) -> tuple[Any, ...]:
        path, run = str(item.path), item.run
        relative = path[len(prefix) :] if path.startswith(prefix) else path
        run_key = None if run is None else (run.minute, run.attempt, run.experiment, run.task)
        return item.kind.value, relative, item.name, item.size, item.reason, run_key

    def unpack(packed: tuple[Any, ...]) -> RemovalItem:
        kind, path, name, size, reason, run_key = packed
        return RemovalItem(RemovalKind(kind), root / path, name, size, reason, None if run_key is None else RunId(*run_key))

    return CompactList(pack, unpack, items)


RemovedRow = tuple[RunId, dict[str, Any]]
"""A run that is removed as a whole, and what the history shows of it afterwards."""


def row_list(rows: Iterable[RemovedRow] = ()) -> CompactList[RemovedRow]:
    """Rows in as little memory as those of years of runs may take."""

    def pack(row: RemovedRow) -> tuple[Any, ...]:
        run, shown = row
        return run.minute, run.attempt, run.experiment, run.task, json.dumps(shown)

    return CompactList(pack, lambda packed: (RunId(*packed[:4]), json.loads(packed[4])), rows)


@dataclass
class RemovalPlan:
    """What gc will remove, and what that means; ``items`` are an :func:`item_list`, those of a run one after the other."""

    items: CompactList[RemovalItem]
    rows: CompactList[RemovedRow] = field(default_factory=row_list)
    """Of the runs that are removed as a whole, in the order of their items."""
    consequences: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all items."""
        return sum(size for _, _, size in self.counts())

    def counts(self) -> list[tuple[RemovalKind, int, int]]:
        """By kind: how many, and how many bytes."""
        numbers, sizes = Counter[RemovalKind](), Counter[RemovalKind]()
        for item in self.items:
            numbers[item.kind] += 1
            sizes[item.kind] += item.size
        return [(kind, numbers[kind], sizes[kind]) for kind in RemovalKind if numbers[kind]]


class _Texts:
    """Which texts there are of very many: eight bytes each. Two different ones are taken for the same once in 10^13 times."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._hashes = array("q", sorted(array("q", map(hash, texts))))

    def __contains__(self, text: str) -> bool:
        n = bisect_left(self._hashes, hash(text))
        return n < len(self._hashes) and self._hashes[n] == hash(text)

    def __bool__(self) -> bool:
        return bool(self._hashes)


def plan_removal(store: LocalStore, experiment: str, rule: RetentionRule, now: float) -> RemovalPlan:
    """What a rule removes of an experiment at ``now`` (seconds since 1970).

    Data and snapshots are shared: those that any experiment's runs name stay.
    """
    plan, summaries = RemovalPlan(item_list(store.root)), RunSummaries(store)
    before = now - min(rule.age, SETTLING)
    if RemovalKind.STAGING in rule.kinds:
        plan.items += _leftovers(store, removal.leftovers(store, before, but_runs_of=experiment))
        for path in NotificationLedger(store.files, experiment).removable(now):
            plan.items.append(_store_item(store, RemovalKind.STAGING, path, "it is over"))
    needed: set[RunId] | None = None
    try:
        needed = _needed_models(store, summaries, experiment, now)
    except (UnknownNeed, Unreadable) as error:
        if {RemovalKind.MODELS, RemovalKind.RUNS} & set(rule.kinds):
            plan.consequences.append(
                f"no models and no whole runs are removed, for it is unknown which are needed: {_why(error)}"
            )
    kept_in_archive = _kept_in_archive(store, experiment, rule, plan)
    if kept_in_archive is None:
        rule = replace(rule, kinds=[kind for kind in rule.kinds if kind not in _LATEST_KINDS])
    elif needed is not None:
        needed |= kept_in_archive
    for task in store.tasks(experiment):
        # What no scheduled ensemble takes is counted apart: it must not be kept in the place of what one may take.
        succeeded = Counter[bool]()
        for number, (run_id, summary) in enumerate(summaries.of_task(experiment, task, skip_unreadable=True)):
            if RemovalKind.STAGING in rule.kinds and (summary is None or summary.facts.has_leftovers):
                plan.items += _leftovers(store, removal.leftovers_in(store.run_folder(run_id), before))
            if summary is not None:
                is_usable, has_succeeded = summary.facts.is_usable, summary.status == Status.SUCCEEDED
                if not _may_remove(store, rule, run_id, summary, now, needed):
                    succeeded[is_usable] += has_succeeded
                    continue
            run = store.read(run_id)
            if not run.is_readable:
                # Nobody knows what it needs, or whether it is over.
                continue
            is_old = run.id.minute * 60 < now - rule.age
            is_usable = is_candidate(run.record, "") and not run.refused
            is_kept = succeeded[is_usable] < rule.keep
            # A repeat of an old slot is new, and the ensemble of its rerun or backfill may be about to take it.
            is_new = has_ended_since(run, before)
            is_removable = is_old and not is_new and needed is not None and run.id not in needed
            if RemovalKind.RUNS in rule.kinds and is_removable and number >= rule.keep and run.status != Status.RUNNING:
                _plan_whole_run(run, plan)
            else:
                if RemovalKind.STAGING in rule.kinds and run.status != Status.RUNNING:
                    plan.items += _try_files(run, now)
                if RemovalKind.MODELS in rule.kinds and is_removable and not is_kept and run.record:
                    plan.items += _model_files(run)
            is_archived = task == c.ENSEMBLE_TASK and run.id not in (kept_in_archive or ())
            if RemovalKind.ARCHIVE in rule.kinds and is_old and not is_kept and is_archived:
                plan.items += _archived_files(store, run)
            succeeded[is_usable] += run.status == Status.SUCCEEDED
    if RemovalKind.REPORTS in rule.kinds:
        plan.items += _report_pages(store, experiment, rule, now)
    plan.consequences += _consequences_for_repeats(store, summaries, experiment, plan)
    if RemovalKind.DATA in rule.kinds or RemovalKind.SNAPSHOTS in rule.kinds:
        _plan_shared_files(store, summaries, rule, plan, now)
    return plan


def _kept_in_archive(store: LocalStore, experiment: str, rule: RetentionRule, plan: RemovalPlan) -> set[RunId] | None:
    """The run whose predictions are the latest: however old, it stays, or an older one's would take their place.

    None where it cannot be known, which is added to the plan.
    """
    if not _LATEST_KINDS & set(rule.kinds):
        return set()
    try:
        return {run for run, _ in islice(accepted_runs(store, experiment), 1)}
    except Unreadable as error:
        problem = f"no whole runs and no archived CSVs are removed, for it is unknown which is the latest: {_why(error)}"
        plan.consequences.append(problem)
        return None


def _may_remove(
    store: LocalStore, rule: RetentionRule, run: RunId, summary: RunSummary, now: float, needed: Collection[RunId] | None
) -> bool:
    """Whether there may be anything of a run to remove, so that it must be read."""
    facts, is_old = summary.facts, run.minute * 60 < now - rule.age
    is_removable = is_old and needed is not None and run not in needed
    if RemovalKind.STAGING in rule.kinds and facts.has_try_files:
        return True
    if RemovalKind.MODELS in rule.kinds and is_removable and facts.has_models:
        return True
    if RemovalKind.RUNS in rule.kinds and is_removable and not facts.is_removed:
        return True
    if RemovalKind.ARCHIVE in rule.kinds and is_old and run.task == c.ENSEMBLE_TASK:
        return is_regular(store.archive_path(run, {"other_configuration": facts.is_named_for_other}))
    return False


def _leftovers(store: LocalStore, paths: Iterable[Path]) -> Iterator[RemovalItem]:
    for path in paths:
        yield _store_item(store, RemovalKind.STAGING, path, "its writer ended before it was done")


def _try_files(run: Run, now: float) -> Iterator[RemovalItem]:
    """The large files of the tries that are over."""
    for attempt in run.tries:
        folder = run.folder / (c.TRY_PREFIX + attempt["name"])
        for path in sorted(folder.rglob("*")):
            if not is_regular(path) or path.suffix in KEPT_SUFFIXES or path.name.startswith("."):
                continue
            if path.lstat().st_mtime <= now - SETTLING:
                yield _run_item(run, RemovalKind.STAGING, path, "of a try that did not become the result")


def _model_files(run: Run) -> Iterator[RemovalItem]:
    """A training's model and whatever other weights lie beside it."""
    model = (run.record.get("model") or {}).get("file")
    for path in sorted((run.folder / c.RESULT).glob("*")):
        if is_regular(path) and (path.name == model or path.suffix in MODEL_SUFFIXES):
            yield _run_item(run, RemovalKind.MODELS, path, "older than what is kept")


def _plan_whole_run(run: Run, plan: RemovalPlan) -> None:
    paths = (
        [path for path in sorted(run.folder.iterdir()) if path.name != c.RECORD_TRACE and not is_tombstone(path.name)]
        if is_folder(run.folder)
        else []
    )
    if not paths:
        return
    starts = (attempt["start"].get("time") for attempt in run.tries)
    ends = (attempt["end"].get("time") for attempt in run.tries if attempt["end"])
    row = {
        "status": run.status,
        "reason": run.reason,
        "evidence": run.evidence,
        "kind": run.kind,
        "started": run.record.get("started") or next(starts, None),
        "finished": run.record.get("finished") or next(ends, None),
        "accuracy": run.accuracy,
        "loss": run.loss,
        "degraded": run.degraded,
        **({"refused": run.refused} if run.refused else {}),
        "try_number": run.try_number,
        "max_tries": run.max_tries,
    }
    plan.rows.append((run.id, row))
    plan.items += [_run_item(run, RemovalKind.RUNS, path, "of an old run") for path in paths]


def _archived_files(store: LocalStore, run: Run) -> Iterator[RemovalItem]:
    """A run's CSV in the archive, its members' and its metadata; another file of that name is left alone."""
    archived, csv = store.archive_path(run.id, run.record), run.folder / c.RESULT / c.CSV
    if is_regular(archived) and is_regular(csv) and have_same_bytes(archived, csv):
        paths = [archived, archived.with_suffix(".members")]
        metadata, own = archived.with_suffix(".json"), run.folder / c.RESULT / c.METADATA
        if is_regular(metadata) and is_regular(own) and have_same_bytes(metadata, own):
            paths.append(metadata)
        for path in paths:
            if os.path.lexists(path):
                yield _store_item(store, RemovalKind.ARCHIVE, path, "older than what is kept", run.id)


def _report_pages(store: LocalStore, experiment: str, rule: RetentionRule, now: float) -> Iterator[RemovalItem]:
    """The dated pages that a watch made on days long ago; the newest, and the latest, which has no date, stay."""
    oldest_kept = time.strftime("%Y-%m-%d", time.gmtime(max(0.0, now - rule.age)))
    pages = dated_pages(store.root, experiment)
    for path in pages[: max(0, len(pages) - rule.keep)]:
        if path.stem < oldest_kept and is_regular(path):
            yield _store_item(store, RemovalKind.REPORTS, path, "older than what is kept")


def _consequences_for_repeats(store: LocalStore, summaries: RunSummaries, experiment: str, plan: RemovalPlan) -> Iterator[str]:
    """Which ensembles cannot be repeated any more, and which not with the models that they had."""
    if plan.rows:
        first, last = (chosen((run for run, _ in plan.rows), key=lambda run: run.minute).slot.date() for chosen in (min, max))
        yield f"{len(plan.rows)} runs from {first} to {last} can never be repeated or shown: only their rows stay"
    removed_runs = _Texts(str(run) for run, _ in plan.rows)
    removed_models = _Texts(str(item.run) for item in plan.items if item.kind == RemovalKind.MODELS)
    if not removed_runs and not removed_models:
        return
    never, without_models = [], []
    for run, summary in summaries.of_task(experiment, c.ENSEMBLE_TASK, skip_unreadable=True):
        if str(run) in removed_runs:
            continue
        members = store.read(run).record.get("members") or [] if summary is None else []
        trainings = {str(member.get("run")) for member in members} if summary is None else set(summary.members)
        if any(training in removed_runs for training in trainings):
            never.append(run)
        elif any(training in removed_models for training in trainings):
            without_models.append(run)
    for runs, meaning in (
        (never, "cannot be repeated any more: their members' runs are removed"),
        (without_models, "can be repeated, but not with rerun --reuse-models: their members are trained again"),
    ):
        if runs:
            yield f"{len(runs)} ensembles from {runs[-1].slot.date()} to {runs[0].slot.date()} {meaning}"


def _plan_shared_files(store: LocalStore, summaries: RunSummaries, rule: RetentionRule, plan: RemovalPlan, now: float) -> None:
    """Data and snapshots that no kept run names, and that are old enough not to belong to a run that is just starting."""
    try:
        data, snapshots = _needed(store, summaries, _Texts(str(run) for run, _ in plan.rows))
    except (UnknownNeed, Unreadable) as error:
        plan.consequences.append(f"no data and no snapshots are removed, for it is unknown which are needed: {_why(error)}")
        return
    candidates: list[tuple[RemovalKind, Path]] = []
    if RemovalKind.DATA in rule.kinds:
        datasets = (store.root / "datasets").glob("*.npz")
        candidates += [(RemovalKind.DATA, path) for path in datasets if path.stem not in data]
    if RemovalKind.SNAPSHOTS in rule.kinds:
        paths = (store.root / "snapshots").glob("*/*")
        candidates += [(RemovalKind.SNAPSHOTS, path) for path in paths if path.stem not in snapshots]
    removed = set()
    for kind, path in candidates:
        if is_regular(path) and path.lstat().st_mtime < now - max(min(rule.age, 7 * SETTLING), SETTLING):
            plan.items.append(_store_item(store, kind, path, "no kept run names it"))
            removed.add(path.stem)
    for path in sorted((store.root / "datasets").glob("*/*.json")):
        if (read_document(path) or {}).get("fingerprint") in removed:
            plan.items.append(_store_item(store, RemovalKind.DATA, path, "it pinned data for a date that is removed"))


def _needed(store: LocalStore, summaries: RunSummaries, removed: _Texts) -> tuple[set[str], set[str]]:
    """The fingerprints of data and the hashes of snapshots that the runs of any experiment name, but for those removed."""
    data, snapshots = set[str](), set[str]()
    for experiment in store.experiments():
        _require_readable_folders(store, experiment)
        for task in store.tasks(experiment):
            for run_id, summary in summaries.of_task(experiment, task):
                if str(run_id) in removed:
                    continue
                if summary is not None:
                    data.add(summary.facts.data)
                    snapshots.update(summary.facts.digests)
                    continue
                run = store.read(run_id)
                _require_readable(run)
                if not run.record:
                    _require_readable_data(run)
                pinned = run.record.get("data") or store.pinned_data(run.id) or {}
                data.add(str(pinned.get("fingerprint")))
                for mark in (run.record, *(attempt["start"] for attempt in run.tries), store.claim_of(run.id) or {}):
                    snapshots |= _digests((mark.get("snapshot") or {}).values())
        for chain in revisions.chains(revisions.merge(store.ledger.revisions(experiment))):
            *_, (_, _, tasks) = revisions.states(chain)
            snapshots |= _digests(task.get(key) for task in tasks.values() for key in ("program", "code", "task"))
    return data, snapshots


def _needed_models(store: LocalStore, summaries: RunSummaries, experiment: str, now: float) -> set[RunId]:
    """The trainings whose models an ensemble may still take; raises UnknownNeed or Unreadable where one cannot be read."""
    _require_readable_folders(store, experiment)

    def read(run: RunId) -> Run:
        result = store.read(run)
        _require_readable(result)
        return result

    return set(needed_models(store, summaries, experiment, now, read))


def _why(error: UnknownNeed | Unreadable) -> str:
    return f"{error.filename}: {error.why}" if isinstance(error, Unreadable) else str(error)


def _require_readable_folders(store: LocalStore, experiment: str) -> None:
    """Raise Unreadable for a folder of an experiment's runs that cannot be listed, UnknownNeed for a revision."""
    for error in store.unreadable_folders(experiment):
        raise error
    for path in store.ledger.unreadable_revisions(experiment):
        raise UnknownNeed(f"{path} cannot be read")


def _require_readable(run: Run) -> None:
    if run.status == Status.UNKNOWN or not run.is_readable:
        raise UnknownNeed(f"{run.id}: {run.reason if run.status == Status.UNKNOWN else 'a file of it cannot be read'}")


def _require_readable_data(run: Run) -> None:
    """Raise UnknownNeed for a run without a result of which it cannot be read what data it pinned."""
    for attempt in run.tries:
        why = why_unreadable(run.folder / (c.TRY_PREFIX + attempt["name"]) / c.DATA)
        if why:
            raise UnknownNeed(f"{run.id}: {c.TRY_PREFIX}{attempt['name']}/{c.DATA}: {why}")


def _digests(values: Iterable[Any]) -> set[str]:
    return {str(digest) for digest in values if digest}


def _run_item(run: Run, kind: RemovalKind, path: Path, reason: str) -> RemovalItem:
    return RemovalItem(kind, path, path.relative_to(run.folder).as_posix(), _size(path), reason, run.id)


def _store_item(store: LocalStore, kind: RemovalKind, path: Path, reason: str, run: RunId | None = None) -> RemovalItem:
    return RemovalItem(kind, path, path.relative_to(store.root).as_posix(), _size(path), reason, run)


def _size(path: Path) -> int:
    """Bytes of a file, or of all in a folder; none of what has gone."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(_size(child) for child in path.iterdir())
        return path.lstat().st_size
    except OSError:
        return 0


@dataclass(frozen=True)
class Removed:
    """What became of an item: ``problem`` says why it is still there; empty if it has gone."""

    item: RemovalItem
    problem: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether it was left alone, and that is no error."""
        return self.problem == KEPT


KEPT = "it is left alone: it has changed, or something needs it now"
"""The problem of what was planned and is no longer to be removed."""


def execute_removal(
    store: LocalStore, experiment: str, rule: RetentionRule, planned: Iterable[RemovalItem], now: float, time: str, by: str
) -> Iterator[Removed]:
    """Remove what was planned and may be removed at ``now`` too: meanwhile a run may have begun that needs some of it.

    Each run's tombstone comes first (``time``: ISO 8601). ``planned`` is gone through twice.
    """
    plan, paths = plan_removal(store, experiment, rule, now), _Texts(str(item.path) for item in planned)
    rows = iter(plan.rows)
    whole_run, row_of_it = next(rows, (None, {}))
    for run, own in groupby(plan.items, lambda item: item.run):
        items = list(own) if run is not None else []
        files = [{"path": item.name, "size": item.size, "why": item.reason} for item in items if str(item.path) in paths]
        # One that got another file meanwhile is not removed as a whole.
        row = row_of_it if run == whole_run and len(files) == len(items) else None
        if run is not None and files:
            removal.record_removal(store, run, files, time, by, row)
        if run is not None and run == whole_run:
            whole_run, row_of_it = next(rows, (None, {}))
    current = _Texts(str(item.path) for item in plan.items)
    for item in planned:
        problem = ""
        if str(item.path) not in current:
            problem = KEPT if os.path.lexists(item.path) else ""
        else:
            try:
                if item.kind == RemovalKind.RUNS and item.path.name == c.RESULT:
                    removal.remove(store, item.path.with_name(c.RECORD_TRACE))  # of its record
                removal.remove(store, item.path)
            except OSError as error:
                problem = error.strerror or str(error)
        yield Removed(item, problem)
