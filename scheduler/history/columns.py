"""The columns of the history's table: which there are, what each row has in them, and how rows are sorted by one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs import strict_json
from jobs.store.tries import describe_try
from scheduler.console.tables import Column, number
from scheduler.errors import CronsembleError
from scheduler.history.slots import Row
from scheduler.times import format_local

DEFAULT = ("slot", "task", "status", "items_accuracy", "change", "validation_accuracy", "duration", "tries", "run", "reason")
"""What the table shows unless other columns are asked for."""

_BLOCK = 10_000
"""Rows that are held beyond those asked for before some are left out."""


@dataclass(frozen=True)
class RowSource:
    """What rows do not have themselves.

    ``timezone``: of the table's times. ``tasks``: all of the experiment. ``hyperparameters`` of a row's run; ``attempts`` of a
    task's slot: how many there are, also those without a row here.
    """

    experiment: str
    timezone: str
    tasks: Collection[str]
    hyperparameters: Callable[[Row], Mapping[str, Any]]
    attempts: Callable[[str, int], int]


@dataclass(frozen=True)
class HistoryColumn:
    """A column: ``value`` of a row for programs and for sorting, ``text`` for people; ``printed`` is how a table shows it."""

    name: str
    printed: Column
    value: Callable[[Row], Any]
    text: Callable[[Row], str]


def column_names() -> list[str]:
    """The names of all columns but the hyperparameters."""
    return [column.name for column in _columns(RowSource("", "UTC", (), lambda row: {}, lambda task, minute: 1))]


def choose_columns(
    names: Sequence[str], rows: Iterable[Row], source: RowSource, option: str = "--columns"
) -> list[HistoryColumn]:
    """The columns of these names or headers, among them hyperparameters of the rows' runs.

    ``rows`` are looked at until all names are known. Raises CronsembleError for another, which names ``option``.
    """
    known = {column.name: column for column in _columns(source)}
    by_header = {column.printed.name: column for column in known.values()}
    chosen = [known.get(name) or by_header.get(name) or _hyperparameter(name, source) for name in names]
    unknown = {column.name for column in chosen} - set(known)
    found: set[str] = set()
    for row in rows if unknown else ():
        found.update(source.hyperparameters(row))
        if unknown <= found:
            return chosen
    # Where no run has any hyperparameters, nothing says which there are.
    for column in chosen if found else ():
        if column.name in unknown - found:
            choice = f"type some of {', '.join(known)}; these runs have the hyperparameters {', '.join(sorted(found))}"
            raise CronsembleError(f"{option} {column.name}: there is no such column: {choice}")
    return chosen


def sort_rows(rows: Iterable[Row], column: HistoryColumn, descending: bool, limit: int = 0) -> list[Row]:
    """The rows by a column, those without a value last; of equal ones the order stays.

    Values of several types, as a hyperparameter may have, are sorted as texts. With a ``limit`` the first so many, and not many
    more are held.
    """
    there: list[tuple[Any, Row]] = []
    without: list[Row] = []
    are_numbers = True
    for row in rows:
        value = column.value(row)
        if value not in (None, ""):
            are_numbers = are_numbers and isinstance(value, int | float)
            there.append((value, row))
            if limit and len(there) >= 3 * limit + _BLOCK:
                there = _first_of_either_order(there, are_numbers, descending, limit)
        elif not limit or len(without) < limit:
            without.append(row)
    there.sort(key=_key(are_numbers), reverse=descending)
    return [*(row for _, row in there), *without][: limit or None]


_Pair = tuple[Any, Row]
"""A row's value in the column that is sorted by, and the row."""


def _key(are_numbers: bool) -> Callable[[_Pair], Any]:
    return (lambda pair: pair[0]) if are_numbers else (lambda pair: str(pair[0]))


def _first_of_either_order(pairs: list[_Pair], are_numbers: bool, descending: bool, limit: int) -> list[_Pair]:
    """Those that may be among the first, as texts or as numbers: a later value may decide which; in the order that they have."""
    chosen: set[int] = set()
    for order in (False, True) if are_numbers else (False,):
        key = _key(order)
        chosen.update(sorted(range(len(pairs)), key=lambda n: key(pairs[n]), reverse=descending)[:limit])
    return [pairs[n] for n in sorted(chosen)]


def short_run_id(row: Row, source: RowSource) -> str:
    """What no other run has in its id: a row's member, or `ensemble`, and its minute; the whole id where others have that."""
    if row.run is None:
        return ""
    name = row.task.removeprefix("train-")
    is_unique = sum(task.endswith(name) for task in source.tasks) <= 1 and source.attempts(row.task, row.minute) <= 1
    return name + row.run.removeprefix(f"{source.experiment}-{row.task}") if is_unique else row.run


def _columns(source: RowSource) -> list[HistoryColumn]:
    def field(name: str, header: str = "", text: Callable[[Row], str] | None = None, **printed: Any) -> HistoryColumn:
        def value(row: Row) -> Any:
            return getattr(row, name)

        def plain(row: Row) -> str:
            own = value(row)
            return "" if own is None else str(own)

        return HistoryColumn(name, Column(header or name, **printed), value, text or plain)

    def figure(name: str, header: str = "", rank: int = 0) -> HistoryColumn:
        return field(name, header, lambda row: number(getattr(row, name)), right=True, rank=rank)

    def tries(row: Row) -> str:
        return "" if row.try_number is None else describe_try(row.try_number, row.max_tries)

    return [
        field("slot", f"slot ({source.timezone})", lambda row: format_local(row.local, source.timezone)),
        field("local"),
        field("task", is_name=True),
        field("status", text=lambda row: row.outcome, coloured=True),
        figure("items_accuracy", "on items"),
        field("change", text=lambda row: "" if row.change is None else f"{row.change:+.4f}", right=True),
        figure("validation_accuracy", "validation", rank=1),
        figure("accuracy"),
        figure("loss"),
        figure("items_loss", "loss on items"),
        field("duration", "seconds", lambda row: number(row.duration, 1), right=True, rank=4),
        field("attempt", right=True),
        HistoryColumn("tries", Column("tries", right=True, rank=2), tries, tries),
        field("try_number", right=True),
        field("max_tries", right=True),
        field("kind"),
        field("run", text=lambda row: short_run_id(row, source), rank=3),
        field("why"),
        field("degraded"),
        field("reason", text=lambda row: row.explanation),
        field("evidence"),
        field("minute", right=True),
    ]


def _hyperparameter(name: str, source: RowSource) -> HistoryColumn:
    def value(row: Row) -> Any:
        return source.hyperparameters(row).get(name)

    def text(row: Row) -> str:
        own = value(row)
        return "" if own is None else own if isinstance(own, str) else strict_json.dumps(own)

    return HistoryColumn(name, Column(name, right=True), value, text)
