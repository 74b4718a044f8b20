"""The ledger: what the store holds of an experiment beside its runs: who runs it, its revisions, and notes on its slots.

Standard library alone, Python 3.9.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jobs.contract import SCHEMA, parse_time, revision_time
from jobs.documents import DocumentKind, document_problem
from jobs.store.access import StoreFiles
from jobs.store.files import to_document, to_json
from jobs.store.names import name_part

_OWNER = re.compile(r"owner-([1-9][0-9]{0,8})\.json")


class Ledger:
    """What those write who start runs, and not the runs."""

    def __init__(self, files: StoreFiles) -> None:
        self._files = files

    def folder(self, experiment: str) -> Path:
        """The folder of an experiment's revisions, notes and heartbeats."""
        return self._files.root / "experiments" / experiment

    # -- who runs it

    def owner_file(self, experiment: str, number: int | None = None) -> Path:
        """The file that says who runs the experiment: that of its n-th owner, or of the last one."""
        if number is None:
            number = self.owner_number(experiment)
        folder = self.folder(experiment)
        return folder / f"owner-{number}.json" if number > 1 else folder.with_name(f"{experiment}.json")

    def owner_number(self, experiment: str) -> int:
        """How many owners the experiment has had so far; 1 also where it has none."""
        return max([1, *self._later_owners(experiment)])

    def _later_owners(self, experiment: str) -> list[int]:
        matches = map(_OWNER.fullmatch, self._files.list_names(self.folder(experiment)))
        return [int(match[1]) for match in matches if match is not None]

    def owner(self, experiment: str, number: int | None = None) -> dict[str, Any] | None:
        """Who runs the experiment (``engine``, and more): its n-th owner, or the last one; None if nobody has claimed it."""
        return self._files.read_document(self.owner_file(experiment, number))

    def take_ownership(self, experiment: str, claim: dict[str, Any], replaces: int = 0) -> dict[str, Any] | None:
        """Say that ``claim["engine"]`` runs the experiment; the other owner, if there is one that is not replaced.

        ``replaces`` is the number of the owner that is taken over: nothing is written if there has been another since, for the
        next number is an exclusive link. An owner's file that cannot be read is another's.
        """
        path = self.owner_file(experiment, replaces + 1)
        is_ours = self._files.publish(path, to_document({"schema": SCHEMA, "experiment": experiment, **claim}))
        # A number that was free because it had been cleared away is not the last.
        last = self.owner_number(experiment)
        if is_ours and last == replaces + 1:
            return None
        owner = self.owner(experiment, last)
        if owner is not None and all(owner.get(key) == claim.get(key) for key in ("engine", "process")):
            return None
        return owner or {"engine": f"unknown ({self.owner_file(experiment, last)} cannot be read)"}

    def owner_files(self, experiment: str) -> list[Path]:
        """The files of all owners, the first and the last among them."""
        return [self.owner_file(experiment, number) for number in [1, *sorted(self._later_owners(experiment))]]

    def past_owner_files(self, experiment: str) -> list[Path]:
        """The files of the owners before the last one, but for the first and the one that the last has replaced."""
        numbers = sorted(self._later_owners(experiment))[:-2]
        return [self.owner_file(experiment, number) for number in numbers]

    def record_heartbeat(self, experiment: str, host: str, time: str) -> None:
        """Write that the machine ``host``, which serves the experiment, is alive at ``time`` (ISO 8601)."""
        self._files.replace(
            self._heartbeat_file(experiment, host),
            to_document({"schema": SCHEMA, "host": host, "experiment": experiment, "time": time}),
        )

    def last_heartbeat(self, experiment: str, host: str) -> str | None:
        """When that machine was last alive, as it wrote it: a time, ISO 8601; None if it is not known."""
        time = (self._files.read_document(self._heartbeat_file(experiment, host)) or {}).get("time")
        return None if parse_time(time) is None else str(time)

    def newest_heartbeat(self, experiment: str) -> float | None:
        """When any machine that serves the experiment was last alive, in seconds since 1970; None if that is not known."""
        folder = self.folder(experiment)
        names = [name for name in self._files.list_names(folder) if name.startswith("alive-")]
        times = [parse_time((self._files.read_document(folder / name) or {}).get("time")) for name in names]
        return max((time for time in times if time is not None), default=None)

    def _heartbeat_file(self, experiment: str, host: str) -> Path:
        return self.folder(experiment) / f"alive-{name_part(host)}.json"

    # -- revisions

    def add_revision(self, experiment: str, revision: dict[str, Any]) -> bool:
        """Append a revision; the same one again is the same file, folded or not, and replaces one that is damaged.

        False if it was there. Raises KeyError, TypeError or ValueError for what is no revision.
        """
        path = self.revision_file(experiment, revision)
        data = to_document({"schema": SCHEMA, **revision})
        if self._files.publish(path, data):
            return True
        if self._files.read_document(path) is not None:
            return False
        self._files.replace(path, data)
        return True

    def add_revisions(self, experiment: str, revisions: Iterable[dict[str, Any]]) -> None:
        """Append those that are not there yet, and replace damaged ones; what is no revision is left out."""
        stored = {path.name for path in self.revision_files(experiment)}
        for revision in revisions:
            try:
                path = self.revision_file(experiment, revision)
                if path.name not in stored or self._files.read_document(path) is None:
                    self.add_revision(experiment, revision)
            except (KeyError, TypeError, ValueError):
                continue

    def revision_file(self, experiment: str, revision: dict[str, Any]) -> Path:
        """The file of a revision, named by its time, engine and number; raises KeyError, TypeError or ValueError."""
        key = to_json([revision.get("engine"), revision["revision"], revision["time"]])
        milliseconds = int(revision_time(revision) * 1000)
        return self.folder(experiment) / "revisions" / f"{milliseconds:013}-{hashlib.sha256(key).hexdigest()[:12]}.json"

    def revision_files(self, experiment: str) -> list[Path]:
        """The files of an experiment's revisions, oldest first."""
        folder = self.folder(experiment) / "revisions"
        return [folder / name for name in self._files.list_names(folder) if name.endswith(".json")]

    def revisions(self, experiment: str) -> list[dict[str, Any]]:
        """An experiment's revisions, oldest first; what cannot be read is left out."""
        contents = (self._files.read_document(path) for path in self.revision_files(experiment))
        return [revision for revision in contents if revision is not None]

    def unreadable_revisions(self, experiment: str) -> list[Path]:
        """The files of revisions that :meth:`revisions` leaves out."""
        return [path for path in self.revision_files(experiment) if self._files.read_document(path) is None]

    # -- notes

    def add_note(self, experiment: str, host: str, note: dict[str, Any]) -> None:
        """Add what became of a slot, or of an engine: ``time``, ``event``, ``reason``, for a slot ``task`` and ``minute``.

        ``host`` is a machine's name: no two machines append to one file.
        """
        path = self.folder(experiment) / "notes" / f"{name_part(str(note['time'])[:7])}-{name_part(host)}.jsonl"
        self._files.append_line(path, {"schema": SCHEMA, **note})

    def note_files(self, experiment: str) -> list[Path]:
        """The files of an experiment's notes, by month and machine."""
        folder = self.folder(experiment) / "notes"
        return [folder / name for name in self._files.list_names(folder) if name.endswith(".jsonl")]

    def notes(self, experiment: str, since: str = "") -> Iterator[dict[str, Any]]:
        """Every note, by month, from the month ``since`` (``2026-11``) on; a line that cannot be read is left out."""
        for path in self.note_files(experiment):
            if path.name[:7] < since:
                continue
            yield from (note for note in self._files.read_lines(path) if not document_problem(DocumentKind.NOTE, note))
