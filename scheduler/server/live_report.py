"""The report as `serve --listen` shows it: made anew, in a process of its own, when a store has changed and somebody looks."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.store import LocalStore, Store
from jobs.store.regular_files import Unreadable
from scheduler.server.background_command import BackgroundCommand

FRESH = 2.0
"""Seconds for which a look at the store counts for all who ask."""
AGE = 300.0
"""Seconds after which a page is made anew in any case: slots become due, and models older."""
LONGEST_BUILD = 120.0
"""Seconds after which the process that makes a page is ended."""
PATIENCE = 20.0
"""Seconds that the first who asks waits for the page."""
NEWEST = 3
"""Runs of each task whose files are looked at."""


@dataclass(frozen=True)
class LivePage:
    """A page, and the state of the store that it was made from; ``problem`` is why there is none."""

    state: str
    html: bytes
    problem: str = ""


class LiveReport:
    """The page of one experiment. Whoever asks gets the newest one at once; a newer one is made meanwhile, one at a time."""

    def __init__(self, name: str, path: Path, store: Store, build: Callable[[str], LivePage] | None = None) -> None:
        self.name = name
        self._path, self._store = path, store
        self._build = build or self._build_in_process
        self._changed = threading.Condition()
        self._page: LivePage | None = None
        self._looked = -FRESH
        self._state = ""
        self._is_building = False
        self._command = BackgroundCommand(LONGEST_BUILD)
        self._is_closed = False

    def state(self) -> str:
        """That of the newest page; the beginning of a newer one, if the store has changed, is made in the background."""
        self._refresh()
        with self._changed:
            return self._page.state if self._page else ""

    def page(self) -> LivePage | None:
        """The newest page; the first who asks waits for it. None if it takes longer than PATIENCE."""
        self._refresh()
        with self._changed:
            self._changed.wait_for(lambda: self._page is not None or self._is_closed, PATIENCE)
            return self._page

    def close(self) -> None:
        """End what is being made."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._command.close()

    def _refresh(self) -> None:
        with self._changed:
            now = time.monotonic()
            if now - self._looked >= FRESH and not self._is_closed:
                self._looked = now
                self._state = store_state(self._store, self.name)
            if self._is_building or self._is_closed or (self._page is not None and self._page.state == self._state):
                return
            self._is_building = True
            threading.Thread(target=self._make, args=(self._state,), daemon=True).start()

    def _make(self, state: str) -> None:
        page = self._build(state)
        with self._changed:
            self._page, self._is_building = page, False
            self._changed.notify_all()

    def _build_in_process(self, state: str) -> LivePage:
        result = self._command.run(["report", "--file", str(self._path), "--out", "-", "--live", state])
        if isinstance(result, str):
            return LivePage(state, b"", result)
        return LivePage(state, result.output, "" if result.status == 0 else result.errors or "it could not be made")


def live_reports(served: Sequence[tuple[str, Path, LocalStore]]) -> dict[str, LiveReport]:
    """By name the reports of experiments: name, configuration file and store of each."""
    return {name: LiveReport(name, path, store) for name, path, store in served}


def store_state(store: Store, experiment: str) -> str:
    """A digest of what the page depends on and a run changes: revisions, notes, and each task's newest runs; cheap to look at.

    It also differs from one AGE to the next.
    """
    digest = hashlib.sha256(f"{time.time() // AGE}".encode())
    for part in _parts(store, experiment):
        digest.update(repr(part).encode())
    return digest.hexdigest()[:16]


def _parts(store: Store, experiment: str) -> Iterator[object]:
    folder = store.root / "experiments" / experiment
    for name in ("revisions", "notes"):
        try:
            yield [(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in _sorted_entries(folder / name)]
        except OSError:
            yield name
    try:
        tasks = store.tasks(experiment)
    except (OSError, Unreadable):
        return
    for task in tasks:
        try:
            months = store.months(experiment, task)
            newest = store.month_ids(experiment, task, months[-1])[-NEWEST:] if months else []
            states = store.run_states(newest)
        except (OSError, Unreadable) as error:
            yield task, str(error)
            continue
        yield task, months, [str(run) for run in newest], states


def _sorted_entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; raises OSError."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
