"""The command `show`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
import typer

from jobs import contract as c
from jobs import strict_json
from jobs.store import Run, Store
from jobs.store.document_files import read_document
from jobs.store.tries import describe_try
from jobs.store.waits import waited_lines
from jobs.text import one_line
from scheduler.commands.completion import complete_runs
from scheduler.commands.options import (
    DEFAULT_FILE,
    NAMES_OF_RUNS,
    AsJson,
    Context,
    ExperimentName,
    File,
    Kubeconfig,
    Namespace,
    Offline,
    OfTask,
    StoreFolder,
)
from scheduler.comparison.verdict import describe, difference_lines, flip_lines
from scheduler.console import tables
from scheduler.console.json_output import print_json
from scheduler.console.messages import print_line
from scheduler.history import slot_report
from scheduler.history.query import HistoryQuery
from scheduler.kube.target import ClusterTarget
from scheduler.observe.open_history import find_run_or_job, open_history
from scheduler.results.contribution import Contribution
from scheduler.results.ensemble_result import EnsembleResult, read_ensemble
from scheduler.results.epochs import read_epochs
from scheduler.results.member_table import (
    calibration_line,
    disagreement_rows,
    member_cells,
    member_columns,
    member_values,
    read_agreement,
    read_contributions,
)
from scheduler.results.probabilities import DamagedResult
from scheduler.stores import find_run
from scheduler.stores.location import locate
from scheduler.stores.workspace import Workspace, open_workspace

_FLIPS = 10
"""Items whose label a repeat flipped that are printed."""


def print_run(workspace: Workspace, name: str, as_json: bool, task: str | None = None) -> None:
    """Print all that is known of the run that a name means, of ``task`` if one is given."""
    reader = open_history(workspace)
    run_id = find_run_or_job(reader, name, task)
    run = reader.store.read(run_id)
    rows = reader.rows(HistoryQuery(run_id.minute, run_id.minute, (run_id.task,)))
    own_row = next(row for row in rows if row.run == str(run_id))
    row = msgspec.to_builtins(own_row)
    job = slot_report.observed_job(reader.history, run_id)
    verdict = read_document(run.folder / c.VERDICT)
    result = read_ensemble(reader.store, run) if run_id.task == c.ENSEMBLE_TASK else None
    contributions, problem = read_contributions(result) if result is not None else ({}, "")
    if as_json:
        if result is not None:
            row["members"] = member_values(result, contributions)
            agreement = read_agreement(result)
            row["agreement"] = None if agreement is None else asdict(agreement)
        optional = {
            "observed": run.observed,
            "removed": run.removed,
            "verdict": verdict,
            "decisions": list(run.decisions),
            "wait": run.wait,
        }
        values = {**row, "record": run.record, "tries": run.tries, "seen": job.to_json() if job else None}
        print_json({**values, **{key: value for key, value in optional.items() if value}})
        return
    number, most = row.pop("try_number"), row.pop("max_tries")
    row = {"slot": row.pop("slot"), "local": row.pop("local"), "task": row.pop("task"), "status": own_row.outcome} | {
        key: value for key, value in [("degraded", row.pop("degraded")), *row.items()] if key != "status"
    }
    # Those of an ensemble are its own.
    skipped = {"minute", *(("items_accuracy", "items_loss") if run_id.task == c.ENSEMBLE_TASK else ())}
    for key, value in row.items():
        if value not in (None, "") and key not in skipped:
            _print_field(key, value)
    if number is not None:
        _print_field("tries", describe_try(number, most))
    for key in ("seed", "threads", "processor", "environment", "hyperparameters", "snapshot"):
        if run.record.get(key):
            _print_field(key, strict_json.dumps(run.record[key]))
    for text in waited_lines(run.record.get("waited") or run.wait):
        _print_field("waited", text)
    for text in slot_report.gate_lines(run):
        _print_field("gate", text)
    for text in slot_report.decision_lines(run):
        _print_field("decided", text)
    for one_try in slot_report.tries(run, job):
        _print_field("try", slot_report.try_line(one_try))
    if result is not None and result.members:
        _print_members(result, contributions, reader.history.timezone)
    if problem:
        _print_field("damaged", problem)
    if verdict is not None:
        _print_verdict(verdict, run_id.task)
    for removal in run.removed.get("files", []):
        _print_field("removed", f"{removal['path']} by gc at {run.removed.get('time')}")
    _print_epochs(reader.store, run)
    for folder in find_run.folders_with_files(run):
        for path in workspace.store.list_files(run_id, folder):
            _print_field("file", workspace.store.files.display_path(path))


def _print_members(result: EnsembleResult, contributions: Mapping[str, Contribution], timezone: str) -> None:
    print()
    tables.print_table(member_columns(timezone), member_cells(result, contributions, timezone))
    print()
    if result.method:
        _print_field("method", result.method)
    if line := calibration_line(result):
        _print_field("calibration", line)
    agreement = read_agreement(result)
    columns, rows = disagreement_rows(agreement)
    if rows:
        tables.print_table(columns, rows)
        print()
    if agreement is not None:
        entropy = "" if agreement.mean_entropy is None else f", mean entropy {agreement.mean_entropy:.3f} nats"
        _print_field("disputed", f"{agreement.disputed_items} items, by a member or more{entropy}")


def _print_field(name: str, value: object) -> None:
    print_line(f"{name:<16}{one_line(str(value))}")


def _print_verdict(verdict: Mapping[str, Any], task: str) -> None:
    """The result of the comparison with the run that this one repeats, for the run and for each member."""
    _print_field("repeats", f"{verdict.get('repeats')}: {describe(verdict)}")
    for name, member in (verdict.get("members") or {}).items():
        _print_field("repeats", f"{name}: {member.get('repeats')}: {describe(member)}")
    for line in difference_lines(verdict, task):
        _print_field("differs", line)
    for line in flip_lines(verdict, _FLIPS):
        _print_field("flipped", line)


def _print_epochs(store: Store, run: Run) -> None:
    try:
        metrics = read_epochs(store, run).metrics
    except DamagedResult as error:
        _print_field("damaged", str(error))
        return
    for name in ("val_loss", "val_accuracy"):
        if values := metrics.get(name):
            print(f"{name:<16}{tables.chart(list(values))}  {values[0]:.4f} → {values[-1]:.4f}, {len(values)} epochs")


def show(
    run: Annotated[
        str, typer.Argument(metavar="[NAME]", help=f"The run: {NAMES_OF_RUNS}.", autocompletion=complete_runs)
    ] = find_run.LATEST,
    file: File = DEFAULT_FILE,
    task: OfTask = None,
    as_json: AsJson = False,
    offline: Offline = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Show one run: record, epochs, members, files. Example: cronsemble show yesterday"""
    with open_workspace(locate(file, store, experiment, ClusterTarget(kubeconfig, context, namespace, offline))) as workspace:
        print_run(workspace, run, as_json, task)
