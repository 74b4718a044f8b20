"""How tries ended, written into the store by the engine; what the store cannot take now is kept until it can."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs import contract as c
from jobs.documents import DocumentKind, document_problem
from jobs.store import LocalStore
from jobs.store.files import parse_object, publish_bytes, to_document


@dataclass(frozen=True)
class TryEnd:
    """The marks of a try that ended; with that of its start its folder is made, if there is none yet."""

    run: c.RunId
    name: str
    start: dict[str, Any]
    end: dict[str, Any]


@dataclass
class TryEnds:
    """Writes ends of tries; several threads may use it."""

    store: LocalStore
    _unwritten: list[TryEnd] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, end: TryEnd) -> str:
        """Write an end, unless its try has one or its run a result; why it could not be written yet, or empty."""
        with self._lock:
            # In the order in which they ended.
            if not self._unwritten:
                try:
                    self._write(end)
                    return ""
                except OSError as error:
                    problem = describe_os_error(error, self.store.root)
            else:
                problem = "the ends before it are not written yet"
            self._unwritten.append(end)
        return problem

    def unwritten(self, run: c.RunId | None = None) -> list[TryEnd]:
        """The ends that are not written yet, of one run or of all."""
        with self._lock:
            return [end for end in self._unwritten if run in (None, end.run)]

    def write(self) -> str:
        """Write the ends that are not written yet; why that is not possible now, or empty."""
        with self._lock:
            while self._unwritten:
                try:
                    self._write(self._unwritten[0])
                except OSError as error:
                    return describe_os_error(error, self.store.root)
                del self._unwritten[0]
        return ""

    def _write(self, end: TryEnd) -> None:
        if self.store.result(end.run) is not None:
            return
        self.store.begin_try(end.run, end.name, end.start)
        publish_bytes(
            self.store.try_folder(end.run, end.name) / c.END, to_document({"run_id": str(end.run), "try": end.name, **end.end})
        )


def parse_end(lines: Sequence[str]) -> dict[str, Any]:
    """The end mark that a supervisor printed because the store did not take it; empty if it printed none."""
    for line in reversed(lines):
        if line.startswith(c.END_PREFIX):
            end = parse_object(line[len(c.END_PREFIX) :].encode()) or {}
            return {} if document_problem(DocumentKind.END, end) else end
    return {}


def describe_os_error(error: OSError, place: object) -> str:
    """An error of the operating system for people: at which file, else at which ``place``, and what."""
    return f"{error.filename or place}: {error.strerror or error}"
