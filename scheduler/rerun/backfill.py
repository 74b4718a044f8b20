"""Backfills: the slots of a period that never ran or did not succeed, made up for in the order of their time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import inf

from cronjobs.experiment import Experiment
from cronjobs.revisions import periods
from cronjobs.revisions.expected import expected
from cronjobs.revisions.periods import SchedulePeriod, TaskSchedule
from cronjobs.tasks import ExperimentContext
from jobs import contract as c
from jobs.contract import Status
from jobs.store import Run, Store
from jobs.store.latest_model import is_candidate
from scheduler.engines.base import Engine
from scheduler.engines.run_spec import RunSpec, Runtimes, ensemble_spec, train_spec
from scheduler.errors import CronsembleError

KIND = "backfill"


@dataclass(frozen=True)
class Gap:
    """A slot to be made up for: ``run`` is its next attempt, ``why`` what became of it so far."""

    run: c.RunId
    why: str

    @property
    def slot(self) -> str:
        return self.run.slot.strftime("%Y-%m-%dT%H:%MZ")


def gaps(store: Store, experiment: Experiment, low: int, high: int, now: float, only: Collection[str]) -> list[Gap]:
    """The gaps of the minutes ``low`` to ``high``, oldest slot first, and of a slot the trainings before the ensemble.

    Which slots there should have been the revisions in the store say; before the first one, today's schedule does. A slot
    with a run at work is left alone.
    """
    plans = {c.member_task(name): member for name, member in experiment.members.items()}
    tasks = {**plans, **({c.ENSEMBLE_TASK: experiment.ensemble} if experiment.ensemble else {})}
    for name in only:
        if name not in tasks:
            raise CronsembleError(f"--task {name}: {experiment.path} declares no such task; there are {', '.join(tasks)}")
    known = periods.schedule_periods(periods.scheduling_periods(store.ledger.revisions(experiment.name), now))
    found: list[Gap] = []
    for name, task in tasks.items():
        if only and name not in only:
            continue
        spans = known.get(name, [])
        first = spans[0].start if spans else inf
        # Nobody ran it before: what its schedule of today would have done counts.
        before = SchedulePeriod(low * 60.0 - 60, first, TaskSchedule(task.schedule, task.timezone), "", "")
        wanted = expected([before, *spans], low * 60.0 - 1, min(high * 60.0 + 59, now))
        attempts = _attempts(store, experiment.name, name, low, high)
        for minute, _ in wanted:
            gap = _gap(experiment.name, name, minute, attempts.get(minute, []))
            if gap is not None:
                found.append(gap)
    return sorted(found, key=lambda gap: (gap.run.minute, gap.run.task == c.ENSEMBLE_TASK))


def _attempts(store: Store, experiment: str, task: str, low: int, high: int) -> Mapping[int, list[Run]]:
    found: dict[int, list[Run]] = {}
    for run in store.run_ids(experiment, task):
        if run.minute < low:
            break
        if run.minute <= high:
            found.setdefault(run.minute, []).insert(0, store.read(run))
    return found


def _gap(experiment: str, task: str, minute: int, attempts: list[Run]) -> Gap | None:
    if any(run.status == Status.RUNNING or run.status == Status.SUCCEEDED and is_candidate(run.record, "") for run in attempts):
        return None
    last = next((run for run in reversed(attempts) if run.status != Status.SUCCEEDED), None)
    why = "never ran" if last is None else f"{last.status}: {last.reason}" if last.reason else last.status
    attempt = max((run.id.attempt for run in attempts), default=0) + 1
    return Gap(c.RunId(minute, attempt, experiment, task), why)


def fill(
    engine: Engine, context: ExperimentContext, found: list[Gap], runtimes: Runtimes, parallel: int
) -> Iterator[tuple[Gap, Run | None]]:
    """Make up for these gaps, ``parallel`` at a time, and tell each as it ends, in order; None: not started.

    An ensemble waits for the trainings of slots up to its own, so that it has every model that it should have had then, and
    it never takes one of a later slot.
    """
    with ThreadPoolExecutor(parallel) as pool:
        trainings: list[Future[Run | None]] = []
        futures: list[tuple[Gap, Future[Run | None]]] = []
        for gap in found:
            order = _order(context, gap, runtimes)
            is_ensemble = gap.run.task == c.ENSEMBLE_TASK
            future = pool.submit(_carry_out, engine, gap, order, list(trainings) if is_ensemble else [])
            if not is_ensemble:
                trainings.append(future)
            futures.append((gap, future))
        for gap, future in futures:
            yield gap, future.result()


def _carry_out(engine: Engine, gap: Gap, order: RunSpec, before: list[Future[Run | None]]) -> Run | None:
    done = [each.result() for each in before if each.exception() is None]
    if engine.stopped:
        return None
    if not engine.claim(gap.run, KIND):
        engine.observer.say(f"{order.label}: somebody else has begun {gap.run}: left alone")
        return None
    return engine.run(replace(order, after=tuple(run.id for run in done if run is not None)), gap.run)


def _order(context: ExperimentContext, gap: Gap, runtimes: Runtimes) -> RunSpec:
    experiment = context.experiment
    if gap.run.task == c.ENSEMBLE_TASK:
        assert experiment.ensemble is not None
        return ensemble_spec(context, experiment.ensemble, runtimes, gap.run.minute, KIND)
    member = next(each for name, each in experiment.members.items() if c.member_task(name) == gap.run.task)
    return train_spec(context, member, runtimes, gap.run.minute, KIND)
