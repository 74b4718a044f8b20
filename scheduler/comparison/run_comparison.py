"""Compares two runs by what the store has of both: predictions, metrics, members, and what was pinned, each difference once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs import contract as c
from jobs.contract import RunId, Status
from jobs.store import Run, Store
from scheduler.comparison.code_difference import CodeDifference, code_difference, code_hashes
from scheduler.comparison.data_difference import DataDifference, PreparedData
from scheduler.comparison.difference import Difference, merge
from scheduler.comparison.pinned_inputs import PinnedInputs, pinned_differences
from scheduler.comparison.predictions import MetricChange, PredictionChanges, Predictions, compare_predictions
from scheduler.comparison.verdict import NOTHING, TOLERANCE, Verdict, judge
from scheduler.errors import CronsembleError
from scheduler.results import probabilities
from scheduler.results.ensemble_result import EnsembleResult, MemberResult, read_ensemble
from scheduler.results.probabilities import DamagedResult
from scheduler.stores.run_snapshot import snapshot, timezone_of


@dataclass(frozen=True)
class ComparedRun:
    """One side: the run, what became of it, and the experiment's zone as its own configuration has it."""

    run: RunId
    status: str
    reason: str
    kind: str
    timezone: str

    @property
    def task(self) -> str:
        """The name of the task: ensemble or train-MEMBER."""
        return self.run.task

    @property
    def slot(self) -> str:
        """The slot in UTC: 2026-11-20T06:00Z."""
        return c.slot_text(self.run.minute)


@dataclass(frozen=True)
class TrainingComparison:
    """Two trainings. ``accuracy`` and ``loss`` are their own, each on the validation data of its run.

    ``predictions`` compares them item by item (their ids are positions) where these data are the same, else it is None and a
    note says why.
    """

    before: ComparedRun
    after: ComparedRun
    accuracy: MetricChange
    loss: MetricChange
    verdict: Verdict
    predictions: PredictionChanges | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_same_run(self) -> bool:
        """Whether both sides are one run: an ensemble took the same model again."""
        return self.before.run == self.after.run


@dataclass(frozen=True)
class MemberComparison:
    """A member of two ensembles; ``before`` or ``after`` is None where that ensemble had no such member.

    ``former_name`` is what it was called before, "" if it has the same name. ``accuracy`` and ``loss`` are on the items of both
    where these could be compared, else on each ensemble's own. ``training`` compares the models that were taken.
    """

    member: str
    former_name: str
    before: MemberResult | None
    after: MemberResult | None
    accuracy: MetricChange
    loss: MetricChange
    verdict: Verdict
    predictions: PredictionChanges | None = None
    training: TrainingComparison | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnsembleComparison:
    """Two ensemble runs.

    ``accuracy`` and ``loss`` are on the items of both where these could be compared, else on each ensemble's own.
    """

    before: ComparedRun
    after: ComparedRun
    accuracy: MetricChange
    loss: MetricChange
    verdict: Verdict
    predictions: PredictionChanges | None
    members: tuple[MemberComparison, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Two ensemble runs with the trainings of their models, or trainings alone (then ``ensemble`` is None).

    ``differences`` has everything pinned that differs, each once with its tasks; of code and data it has that they differ, and
    ``code`` and ``data`` have how.
    """

    ensemble: EnsembleComparison | None
    trainings: tuple[TrainingComparison, ...]
    differences: tuple[Difference, ...]
    code: tuple[CodeDifference, ...] = ()
    data: tuple[DataDifference, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The ensemble's verdict, or those on the trainings."""
        return (self.ensemble.verdict,) if self.ensemble else tuple(training.verdict for training in self.trainings)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that were compared, by their names after, the ensemble last."""
        names = [training.after.run.task for training in self.trainings]
        return tuple(dict.fromkeys([*names, *([c.ENSEMBLE_TASK] if self.ensemble else [])]))


class RunComparer:
    """Compares runs of a store. What is read of it is kept: to compare many runs takes one of these.

    ``tolerance``: the largest difference of a probability that counts as equal. ``timezone``: the experiment's, in which times
    are; by default that of each run's own configuration.
    """

    def __init__(self, store: Store, tolerance: float = TOLERANCE, timezone: str | None = None) -> None:
        self.store = store
        self.timezone = timezone
        self.tolerance = tolerance
        self._tasks: dict[str, Mapping[str, Any]] = {}
        self._code: dict[str, Mapping[str, str]] = {}
        self._data = PreparedData(store)
        self._validation_labels: dict[str, Any] = {}

    # -- what is compared

    def compare(self, before: Run, after: Run) -> Comparison:
        """Two ensemble runs, or two trainings; raises CronsembleError for one of each."""
        if (before.id.task == c.ENSEMBLE_TASK) != (after.id.task == c.ENSEMBLE_TASK):
            kinds = ["an ensemble run" if run.id.task == c.ENSEMBLE_TASK else "a training" for run in (before, after)]
            raise CronsembleError(
                f"{before.id} is {kinds[0]}, {after.id} {kinds[1]}: give two of one kind; a date means its ensemble run"
            )
        if before.id.task != c.ENSEMBLE_TASK:
            return self.compare_trainings([(before, after)])
        ensemble, pairs = self._ensemble(before, after)
        trainings = [member.training for member in ensemble.members if member.training is not None]
        return self._comparison(ensemble, trainings, [*pairs, (before, after)])

    def compare_trainings(self, pairs: Sequence[tuple[Run, Run]], notes: Sequence[str] = ()) -> Comparison:
        """Pairs of trainings, before and after; ``notes`` are the caller's own."""
        own = [
            f"different tasks: {before.id.task}, then {after.id.task}"
            for before, after in pairs
            if before.id.task != after.id.task
        ]
        return self._comparison(None, [self.training(*pair) for pair in pairs], pairs, [*notes, *own])

    def training(self, before: Run, after: Run, is_repeat: bool = False) -> TrainingComparison:
        """Two trainings; ``is_repeat``: the second was made to be the first, so its validation items are the same."""
        notes = [*_unsuccessful(before, after)]
        predictions = None
        if not notes and before.id != after.id:
            predictions, notes = self._validation_changes(before, after, is_repeat)
        accuracy, loss = MetricChange(before.accuracy, after.accuracy), MetricChange(before.loss, after.loss)
        if before.id == after.id:
            verdict = Verdict(NOTHING, reason="the same run")
        else:
            verdict = self._verdict(predictions, notes, before, after)
        return TrainingComparison(self._side(before), self._side(after), accuracy, loss, verdict, predictions, tuple(notes))

    def predictions(self, before: Run, after: Run) -> tuple[PredictionChanges | None, list[str]]:
        """What two ensemble runs predicted; None where one of the two is not there, and notes that say why."""
        notes = [*_unsuccessful(before, after)]
        if notes:
            return None, notes
        return self._ensemble_changes(read_ensemble(self.store, before), read_ensemble(self.store, after))

    def member_predictions(self, before: EnsembleResult, after: EnsembleResult, old: str, new: str) -> PredictionChanges | None:
        """What a member predicted within two ensemble runs; None unless both kept it. Raises DamagedResult."""
        sides = [_member_predictions(result, name) for result, name in ((before, old), (after, new))]
        return compare_predictions(sides[0], sides[1]) if sides[0] is not None and sides[1] is not None else None

    def differences(self, before: Run, after: Run) -> tuple[Difference, ...]:
        """What is pinned of two runs and differs: configuration, code, data, versions and so on; reads no predictions."""
        if not snapshot(before) or not snapshot(after):
            return ()  # one ended before it was known what it is made from
        return merge(pinned_differences(self.pinned(before), self.pinned(after)))

    def pinned(self, run: Run) -> PinnedInputs:
        """What was pinned for a run."""
        digests = snapshot(run)
        record = run.record or {"task": run.id.task, "snapshot": digests, "slot": c.slot_text(run.id.minute)}
        task, code = digests.get("task", ""), digests.get("code", "")
        if task not in self._tasks:
            self._tasks[task] = self.store.task_configuration({"snapshot": digests})
        if code not in self._code:
            self._code[code] = code_hashes(self.store, code)
        return PinnedInputs(record, self._tasks[task], self._code[code], bool(run.record))

    # -- parts

    def _ensemble(self, before: Run, after: Run) -> tuple[EnsembleComparison, list[tuple[Run, Run]]]:
        """Two ensemble runs, and the pairs of different trainings whose models they took."""
        old, new = read_ensemble(self.store, before), read_ensemble(self.store, after)
        notes = [*_unsuccessful(before, after)]
        predictions, notes = (None, notes) if notes else self._ensemble_changes(old, new)
        members, pairs = [], []
        for name, former in self._pair_members(old, new):
            member, pair = self._member(old, new, name, former)
            members.append(member)
            pairs += [pair] if pair is not None and pair[0].id != pair[1].id else []
        accuracy = MetricChange(_first(old.accuracy, before.accuracy), _first(new.accuracy, after.accuracy))
        loss = MetricChange(_first(old.loss, before.loss), _first(new.loss, after.loss))
        if predictions is not None and predictions.labelled:
            accuracy, loss = predictions.accuracy, predictions.loss
        verdict = self._verdict(predictions, notes, before, after)
        sides = self._side(before), self._side(after)
        return EnsembleComparison(*sides, accuracy, loss, verdict, predictions, tuple(members), tuple(notes)), pairs

    def _pair_members(self, before: EnsembleResult, after: EnsembleResult) -> Iterator[tuple[str, str]]:
        """Each member's name after and before; one that only one of the two has, has "" on the other side.

        The only member that has gone and the only new one are one that was renamed, if backend and model are the same.
        """
        old, new = [member.member for member in before.members], [member.member for member in after.members]
        gone, added = [name for name in old if name not in new], [name for name in new if name not in old]
        if len(gone) == len(added) == 1:
            what = [self._identity(before.member(gone[0])), self._identity(after.member(added[0]))]
            if what[0] is not None and what[0] == what[1]:
                for name in new:
                    yield name, gone[0] if name == added[0] else name
                return
        for name in new:
            yield name, name if name in old else ""
        for name in gone:
            yield "", name

    def _identity(self, member: MemberResult | None) -> tuple[Any, ...] | None:
        """Backend and model of a member's training; None where they are not known."""
        if member is None or member.model is None:
            return None
        task = self.pinned(self.store.read(member.model)).task
        return (task.get("backend"), task.get("model"), task.get("data_format")) if task.get("backend") else None

    def _member(
        self, before: EnsembleResult, after: EnsembleResult, name: str, former: str
    ) -> tuple[MemberComparison, tuple[Run, Run] | None]:
        old = before.member(former) if former else None
        new = after.member(name) if name else None
        notes: list[str] = []
        if old is None or new is None:
            where = after.run.id if old is not None else before.run.id
            notes.append(f"{where} had no such member")
        else:
            notes += [f"left out {when}: {side.left_out}" for when, side in (("before", old), ("after", new)) if side.left_out]
        if name and former and name != former:
            notes.append(f"it was called {former}: taken for the same member, for backend and model are the same")
        predictions = training = pair = None
        if old is not None and new is not None:
            if not notes or not (old.left_out or new.left_out):
                try:
                    predictions = self.member_predictions(before, after, former, name)
                    if predictions is None and before.run.record and after.run.record:
                        notes.append("its probabilities were not kept")
                except DamagedResult as error:
                    notes.append(str(error))
            if old.model is not None and new.model is not None:
                pair = self.store.read(old.model), self.store.read(new.model)
                training = self.training(*pair)
        accuracy = MetricChange(None if old is None else old.accuracy, None if new is None else new.accuracy)
        loss = MetricChange(None if old is None else old.loss, None if new is None else new.loss)
        if predictions is not None and predictions.labelled:
            accuracy, loss = predictions.accuracy, predictions.loss
        verdict = judge([predictions], self.tolerance, ("",)) if predictions else Verdict(NOTHING, reason="; ".join(notes))
        verdict = replace(verdict, differs=())
        renamed = former if former and former != name else ""
        return MemberComparison(
            name or former, renamed, old, new, accuracy, loss, verdict, predictions, training, tuple(notes)
        ), pair

    def _ensemble_changes(self, before: EnsembleResult, after: EnsembleResult) -> tuple[PredictionChanges | None, list[str]]:
        notes, sides = [], []
        for result in (before, after):
            try:
                own = _ensemble_predictions(result)
                if own is None:
                    notes.append(f"{result.run.id}: its predictions are not in the store{_removal(result.run)}")
                sides.append(own)
            except DamagedResult as error:
                notes.append(f"{result.run.id}: {error}")
        if notes or sides[0] is None or sides[1] is None:
            return None, notes
        return compare_predictions(sides[0], sides[1]), notes

    def _validation_changes(self, before: Run, after: Run, is_repeat: bool) -> tuple[PredictionChanges | None, list[str]]:
        """What two trainings say of their validation data, if these are the same items."""
        sides = []
        for run in (before, after):
            try:
                own = self._validation(run)
            except DamagedResult as error:
                return None, [f"{run.id}: {error}"]
            if own is None:
                return None, [f"no probabilities of {run.id} were kept"]
            sides.append(own)
        old, new = sides
        data = [run.record.get("data") or {} for run in (before, after)]
        is_same = is_repeat or (len(old.items) == len(new.items) and self._data.has_same_arrays(data[0], data[1], "y_val"))
        if not is_same:
            return None, ["each was judged by its own validation data: their accuracies are of different items"]
        return compare_predictions(old, new), []

    def _validation(self, run: Run) -> Predictions | None:
        """What a training says of its validation data, whose items are named by their positions; None if not kept."""
        array = probabilities.validation(self.store, run.id)
        if array is None or array.ndim != 2:
            return None
        fingerprint = str((run.record.get("data") or {}).get("fingerprint") or "")
        if fingerprint not in self._validation_labels:
            self._validation_labels[fingerprint] = probabilities.validation_labels(self.store, run)
        labels = self._validation_labels[fingerprint]
        labels = labels if labels is not None and len(labels) == len(array) else None
        return Predictions([str(n) for n in range(len(array))], _class_names(run.record, array.shape[1]), array, labels)

    def _verdict(self, predictions: PredictionChanges | None, notes: Sequence[str], before: Run, after: Run) -> Verdict:
        if predictions is None:
            return Verdict(NOTHING, reason="; ".join(notes))
        lines = tuple(difference.text for difference in self.differences(before, after))
        return judge([predictions], self.tolerance, lines)

    def _comparison(
        self,
        ensemble: EnsembleComparison | None,
        trainings: Sequence[TrainingComparison],
        pairs: Sequence[tuple[Run, Run]],
        notes: Sequence[str] = (),
    ) -> Comparison:
        differences = merge(difference for pair in pairs for difference in self.differences(*pair))
        code: dict[tuple[str, str], list[str]] = {}
        data: dict[tuple[str, str], tuple[list[str], Mapping[str, Any], Mapping[str, Any]]] = {}
        for before, after in pairs:
            digests = snapshot(before).get("code", ""), snapshot(after).get("code", "")
            if digests[0] != digests[1] and snapshot(before) and snapshot(after):
                code.setdefault(digests, []).append(after.id.task)
            old, new = (run.record.get("data") or {} for run in (before, after))
            fingerprints = str(old.get("fingerprint") or ""), str(new.get("fingerprint") or "")
            if old and new and fingerprints[0] != fingerprints[1]:
                data.setdefault(fingerprints, ([], old, new))[0].append(after.id.task)
        data_differences = tuple(
            replace(self._data.difference(old, new), tasks=tuple(tasks)) for tasks, old, new in data.values()
        )
        return Comparison(
            ensemble,
            tuple(trainings),
            differences,
            tuple(replace(code_difference(self.store, *digests), tasks=tuple(tasks)) for digests, tasks in code.items()),
            data_differences,
            (*notes, *self._unknown_inputs(pairs), *_other_contents(data_differences)),
        )

    def _unknown_inputs(self, pairs: Sequence[tuple[Run, Run]]) -> Iterator[str]:
        """Of which runs it is not known what was pinned."""
        runs = list({run.id: run for pair in pairs for run in pair}.values())
        unknown = [run for run in runs if not snapshot(run)]
        if unknown:
            yield f"what {_listed(unknown)} was made from is not recorded: nothing that is pinned is compared with it"
        without = [run for run in runs if snapshot(run) and not self.pinned(run).task]
        if without:
            names = f"the configuration of {_listed(without)} is not in the store any more"
            yield f"{names}: of it only the hyperparameters are compared"

    def _side(self, run: Run) -> ComparedRun:
        reason = run.reason or ""
        return ComparedRun(run.id, str(run.status), reason, str(run.kind or ""), self.timezone or timezone_of(self.store, run))


def compare_runs(store: Store, before: Run, after: Run, tolerance: float = TOLERANCE) -> Comparison:
    """Compare two ensemble runs, with the trainings of their models, or two trainings; CronsembleError for one of each."""
    return RunComparer(store, tolerance).compare(before, after)


def _unsuccessful(before: Run, after: Run) -> Iterator[str]:
    for run in (before, after):
        if run.status != Status.SUCCEEDED:
            yield f"{run.id} has no result: {run.status}"
        elif not run.record:
            yield f"{run.id}: its result is not in the store any more{_removal(run)}"


def _listed(runs: Sequence[Run]) -> str:
    ids = [str(run.id) for run in runs]
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more runs" if len(ids) > 3 else "")


def _removal(run: Run) -> str:
    time = run.removed.get("time") if run.removed else None
    return f": gc removed files of it at {time}" if time else ""


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _ensemble_predictions(result: EnsembleResult) -> Predictions | None:
    array = result.probabilities
    if array is None or array.ndim != 2 or len(array) != len(result.items):
        return None
    return Predictions(result.items, _names(result, array.shape[1]), array, result.labels)


def _member_predictions(result: EnsembleResult, name: str) -> Predictions | None:
    array = result.member_probabilities.get(name)
    return None if array is None else Predictions(result.items, _names(result, array.shape[1]), array, result.labels)


def _names(result: EnsembleResult, number: int) -> Sequence[str]:
    return result.classes if len(result.classes) == number else _class_names(result.run.record, number)


def _class_names(record: Mapping[str, Any], number: int) -> Sequence[str]:
    """The names of a run's classes; their numbers where no record has as many names."""
    for source in (record.get("model"), record.get("data")):
        names = (source or {}).get("class_names") or []
        if len(names) == number:
            return [str(name) for name in names]
    return [str(n) for n in range(number)]


def _other_contents(data: Sequence[DataDifference]) -> Iterator[str]:
    """That items of one id have not the contents that they had."""
    for difference in data:
        arrays = {array.name: array for array in difference.arrays}
        changed = arrays.get("x_predict")
        if changed is not None and changed.items and "ids" not in arrays:
            total = (changed.after or (0,))[0]
            yield f"{changed.items} of the {total} predicted items have another content than before under the same id"
