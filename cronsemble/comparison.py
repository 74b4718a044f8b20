"""Two dates, slots or runs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cronsemble import html, schemas
from cronsemble.reading import reading
from cronsemble.tables import Table

if TYPE_CHECKING:
    from jobs.store import Store
    from scheduler.comparison.code_difference import FileDifference
    from scheduler.comparison.predictions import MetricChange, PredictionChanges
    from scheduler.comparison.run_comparison import Comparison as ComparedPair
    from scheduler.comparison.run_comparison import EnsembleComparison, TrainingComparison


@dataclass(frozen=True)
class Comparison:
    """How two ensemble runs, or the trainings of two dates, differ. Made by `Experiment.compare`.

    Attributes:
        before: the ids of the runs before: the ensemble's, or each training's.
        after: the ids of the runs after, in the same order.
        verdict: `identical`, `equal`, `changed` or `nothing to compare`; of several trainings the furthest from identical.
        notes: what could not be compared, a line each.
        code: the unified diff of the code; empty if it is the same.
        values: all of it, as `cronsemble compare --json` has it.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    verdict: str
    notes: tuple[str, ...]
    code: str = field(repr=False)
    values: dict[str, Any] = field(repr=False)
    _compared: ComparedPair = field(repr=False, compare=False)
    _timezone: str = field(repr=False, compare=False)

    def metrics(self) -> Table:
        """Accuracy and loss before and after, on the items of both where these could be compared.

        Returns:
            A `Table` with the columns of `cronsemble.schemas.METRICS`: the ensemble, then its members; or each training.

        Example:
            >>> import cronsemble
            >>> metrics = cronsemble.open("config.yaml").compare("2025-11-20", "2025-11-21").metrics()
            >>> metrics.column("task")
            ['ensemble', 'train-a', 'train-b', 'train-c', 'train-d']
        """
        ensemble = self._compared.ensemble
        rows: list[tuple[str, MetricChange, MetricChange, PredictionChanges | None]] = []
        if ensemble is not None:
            rows.append((ensemble.after.run.task, ensemble.accuracy, ensemble.loss, ensemble.predictions))
            rows += [(f"train-{own.member}", own.accuracy, own.loss, own.predictions) for own in ensemble.members]
        else:
            rows += [(own.after.run.task, own.accuracy, own.loss, own.predictions) for own in self._compared.trainings]
        values = [
            (
                task, accuracy.before, accuracy.after, accuracy.difference, loss.before, loss.after, loss.difference,
                None if changes is None else len(changes.flips),
            )
            for task, accuracy, loss, changes in rows
        ]  # fmt: skip
        return self._table(schemas.METRICS, values)

    def flips(self) -> Table:
        """The items that have another label after than before.

        Returns:
            A `Table` with the columns of `cronsemble.schemas.FLIPS`.

        Example:
            >>> import cronsemble
            >>> flips = cronsemble.open("config.yaml").compare("2025-11-20", "2025-11-21").flips()
            >>> set(flips.column("effect")) <= {"now right", "now wrong", "wrong both times"}
            True
        """
        values = [
            (
                pair.after.run.task, flip.item, flip.label, flip.before, flip.after, flip.before_probability,
                flip.after_probability, flip.effect,
            )
            for pair in _pairs(self._compared)
            if pair.predictions is not None
            for flip in pair.predictions.flips
        ]  # fmt: skip
        return self._table(schemas.FLIPS, values)

    def differences(self) -> Table:
        """What was pinned and differs: configuration, code, data, versions, image, seed; each once.

        Returns:
            A `Table` with the columns of `cronsemble.schemas.DIFFERENCES`.

        Example:
            >>> import cronsemble
            >>> experiment = cronsemble.open("config.yaml")
            >>> experiment.compare("2025-11-20", "latest").differences().column("text")[0]
            'hyperparameters.epochs 4 → 8'
        """
        return self._table(
            schemas.DIFFERENCES,
            [(each.kind.value, each.name, ", ".join(each.tasks), each.text) for each in self._compared.differences],
        )

    def _table(self, columns: Sequence[schemas.Column], rows: Sequence[Sequence[Any]]) -> Table:
        return Table(columns, list(zip(*rows, strict=True)) or [()] * len(columns), self._timezone)

    def _repr_html_(self) -> str:
        """What changed, for a notebook; all text is escaped."""
        title = f"{', '.join(self.before)} → {', '.join(self.after)}"
        fields = html.fields(title, {"verdict": self.verdict, "notes": "; ".join(self.notes)})
        return fields + "".join(table._repr_html_() for table in (self.metrics(), self.differences(), self.flips()) if len(table))


def compare(store: Store, experiment: str, before: str, after: str, task: str | None, timezone: str) -> Comparison:
    """As `Experiment.compare`."""
    from scheduler.comparison.json_values import to_json
    from scheduler.comparison.run_comparison import RunComparer
    from scheduler.comparison.selection import compare_names
    from scheduler.comparison.verdict import CHANGED, EQUAL, IDENTICAL, NOTHING

    with reading():
        compared = compare_names(RunComparer(store, timezone=timezone), experiment, before, after, task)
    verdicts = {verdict.verdict for verdict in compared.verdicts}
    pairs = _pairs(compared)
    return Comparison(
        tuple(str(pair.before.run) for pair in pairs),
        tuple(str(pair.after.run) for pair in pairs),
        next(word for word in (CHANGED, NOTHING, EQUAL, IDENTICAL) if word in verdicts),
        (*compared.notes, *(note for pair in pairs for note in pair.notes)),
        "".join(line + "\n" for each in compared.code for file in each.files for line in _diff(file)),
        {"experiment": experiment, **to_json(compared)},
        compared,
        timezone,
    )


def _diff(file: FileDifference) -> Iterator[str]:
    """A file's unified diff with its header."""
    yield f"--- {'/dev/null' if file.change == 'added' else file.name}"
    yield f"+++ {'/dev/null' if file.change == 'removed' else file.name}"
    yield from file.lines or ((f"# {file.note}",) if file.note else ())


def _pairs(compared: ComparedPair) -> Sequence[EnsembleComparison | TrainingComparison]:
    return [compared.ensemble] if compared.ensemble is not None else compared.trainings
