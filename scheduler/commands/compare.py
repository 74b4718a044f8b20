"""The command `compare`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from jobs.contract import RunId, RunKind, Status
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
from scheduler.comparison.code_difference import CodeDifference
from scheduler.comparison.data_difference import ArrayDifference, DataDifference
from scheduler.comparison.difference import DifferenceKind, describe, describe_tasks
from scheduler.comparison.json_values import to_json
from scheduler.comparison.predictions import MetricChange, PredictionChanges
from scheduler.comparison.run_comparison import (
    ComparedRun,
    Comparison,
    EnsembleComparison,
    MemberComparison,
    RunComparer,
    TrainingComparison,
)
from scheduler.comparison.selection import compare_names
from scheduler.comparison.verdict import EQUAL, IDENTICAL, TOLERANCE
from scheduler.comparison.verdict import describe as describe_verdict
from scheduler.console import tables
from scheduler.console.colours import paint
from scheduler.console.json_output import print_json
from scheduler.console.messages import print_line
from scheduler.exit_status import ExitStatus
from scheduler.kube.target import ClusterTarget
from scheduler.stores.location import locate
from scheduler.stores.workspace import open_workspace
from scheduler.times import format_local

_ROWS = 10
"""Flipped items, and largest changes of probability, that are printed without --full."""
_DIFF_LINES = 60
"""Lines of a diff of code that are printed without --full."""
_EFFECT_COLOURS = {"now right": "green", "now wrong": "red"}


def print_comparison(comparison: Comparison, full: bool) -> None:
    """Print a comparison for people: sides, verdict, metrics, what differs, flipped items; ``full``: all of them."""
    ensemble = comparison.ensemble
    pairs: Sequence[EnsembleComparison | TrainingComparison] = [ensemble] if ensemble else comparison.trainings
    for pair in pairs:
        for when, side in (("before", pair.before), ("after", pair.after)):
            print_line(f"{when:<8}{_side_text(side)}")
        if len(pairs) == 1:
            accuracy = {"accuracy_before": pair.accuracy.before, "accuracy_after": pair.accuracy.after}
            print_line(describe_verdict({**pair.verdict.as_json(), **accuracy}))
    for note in _notes(comparison):
        print_line(f"note: {note}")
    if ensemble is not None:
        _print_ensemble(ensemble)
    else:
        _print_trainings(comparison.trainings)
    _print_differences(comparison, full)
    for pair in pairs:
        if pair.predictions is not None:
            title = "" if len(pairs) == 1 else f"{pair.after.run.task}: "
            _print_items(pair.predictions, title, "item" if ensemble else "validation item", full)


def _side_text(side: ComparedRun) -> str:
    kind = f", {side.kind}" if side.kind not in ("", RunKind.SCHEDULED) else ""
    status = side.status + kind + (f": {side.reason}" if side.reason else "")
    return f"{_local(side.run, side.timezone)}  {side.run}  {status}"


def _local(run: RunId, timezone: str) -> str:
    """A run's slot by the clock of a zone."""
    return format_local(datetime.fromtimestamp(run.minute * 60, ZoneInfo(timezone)).isoformat(timespec="minutes"), timezone)


def _notes(comparison: Comparison) -> Iterator[str]:
    """What could not be compared, or only otherwise than it seems, a line each."""
    yield from comparison.notes
    if comparison.ensemble is not None:
        yield from _changes_notes(comparison.ensemble.predictions)
        for member in comparison.ensemble.members:
            yield from (f"{member.member}: {note}" for note in member.notes)
        return
    for training in comparison.trainings:
        yield from _changes_notes(training.predictions)
        if len(comparison.trainings) > 1 or training.predictions is not None:
            yield from (f"{training.after.run.task}: {note}" for note in training.notes)


def _changes_notes(changes: PredictionChanges | None) -> Iterator[str]:
    if changes is None:
        return
    yield from changes.notes
    if not changes.has_same_items:
        parts = [
            f"{len(ids)} {when}"
            for ids, when in ((changes.only_before, "only before"), (changes.only_after, "only after"))
            if ids
        ]
        yield f"other items: {changes.items} of both, {', '.join(parts)}: compared are those of both"


def _print_ensemble(ensemble: EnsembleComparison) -> None:
    changes = ensemble.predictions
    if changes is None or not changes.labelled:
        where = "as recorded, each on its own items" if changes is None or not changes.has_same_items else "as recorded"
    else:
        where = "on the same item" if changes.labelled == 1 else f"on the same {changes.labelled} items"
    rows = [["ensemble", *_metric_cells(ensemble.accuracy, ensemble.loss, changes)]]
    rows += [
        [_member_name(member), *_metric_cells(member.accuracy, member.loss, member.predictions)] for member in ensemble.members
    ]
    _print_title(f"Metrics {where}")
    tables.print_table([tables.Column(""), *_METRICS], rows, hint="--json has them")
    timezones = ensemble.before.timezone, ensemble.after.timezone
    _print_title("Models that were taken")
    columns = [
        tables.Column("member"),
        tables.Column("model of the slot"),
        tables.Column("own accuracy", rank=2),
        tables.Column("weight", rank=1),
    ]
    tables.print_table(columns, [_model_cells(member, timezones) for member in ensemble.members], hint="--json has them")


_METRICS = [
    tables.Column("accuracy"),
    tables.Column("change", right=True),
    tables.Column("loss", rank=1),
    tables.Column("change", right=True, rank=2),
    tables.Column("flipped", right=True),
]


def _member_name(member: MemberComparison) -> str:
    return f"{member.member} (was {member.former_name})" if member.former_name else member.member


def _metric_cells(accuracy: MetricChange, loss: MetricChange, changes: PredictionChanges | None) -> list[str]:
    cells = [_arrow(accuracy), _signed(accuracy), _arrow(loss), _signed(loss)]
    return [*cells, "" if changes is None else str(len(changes.flips))]


def _arrow(metric: MetricChange, digits: int = 4) -> str:
    if metric.before is None and metric.after is None:
        return ""
    return " → ".join("none" if value is None else f"{value:.{digits}f}" for value in (metric.before, metric.after))


def _signed(metric: MetricChange) -> str:
    return "" if metric.difference is None else f"{metric.difference:+.4f}"


def _model_cells(member: MemberComparison, timezones: tuple[str, str]) -> list[str]:
    old, new = member.before, member.after
    sides = []
    for side, timezone in zip((old, new), timezones, strict=True):
        if side is None:
            sides.append("no such member")
        elif side.model is None:
            sides.append("none")
        else:
            sides.append(_local(side.model, timezone) + (", left out" if side.left_out else ""))
    model = f"{sides[0]}, the same" if old and new and old.model == new.model and old.model is not None else " → ".join(sides)
    accuracy = MetricChange(old.validation_accuracy if old else None, new.validation_accuracy if new else None)
    weight = MetricChange(old.weight if old else None, new.weight if new else None)
    return [_member_name(member), model, _arrow(accuracy), _arrow(weight, 3)]


def _print_trainings(trainings: Sequence[TrainingComparison]) -> None:
    _print_title("Metrics on the validation data")
    rows = []
    for training in trainings:
        names = dict.fromkeys((training.before.run.task, training.after.run.task))
        rows.append([" → ".join(names), *_metric_cells(training.accuracy, training.loss, training.predictions)])
    tables.print_table([tables.Column("task"), *_METRICS], rows, hint="--json has them")


def _print_differences(comparison: Comparison, full: bool) -> None:
    _print_title("What is pinned and differs")
    tasks = comparison.tasks
    # Of these there is more to say than that they differ.
    data = {(each.before[:12], each.after[:12]): each for each in comparison.data}
    for difference in comparison.differences:
        of_data = data.get((str(difference.before), str(difference.after))) if difference.kind == DifferenceKind.DATA else None
        print_line(f"  {describe(difference, tasks)}")
        if of_data is not None:
            for line in _data_lines(of_data):
                print_line(f"    {line}")
    if not comparison.differences:
        print_line("  nothing")
    for code in comparison.code:
        _print_code(code, tasks, full)


def _data_lines(data: DataDifference) -> Iterator[str]:
    if data.source_before != data.source_after:
        yield f"from {data.source_before or 'an unknown source'}, then {data.source_after or 'an unknown source'}"
    counts = []
    for part, what in (("x_train", "trained on"), ("x_val", "judged by"), ("x_predict", "predicted")):
        before, after = data.items_before.get(part), data.items_after.get(part)
        if before is not None and after is not None:
            counts.append(f"{before} {what}" if before == after else f"{before} → {after} {what}")
    if counts:
        yield f"items: {', '.join(counts)}"
    if data.arrays:
        yield f"arrays that differ: {'; '.join(map(_array_text, data.arrays))}"
    if data.note:
        yield data.note


def _array_text(array: ArrayDifference) -> str:
    if array.items is not None and array.after:
        return f"{array.name} in {array.items} of {array.after[0]} items"
    if array.before == array.after:
        return array.name
    shapes = ["none" if shape is None else "×".join(map(str, shape)) for shape in (array.before, array.after)]
    return f"{array.name} {' → '.join(shapes)}"


def _print_code(code: CodeDifference, tasks: Sequence[str], full: bool) -> None:
    print()
    if code.problem:
        print_line(f"no diff of the code of {describe_tasks(code.tasks, tasks)}: {code.problem}")
        return
    print_line(f"The code of {describe_tasks(code.tasks, tasks)}:")
    lines = [line for file in code.files for line in _file_lines(file.name, file.change, file.note, file.lines)]
    shown = lines if full else lines[:_DIFF_LINES]
    for line in shown:
        colour = "green" if line.startswith("+") else "red" if line.startswith("-") else None
        print_line_in_colour(line, colour)
    if len(shown) < len(lines):
        print_line(f"{len(lines) - len(shown)} more lines: --full prints them")


def _file_lines(name: str, change: str, note: str, lines: Sequence[str]) -> Iterator[str]:
    yield f"--- {'/dev/null' if change == 'added' else name}"
    yield f"+++ {'/dev/null' if change == 'removed' else name}"
    yield from lines
    if note:
        yield f"({note})"


def print_line_in_colour(line: str, colour: str | None) -> None:
    """A line of a diff, whatever a file holds, on one line."""
    from jobs.text import single_line

    print(paint(single_line(line.expandtabs()), colour))


def _print_items(changes: PredictionChanges, title: str, item: str, full: bool) -> None:
    """The flipped items and the largest changes; ``title`` begins their headings, ``item`` is what their ids are of."""
    if changes.flips:
        shown = changes.flips if full else changes.flips[:_ROWS]
        counts = {
            effect: sum(flip.effect == effect for flip in changes.flips)
            for effect in ("now right", "now wrong", "wrong both times")
        }
        parts = ", ".join(f"{number} {effect}" for effect, number in counts.items() if number)
        number = "1 label" if len(changes.flips) == 1 else f"{len(changes.flips)} labels"
        _print_title(f"{title}{number} flipped" + (f": {parts}" if parts else ""))
        columns = [
            tables.Column(item),
            tables.Column("before"),
            tables.Column("after"),
            tables.Column("true label"),
            tables.Column("", coloured=True),
        ]
        rows = [
            [
                _item(flip.item, flip.occurrence),
                f"{flip.before} {flip.before_probability:.3f}",
                f"{flip.after} {flip.after_probability:.3f}",
                "unknown" if flip.label is None else flip.label,
                flip.effect,
            ]
            for flip in shown
        ]
        tables.print_table(columns, rows, [_EFFECT_COLOURS.get(flip.effect) for flip in shown])
        _print_rest(len(changes.flips) - len(shown))
    if changes.largest_changes:
        largest = changes.largest_changes if full else changes.largest_changes[:_ROWS]
        _print_title(f"{title}Largest changes of a probability")
        columns = [
            tables.Column("item"),
            tables.Column("class"),
            tables.Column("probability"),
            tables.Column("change", right=True),
        ]
        tables.print_table(
            columns,
            [
                [
                    _item(change.item, change.occurrence),
                    change.class_name,
                    f"{change.before:.3f} → {change.after:.3f}",
                    f"{change.difference:+.3f}" if math.isfinite(change.difference) else "no number",
                ]
                for change in largest
            ],
        )


def _item(name: str, occurrence: int) -> str:
    return name if occurrence == 1 else f"{name} (number {occurrence} of this id)"


def _print_rest(number: int) -> None:
    if number > 0:
        print_line(f"and {number} more: --full prints them")


def _print_title(text: str) -> None:
    print()
    print_line(f"{text}:")


def exit_status(comparison: Comparison, detailed: bool) -> ExitStatus:
    """An error if a run has no result; with ``detailed`` DIFFERS unless all predictions are identical or equal."""
    pairs = [comparison.ensemble] if comparison.ensemble else comparison.trainings
    if any(side.status != Status.SUCCEEDED for pair in pairs for side in (pair.before, pair.after)):
        return ExitStatus.ERROR
    is_equal = all(verdict.verdict in (IDENTICAL, EQUAL) for verdict in comparison.verdicts)
    return ExitStatus.DIFFERS if detailed and not is_equal else ExitStatus.DONE


def compare(
    before: Annotated[str, typer.Argument(metavar="A", help=f"The run before: {NAMES_OF_RUNS}.", autocompletion=complete_runs)],
    after: Annotated[str, typer.Argument(metavar="B", help="The run after, by such a name.", autocompletion=complete_runs)],
    file: File = DEFAULT_FILE,
    task: OfTask = None,
    as_json: AsJson = False,
    full: Annotated[bool, typer.Option("--full", help="Print all flipped items and the whole diff of the code.")] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 unless the predictions are identical or equal.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="The largest difference of a probability that counts as equal.")
    ] = TOLERANCE,
    offline: Offline = False,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    store: StoreFolder = None,
    experiment: ExperimentName = None,
) -> None:
    """Compare two runs: metrics, what was pinned and differs, flipped labels. Example: cronsemble compare 2026-11-20 latest"""
    if not math.isfinite(tolerance):
        raise typer.BadParameter(f"{tolerance} is no difference: type a number, e.g. 1e-6", param_hint="--tolerance")
    target = ClusterTarget(kubeconfig, context, namespace, offline)
    with open_workspace(locate(file, store, experiment, target)) as workspace:
        comparer = RunComparer(workspace.store, tolerance, workspace.timezone)
        comparison = compare_names(comparer, workspace.name, before, after, task)
        if as_json:
            print_json({"experiment": workspace.name, **to_json(comparison)})
        else:
            print_comparison(comparison, full)
    raise typer.Exit(exit_status(comparison, detailed_exitcode))
