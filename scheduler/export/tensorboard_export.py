"""Exports runs as TensorBoard's event files: a folder for each run with its epochs, and one for each task with its trend.

A file's bytes follow from the runs alone, and it gets its name when it is whole: exporting again changes nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.contract import RunId
from jobs.store import Store
from jobs.store.files import replace_file
from jobs.store.regular_files import Unreadable, read_regular
from scheduler.errors import CronsembleError, MissingPackage
from scheduler.export.exported_run import ExportedRun, exported_run
from scheduler.history.query import ExperimentHistory
from scheduler.history.slots import Row

TREND = "trend"
"""The folder of the tasks' trends: a value for each slot."""
LARGEST = 1 << 28
"""Bytes of an event file that is compared."""
Scalar = tuple[float, int, Mapping[str, float]]
"""Time in seconds since 1970, step, and values by tag."""


def export(
    folder: Path,
    store: Store,
    history: ExperimentHistory,
    runs: Sequence[tuple[RunId, Row]],
    advance: Callable[[], None],
) -> tuple[int, int]:
    """Write the event files of runs below ``folder``; how many were written, and how many were there as they are.

    ``advance`` is called after each run. Raises MissingPackage, and CronsembleError for a folder that cannot be written.
    """
    encode = _encoder()
    trends: dict[str, list[Scalar]] = {}
    written = unchanged = 0

    def write(path: Path, began: float, scalars: Sequence[Scalar]) -> None:
        nonlocal written, unchanged
        if _write(path / f"events.out.tfevents.{int(began)}.cronsemble", encode(began, scalars)):
            written += 1
        else:
            unchanged += 1

    for run_id, row in runs:
        run = exported_run(store, history, run_id, row)
        if run.epochs:
            write(folder / run_id.task / run_id.dated_name, run.started, list(_scalars(run)))
        if run.metrics:
            trends.setdefault(run_id.task, []).append((run.finished, run_id.minute, run.metrics))
        advance()
    for task, scalars in trends.items():
        write(folder / TREND / task, scalars[0][0], scalars)
    return written, unchanged


def _scalars(run: ExportedRun) -> Iterator[Scalar]:
    for epoch in run.epochs:
        yield epoch.time, epoch.number, epoch.values
    if run.metrics:
        yield run.finished, run.epochs[-1].number, run.metrics


def _encoder() -> Callable[[float, Sequence[Scalar]], bytes]:
    """Gives the bytes of an event file that began at a time; raises MissingPackage."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"the package {error.name} is not installed: type `pip install 'cronsemble[tensorboard]'`, then the same again"
        ) from error

    def encode(began: float, scalars: Sequence[Scalar]) -> bytes:
        out = io.BytesIO()
        writer: Any = RecordWriter(out)
        writer.write(Event(wall_time=began, file_version="brain.Event:2").SerializeToString(deterministic=True))
        for time, step, values in scalars:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
            writer.write(Event(wall_time=time, step=step, summary=summary).SerializeToString(deterministic=True))
        return out.getvalue()

    return encode


def _write(path: Path, data: bytes) -> bool:
    """Have a file hold these bytes; whether it did not before."""
    try:
        try:
            if read_regular(path, LARGEST) == data:
                return False
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
    except Unreadable as error:
        raise CronsembleError(f"{path}: unreadable: {error.why}") from error
    except OSError as error:
        raise CronsembleError(f"{error.filename or path}: cannot be written: {error.strerror}") from error
    return True
