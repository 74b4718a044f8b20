"""`backfill`: which slots of a period never ran or did not succeed, and their runs in the order of time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import inf

from cronjobs.experiment import Experiment
from cronjobs.tasks import ExperimentContext, tasks_of
from jobs import contract as c
from jobs.contract import RunKind, Status
from jobs.expected_slots import expected
from jobs.schedule_periods import SchedulePeriod, TaskSchedule, schedule_periods, scheduling_periods
from jobs.store import Run, Store
from jobs.store.latest_model import is_candidate
from scheduler.engines.base import Engine
from scheduler.engines.run_spec import RunSpec, Runtimes, spec_of_task
from scheduler.errors import CronsembleError


@dataclass(frozen=True)
class Gap:
    """A slot that never ran or did not succeed: ``run`` is its next attempt, ``why`` what became of it so far."""

    run: c.RunId
    why: str

    @property
    def slot(self) -> str:
        """The slot for people: ``2026-11-20T06:00Z``."""
        return c.slot_text(self.run.minute)


def gaps(store: Store, experiment: Experiment, low: int, high: int, now: float, only: Collection[str]) -> list[Gap]:
    """The gaps from the minute ``low`` to ``high`` since 1970, oldest slot first, the trainings of a slot before its ensemble.

    Which slots there should have been is what the revisions in the store say; before the first one, today's schedule
    does. A slot with a running run is no gap. ``only``: of these tasks, all if it is empty. Raises CronsembleError.
    """
    tasks = dict(tasks_of(experiment))
    for name in only:
        if name not in tasks:
            raise CronsembleError(f"--task {name}: {experiment.path} declares no such task; there are {', '.join(tasks)}")
    recorded = schedule_periods(scheduling_periods(store.ledger.revisions(experiment.name), now))
    gaps: list[Gap] = []
    for name, settings in tasks.items():
        if only and name not in only:
            continue
        recorded_periods = recorded.get(name, [])
        first = recorded_periods[0].start if recorded_periods else inf
        # Nobody ran it before: what today's schedule would have done counts.
        unrecorded = SchedulePeriod(low * 60.0 - 60, first, TaskSchedule(settings.schedule, settings.timezone), "", "")
        attempts = _attempts(store, experiment.name, name, low, high)
        for minute, _ in expected([unrecorded, *recorded_periods], low * 60.0 - 1, min(high * 60.0 + 59, now)):
            gap = _gap(experiment.name, name, minute, attempts.get(minute, []))
            if gap is not None:
                gaps.append(gap)
    return sorted(gaps, key=lambda gap: (gap.run.minute, gap.run.task == c.ENSEMBLE_TASK))


def _attempts(store: Store, experiment: str, task: str, low: int, high: int) -> Mapping[int, list[Run]]:
    """By slot its runs, the first attempt first."""
    attempts: dict[int, list[Run]] = {}
    for run in store.run_ids(experiment, task):
        if run.minute < low:
            break
        if run.minute <= high:
            attempts.setdefault(run.minute, []).insert(0, store.read(run))
    return attempts


def _gap(experiment: str, task: str, minute: int, attempts: list[Run]) -> Gap | None:
    if any(run.status == Status.RUNNING or run.status == Status.SUCCEEDED and is_candidate(run.record, "") for run in attempts):
        return None
    last = next((run for run in reversed(attempts) if run.status != Status.SUCCEEDED), None)
    why = "never ran" if last is None else f"{last.status}: {last.reason}" if last.reason else last.status
    attempt = max((run.id.attempt for run in attempts), default=0) + 1
    return Gap(c.RunId(minute, attempt, experiment, task), why)


def fill(
    engine: Engine, context: ExperimentContext, missing: list[Gap], runtimes: Runtimes, parallel: int
) -> Iterator[tuple[Gap, Run | None, str]]:
    """Run these gaps, ``parallel`` at a time, and yield each with its run as it ends, in their order.

    None is a run that was not started; the last is the reason, if that was an error: the other gaps are run all the same.

    An ensemble waits for the trainings of slots up to its own, so that it has every model that it should have had then, and
    it never takes one of a later slot.
    """
    with ThreadPoolExecutor(parallel) as pool:
        trainings: list[Future[Run | None]] = []
        futures: list[tuple[Gap, Future[Run | None]]] = []
        for gap in missing:
            spec = spec_of_task(context, gap.run.task, runtimes, gap.run.minute, RunKind.BACKFILL)
            is_ensemble = gap.run.task == c.ENSEMBLE_TASK
            future = pool.submit(_run_gap, engine, gap, spec, list(trainings) if is_ensemble else [])
            if not is_ensemble:
                trainings.append(future)
            futures.append((gap, future))
        for gap, future in futures:
            try:
                yield gap, future.result(), ""
            except CronsembleError as error:
                yield gap, None, str(error)


def _run_gap(engine: Engine, gap: Gap, spec: RunSpec, trainings: list[Future[Run | None]]) -> Run | None:
    before = [training.result() for training in trainings if training.exception() is None]
    if engine.stopped:
        return None
    if not engine.claim(gap.run, RunKind.BACKFILL):
        engine.observer.say(f"{spec.label}: somebody else has started {gap.run}: left alone")
        return None
    return engine.run(replace(spec, after=tuple(run.id for run in before if run is not None)), gap.run)
