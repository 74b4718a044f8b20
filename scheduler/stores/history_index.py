"""The index of a store: what the history needs of each run, in pages of a task and month, so that it need not be read again.

It can be deleted at any time, and is built anew. A page is written by a rename, so that several processes may write; the last
one wins, and all are right. Where the store cannot be written, pages are kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from jobs.contract import LAST_MINUTE, VERDICT, RunId, Status
from jobs.store import Run, Store
from jobs.store.document_files import read_document
from jobs.store.files import make_folder, replace_file
from jobs.store.reading import data_note
from jobs.store.regular_files import read_regular
from jobs.text import one_line
from scheduler.cache import cache_folder
from scheduler.history.run_facts import RunFact, run_fact

VERSION = 7
"""Of the pages' format: other versions are built anew."""
FRESH = 86400
"""A folder that changed within so many seconds before it was listed is listed again: clocks and caches may differ."""
PAGE_SIZE = 1 << 26
"""Bytes of the largest page: a month has at most 44,640 slots."""
UNSETTLED = 0
"""The ``seal`` of a run that is read at every look. Else what it was read from: it is read again when that differs.

A positive one is the state of the record, a negative one that of all of the run.
"""


class Page(msgspec.Struct, array_like=True):
    """The runs of one task and month.

    ``folder_state``: what ``Store.month_state`` had for the month's folder when it was listed; ``listed``: when that was, in
    seconds since 1970 by our clock.
    """

    version: int = VERSION
    folder_state: tuple[int, int] = (0, 0)
    listed: float = 0.0
    facts: list[RunFact] = []


_DECODER = msgspec.msgpack.Decoder(Page)
"""Made once, when one thread imports it: of several threads that make one, msgspec may end the process."""


class HistoryIndex:
    """The facts of an experiment's runs, by task and month."""

    def __init__(self, store: Store, experiment: str, cache: Path | None = None) -> None:
        self._store, self._experiment = store, experiment
        self._folders = [store.root / ".index", cache or _cache_folder(store)]
        self._loaded: dict[tuple[str, str], list[RunFact]] = {}

    def facts(self, task: str, month: str) -> Sequence[RunFact]:
        """The runs of a task and a month (``2026-11``), oldest slot first, as they are now."""
        key = (task, month)
        if key not in self._loaded:
            self._loaded[key] = self._current(task, month)
        return self._loaded[key]

    def keep_only(self, pages: Collection[tuple[str, str]]) -> None:
        """Forget all pages (tasks and months) but these: one that is asked for again is read again."""
        self._loaded = {key: facts for key, facts in self._loaded.items() if key in pages}

    def _current(self, task: str, month: str) -> list[RunFact]:
        state = self._store.month_state(self._experiment, task, month)
        if state is None:
            return []
        page, listed = self._load(task, month), time.time()
        changed = state[0] / 1e9
        facts, is_new = page.facts, False
        if page.folder_state != state or page.listed - changed < FRESH:
            known = {(fact.minute, fact.attempt): fact for fact in page.facts}
            runs = self._store.month_ids(self._experiment, task, month)
            facts = [known.get((run.minute, run.attempt)) or self._read(run) for run in runs]
            is_new = page.folder_state != state or listed - changed >= FRESH or facts != page.facts
        seals = self._seals(task, facts)
        for n, (fact, seal) in enumerate(zip(facts, seals, strict=True)):
            if fact.seal == UNSETTLED or fact.seal != seal:
                current = self._read(RunId(fact.minute, fact.attempt, self._experiment, task))
                if current != fact:
                    facts[n], is_new = current, True
        if is_new:
            self._save(task, month, Page(VERSION, state, listed, facts))
        return facts

    def _seals(self, task: str, facts: Sequence[RunFact]) -> list[int]:
        """The present seal of each run: results were removed and put back by hand, and stores restored from copies."""
        seals = {}
        for only_record in (True, False):
            chosen = [fact for fact in facts if fact.seal != UNSETTLED and (fact.seal > 0) == only_record]
            runs = [RunId(fact.minute, fact.attempt, self._experiment, task) for fact in chosen]
            states = self._store.run_states(runs, only_record)
            sign = 1 if only_record else -1
            seals.update({(fact.minute, fact.attempt): sign * state for fact, state in zip(chosen, states, strict=True)})
        return [seals.get((fact.minute, fact.attempt), UNSETTLED) for fact in facts]

    def _read(self, run: RunId) -> RunFact:
        # Their states are taken first: what changes while it is read is then read again.
        (record_state,) = self._store.run_states([run], only_record=True)
        record = self._store.result(run)
        state = UNSETTLED
        if record is None or record.get("repeats"):
            (state,) = self._store.run_states([run])
            record = self._store.result(run)
        if record is None:
            fact = run_fact(self._store.read(run))
            fact.seal = UNSETTLED if fact.status in (Status.RUNNING, Status.UNKNOWN) else -state
            return fact
        decisions = tuple(self._store.decisions(run))
        fact = run_fact(Run(run, Path(), Status.SUCCEEDED, data_note(record), record, decisions=decisions))
        fact.seal = record_state
        if record.get("repeats") and state:
            # The verdict comes after the result.
            verdict = read_document(self._store.run_folder(run) / VERDICT) or {}
            fact.reason = "; ".join(filter(None, (one_line(str(verdict.get("verdict", ""))), fact.reason)))
            fact.seal = -state
        return fact

    # -- the pages' files

    def _load(self, task: str, month: str) -> Page:
        pages = []
        for folder in self._folders:
            try:
                page = _DECODER.decode(read_regular(folder / self._name(task, month), PAGE_SIZE))
            except (OSError, msgspec.DecodeError):
                continue
            runs = (RunId(fact.minute, fact.attempt, self._experiment, task) for fact in page.facts)
            if page.version == VERSION and all(0 <= run.minute <= LAST_MINUTE and run.month == month for run in runs):
                pages.append(page)
        return max(pages, key=lambda page: page.listed, default=Page())

    def _save(self, task: str, month: str, page: Page) -> None:
        data = msgspec.msgpack.encode(page)
        for folder in self._folders:
            try:
                path = folder / self._name(task, month)
                make_folder(path.parent, self._store.root if folder.is_relative_to(self._store.root) else folder)
                replace_file(path, data, durable=False)
            except OSError:
                continue
            return

    def _name(self, task: str, month: str) -> str:
        return f"{self._experiment}/{task}/{month}"


def _cache_folder(store: Store) -> Path:
    """The index of a store that cannot be written, in the user's cache."""
    return cache_folder() / "index" / hashlib.sha256(os.fsencode(store.root.resolve())).hexdigest()[:16]
