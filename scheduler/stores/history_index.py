"""The index of a store: what the history needs of each run, in pages of a task and month, so that it need not be read again.

It can be deleted at any time, and is built anew. A page is written by a rename, so that several processes may write; the last
one wins, and all are right. Where the store cannot be written, pages are kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from jobs.contract import VERDICT, RunId, Status
from jobs.store import Run, Store
from jobs.store.files import read_json, replace_file
from jobs.store.reading import SETTLED
from scheduler.cache import cache_folder
from scheduler.history.run_facts import RunFact, run_fact

VERSION = 1
"""Of the pages' format: other versions are built anew."""
FRESH = 86400
"""A folder that changed within so many seconds before it was listed is listed again: clocks and caches may differ."""
UNSETTLED = -1
"""The ``seal`` of a run that is read at every look. 0: never again. Else its folder's change time in ns: when that differs."""


class Page(msgspec.Struct, array_like=True):
    """The runs of one task and month.

    ``folder_state``: change time (ns) and inode of the month's folder when it was listed; ``listed``: when that was, in
    seconds since 1970 by our clock.
    """

    version: int = VERSION
    folder_state: tuple[int, int] = (0, 0)
    listed: float = 0.0
    facts: list[RunFact] = []


class HistoryIndex:
    """The facts of an experiment's runs, by task and month."""

    def __init__(self, store: Store, experiment: str, cache: Path | None = None) -> None:
        self._store, self._experiment = store, experiment
        self._folders = [store.root / ".index", cache or _cache_folder(store)]
        self._decoder = msgspec.msgpack.Decoder(Page)
        self._loaded: dict[tuple[str, str], list[RunFact]] = {}

    def facts(self, task: str, month: str) -> Sequence[RunFact]:
        """The runs of a task and a month (``2026-11``), oldest slot first, as they are now."""
        key = (task, month)
        if key not in self._loaded:
            self._loaded[key] = self._current(task, month)
        return self._loaded[key]

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
        now = time.time()
        for n, fact in enumerate(facts):
            if fact.seal:
                current = self._reread(task, fact, now)
                if current is not fact:
                    facts[n], is_new = current, True
        if is_new:
            self._save(task, month, Page(VERSION, state, listed, facts))
        return facts

    def _reread(self, task: str, fact: RunFact, now: float) -> RunFact:
        """The fact of a run that may still change, read again if its folder has changed since."""
        run = RunId(fact.minute, fact.attempt, self._experiment, task)
        if fact.seal > 0 and self._store.run_state(run) == fact.seal:
            if fact.finished is not None and fact.finished < now - SETTLED:
                return msgspec.structs.replace(fact, seal=0)
            return fact
        return self._read(run)

    def _read(self, run: RunId) -> RunFact:
        record = self._store.result(run)
        if record is not None:
            fact = run_fact(Run(run, Path(), Status.SUCCEEDED, record=record))
            if record.get("repeats"):
                # The verdict comes after the result.
                state = self._store.run_state(run)
                verdict = read_json(self._store.run_folder(run) / VERDICT)
                fact.reason, fact.seal = (str(verdict.get("verdict", "")), 0) if verdict else ("", state)
            return fact
        # Its state is taken first: what changes while it is read is then read again.
        state = self._store.run_state(run)
        fact = run_fact(self._store.read(run))
        fact.seal = UNSETTLED if fact.status in (Status.RUNNING, Status.UNKNOWN) or not state else state
        return fact

    # -- the pages' files

    def _load(self, task: str, month: str) -> Page:
        pages = []
        for folder in self._folders:
            try:
                page = self._decoder.decode((folder / self._name(task, month)).read_bytes())
            except (OSError, msgspec.DecodeError):
                continue
            if page.version == VERSION:
                pages.append(page)
        return max(pages, key=lambda page: page.listed, default=Page())

    def _save(self, task: str, month: str, page: Page) -> None:
        data = msgspec.msgpack.encode(page)
        for folder in self._folders:
            try:
                replace_file(folder / self._name(task, month), data, durable=False)
            except OSError:
                continue
            return

    def _name(self, task: str, month: str) -> str:
        return f"{self._experiment}/{task}/{month}"


def _cache_folder(store: Store) -> Path:
    """The index of a store that cannot be written, in the user's cache."""
    return cache_folder() / "index" / hashlib.sha256(os.fsencode(store.root.resolve())).hexdigest()[:16]
