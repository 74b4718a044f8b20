"""A run and its model, as they are in the store."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cronsemble import html, schemas
from cronsemble.reading import reading
from cronsemble.tables import Table
from jobs import contract as c
from scheduler.errors import CronsembleError

if TYPE_CHECKING:
    from jobs.store import Run as StoredRun
    from jobs.store import Store
    from scheduler.history.slots import Row
    from scheduler.stores.history_reader import HistoryReader


@dataclass(frozen=True)
class Run:
    """One run: an attempt at a slot of a task. Made by `Experiment.run`.

    Attributes:
        id: the run's id, which is its Job's name on a cluster.
        task: `train-<member>` or `ensemble`.
        slot: the scheduled minute, in UTC.
        attempt: 1 for the first run of the slot.
        status: as in the history: `succeeded`, `failed`, `running` …
        reason: why the status is what it is; empty if there is nothing to say.
        why: why it ran when it did; empty for one that ran on time.
        kind: `scheduled`, `manual`, `rerun` or `backfill`; None where nothing says it.
        started: when its first try began, in UTC; None if none has.
        finished: when it ended, in UTC; None if it has not, or nothing says when.
        duration: seconds.
        accuracy: of its result.
        loss: of its result.
        hyperparameters: those that it trained with.
        metrics: the training's metrics, or the ensemble's.
        record: all that the run recorded of its result, as `cronsemble show --json` has it; empty without a result.
        tries: each try, oldest first, as `cronsemble show --json` has it.
        verdict: of a rerun, how its result compares with the original's; None for any other run.
    """

    id: str
    task: str
    slot: datetime
    attempt: int
    status: str
    reason: str
    why: str
    kind: str | None
    started: datetime | None
    finished: datetime | None
    duration: float | None
    accuracy: float | None
    loss: float | None
    hyperparameters: dict[str, Any] = field(repr=False)
    metrics: dict[str, Any] = field(repr=False)
    record: dict[str, Any] = field(repr=False)
    tries: list[dict[str, Any]] = field(repr=False)
    verdict: dict[str, Any] | None = field(repr=False)
    _store: Store = field(repr=False, compare=False)
    _stored: StoredRun = field(repr=False, compare=False)
    _timezone: str = field(repr=False, compare=False)

    def epochs(self) -> Table:
        """The metrics after each epoch of a training.

        Returns:
            A `Table` with the columns of `cronsemble.schemas.EPOCHS` and one for each metric; without rows where there are none.

        Raises:
            DamagedResult: the file is not what the run wrote.

        Example:
            >>> import cronsemble
            >>> epochs = cronsemble.open("config.yaml").run("2025-11-20", task="train-a").epochs()
            >>> epochs.column("epoch"), epochs.column("val_loss")
            ([1, 2, 3, 4], [2.2, 1.1, 0.7333, 0.55])
        """
        from scheduler.results.epochs import read_epochs

        with reading():
            epochs = read_epochs(self._store, self._stored)
        columns = schemas.epoch_columns(list(epochs.metrics))
        return Table(columns, [epochs.numbers, *epochs.metrics.values()], self._timezone)

    def files(self) -> list[Path]:
        """The files of its result, or, without one, of its tries.

        Returns:
            Their paths on this machine, sorted; of a store that only a cluster mounts they are copied here first.

        Example:
            >>> import cronsemble
            >>> run = cronsemble.open("config.yaml").run("2025-11-20", task="train-a")
            >>> [path.name for path in run.files()]
            ['epochs.csv', 'log.txt', 'record.json', 'start.json', 'weights.h5']
        """
        from scheduler.stores.find_run import folders_with_files

        with reading():
            folders = folders_with_files(self._stored)
            self._store.download(self._stored.id, *(f"{folder}/*" for folder in folders))
            return [path for folder in folders for path in self._store.list_files(self._stored.id, folder)]

    def log(self) -> str:
        """What its processes printed, without control sequences: the tries one after the other, as `cronsemble logs` prints it.

        Returns:
            The text; empty if nothing was printed or it is not kept any more.

        Example:
            >>> import cronsemble
            >>> cronsemble.open("config.yaml").run("2025-11-20", task="train-a").log()
            'trained\\n'
        """
        from jobs.store.log_files import LOG_PATTERN, read_log
        from jobs.text import printable_lines
        from scheduler.stores.find_run import folders_with_files

        with reading():
            self._store.download(self._stored.id, f"*/{LOG_PATTERN}")
            folders = folders_with_files(self._stored)
            parts = [block for folder in folders for _, block in read_log(self._stored.folder / folder)]
        return printable_lines(b"".join(parts).decode(errors="replace"))

    def _repr_html_(self) -> str:
        """Its state, for a notebook; all text is escaped."""
        names = ("task", "slot", "status", "reason", "why", "kind", "started", "finished", "accuracy", "loss", "hyperparameters")
        return html.fields(self.id, {name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Model:
    """The model of a training. Made by `Experiment.model`.

    Attributes:
        run: the training's id.
        member: the member's name.
        path: its file: Keras weights (`weights.h5`), which the code of the run's snapshot builds a model for.
        backend: the Keras backend that trained it.
        versions: by package, the versions that it was trained with.
        class_names: the classes, in the order of its outputs.
        hyperparameters: those that it trained with.
        accuracy: on its own validation data.
        metadata: all that was recorded of it.
    """

    run: str
    member: str
    path: Path
    backend: str
    versions: dict[str, str]
    class_names: tuple[str, ...]
    hyperparameters: dict[str, Any]
    accuracy: float | None
    metadata: dict[str, Any] = field(repr=False)

    def _repr_html_(self) -> str:
        """What is known of it, for a notebook; all text is escaped."""
        names = ("member", "path", "backend", "versions", "class_names", "hyperparameters", "accuracy")
        return html.fields(self.run, {name: getattr(self, name) for name in names})


def read_run(reader: HistoryReader, stored: StoredRun) -> Run:
    """A run with its row of the history."""
    from jobs.store.document_files import read_document
    from scheduler.history import slot_report
    from scheduler.history.query import HistoryQuery

    rows = reader.rows(HistoryQuery(stored.id.minute, stored.id.minute, (stored.id.task,)))
    row: Row = next(row for row in rows if row.run == str(stored.id))
    record = copy.deepcopy(dict(stored.record))
    tries = slot_report.tries(stored, slot_report.observed_job(reader.history, stored.id))
    started = record.get("started") or next((one["started"] for one in tries if one["started"]), None)
    finished = record.get("finished") or (tries[-1]["ended"] if tries else None)
    return Run(
        str(stored.id),
        stored.id.task,
        stored.id.slot,
        stored.id.attempt,
        row.status,
        row.full_reason,
        row.why,
        row.kind,
        _instant(started),
        _instant(finished),
        row.duration,
        stored.accuracy,
        stored.loss,
        dict(record.get("hyperparameters") or {}),
        dict(record.get("metrics") or record.get("ensemble") or {}),
        record,
        copy.deepcopy(tries),
        read_document(stored.folder / c.VERDICT),
        reader.store,
        stored,
        reader.history.timezone,
    )


def _instant(text: object) -> datetime | None:
    seconds = c.parse_time(text) if isinstance(text, str) else None
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def read_model(store: Store, run: Run) -> Model:
    """The model of a training; raises CronsembleError where it has none, DamagedResult where it is not what the run wrote."""
    from jobs.store.latest_model import is_model_removed
    from scheduler.results.probabilities import DamagedResult

    stored, described = run._stored, _described(run)
    if is_model_removed(store, stored.id, run.record):
        raise CronsembleError(f"{run.id}: gc removed its model")
    name = Path(str(described["file"])).name
    path = store.result_file(stored.id, name)
    if problem := store.result_problem(stored, name):
        raise DamagedResult(f"{problem}: see cronsemble fsck")
    if not path.exists():
        raise CronsembleError(f"{store.files.display_path(path)}: it is not there: see cronsemble fsck")
    return Model(
        run.id,
        run.task.removeprefix(c.member_task("")),
        path,
        str(described.get("backend") or ""),
        {str(name): str(version) for name, version in (described.get("versions") or {}).items()},
        tuple(str(name) for name in described.get("class_names") or ()),
        dict(run.hyperparameters),
        run.accuracy,
        described,
    )


def ended(run: Run | StoredRun) -> str:
    """How a run ended that has no result, as part of a sentence."""
    return f"its status is {run.status}" + (f": {run.reason}" if run.reason else "")


def _described(run: Run) -> dict[str, Any]:
    """What its record says of a run's model; raises CronsembleError if it has none."""
    described: Mapping[str, Any] = run.record.get("model") or {}
    if run.task == c.ENSEMBLE_TASK:
        raise CronsembleError(f"{run.id}: an ensemble run has no model of its own: give a member's name, or a training's id")
    if not described.get("file"):
        raise CronsembleError(f"{run.id}: it has no model: {ended(run)}")
    return dict(described)
