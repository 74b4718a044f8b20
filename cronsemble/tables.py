"""Tables as Arrow: columns of a declared type that pandas, polars, pyarrow, DuckDB and others take as they are.

They are made by arro3, which has Arrow's C interface in 11 MB without further packages and is imported in 10 ms; pyarrow and
polars, which have it too, are 166 and 175 MB, and take 0.25 and 1.4 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cronsemble import html
from cronsemble.schemas import Column, Kind, arrow_type
from jobs.text import single_line
from scheduler.errors import MissingPackage

if TYPE_CHECKING:
    from arro3.core import Array
    from arro3.core import Table as ArrowTable

_TIMES = (Kind.UTC, Kind.LOCAL)
SHOWN_ROWS = 20
"""Rows that a notebook shows of a table."""


class Table:
    """A table of typed columns, which does not change.

    It has Arrow's PyCapsule interface, so `polars.DataFrame(table)`, `pandas.DataFrame.from_arrow(table)`, `pyarrow.table(table)`
    and DuckDB take it without a copy through text. In a notebook it shows itself.

    Example:
        >>> import cronsemble
        >>> table = cronsemble.open("config.yaml").history(tasks=["train-a"], until="2025-11-21")
        >>> len(table), table.column_names[:4]
        (2, ['slot', 'local', 'task', 'status'])
        >>> table.column("status")
        ['succeeded', 'succeeded']
        >>> table.rows()[0]["slot"].isoformat()
        '2025-11-21T01:00:00+00:00'
    """

    def __init__(self, columns: Sequence[Column], values: Sequence[Sequence[Any] | Array], timezone: str) -> None:
        """Made by the methods of `Experiment` and `Run`.

        Args:
            columns: the declaration of each column.
            values: of each column its values: None where there is none, times in microseconds since 1970.
            timezone: the experiment's, an IANA name.
        """
        from arro3.core import Field, Schema
        from arro3.core import Table as ArrowTable

        arrays = [_array(column.kind, own, timezone) for column, own in zip(columns, values, strict=True)]
        fields = [Field(column.name, array.type, nullable=True) for column, array in zip(columns, arrays, strict=True)]
        self._table: ArrowTable = ArrowTable.from_arrays(arrays, schema=Schema(fields))
        self._columns = tuple(columns)
        self._timezone = timezone

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, in order."""
        return [column.name for column in self._columns]

    @property
    def schema(self) -> dict[str, str]:
        """By column the name of its Arrow type, as in `docs/python.md`."""
        return {column.name: column.kind.value.replace("ZONE", self._timezone) for column in self._columns}

    def __len__(self) -> int:
        """How many rows it has."""
        return int(self._table.num_rows)

    def column(self, name: str) -> list[Any]:
        """The values of a column, as Python's.

        Args:
            name: the column's name.

        Returns:
            A list: str, float, int, or datetime with its zone; None where there is no value.

        Raises:
            KeyError: there is no such column.

        Example:
            >>> import cronsemble
            >>> cronsemble.open("config.yaml").members("2025-11-20").column("member")
            ['a', 'b', 'c', 'd']
        """
        if name not in self.column_names:
            raise KeyError(f"{name}: there are {', '.join(self.column_names)}")
        return list(self._table.column(name).to_pylist())

    def rows(self) -> list[dict[str, Any]]:
        """The rows, each a dictionary by column.

        Returns:
            A list with a dictionary for each row; its values are as of `column`.

        Example:
            >>> import cronsemble
            >>> rows = cronsemble.open("config.yaml").members("2025-11-20").rows()
            >>> round(rows[0]["weight"], 3)
            0.251
        """
        names = self.column_names
        return [dict(zip(names, row, strict=True)) for row in zip(*map(self.column, names), strict=True)]

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame; needs pandas and pyarrow, by which pandas reads Arrow.

        Returns:
            A `pandas.DataFrame`: categories are Categorical, times datetime64 with their zone, and missing numbers NaN.

        Raises:
            MissingPackage: pandas or pyarrow is not installed.

        Example:
            >>> import cronsemble
            >>> frame = cronsemble.open("config.yaml").history().to_pandas()
            >>> str(frame["local"].dtype)
            'datetime64[us, UTC]'
        """
        # By way of pyarrow, so that versions of pandas before 3 do too.
        _require("pandas", "pandas")
        return self.to_pyarrow().to_pandas()

    def to_polars(self) -> Any:
        """The table as a polars DataFrame; needs polars.

        Returns:
            A `polars.DataFrame`.

        Raises:
            MissingPackage: polars is not installed.

        Example:
            >>> import cronsemble
            >>> cronsemble.open("config.yaml").history().to_polars()["accuracy"].dtype
            Float64
        """
        return _require("polars", "polars").DataFrame(self)

    def to_pyarrow(self) -> Any:
        """The table as pyarrow's; needs pyarrow.

        Returns:
            A `pyarrow.Table`.

        Raises:
            MissingPackage: pyarrow is not installed.

        Example:
            >>> import cronsemble
            >>> cronsemble.open("config.yaml").history().to_pyarrow().schema.field("slot").type
            TimestampType(timestamp[us, tz=UTC])
        """
        return _require("pyarrow", "pyarrow").table(self)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Arrow's PyCapsule interface: the table as a stream."""
        return self._table.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        """Arrow's PyCapsule interface: the schema."""
        return self._table.__arrow_c_schema__()

    def __repr__(self) -> str:
        """How many rows it has, and its columns."""
        return single_line(f"<cronsemble.Table of {len(self)} rows: {', '.join(self.column_names)}>")

    def _repr_html_(self) -> str:
        """The first rows, for a notebook; all text is escaped."""
        head = self._table.slice(0, min(len(self), SHOWN_ROWS))
        columns = [[_shown(value) for value in head.column(name).to_pylist()] for name in self.column_names]
        rest = len(self) - SHOWN_ROWS
        note = f"and {rest} more rows" if rest > 0 else f"{len(self)} rows"
        return html.table(self.column_names, list(zip(*columns, strict=True)), note)


def table_of_blocks(columns: Sequence[Column], blocks: Iterable[Sequence[Sequence[Any]]], timezone: str) -> Table:
    """A table of very many rows, of which some are given at a time: of each column its values, as :class:`Table` takes them."""
    from arro3.core import ChunkedArray

    parts: list[list[Array]] = [[] for _ in columns]
    for values in blocks:
        for own, column, some in zip(parts, columns, values, strict=True):
            own.append(_plain_array(column.kind, some, timezone))
    arrays = []
    for own, column in zip(parts, columns, strict=True):
        arrays.append(ChunkedArray(own or [_plain_array(column.kind, (), timezone)]).combine_chunks())
        own.clear()
    return Table(columns, arrays, timezone)


def _array(kind: Kind, values: Sequence[Any] | Array, timezone: str) -> Array:
    from arro3.core import Array

    array = values if isinstance(values, Array) else _plain_array(kind, values, timezone)
    return array.cast(arrow_type(kind, timezone)) if kind == Kind.CATEGORY or kind in _TIMES else array


def _plain_array(kind: Kind, values: Sequence[Any], timezone: str) -> Array:
    """The values of a column, of the type that it is cast from."""
    from arro3.core import Array, DataType

    made_of = DataType.utf8() if kind == Kind.CATEGORY else DataType.int64() if kind in _TIMES else arrow_type(kind, timezone)
    return Array(values, made_of)


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(" ", "minutes")
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _require(module: str, package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPackage(f"{package} is not installed: type `pip install {package}`") from error
