"""One experiment as `serve` runs it: its configuration, what is known of each task, and the runs at work."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

from cronjobs.experiment import Experiment
from cronjobs.revisions import periods
from cronjobs.revisions.due import DEADLINE, EDIT, Decision, TaskHistory, decide
from cronjobs.revisions.expected import expected
from jobs import contract as c
from jobs.contract import RunKind, Status
from jobs.store import LocalStore
from jobs.store.process_identity import is_alive, process_identity
from scheduler.config import ConfigErrors, load
from scheduler.engines import local_revisions
from scheduler.engines.local import CpuBudget, LocalEngine
from scheduler.engines.manual_run import store_context
from scheduler.errors import CronsembleError
from scheduler.identity import current_user
from scheduler.server.file_watch import FileWatcher
from scheduler.server.journal import Journal
from scheduler.server.metrics import Metrics
from scheduler.server.run_thread import RunEnded, RunThread, iso, runs_begun_by, slot_name
from scheduler.server.task_state import TaskState, has_tries_left, tasks_of
from scheduler.stores.location import local_store

AGAIN = 15.0
"""Seconds until a start that failed (a full disk, a store that went away) is tried again."""
KEEP = 2 * 86400
"""Seconds for which started slots are remembered beyond the starting deadline: a clock may be set back."""
_SAID = {DEADLINE: "missed", EDIT: "dropped"}


def back_off(failed: int) -> float:
    """Seconds between a failed try and the next, as the Job controller waits: 10, 20, 40, … and at most ten minutes."""
    return float(min(10 * 2 ** (failed - 1), 600))


class ServedExperiment:
    """One experiment. Its methods are called by the loop's thread alone; ``tell`` is called by the threads of runs."""

    def __init__(
        self,
        experiment: Experiment,
        budget: CpuBudget,
        journal: Journal,
        metrics: Metrics,
        tell: Callable[[ServedExperiment, RunEnded], None],
    ) -> None:
        self.name, self.path = experiment.name, experiment.path
        self.store: LocalStore = local_store(experiment)
        self.journal, self.metrics, self.tell = journal.of(experiment.name), metrics, tell
        self.engine = LocalEngine(self.store, self.journal, budget, back_off)
        self.standings: dict[str, TaskState] = {}
        self.owned = False
        self.experiment = experiment
        self._files = FileWatcher()
        self._notes: list[dict[str, Any]] = []
        self._making: dict[tuple[str, int], RunThread] = {}
        self._identity = process_identity()
        self._host = str(self._identity["host"])
        self._since = ""

    @property
    def folder(self) -> Path:
        return self.experiment.folder

    @property
    def is_busy(self) -> bool:
        return bool(self._making)

    # -- owning

    def own(self, now: float, take_over: bool) -> None:
        """Say that this process runs the experiment; raises CronsembleError if another does."""
        known = self.store.ledger.owner(self.name)
        mine = {"engine": local_revisions.engine(), "by": current_user(), "time": iso(now), "process": self._identity}
        if known is not None and not take_over:
            own = known.get("engine") == mine["engine"]
            if not own or is_alive(known.get("process", {})) is True and known.get("process") != self._identity:
                raise CronsembleError(f"{self.path}: {self.name} is run by {_named(known)}: stop that one, or type --take-over")
        refused = self.store.ledger.take_ownership(self.name, mine, take_over=take_over or known is not None)
        if refused is not None:
            raise CronsembleError(f"{self.path}: {self.name} is run by {_named(refused)}: stop that one, or type --take-over")
        self.owned = True
        self._since = self.store.ledger.last_heartbeat(self.name, self._host) or ""

    def is_still_ours(self) -> bool:
        known = self.store.ledger.owner(self.name)
        if known is None or known.get("process") == self._identity:
            return True
        self.journal.write("taken over", f"{_named(known)} has taken it over: nothing more is started here")
        self.owned = False
        return False

    # -- beginning

    def begin(self, now: float) -> None:
        """Record the revision, find what was left at work, and be ready for the first look."""
        self.store.repair_archives(self.name)
        self._files.has_changed(self.experiment)
        self._apply(self.experiment, now)
        self._note({"event": "started", **({"since": self._since} if self._since else {})}, now)
        told = {(note.get("task"), note.get("minute")) for note in self.store.ledger.notes(self.name)}
        for name, standing in self.standings.items():
            standing.settled = int(now // 60)
            self._recover(name, standing, now)
            self._remember(name, standing, told)
        self.beat(now)
        self.metrics.configuration.labels(self.name).set(1)
        self.journal.write("started", f"{len(self.standings)} tasks of {self.path}, store {self.store.root}")

    def _apply(self, experiment: Experiment, now: float) -> bool:
        """Take a configuration on; whether it says anything new."""
        context = store_context(self.engine, experiment)
        before = {name: (standing.spec, standing.resolved) for name, standing in self.standings.items()}
        new = local_revisions.record_revision(self.store, context, "serve", datetime.fromtimestamp(now, UTC))
        known = periods.schedule_periods(periods.scheduling_periods(self.store.ledger.revisions(self.name), now + 1))
        standings = {}
        for name, (spec, resolved) in tasks_of(context).items():
            old = self.standings.get(name)
            standing = old or TaskState(spec, resolved, [], settled=int(now // 60))
            standing.spec, standing.resolved, standing.spans, standing.wake = spec, resolved, known.get(name, []), -inf
            standings[name] = standing
        for name, standing in self.standings.items():
            if name not in standings and standing.waiting is not None:
                self._lose(name, standing, standing.waiting, EDIT, "the task was removed from the configuration", now)
        self.standings, self.experiment = standings, experiment
        return new is not None or before != {name: (each.spec, each.resolved) for name, each in standings.items()}

    def _recover(self, name: str, standing: TaskState, now: float) -> None:
        """Learn which slots have begun; go on with what this machine's last `serve` left unfinished."""
        reach = standing.spec.starting_deadline + standing.spec.deadline + KEEP
        for run in self.store.run_ids(self.name, name):
            if run.minute * 60 < now - reach:
                break
            told = self.store.read(run)
            kind, begun, process = runs_begun_by(self.store, told)
            if kind == RunKind.MANUAL:
                continue
            standing.started.add(run.minute)
            if (
                kind != RunKind.SCHEDULED
                or told.cancelled
                or told.status in (Status.SUCCEEDED, Status.FAILED, Status.NO_QUORUM, Status.UNKNOWN)
            ):
                continue
            if told.status == Status.RUNNING:
                # Another process's, which goes on to its end: it counts for `concurrency`.
                standing.active[run.minute] = run
            elif process.get("host") == self._host and begun + standing.spec.deadline > now and has_tries_left(told, standing):
                self.journal.write("resumed", f"goes on with {run}, which {told.status}", task=name, run=str(run))
                self._start(name, standing, run.minute, (), run)

    def _remember(self, name: str, standing: TaskState, told: set[tuple[Any, Any]]) -> None:
        """The slot that had come and not begun when this machine's last `serve` gave its last sign of life."""
        if not self._since or not standing.spans:
            return
        alive = datetime.fromisoformat(self._since).timestamp()
        some = expected(standing.spans, alive - standing.spec.starting_deadline, alive)
        minute, span = some[-1] if some else (0, None)
        if span is not None and not span.plan.suspend and minute not in standing.started and (name, minute) not in told:
            standing.waiting, standing.blocked = minute, "serve was stopped while it waited"

    # -- the clock and the files

    def look_at_files(self, now: float) -> None:
        """Take an edited configuration on, or say what is wrong with it and keep the old one."""
        if not self._files.has_changed(self.experiment):
            return
        try:
            experiment = load(self.path)
            if experiment.name != self.name or local_store(experiment).root != self.store.root:
                raise CronsembleError(f"{self.path}: another experiment or store than {self.name}: start serve again for it")
            if self._apply(experiment, now):
                self.journal.write("revised", "the edited configuration holds from now on: `cronsemble history --revisions`")
            self.metrics.configuration.labels(self.name).set(1)
        except (ConfigErrors, CronsembleError, OSError) as error:
            lines = str(error).splitlines()
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            if isinstance(error, OSError):
                # The store's trouble, not the file's: it is looked at again.
                self._files.forget()
            self.journal.write("refused", f"{lines[0]}{more}: the old configuration holds")
            self.metrics.configuration.labels(self.name).set(0)

    def beat(self, now: float) -> None:
        """A sign of life, and the notes that could not be written before."""
        try:
            self.store.ledger.record_heartbeat(self.name, self._host, iso(now))
            while self._notes:
                self.store.ledger.add_note(self.name, self._host, self._notes[0])
                del self._notes[0]
        except OSError as error:
            self.journal.write("trouble", f"{error.filename or self.store.root}: {error.strerror}")

    def clock_moved(self, before: float, now: float) -> None:
        """The clock was set, or the machine slept: every task is looked at anew."""
        if now > before:
            # One note for all that passed meanwhile, as after a stop.
            self._note({"event": "started", "since": iso(before), "reason": "the machine slept, or its clock was set"}, now)
        for standing in self.standings.values():
            standing.settled, standing.wake = max(standing.settled, int(now // 60)), -inf

    # -- deciding

    def step(self, now: float) -> float:
        """Decide for every task whose time has come; the instant at which the next one's comes."""
        for name, standing in self.standings.items():
            if standing.wake <= now and standing.spans:
                self._decide(name, standing, now)
        if self._notes:
            self.beat(now)
        return min((standing.wake for standing in self.standings.values() if standing.spans), default=inf)

    def _decide(self, name: str, standing: TaskState, now: float) -> None:
        foreign = {at: run for at, run in standing.active.items() if run is not None and (name, at) not in self._making}
        for minute, run in foreign.items():
            if self.store.read(run).status != Status.RUNNING:
                del standing.active[minute]
        told = decide(TaskHistory(standing.spans, standing.started, standing.active, standing.waiting, standing.settled), now)
        for minute, why in told.lost:
            reason = standing.blocked if minute == standing.waiting and standing.blocked else ""
            self._lose(name, standing, minute, why, reason, now)
        self._wait(name, standing, told)
        standing.settled, standing.wake = told.settled, told.wake
        if any(minute in standing.active for minute in foreign):
            # Nobody tells when another process's run ends.
            standing.wake = min(standing.wake, now + AGAIN)
        standing.started = {each for each in standing.started if each * 60 > now - standing.spec.starting_deadline - KEEP}
        if told.start is not None:
            replaced = tuple(self._making[name, each] for each in told.replaced if (name, each) in self._making)
            self._start(name, standing, told.start, replaced)
        self.metrics.following.labels(self.name, name).set(0 if told.coming is None else told.coming * 60)

    def _wait(self, name: str, standing: TaskState, told: Decision) -> None:
        if told.waiting is not None and told.waiting != standing.waiting:
            busy = next(
                (run for run in (self._run_of(name, standing, each) for each in standing.active) if run is not None), None
            )
            standing.blocked = f"{busy or 'the run before it'} was still running (concurrency: forbid)"
            self.journal.write("waits", f"{slot_name(told.waiting)} is due and waits: {standing.blocked}", task=name)
        standing.waiting = told.waiting

    def _lose(self, name: str, standing: TaskState, minute: int, why: str, reason: str, now: float) -> None:
        event = "skipped" if reason and "concurrency" in reason and why != EDIT else _SAID.get(why, "missed")
        text = f"{why}{': ' if reason else ''}{reason}" if event != "skipped" else reason
        self._note({"event": event, "task": name, "minute": minute, "reason": text}, now)
        self.metrics.lost.labels(self.name, name, event).inc()
        self.journal.write(event, f"{slot_name(minute)} {event}: {text}", task=name, slot=slot_name(minute), reason=text)

    def _note(self, note: dict[str, Any], now: float) -> None:
        self._notes.append({"time": iso(now), "engine": local_revisions.engine(), **note})

    # -- running

    def _run_of(self, name: str, standing: TaskState, minute: int) -> c.RunId | None:
        making = self._making.get((name, minute))
        return standing.active.get(minute) if making is None else making.run_id

    def _start(
        self, name: str, standing: TaskState, minute: int, replaced: tuple[RunThread, ...], resumed: c.RunId | None = None
    ) -> None:
        standing.started.add(minute)
        standing.active[minute] = resumed
        making = RunThread(self, name, standing.spec, standing.resolved, minute, replaced, resumed)
        self._making[name, minute] = making
        self.metrics.active.labels(self.name).set(len(self._making))
        making.start()

    def ended(self, told: RunEnded, now: float) -> None:
        """A run's thread has come to its end."""
        self._making.pop((told.task, told.minute), None)
        self.metrics.active.labels(self.name).set(len(self._making))
        standing = self.standings.get(told.task)
        if told.run is not None:
            self.metrics.runs.labels(self.name, told.task, told.run.status).inc()
            if told.run.status == Status.SUCCEEDED:
                self.metrics.succeeded.labels(self.name, told.task).set(now)
        if standing is None:
            return
        standing.active.pop(told.minute, None)
        if told.trouble:
            # It was not begun: it is due again, until its deadline.
            standing.started.discard(told.minute)
            standing.waiting, standing.blocked = told.minute, told.trouble
            self.journal.write("trouble", f"{slot_name(told.minute)} could not start: {told.trouble}", task=told.task)
            standing.wake = now + AGAIN
        else:
            standing.wake = -inf

    def stop(self, now: float) -> None:
        """End every run at work, each with its reason, and say goodbye."""
        self.engine.interrupt()
        for making in self._making.values():
            making.join(10)
        if self.owned:
            self._note({"event": "stopped"}, now)
            self.beat(now)
        self.journal.write("stopped", "stopped" + (": what was at work goes on with the next start" if self._making else ""))


def _named(owner: dict[str, Any]) -> str:
    process = owner.get("process") or {}
    pid = f", process {process['pid']}" if "pid" in process else ""
    return f"{owner.get('by') or owner.get('engine')} ({owner.get('engine')}{pid}, since {owner.get('time')})"
