"""What `gc` and `fsck --quick` need of each run, kept in pages, so that what has not changed is not read again.

A page has the runs of a task and month: of each the states of its files and folders (``jobs.store.states``) when it was read, and
what followed from them. It is a cache, beside the history's: it may be deleted at any time, and the last of several writers wins.
Where the store cannot be written each run is read every time. Standard library alone, Python 3.9.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from jobs import contract as c
from jobs.contract import RunId, Status, parse_run_id
from jobs.store.document_files import why_unreadable
from jobs.store.files import make_folder, replace_file
from jobs.store.latest_model import is_candidate
from jobs.store.local_store import LocalStore
from jobs.store.reading import Run
from jobs.store.regular_files import Unreadable, read_regular
from jobs.store.removal import is_leftover
from jobs.store.result_files import archived_files, recorded_files
from jobs.store.states import FRESH, number_of, stat_state, states_of

VERSION = 2
PAGE_SIZE = 1 << 28
"""Bytes of the largest page."""
KEPT_SUFFIXES = (".json", ".jsonl", ".csv", ".txt")
"""Of the files of tries without a result that stay: marks, logs and tables."""
MODEL_SUFFIXES = (".h5", ".keras", ".ckpt", ".npz")


class SharedFacts(NamedTuple):
    """What many runs of a month have in common.

    ``data`` is the fingerprint of what a run was trained on, or pinned; ``digests`` are the hashes of all snapshots that it
    names, ``snapshot`` those of its record by kind; ``csvs`` the names and sizes of its result's files that belong into the
    archive, None where its record does not say. ``has_models``, ``has_try_files`` and ``has_leftovers``: whether gc has anything
    to look at.
    """

    status: str
    kind: str
    is_usable: bool
    has_record: bool
    is_removed: bool
    is_named_for_other: bool
    has_models: bool
    has_try_files: bool
    has_leftovers: bool
    data: str
    data_sha256: str
    pin: str
    digests: list[str]
    snapshot: dict[str, str]
    csvs: list[list[Any]] | None


class RunSummary(NamedTuple):
    """A run whose files are as they were when it was read; ``ended``: when its last try did, in seconds since 1970.

    ``used_runs`` are the runs whose results it was made with or repeats; ``members`` those that its record names for its members.
    """

    facts: SharedFacts
    ended: float
    used_runs: list[str]
    members: list[str]

    @property
    def status(self) -> str:
        """What became of it."""
        return self.facts.status

    def used(self, experiment: str) -> Iterator[RunId]:
        """The runs whose results it was made with or repeats."""
        for text in self.used_runs:
            task, _, name = text.partition(" ")
            run = parse_run_id(name, experiment, task)
            if run is not None:
                yield run


def used_runs(run: RunId, record: Mapping[str, Any]) -> Iterator[RunId]:
    """The runs whose results a run was made with or repeats, by its record."""
    named = [parse_run_id(str(record.get("repeats")), run.experiment, run.task)]
    for member in record.get("members") or []:
        if isinstance(member, dict) and not member.get("left_out"):
            named.append(parse_run_id(str(member.get("run")), run.experiment, c.member_task(str(member.get("member")))))
    return filter(None, named)


class _Entry(NamedTuple):
    """A run's summary, and the states that it holds for: of folders and documents, and of all other files.

    ``is_checked``: whether fsck has found nothing wrong with it.
    """

    names: list[str]
    documents: int
    others: int
    is_checked: bool
    summary: RunSummary


class RunSummaries:
    """The summaries of a store's runs."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store

    def month(self, experiment: str, task: str, month: str) -> MonthSummaries:
        """Those of a task's month, whose folder can be listed; raises Unreadable, OSError."""
        return MonthSummaries(self.store, experiment, task, month)

    def of_task(self, experiment: str, task: str, skip_unreadable: bool = False) -> Iterator[tuple[RunId, RunSummary | None]]:
        """Every run of a task, newest slot first, with its summary; without one where it must be read itself.

        Raises as ``Store.run_ids``.
        """
        try:
            months = self.store.months(experiment, task)
        except Unreadable:
            if not skip_unreadable:
                raise
            return
        for name in reversed(months):
            try:
                month = self.month(experiment, task, name)
            except Unreadable:
                if not skip_unreadable:
                    raise
                continue
            for run in reversed(month.runs):
                yield run, month.summary(run)
            month.save()


class MonthSummaries:
    """The summaries of the runs of a task and month; ``runs`` are its runs, oldest first."""

    def __init__(self, store: LocalStore, experiment: str, task: str, month: str) -> None:
        self._store, self._now = store, time.time()
        self._path = store.root / ".index" / experiment / task / f"{month}.json"
        self._folder = str(store.task_folder(experiment, task) / month)
        self.runs = store.month_ids(experiment, task, month)
        stored = _load(self._path)
        known = [run for run in self.runs if (run.minute, run.attempt) in stored]
        entries = [stored[run.minute, run.attempt] for run in known]
        states = states_of(
            [(f"{self._folder}/{run}", entry.names) for run, entry in zip(known, entries)],  # noqa: B905 (Python 3.9)
            lambda one: _state(*one, True),
        )
        self._current = {
            run: entry
            for run, entry, state in zip(known, entries, states)  # noqa: B905 (Python 3.9)
            if number_of(state) == entry.documents
        }
        self._is_changed = len(stored) != len(self._current)

    def summary(self, run: RunId) -> RunSummary | None:
        """What is known of a run as it is now; it is read if it has changed. None where it must be read itself."""
        entry = self._current.get(run)
        if entry is not None:
            return entry.summary
        return self._read(run)

    def is_checked(self, run: RunId) -> bool:
        """Whether nothing was wrong with a run when it was checked last, and none of its files has changed since."""
        entry = self._current.get(run)
        if entry is None or not entry.is_checked:
            return False
        return number_of(_state(f"{self._folder}/{run}", entry.names, False)) == entry.others

    def set_checked(self, run: RunId) -> None:
        """Nothing is wrong with a run, which was just read."""
        entry = self._current.get(run)
        if entry is not None and not entry.is_checked:
            self._current[run] = entry._replace(is_checked=True)
            self._is_changed = True

    def read_again(self, run: RunId) -> None:
        """Take the states of a run that is about to be checked."""
        self._current.pop(run, None)
        self._read(run)

    def save(self) -> None:
        """Keep the summaries, where the store can be written."""
        if not self._is_changed:
            return
        try:
            make_folder(self._path.parent, self._store.root)
            replace_file(self._path, _encode(self._current), durable=False)
        except OSError:
            return

    def _read(self, run: RunId) -> RunSummary | None:
        folder = f"{self._folder}/{run}"
        # The states come first: what changes while it is read is then read again.
        names = _names(folder)
        documents, others = (_state(folder, names, is_document, self._now) for is_document in (True, False))
        summary = _summarize(self._store, self._store.read(run), names)
        if summary is not None and documents and "@" not in documents + others:
            self._current[run] = _Entry(names, number_of(documents), number_of(others), False, summary)
            self._is_changed = True
        return summary


# -- states


def _names(folder: str) -> list[str]:
    """All that a run's folder holds, by paths within it, those of folders with a slash; raises OSError."""
    names = [""]
    try:
        for parent, folders, files in os.walk(folder):
            prefix = parent[len(folder) + 1 :] + "/" if parent != folder else ""
            names += [f"{prefix}{name}/" for name in sorted(folders)]
            names += [prefix + name for name in sorted(files)]
    except OSError:
        return []
    return names


def _state(folder: str, names: Iterable[str], of_documents: bool, now: float | None = None) -> str:
    """The states of a run's folders and documents, or of its other files; with an "@" in it where some are fresh at ``now``."""
    states = []
    for name in names:
        if (name.endswith((".json", "/")) or not name) == of_documents:
            try:
                status = os.lstat(f"{folder}/{name}" if not name.endswith("/") else f"{folder}/{name[:-1]}")
            except OSError:
                states.append("gone")
                continue
            changed = max(status.st_mtime, status.st_ctime)
            states.append(stat_state(status) + ("@" if now is not None and changed >= now - FRESH else ""))
    return " ".join(states) or "-"


# -- what follows from a run


def _summarize(store: LocalStore, run: Run, names: Sequence[str]) -> RunSummary | None:
    """None for a run that has not ended, and one of which not all can be read."""
    if not run.is_readable or run.status in (Status.RUNNING, Status.UNKNOWN):
        return None
    record = run.record
    if not record and any(why_unreadable(run.folder / (c.TRY_PREFIX + attempt["name"]) / c.DATA) for attempt in run.tries):
        return None
    data = record.get("data") or store.pinned_data(run.id) or {}
    if record and data and not record.get("data"):
        # As nothing of ours writes it: what such a run needs is for whoever reads it.
        return None
    snapshot = {kind: str(digest) for kind, digest in (record.get("snapshot") or {}).items() if digest}
    marks = (record, *(attempt["start"] for attempt in run.tries), store.claim_of(run.id) or {})
    digests = {str(digest) for mark in marks for digest in (mark.get("snapshot") or {}).values() if digest}
    ends = [record.get("finished"), *((attempt["end"] or {}).get("time") for attempt in run.tries)]
    model = (record.get("model") or {}).get("file")
    facts = SharedFacts(
        str(run.status),
        str(run.kind or ""),
        is_candidate(record, "") and not run.refused,
        bool(record),
        "run" in run.removed,
        bool(record.get("other_configuration")),
        any(_is_model(name, model) for name in names),
        any(_is_try_file(name) for name in names),
        any(is_leftover(part, name.endswith("/")) for name in names for part in [os.path.basename(name.rstrip("/"))]),
        str(data.get("fingerprint") or ""),
        str(data.get("sha256") or ""),
        str(data.get("pin") or ""),
        sorted(digests),
        snapshot,
        _csvs(record),
    )
    members = [str(member["run"]) for member in record.get("members") or [] if isinstance(member, dict) and member.get("run")]
    used = [f"{other.task} {other}" for other in used_runs(run.id, record)]
    return RunSummary(facts, max((c.parse_time(end) or -inf for end in ends if end), default=-inf), used, members)


def _is_model(name: str, model: Any) -> bool:
    folder, _, file = name.rpartition("/")
    return folder == c.RESULT and bool(file) and (file == model or file.endswith(MODEL_SUFFIXES))


def _is_try_file(name: str) -> bool:
    file = os.path.basename(name)
    is_kept = not file or file.startswith(".") or file.endswith(KEPT_SUFFIXES)
    return name.startswith(c.TRY_PREFIX) and not is_kept


def _csvs(record: dict[str, Any]) -> list[list[Any]] | None:
    if not isinstance(record.get("files"), dict):
        return None
    listed = recorded_files(record)
    return [[name, listed[name].get("size")] for name in archived_files(record)]


# -- the pages' files


def _encode(entries: dict[RunId, _Entry]) -> bytes:
    tables: dict[str, int] = {}

    def number(value: Any) -> int:
        return tables.setdefault(json.dumps(value), len(tables))

    runs = [
        [
            run.minute,
            run.attempt,
            number(entry.names),
            entry.documents,
            entry.others,
            int(entry.is_checked),
            number(entry.summary.facts),
            None if entry.summary.ended == -inf else entry.summary.ended,
            entry.summary.used_runs,
            entry.summary.members,
        ]
        for run, entry in sorted(entries.items())
    ]
    return json.dumps({"version": VERSION, "tables": [json.loads(text) for text in tables], "runs": runs}).encode()


def _load(path: Path) -> dict[tuple[int, int], _Entry]:
    """The entries of a page by minute and attempt; none of one that is absent, of another version or damaged."""
    try:
        page = json.loads(read_regular(path, PAGE_SIZE))
        if page["version"] != VERSION:
            return {}
        tables, facts = page["tables"], dict[int, SharedFacts]()
        entries = {}
        for minute, attempt, names, documents, others, checked, shared, ended, used, members in page["runs"]:
            if shared not in facts:
                facts[shared] = _facts(tables[shared])
            if not all(map(_is_texts, (tables[names], used, members))):
                raise ValueError("no list of texts")
            summary = RunSummary(facts[shared], -inf if ended is None else float(ended), used, members)
            entries[int(minute), int(attempt)] = _Entry(tables[names], documents, others, bool(checked), summary)
        return entries
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return {}


def _facts(values: list[Any]) -> SharedFacts:
    """Raises ValueError, TypeError for what another program wrote."""
    facts = SharedFacts(*values)
    flags = [facts.is_usable, facts.has_record, facts.is_removed, facts.is_named_for_other]
    flags += [facts.has_models, facts.has_try_files, facts.has_leftovers]
    texts = [facts.status, facts.kind, facts.data, facts.data_sha256, facts.pin, *facts.snapshot.values()]
    csvs = facts.csvs or []
    is_right = all(isinstance(flag, bool) for flag in flags) and _is_texts(texts) and _is_texts(facts.digests)
    if not is_right or not all(len(csv) == 2 and isinstance(csv[0], str) for csv in csvs):
        raise ValueError("no facts of a run")
    return facts


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
