"""The index: what the history needs of each run, kept in pages of a task and month, so that it need not be read again.

It is no truth: it can be deleted at any time, and is built anew. A page is written by a rename, so that several may write;
the last one wins, and all are right. Where the store takes none, pages are kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from jobs.contract import VERDICT, RunId
from jobs.store import Run, Store
from jobs.store.files import read_json, replace_file
from scheduler.history.slots import RUNNING, UNKNOWN, RunFact

VERSION = 1
SETTLED = 14 * 86400
"""Seconds after its end from which on a failed run is taken to get no other try."""
FRESH = 86400
"""A folder that changed within so many seconds before it was listed is listed again: clocks and caches may differ."""


class Page(msgspec.Struct, array_like=True):
    """The runs of one task and month. ``seen`` is the folder's state when it was listed, at ``listed`` by our clock."""

    version: int = VERSION
    seen: tuple[int, int] = (0, 0)
    listed: float = 0.0
    facts: list[RunFact] = []


class Index:
    """The facts of an experiment's runs, by task and month."""

    def __init__(self, store: Store, experiment: str, cache: Path | None = None) -> None:
        self._store, self._experiment = store, experiment
        self._folders = [store.root / ".index", cache or _cache(store)]
        self._decoder = msgspec.msgpack.Decoder(Page)
        self._loaded: dict[tuple[str, str], list[RunFact]] = {}

    def facts(self, task: str, month: str) -> Sequence[RunFact]:
        """The runs of a task and a month (``2026-11``), oldest slot first, as they are now."""
        key = (task, month)
        if key not in self._loaded:
            self._loaded[key] = self._current(task, month)
        return self._loaded[key]

    def _current(self, task: str, month: str) -> list[RunFact]:
        seen = self._store.month_state(self._experiment, task, month)
        if seen is None:
            return []
        page, listed = self._load(task, month), time.time()
        changed_at = seen[0] / 1e9
        facts, is_new = page.facts, False
        if page.seen != seen or page.listed - changed_at < FRESH:
            known = {(fact.minute, fact.attempt): fact for fact in page.facts}
            ids = self._store.month_ids(self._experiment, task, month)
            facts = [known.get((run.minute, run.attempt)) or self._read(run) for run in ids]
            is_new = page.seen != seen or listed - changed_at >= FRESH or facts != page.facts
        now = time.time()
        for n, fact in enumerate(facts):
            if fact.seal:
                fresh = self._again(task, fact, now)
                if fresh is not fact:
                    facts[n], is_new = fresh, True
        if is_new:
            self._save(task, month, Page(VERSION, seen, listed, facts))
        return facts

    def _again(self, task: str, fact: RunFact, now: float) -> RunFact:
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
            fact = fact_of(Run(run, Path(), "succeeded", record=record))
            if record.get("repeats"):
                # The verdict comes after the result.
                state = self._store.run_state(run)
                told = read_json(self._store.run_folder(run) / VERDICT)
                fact.reason, fact.seal = (str(told.get("verdict", "")), 0) if told else ("", state)
            return fact
        # Its state is taken first: what changes while it is read is then read again.
        state = self._store.run_state(run)
        fact = fact_of(self._store.read(run))
        fact.seal = -1 if fact.status in (RUNNING, UNKNOWN) or not state else state
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


def _cache(store: Store) -> Path:
    home = os.environ.get("CRONSEMBLE_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cronsemble"
    )
    return Path(home) / "index" / hashlib.sha256(os.fsencode(store.root.resolve())).hexdigest()[:16]


def fact_of(run: Run) -> RunFact:
    """What the history needs of a run."""
    record, tries = run.record, run.tries
    judged = next((each for each in (record.get("metrics"), record.get("ensemble")) if isinstance(each, dict)), {})
    first: dict[str, Any] = tries[0]["start"] if tries else {}
    ends = [each["end"].get("time") for each in tries if each["end"]]
    row = run.removed.get("run") or {}
    return RunFact(
        run.id.minute,
        run.id.attempt,
        run.status,
        run.reason,
        run.evidence,
        next(filter(None, (each.get("kind") for each in (record, first, run.claim, run.cancelled, run.observed, row))), None),
        _instant(record.get("started") or first.get("time") or run.observed.get("started") or row.get("started")),
        _instant(
            record.get("finished")
            or (ends[-1] if ends else None)
            or run.cancelled.get("time")
            or run.observed.get("ended")
            or row.get("finished")
        ),
        _number(record.get("accuracy", row.get("accuracy"))),
        _number(judged.get("loss", row.get("loss"))),
    )


def _instant(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
