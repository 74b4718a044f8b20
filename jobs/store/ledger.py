"""The ledger: what the store holds of an experiment beside its runs: who runs it, its revisions, and notes on its slots.

Standard library alone, Python 3.9.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.contract import OBSERVED, SCHEMA, VERDICT, RunId
from jobs.store.access import StoreFiles
from jobs.store.files import append_line, list_names, publish_bytes, read_json, read_lines, replace_file, to_json


class Ledger(StoreFiles):
    """The part of a store that runs do not write, but those who start them."""

    def experiment_folder(self, experiment: str) -> Path:
        """The folder of an experiment's revisions and notes."""
        return self.root / "experiments" / experiment

    # -- who runs it

    def owner(self, experiment: str) -> dict[str, Any] | None:
        """Who runs the experiment, or None if nobody ever said so."""
        return read_json(self.experiment_folder(experiment).with_name(f"{experiment}.json"))

    def take_ownership(self, experiment: str, claim: dict[str, Any], take_over: bool = False) -> dict[str, Any] | None:
        """Say that ``claim["engine"]`` runs the experiment; the other owner, if there is one and it is not taken over.

        An owner's file that cannot be read is another's.
        """
        path = self.experiment_folder(experiment).with_name(f"{experiment}.json")
        data = to_json({"schema": SCHEMA, **claim})
        if publish_bytes(path, data):
            return None
        known = read_json(path)
        if not take_over:
            if known is not None and known.get("engine") == claim["engine"]:
                return None
            return known or {"engine": f"unknown ({path} cannot be read)"}
        replace_file(path, data)
        return None

    def record_heartbeat(self, experiment: str, writer: str, time: str) -> None:
        """Leave a sign of life of the machine ``writer``, which serves the experiment, in the place of its last one."""
        replace_file(self.experiment_folder(experiment) / f"alive-{writer}.json", to_json({"schema": SCHEMA, "time": time}))

    def last_heartbeat(self, experiment: str, writer: str) -> str | None:
        """When that machine last gave a sign of life."""
        known = read_json(self.experiment_folder(experiment) / f"alive-{writer}.json")
        return str(known["time"]) if known and "time" in known else None

    # -- revisions

    def add_revision(self, experiment: str, revision: dict[str, Any]) -> bool:
        """Append a revision; the same one again is the same file, folded or not. False if what has its name is damaged."""
        path = self._revision_file(experiment, revision)
        return publish_bytes(path, to_json({"schema": SCHEMA, **revision})) or read_json(path) is not None

    def add_revisions(self, experiment: str, revisions: Iterable[dict[str, Any]]) -> None:
        """Append those that are not there yet; what is no revision is left out."""
        known = {path.name for path in self.revision_files(experiment)}
        for each in revisions:
            try:
                if self._revision_file(experiment, each).name not in known:
                    self.add_revision(experiment, each)
            except (KeyError, TypeError, ValueError):
                continue

    def _revision_file(self, experiment: str, revision: dict[str, Any]) -> Path:
        key = to_json([revision.get("engine"), revision["revision"], revision["time"]])
        when = int(_seconds(revision["time"]) * 1000)
        return self.experiment_folder(experiment) / "revisions" / f"{when:013}-{hashlib.sha256(key).hexdigest()[:12]}.json"

    def revision_files(self, experiment: str) -> list[Path]:
        """The files of an experiment's revisions, oldest first."""
        folder = self.experiment_folder(experiment) / "revisions"
        return [folder / name for name in list_names(folder) if name.endswith(".json")]

    def revisions(self, experiment: str) -> list[dict[str, Any]]:
        """An experiment's revisions, oldest first; what cannot be read is left out."""
        found = (read_json(path) for path in self.revision_files(experiment))
        return [each for each in found if each is not None]

    # -- notes

    def add_note(self, experiment: str, writer: str, note: dict[str, Any]) -> None:
        """Add what became of a slot, or of an engine: ``time``, ``event``, ``reason``, for a slot ``task`` and ``minute``.

        ``writer`` is a machine's name: no two machines append to one file.
        """
        append_line(self._note_file(experiment, writer, note), {"schema": SCHEMA, **note})

    def _note_file(self, experiment: str, writer: str, note: dict[str, Any]) -> Path:
        return self.experiment_folder(experiment) / "notes" / f"{str(note['time'])[:7]}-{writer}.jsonl"

    def note_files(self, experiment: str) -> list[Path]:
        folder = self.experiment_folder(experiment) / "notes"
        return [folder / name for name in list_names(folder) if name.endswith(".jsonl")]

    def notes(self, experiment: str) -> Iterator[dict[str, Any]]:
        """Every note, by month; a line that cannot be read is left out."""
        for path in self.note_files(experiment):
            yield from read_lines(path)

    # -- what others saw of a run

    def record_observation(self, run: RunId, seen: dict[str, Any]) -> bool:
        """Keep what a command saw of a run's Job or pods when they had ended: ``time``, ``by``, ``what``, ``reason``, ``tries``.

        ``status`` stands in it if the run failed. Written once; False if it was known already.
        """
        path = self.run_folder(run) / OBSERVED
        # Most often it is there: a command that looks often need not write each time.
        if path.exists():
            return False
        self._make_folder(path.parent)
        return publish_bytes(path, to_json({"schema": SCHEMA, **seen}))

    def _make_folder(self, folder: Path) -> None:
        """Make a folder that others write in too: as open as the one it is in, and where root makes it, of the same owner."""
        self.root.mkdir(parents=True, exist_ok=True)
        for each in [each for each in (*reversed(folder.parents), folder) if self.root in each.parents and not each.exists()]:
            each.mkdir(exist_ok=True)
            above = os.stat(each.parent)
            # A server that squashes root has made it another's already.
            with suppress(OSError):
                os.chown(each, above.st_uid if os.geteuid() == 0 else -1, above.st_gid)
                os.chmod(each, stat.S_IMODE(above.st_mode))

    def record_verdict(self, run: RunId, told: dict[str, Any]) -> None:
        """Keep what a comparison with the repeated run said; the first one stays."""
        publish_bytes(self.run_folder(run) / VERDICT, to_json(told))


def _seconds(time: str) -> float:
    # Python 3.9's fromisoformat knows no Z.
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
