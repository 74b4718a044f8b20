"""An experiment with its store: what became of its slots and runs, what they predicted, and with which models."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from cronsemble import html, schemas
from cronsemble.reading import CronsembleWarning, When, reading, typed
from cronsemble.report_page import ReportPage
from cronsemble.run import Model, Run, ended, read_model, read_run
from cronsemble.tables import Table, table_of_blocks
from jobs.contract import ENSEMBLE_TASK, RunKind, Status, member_task
from scheduler.errors import CronsembleError
from scheduler.notices import notify

if TYPE_CHECKING:
    from cronsemble.comparison import Comparison
    from scheduler.history.query import HistoryQuery
    from scheduler.history.slots import Row
    from scheduler.results.ensemble_result import EnsembleResult
    from scheduler.stores.history_reader import HistoryReader
    from scheduler.stores.workspace import Workspace

__all__ = ["CronsembleWarning", "Experiment", "open_experiment"]

T = TypeVar("T")

DEFAULT_CONFIG = "config.yaml"
BLOCK = 20_000
"""Rows that are made into columns at a time."""
NEWEST_ROWS = 10
"""Rows of the history that a notebook shows of an experiment."""


class Experiment:
    """One experiment and its store, as of each call: what runs have added meanwhile is there.

    Made by `cronsemble.open`. It only reads, and may be used in a `with` statement.
    """

    def __init__(self, workspace: Workspace, resources: ExitStack) -> None:
        """Made by `cronsemble.open`."""
        self._workspace = workspace
        self._resources = resources

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self._workspace.name

    @property
    def store(self) -> Path:
        """The store's folder; of one that only a cluster mounts, its mirror on this machine."""
        return self._workspace.store.root

    @property
    def timezone(self) -> str:
        """The experiment's zone, an IANA name."""
        with reading():
            return self._workspace.timezone

    @property
    def tasks(self) -> list[str]:
        """The tasks that were scheduled or have runs: `ensemble` and `train-<member>`."""
        with reading():
            return self._reader().history.tasks()

    def close(self) -> None:
        """Ends the connection to a store that only a cluster mounts; for any other it does nothing."""
        self._resources.close()

    def __enter__(self) -> Experiment:
        """The experiment itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes it."""
        self.close()

    def history(
        self,
        since: When | None = None,
        until: When | None = None,
        *,
        tasks: Sequence[str] = (),
        statuses: Sequence[str] = (),
        limit: int | None = None,
    ) -> Table:
        """Every run, and every slot that has none, newest slot first: the rows of `cronsemble history`.

        Args:
            since: from this date or time on, or how long ago (`"7d"`).
            until: until this date or time, which may be in the future; without it up to now and each task's next slot.
            tasks: only these tasks.
            statuses: only these statuses, e.g. `["failed", "missed"]`.
            limit: at most so many rows; without it all.

        Returns:
            A `Table` with the columns of `cronsemble.schemas.HISTORY`.

        Raises:
            CronsembleError: a date, a task or a status that there is not.
            StoreError: the store cannot be read.

        Example:
            >>> import cronsemble
            >>> failed = cronsemble.open("config.yaml").history("2025-11-20", "2025-11-30", statuses=["failed"])
            >>> failed.column("task"), failed.column("reason")
            (['train-b'], ['ran out of memory'])
        """
        with reading():
            reader = self._reader()
            rows = self._rows(reader, since, until, tasks, statuses, limit)
            blocks = (_columns(schemas.HISTORY, some) for some in _blocks(rows))
            table = table_of_blocks(schemas.HISTORY, blocks, reader.history.timezone)
            _notify_unreadable(reader)
            return table

    def slots(
        self,
        since: When | None = None,
        until: When | None = None,
        *,
        tasks: Sequence[str] = (),
        statuses: Sequence[str] = (),
        limit: int | None = None,
    ) -> Table:
        """Every slot of every task once, newest first: how it ended after all its attempts.

        Of a slot's runs the newest that succeeded counts, else the newest. Runs made by hand (`manual`) are no slot's.

        Args:
            since: as in `history`.
            until: as in `history`.
            tasks: only these tasks.
            statuses: only slots that ended so.
            limit: at most so many slots; without it all.

        Returns:
            A `Table` with the columns of `cronsemble.schemas.SLOTS`.

        Raises:
            CronsembleError: a date, a task or a status that there is not.
            StoreError: the store cannot be read.

        Example:
            >>> import cronsemble
            >>> slots = cronsemble.open("config.yaml").slots("2025-11-20", "2025-11-20")
            >>> slots.column("task"), set(slots.column("status"))
            (['ensemble', 'train-d', 'train-c', 'train-b', 'train-a'], {'succeeded'})
        """
        from scheduler.history.parse_query import parse_statuses

        wanted = parse_statuses(statuses)
        with reading():
            reader = self._reader()
            rows = (row for row in self._rows(reader, since, until, tasks, (), None) if row.kind != RunKind.MANUAL)
            # The attempts at a slot follow one another.
            slots = (list(own) for _, own in groupby(rows, lambda row: (row.minute, row.task)))
            counted = ((_counting(own), sum(row.run is not None for row in own)) for own in slots)
            chosen = islice(((row, n) for row, n in counted if not wanted or row.has_status(wanted)), limit)
            blocks = (
                _columns(schemas.SLOTS, [row for row, _ in some], attempts=[attempts for _, attempts in some])
                for some in _blocks(chosen)
            )
            table = table_of_blocks(schemas.SLOTS, blocks, reader.history.timezone)
            _notify_unreadable(reader)
            return table

    def predictions(self, date: When = "latest", *, member: str | None = None) -> Table:
        """What an ensemble run predicted: each item's class and the probability of every class.

        Args:
            date: a date (by the experiment's clock), a time, a slot in UTC, a run's id or a part of it, or `latest`. Of several
                runs of a date the newest that succeeded is taken, and a `CronsembleWarning` says so.
            member: that member's predictions in place of the ensemble's.

        Returns:
            A `Table` with the columns of `cronsemble.schemas.PREDICTIONS` and one for each class, `p_<class>`.

        Raises:
            UnknownRun: there is no such run.
            CronsembleError: the run has no predictions, or none of that member.
            DamagedResult: a file is not what the run wrote.

        Example:
            >>> import cronsemble
            >>> table = cronsemble.open("config.yaml").predictions("2025-11-20")
            >>> len(table), table.column_names[:5]
            (60, ['item', 'label', 'prediction', 'probability', 'p_bridge'])
        """
        with reading():
            result = self._ensemble(date)
            return _predictions(result, member, self._workspace.timezone)

    def members(self, date: When = "latest") -> Table:
        """What an ensemble run took of each member: model, age, weight, accuracy on the ensemble's items, contribution.

        Args:
            date: as in `predictions`.

        Returns:
            A `Table` with the columns of `cronsemble.schemas.MEMBERS`.

        Raises:
            UnknownRun: there is no such run.
            DamagedResult: a file is not what the run wrote.

        Example:
            >>> import cronsemble
            >>> members = cronsemble.open("config.yaml").members("2025-11-20")
            >>> members.column("run")[0], members.column("age")[0]
            ('e-train-a-29393340', 18000.0)
        """
        with reading():
            return _members(self._ensemble(date), self._workspace.timezone)

    def run(self, id: When = "latest", *, task: str | None = None) -> Run:
        """One run: what became of it, its record, epochs, files and log.

        Args:
            id: a run's id or a part of it, or as in `predictions`.
            task: of this task; without it, of a date the ensemble's run.

        Returns:
            A `Run`.

        Raises:
            UnknownRun: there is no such run, or several are meant.

        Example:
            >>> import cronsemble
            >>> run = cronsemble.open("config.yaml").run("2025-11-20", task="train-a")
            >>> run.id, run.status, run.hyperparameters["epochs"]
            ('e-train-a-29393340', 'succeeded', 4)
        """
        with reading():
            return self._run(id, task, succeeded=False)

    def model(self, id: When = "latest", *, member: str | None = None) -> Model:
        """The model of a training: the path of its file and what is known of it.

        Args:
            id: a training's id or a part of it, or, with `member`, a date, a time or `latest`.
            member: that member's training.

        Returns:
            A `Model`.

        Raises:
            UnknownRun: there is no such run, or several are meant.
            CronsembleError: the run has no model: it is no training, did not succeed, or `gc` removed it.
            DamagedResult: the file is not what the run wrote.

        Example:
            >>> import cronsemble
            >>> model = cronsemble.open("config.yaml").model("2025-11-20", member="a")
            >>> model.backend, model.path.name
            ('jax', 'weights.h5')
        """
        with reading():
            run = self._run(id, member_task(member) if member is not None else None, succeeded=True)
            return read_model(self._workspace.store, run)

    def compare(self, a: When, b: When, *, task: str | None = None) -> Comparison:
        """Two dates, slots or runs side by side: metrics on the same items, what was pinned and differs, flipped labels.

        Args:
            a: the run before: a date, which means its ensemble run, a time, a slot, a run's id or a part of it, or `latest`.
            b: the run after, by such a name.
            task: of this task; without it the ensemble's run of a date, or its trainings where there is none.

        Returns:
            A `Comparison`.

        Raises:
            UnknownRun: there is no such run, or several are meant.
            CronsembleError: both names mean one run, or an ensemble run and a training.

        Example:
            >>> import cronsemble
            >>> comparison = cronsemble.open("config.yaml").compare("2025-11-20", "2025-11-21")
            >>> comparison.verdict, comparison.before, comparison.after
            ('changed', ('e-ensemble-29393640',), ('e-ensemble-29395080',))
        """
        from cronsemble.comparison import compare

        with reading():
            return compare(self._workspace.store, self.name, typed(a), typed(b), task, self._workspace.timezone)

    def report(self, since: When | None = None, until: When | None = None) -> ReportPage:
        """The report: the state now, the calendar, the trend, what changed, the newest predictions.

        Args:
            since: from this date or time on, or how long ago (`"90d"`); without it from the beginning.
            until: until this date or time; without it up to now.

        Returns:
            A `ReportPage`, the page that `cronsemble report` writes.

        Raises:
            CronsembleError: a date that there is not.
            StoreError: the store cannot be read.

        Example:
            >>> import cronsemble
            >>> page = cronsemble.open("config.yaml").report("2025-11-20", "2025-11-21")
            >>> page.html.startswith("<!doctype html>")
            True
        """
        from scheduler.report.page import render_page
        from scheduler.report.report import read_report

        with reading():
            reader = self._reader()
            query = _query(reader, since, until, (), ())
            return ReportPage(render_page(read_report(reader, query.low, query.high)))

    def __repr__(self) -> str:
        """Its name and store."""
        return f"<cronsemble.Experiment {self.name} in {self.store}>"

    def _repr_html_(self) -> str:
        """What it is and its newest rows, for a notebook; all text is escaped."""
        fields = {"store": self.store, "timezone": self.timezone, "tasks": ", ".join(self.tasks)}
        return html.fields(self.name, fields) + self.history(limit=NEWEST_ROWS)._repr_html_()

    # -- how it reads

    def _reader(self) -> HistoryReader:
        from scheduler.observe.open_history import open_history

        return open_history(self._workspace)

    def _rows(
        self,
        reader: HistoryReader,
        since: When | None,
        until: When | None,
        tasks: Sequence[str],
        statuses: Sequence[str],
        limit: int | None,
    ) -> Iterator[Row]:
        query = _query(reader, since, until, tasks, statuses)
        return iter(()) if limit == 0 else reader.stream(replace(query, limit=limit or 0))

    def _ensemble(self, date: When) -> EnsembleResult:
        from scheduler.results.ensemble_result import read_ensemble
        from scheduler.stores.find_run import find_run, is_latest
        from scheduler.times import is_time

        store, name = self._workspace.store, typed(date)
        # A training that is named by its id is not denied.
        task = ENSEMBLE_TASK if is_time(name) or is_latest(name) else None
        run = find_run(store, self.name, name, task, succeeded=True, timezone=self._workspace.timezone)
        if run.id.task != ENSEMBLE_TASK:
            raise CronsembleError(f"{run.id}: it is no ensemble run, and has no members: type a date or an ensemble run's id")
        return read_ensemble(store, run)

    def _run(self, id: When, task: str | None, succeeded: bool) -> Run:
        from scheduler.stores.find_run import find_run

        reader = self._reader()
        history = reader.history
        jobs = [job.run for job in history.observation.jobs.values()]
        zone = history.timezone
        run = find_run(reader.store, self.name, typed(id), task, succeeded=succeeded, jobs=jobs, timezone=zone)
        return read_run(reader, run)


def open_experiment(
    config: str | os.PathLike[str] | None,
    store: str | os.PathLike[str] | None,
    experiment: str | None,
    kubeconfig: str | os.PathLike[str] | None,
    context: str | None,
    namespace: str | None,
    offline: bool,
) -> Experiment:
    """As `cronsemble.open`."""
    from scheduler.kube.target import ClusterTarget
    from scheduler.stores.location import StoreLocation, locate
    from scheduler.stores.workspace import open_workspace

    folder = None if store is None else Path(store)
    target = ClusterTarget(None if kubeconfig is None else Path(kubeconfig), context, namespace, offline)
    resources = ExitStack()
    with reading():
        if config is None and folder is not None:
            location = StoreLocation(folder, None, None, folder, experiment, target)
        else:
            location = locate(Path(DEFAULT_CONFIG if config is None else config), folder, experiment, target)
        workspace = resources.enter_context(open_workspace(location))
    return Experiment(workspace, resources)


def _query(
    reader: HistoryReader, since: When | None, until: When | None, tasks: Sequence[str], statuses: Sequence[str]
) -> HistoryQuery:
    from scheduler.history.parse_query import parse_query

    low, high = (None if when is None else typed(when) for when in (since, until))
    return parse_query(reader.history, low, high, tasks, statuses)


def _counting(rows: Sequence[Row]) -> Row:
    """Of a slot's rows, newest attempt first, the one that counts."""
    return next((row for row in rows if row.status == Status.SUCCEEDED), rows[0])


def _blocks(values: Iterator[T]) -> Iterator[list[T]]:
    while some := list(islice(values, BLOCK)):
        yield some


def _notify_unreadable(reader: HistoryReader) -> None:
    for why in reader.unreadable.values():
        notify(f"unreadable: {why}: see cronsemble fsck")


def _columns(columns: Sequence[schemas.Column], rows: Sequence[Row], **more: Sequence[Any]) -> list[Sequence[Any]]:
    """Of each column the values of the history's rows; ``more`` are those that these do not have, by the column's name."""
    values: list[Sequence[Any]] = []
    for column in columns:
        if column.name in more:
            values.append(more[column.name])
        elif column.name in ("slot", "local"):
            values.append([row.minute * 60_000_000 for row in rows])
        else:
            values.append([getattr(row, column.name) for row in rows])
    return values


def _predictions(result: EnsembleResult, member: str | None, timezone: str) -> Table:
    probabilities = result.probabilities
    # Without its record nothing says of which classes the CSV's columns are.
    if probabilities is None or probabilities.shape[1] != len(result.classes):
        raise CronsembleError(f"{result.run.id}: it has no predictions: {ended(result.run)}")
    if member is not None:
        probabilities = _member_probabilities(result, member)
    classes, numbers = result.classes, probabilities.argmax(axis=1)
    labels = [None] * len(numbers) if result.labels is None else [classes[n] for n in result.labels.tolist()]
    values = [
        list(result.items),
        labels,
        [classes[n] for n in numbers.tolist()],
        probabilities.max(axis=1).tolist(),
        *probabilities.T.tolist(),
    ]
    return Table(schemas.prediction_columns(classes), values, timezone)


def _member_probabilities(result: EnsembleResult, name: str) -> Any:
    member = result.member(name)
    if member is None:
        raise CronsembleError(f"{name}: no member of {result.run.id}: it has {', '.join(each.member for each in result.members)}")
    if member.left_out:
        raise CronsembleError(f"{name}: left out of {result.run.id}: {member.left_out}")
    if name not in result.member_probabilities:
        raise CronsembleError(f"{name}: its probabilities in {result.run.id} are not in the store any more")
    return result.member_probabilities[name]


def _members(result: EnsembleResult, timezone: str) -> Table:
    contributions = result.contributions
    values: list[tuple[Any, ...]] = []
    for member in result.members:
        model, contribution = member.model, contributions.get(member.member)
        values.append(
            (
                member.member,
                None if model is None else str(model),
                None if model is None else model.minute * 60_000_000,
                None if model is None else (result.run.id.minute - model.minute) * 60.0,
                member.weight,
                member.accuracy,
                member.loss,
                member.validation_accuracy,
                None if contribution is None else contribution.accuracy,
                None if contribution is None else contribution.loss,
                None if contribution is None else contribution.labels_changed,
                member.left_out,
                member.degraded,
            )
        )
    columns = list(zip(*values, strict=True)) or [()] * len(schemas.MEMBERS)
    return Table(schemas.MEMBERS, columns, timezone)
