"""The record of a success, and its commit. Standard library alone, Python 3.9."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jobs import contract as c
from jobs.contract import ExitCode, Status
from jobs.store.document_files import read_document
from jobs.store.files import to_document, write_file
from jobs.store.prediction_metadata import prediction_metadata
from jobs.store.process_identity import process_identity
from jobs.store.result_files import list_result_files
from jobs.store.tries import max_tries
from jobs.supervisor.run_context import RunContext, StepError, now, require


def commit(context: RunContext, began: str, result: dict[str, Any]) -> None:
    """Write the run's record and publish the try as the run's result; raises StepError if it is interrupted or not the first.

    ``began``: when the last step began (ISO 8601); ``result``: what only this kind of task records.
    """
    start = read_document(context.folder / c.START) or {}
    task, tries = context.task, context.store.read(context.run).tries
    record = {
        "schema": c.SCHEMA,
        "run": str(context.run),
        "experiment": context.run.experiment,
        "task": context.run.task,
        "slot": c.slot_text(context.run.minute),
        "attempt": context.run.attempt,
        "try": context.name,
        "try_number": len(tries),
        "max_tries": max_tries(tries, start.get("retries")),
        "retries": start.get("retries"),
        "kind": start.get("kind"),
        "invocation": context.invocation or None,
        "published": bool(task.get("published")),
        "repeats": context.env.get(c.ENV_REPEATS) or None,
        "repeats_kind": repeated_kind(context),
        "other_configuration": context.other_configuration,
        "started": start.get("time"),
        "step_started": began,
        "finished": now(),
        "snapshot": context.snapshot,
        "hyperparameters": task.get("hyperparameters"),
        "seed": task.get("seed"),
        "threads": task.get("threads"),
        "data": require(context, c.DATA),
        "environment": context.environment,
        "image": _image(context),
        "python": context.env.get(c.ENV_PYTHON) or sys.executable,
        "processor": _processor(),
        "host": process_identity()["host"],
        **result,
    }
    if "ensemble" in result:
        metadata = prediction_metadata(context.run, record, context.folder / c.CSV)
        write_file(context.folder / c.METADATA, to_document(metadata))
    record["files"] = list_result_files(context.folder)
    write_file(context.folder / c.RECORD, to_document(record))
    if context.stopped.is_set():
        raise StepError("interrupted", ExitCode.INTERRUPTED, Status.INTERRUPTED)
    if not context.store.publish(context.run, context.name):
        raise StepError("another try of this run published its result first", ExitCode.DONE, c.SUPERSEDED)


def repeated_kind(context: RunContext) -> str | None:
    """The kind of the run at the beginning of a chain of repeats; None for a run that repeats none.

    A scheduled ensemble takes the repeat's model only if it might have taken the original's.
    """
    name = context.env.get(c.ENV_REPEATS)
    run = c.parse_run_id(name, context.run.experiment, context.run.task) if name else None
    if run is None:
        return None
    original = context.store.read(run)
    kinds = [attempt["start"].get("kind") for attempt in original.tries]
    kind = original.record.get("repeats_kind") or original.record.get("kind") or next(iter(kinds), None)
    return str(kind) if kind else None


def _image(context: RunContext) -> dict[str, Any] | None:
    reference = context.env.get(c.ENV_IMAGE)
    return {"reference": reference, "identity": read_document(Path("/etc/cronsemble-image.json"))} if reference else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
