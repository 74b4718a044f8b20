"""Reads from a store what the history is computed from: revisions, notes, and of the runs only those that a query needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from jobs.contract import RunId
from jobs.revisions import Revision
from jobs.store import Store
from jobs.store.regular_files import Unreadable
from scheduler.history.notes import parse_notes
from scheduler.history.observed_runs import ClusterObservation, ObservedJob, is_unrecorded, may_be_unrecorded
from scheduler.history.query import (
    ExperimentHistory,
    Facts,
    HistoryQuery,
    Page,
    add_first_changes,
    first_change_pages,
    limited,
    month_pages,
    month_window,
    next_slots,
    refusal_pages,
    refused_slots,
    searched_months,
)
from scheduler.history.run_facts import RunFact
from scheduler.history.slots import Row
from scheduler.stores.history_index import HistoryIndex


class HistoryReader:
    """The history of one experiment as of ``now``, in seconds since 1970; dates are in ``timezone``.

    ``observation`` is what its cluster showed: Jobs that the store knows nothing of, and revisions that it may not have yet.
    ``known_until``: until when the store is known, in seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        experiment: str,
        timezone: str,
        now: float,
        observation: ClusterObservation | None = None,
        known_until: float = inf,
    ) -> None:
        self.store = store
        self.unreadable: dict[Page, str] = {}
        """Why the folders of pages cannot be listed, of those asked for so far; a month of "" stands for all of a task's.

        A task of "" stands for the ledger, whose folder is in the place of the month then.
        """
        revisions = self._readable("revisions", lambda: store.ledger.revisions(experiment))
        self.history = ExperimentHistory(
            experiment,
            timezone,
            now,
            revisions,
            parse_notes(self._readable("notes", lambda: list(store.ledger.notes(experiment)))),
            {task: self._months(experiment, task) for task in self._tasks(experiment, revisions)},
            observation or ClusterObservation("", now),
            known_until,
            self.unreadable,
        )
        self._index = HistoryIndex(store, experiment)
        self._by_minute: dict[Page, defaultdict[int, list[RunFact]]] = {}
        self._used: set[Page] = set()
        """The pages that were asked for since the last month of a stream."""

    def _readable(self, folder: str, read: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """What is in a folder of the ledger; nothing of one that cannot be listed."""
        try:
            return read()
        except Unreadable as error:
            self.unreadable["", folder] = f"{folder}/: {error.why}"
            return []

    def _tasks(self, experiment: str, revisions: Sequence[Revision]) -> list[str]:
        """The tasks that have runs; of a folder that cannot be listed those that a revision names, which may have.

        Raises Unreadable where none does: a history without rows would say that nothing ever ran.
        """
        try:
            return self.store.tasks(experiment)
        except Unreadable as error:
            tasks = sorted({task for revision in revisions for task in revision.get("tasks") or ()})
            if not tasks:
                raise
            self.unreadable |= {(task, ""): f"{experiment}/: {error.why}" for task in tasks}
            return []

    def _months(self, experiment: str, task: str) -> list[str]:
        try:
            return self.store.months(experiment, task)
        except Unreadable as error:
            self.unreadable[task, ""] = f"{task}/: {error.why}"
            return []

    def rows(self, query: HistoryQuery) -> list[Row]:
        """The rows that are asked for, newest slot first; without an end, up to now and each task's next slot."""
        return [row for part in self._parts(query) for row in part]

    def stream(self, query: HistoryQuery) -> Iterator[Row]:
        """The same rows one by one, for any number of them: no more months are held at a time than a row is computed from.

        What :meth:`fact` and :meth:`attempts` say is at hand for the row that was given last, and read again for earlier ones.
        """
        before: set[Page] = set()
        self._used = set()
        for part in self._parts(query):
            yield from part
            # A month's pages are those of the next ones too: what neither of two asked for is not asked for again.
            keep, before, self._used = before | self._used, self._used, set()
            self._index.keep_only(keep)
            self._by_minute = {page: facts for page, facts in self._by_minute.items() if page in keep}

    def _parts(self, query: HistoryQuery) -> Iterator[list[Row]]:
        """The rows month by month, until there are as many as are asked for."""
        left = query.limit
        for rows in self._months_rows(query):
            part = limited(rows, replace(query, limit=left))
            add_first_changes(self.history, part, self._facts(first_change_pages(self.history, part)))
            yield part
            if query.limit:
                left -= len(part)
                if not left:
                    return

    def _months_rows(self, query: HistoryQuery) -> Iterator[list[Row]]:
        yield next_slots(self.history, query)
        for month in searched_months(self.history, query):
            window = month_window(self.history, query, month, self._facts(month_pages(self.history, query, month)))
            yield window.rows(self._facts(window.earlier_pages()))

    def fact(self, row: Row) -> RunFact | None:
        """What the history knows of a row's run; None for a row without a run that has left something in the store."""
        return next((fact for fact in self._slot_facts(row.task, row.minute) if fact.attempt == row.attempt), None)

    def attempts(self, task: str, minute: int) -> int:
        """How many runs a slot has."""
        return len(self._slot_facts(task, minute))

    def _slot_facts(self, task: str, minute: int) -> Sequence[RunFact]:
        page = (task, RunId(minute, 1, self.history.experiment, task).month)
        self._used.add(page)
        if page not in self._by_minute:
            by_minute = self._by_minute[page] = defaultdict(list)
            for fact in self._page(page):
                by_minute[fact.minute].append(fact)
        return self._by_minute[page].get(minute, ())

    def unrecorded_jobs(self) -> list[ObservedJob]:
        """The observed Jobs that have ended and show more of their runs than the store holds."""
        jobs = [job for job in self.history.observation.jobs.values() if may_be_unrecorded(job)]
        facts = self._facts({(job.run.task, job.run.month) for job in jobs})
        by_key = {(task, fact.minute, fact.attempt): fact for (task, _), page in facts.items() for fact in page}
        return [job for job in jobs if is_unrecorded(by_key.get(job.key), job)]

    def unrecorded_refusals(self) -> list[tuple[str, int, str]]:
        """Task, minute and reason of each slot for which the cluster showed why it created no Job, and the store does not."""
        if not self.history.observation.warnings:
            return []
        return refused_slots(self.history, self._facts(refusal_pages(self.history)))

    def _facts(self, pages: Iterable[Page]) -> Facts:
        return {page: self._page(page) for page in pages}

    def _page(self, page: Page) -> Sequence[RunFact]:
        self._used.add(page)
        try:
            return self._index.facts(*page)
        except Unreadable as error:
            self.unreadable[page] = f"{page[0]}/{page[1]}/: {error.why}"
            return ()
