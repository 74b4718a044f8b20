"""Builds stores on disk as runs leave them, through the store's own interface."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import RunId
from jobs.store import LocalStore
from jobs.store.files import publish_bytes, to_document, to_json, write_file
from jobs.store.process_identity import process_identity
from jobs.store.result_files import list_result_files

ELSEWHERE = {"host": "elsewhere", "boot": "b", "pid": 1, "start": 1}


def at(text: str) -> datetime:
    """An instant of UTC: ``2026-11-20T01:00``, seconds optional."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def minute(text: str) -> int:
    return int(at(text).timestamp() // 60)


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Builder:
    """A store of one experiment in the making."""

    def __init__(self, root: Path, experiment: str = "e") -> None:
        self.store, self.experiment = LocalStore(root), experiment
        self._numbers: dict[str, int] = {}

    def revise(self, time: str, tasks: Mapping[str, Mapping[str, Any]], what: str = "serve", engine: str = "host:here") -> None:
        """A revision that says everything."""
        number = self._numbers[engine] = self._numbers.get(engine, 0) + 1
        header = {"time": iso(at(time).timestamp()), "by": "me@here", "tool": "0.1", "what": what, "engine": engine}
        snapshot = {"program": "p" * 64, "code": ""}
        whole = {
            name: {"timezone": "UTC", "concurrency": "Forbid", "starting_deadline": 3600, **task} for name, task in tasks.items()
        }
        assert self.store.ledger.add_revision(
            self.experiment, {"revision": number, **header, **snapshot, "tasks": whole, "folded": 1}
        )

    def note(self, time: str, event: str, **more: Any) -> None:
        self.store.ledger.add_note(
            self.experiment, "here", {"time": iso(at(time).timestamp()), "event": event, "engine": "host:here", **more}
        )

    def run(
        self,
        task: str,
        slot: str | int,
        status: str = "succeeded",
        *,
        attempt: int = 1,
        late: float = 5,
        lasts: float = 60,
        reason: str = "",
        kind: str = "scheduled",
        process: Mapping[str, Any] = ELSEWHERE,
        files: Mapping[str, bytes] = {},
        lists_files: bool = False,
        **record: Any,
    ) -> RunId:
        """A run with one try, which started ``late`` seconds after its minute; ``files`` lie in its folder.

        ``lists_files``: its record is as this version writes it, and not as an earlier one.
        """
        when = minute(slot) if isinstance(slot, str) else slot
        run = RunId(when, attempt, self.experiment, task)
        started, finished = iso(when * 60 + late), iso(when * 60 + late + lasts)
        self.store.begin_try(
            run, "a", {"schema": 1, "run": str(run), "try": "a", "time": started, "kind": kind, "process": process}
        )
        folder = self.store.try_folder(run, "a")
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_file(folder / name, data)
        if status == "succeeded":
            fields = {"started": started, "finished": finished, "kind": kind, "accuracy": 0.9, "try": "a", "run": str(run)}
            whole = {"schema": 1, "experiment": self.experiment, "task": task, **fields, **record}
            if lists_files:
                whole["files"] = list_result_files(folder)
            write_file(folder / c.RECORD, to_document(whole) if lists_files else to_json(whole))
            assert self.store.publish(run, "a")
        elif status != "running":
            end = {"schema": 1, "run_id": str(run), "try": "a", "time": finished, "status": status, "reason": reason}
            publish_bytes(folder / c.END, to_document(end))
        return run


HERE = process_identity
