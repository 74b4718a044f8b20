"""One experiment as `serve` runs it: its configuration, the state of each task, and the threads of its runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

from cronjobs.experiment import Experiment
from cronjobs.revisions.due import EDIT, Decision, TaskHistory, decide
from cronjobs.tasks import resolve_tasks
from jobs import contract as c
from jobs.contract import NoteEvent, RunKind, Status, slot_text
from jobs.expected_slots import expected
from jobs.schedule_periods import schedule_periods, scheduling_periods
from jobs.store import LocalStore, Run, removal, snapshot_digests
from jobs.store.latest_predictions import update_latest
from jobs.store.open_runs import RunState, run_origin
from jobs.store.process_identity import is_alive, process_identity
from scheduler.config import ConfigErrors, load
from scheduler.engines import local_revisions
from scheduler.engines.leftovers import end_try
from scheduler.engines.local import CpuBudget, LocalEngine
from scheduler.engines.manual_run import store_context
from scheduler.engines.run_spec import runtimes_needed
from scheduler.errors import CronsembleError
from scheduler.identity import current_user
from scheduler.server.claim_order import ClaimOrder
from scheduler.server.file_watch import FileWatcher
from scheduler.server.heartbeat import PingingObserver, ServedHeartbeat
from scheduler.server.journal import Journal
from scheduler.server.metrics import Metrics
from scheduler.server.notifier import Notifier
from scheduler.server.run_thread import RunEnded, RunThread
from scheduler.server.task_state import TaskState
from scheduler.server.watch import ServedWatch
from scheduler.stores.location import local_store
from scheduler.times import format_duration, format_time

RETRY_AFTER = 15.0
"""Seconds until a start that failed (a full disk, a store that went away) is tried again."""
REMEMBERED = 2 * 86400
"""Seconds for which started slots are remembered beyond the starting deadline: a clock may be set back."""
_EVENTS = {EDIT: NoteEvent.DROPPED}
"""By why a slot will never run the event of its note; MISSED for every other reason."""


def back_off(failed: int) -> float:
    """Seconds between a failed try and the next, as the Job controller waits: 10, 20, 40, … and at most ten minutes."""
    return float(min(10 * 2 ** (failed - 1), 600))


class ServedExperiment:
    """One experiment. Its methods are called by the loop's thread alone, but for ``report``, which threads of runs call.

    ``owned``: whether this process starts runs of it; instants (``now``) are seconds since 1970.
    """

    def __init__(
        self,
        experiment: Experiment,
        budget: CpuBudget,
        journal: Journal,
        metrics: Metrics,
        report: Callable[[ServedExperiment, RunEnded], None],
    ) -> None:
        self.name, self.path = experiment.name, experiment.path
        self.store: LocalStore = local_store(experiment)
        self.journal, self.metrics, self._report = journal.of(experiment.name), metrics, report
        self.observer = PingingObserver(self.journal)
        self.heartbeat = ServedHeartbeat(self.journal)
        self.watch = ServedWatch(self.journal, self.store.root)
        self.engine = LocalEngine(self.store, self.observer, budget, back_off)
        self.claims = ClaimOrder()
        self.tasks: dict[str, TaskState] = {}
        self.owned = False
        self.experiment = experiment
        self._files = FileWatcher()
        self._notes: list[dict[str, Any]] = []
        self._threads: dict[tuple[str, int], RunThread] = {}
        self.identity = process_identity()
        self._host = str(self.identity["host"])
        self._since = ""
        self.notifier = Notifier(self.store, self.journal, lambda: self.owned or self.is_busy)

    @property
    def folder(self) -> Path:
        """Where relative data paths begin: the configuration's folder."""
        return self.experiment.folder

    @property
    def is_busy(self) -> bool:
        """Whether any run has not ended."""
        return bool(self._threads)

    def report(self, ended: RunEnded) -> None:
        """Hand on to the loop that a run's thread has ended; called by that thread."""
        self._report(self, ended)

    # -- owning

    def own(self, now: float, take_over: bool) -> None:
        """Say that this process runs the experiment; raises CronsembleError if another does, or it cannot write the store."""
        if problem := self.store.access_problem(self.name):
            raise CronsembleError(f"{self.path}: store: {problem}")
        number = self.store.ledger.owner_number(self.name)
        owner = self.store.ledger.owner(self.name, number)
        claim = {
            "engine": local_revisions.engine(),
            "by": current_user(),
            "time": format_time(now, milliseconds=True),
            "process": self.identity,
        }
        if owner is not None and not take_over:
            is_this_engine = owner.get("engine") == claim["engine"]
            if not is_this_engine or is_alive(owner.get("process") or {}) is True and owner.get("process") != self.identity:
                raise self._owned_by(owner)
        # The owner that was looked at: of two that replace it in the same instant one does.
        other = self.store.ledger.take_ownership(self.name, claim, number if owner is not None or take_over else 0)
        if other is not None:
            raise self._owned_by(other)
        self.owned = True
        for path in self.store.ledger.past_owner_files(self.name):
            removal.remove(self.store, path)
        self._since = self.store.ledger.last_heartbeat(self.name, self._host) or ""

    def _owned_by(self, owner: dict[str, Any]) -> CronsembleError:
        return CronsembleError(f"{self.path}: {self.name} is run by {_named(owner)}: stop that one, or type --take-over")

    def check_owner(self) -> bool:
        """Whether this process still owns the experiment; once it does not, it starts nothing more."""
        owner = self.store.ledger.owner(self.name)
        if owner is None or owner.get("process") == self.identity:
            return True
        self.journal.write("taken over", f"{_named(owner)} has taken it over: nothing more is started here")
        self.owned = False
        return False

    # -- beginning

    def begin(self, now: float) -> None:
        """Record the revision, and find which runs and slots the last `serve` left unfinished."""
        self.store.repair_archives(self.name)
        update_latest(self.store, self.name)
        self._files.has_changed(self.experiment)
        self._apply(self.experiment, now)
        self._note({"event": NoteEvent.STARTED, **({"since": self._since} if self._since else {})}, now)
        names = {name for state in self.tasks.values() for name in runtimes_needed(state.resolved)}
        self.engine.end_leftovers(self.experiment.runtimes[name] for name in names)
        for error in self.store.unreadable_folders(self.name):
            # No run can be claimed there, either.
            self.journal.write("trouble", f"{error.filename}: {error.why}: what ran there is unknown")
        decided = {(note.get("task"), note.get("minute")) for note in self.store.ledger.notes(self.name)}
        for name, state in self.tasks.items():
            state.settled = int(now // 60)
            self._recover(name, state, now)
            self._restore_waiting(name, state, decided)
        self.beat(now)
        self.heartbeat.look(self.experiment, now)
        self.watch.look(self.experiment, now)
        self.metrics.configuration.labels(self.name).set(1)
        self.notifier.use(self.experiment)
        self.journal.write("started", f"{len(self.tasks)} tasks of {self.path}, store {self.store.root}")

    def _apply(self, experiment: Experiment, now: float) -> bool:
        """Serve this configuration from now on; whether it says anything new."""
        context = store_context(self.engine, experiment)
        before = {name: (state.settings, state.resolved) for name, state in self.tasks.items()}
        revision = local_revisions.record_revision(self.store, context, "serve", datetime.fromtimestamp(now, UTC))
        periods = schedule_periods(scheduling_periods(self.store.ledger.revisions(self.name), now + 1))
        states = {}
        for name, (settings, resolved) in resolve_tasks(context).items():
            state = self.tasks.get(name) or TaskState(settings, resolved, [], settled=int(now // 60))
            state.settings, state.resolved = settings, resolved
            state.snapshot = snapshot_digests(resolved)
            state.schedule_periods, state.wake = periods.get(name, []), -inf
            states[name] = state
        for name, state in self.tasks.items():
            if name not in states and state.waiting is not None:
                self._record_lost_slot(name, state.waiting, EDIT, "the task was removed from the configuration", now)
        self.tasks, self.experiment = states, experiment
        return revision is not None or before != {name: (state.settings, state.resolved) for name, state in states.items()}

    def _recover(self, name: str, state: TaskState, now: float) -> None:
        """Learn which slots have started; resume the runs that this machine's last `serve` left unfinished."""
        oldest = now - state.settings.starting_deadline - state.settings.deadline - REMEMBERED
        for run_id in self.store.run_ids(self.name, name, skip_unreadable=True):
            if run_id.minute * 60 < oldest:
                break
            run = self.store.read(run_id)
            origin = run_origin(run)
            if origin.kind == RunKind.MANUAL:
                continue
            is_replaced = state.settings.concurrency == "replace" and bool(state.started)
            state.started.add(run_id.minute)
            if is_replaced:
                self._end_left_behind(run)
            else:
                self._go_on(name, state, run, now)

    def _end_left_behind(self, run: Run) -> None:
        """End what still runs of a run whose process on this machine was killed."""
        if run.status == Status.DIED and run_origin(run).process.get("host") == self._host:
            # Its supervisor was killed too, or it would have recorded an end; what that had started may go on.
            for attempt in run.tries:
                if attempt["end"] is None and (problem := end_try(attempt["start"], attempt["name"])):
                    text = f"{run.id}: its try {attempt['name']} could not be ended: {problem}"
                    self.journal.write("trouble", text, task=run.id.task, run=str(run.id))

    def _go_on(self, name: str, state: TaskState, run: Run, now: float) -> None:
        """Resume a run that no thread here makes, if it is unfinished; what another process makes counts for `concurrency`."""
        self._end_left_behind(run)
        minute, run_state = run.id.minute, state.run_state(run, self.identity, now)
        if self.engine.ends.unwritten(run.id):
            # How many tries it has left is seen once these are written.
            run_state = RunState.ELSEWHERE
        if run_state == RunState.ELSEWHERE:
            state.active[minute] = run.id
        elif run_state == RunState.UNFINISHED and self.owned and not self.engine.stopped:
            self.journal.write("resumed", f"{run.id} {run.status}: it is resumed", task=name, run=str(run.id))
            self._start(name, state, minute, (), now, run)
        else:
            state.active.pop(minute, None)

    def _restore_waiting(self, name: str, state: TaskState, decided: set[tuple[Any, Any]]) -> None:
        """The slot that was due and had not started when this machine's last `serve` gave its last sign of life."""
        if not self._since or not state.schedule_periods:
            return
        alive = datetime.fromisoformat(self._since).timestamp()
        due = expected(state.schedule_periods, alive - state.settings.starting_deadline, alive)
        minute, period = due[-1] if due else (0, None)
        if (
            period is not None
            and not period.task_schedule.suspend
            and minute not in state.started
            and (name, minute) not in decided
        ):
            state.waiting, state.blocked = minute, "serve was stopped while it waited"

    # -- the clock and the files

    def look_at_files(self, now: float) -> None:
        """Serve an edited configuration from now on, or say what is wrong with it and keep the old one."""
        self.heartbeat.look(self.experiment, now)
        if not self._files.has_changed(self.experiment):
            return
        try:
            experiment = load(self.path)
            if experiment.name != self.name or local_store(experiment).root != self.store.root:
                raise CronsembleError(f"{self.path}: another experiment or store than {self.name}: start serve again for it")
            if self._apply(experiment, now):
                self.journal.write("revised", "the edited configuration is in use from now on: `cronsemble history --revisions`")
            self.heartbeat.look(self.experiment, now)
            self.metrics.configuration.labels(self.name).set(1)
            self.notifier.configuration("")
            self.notifier.use(experiment)
        except (ConfigErrors, CronsembleError, OSError) as error:
            lines = str(error).splitlines()
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            if isinstance(error, OSError):
                # The store's trouble, not the file's: try again in a minute.
                self._files.forget()
            else:
                self.notifier.configuration(f"{lines[0]}{more}")
            self.journal.write("refused", f"{lines[0]}{more}: the old configuration stays in use")
            self.metrics.configuration.labels(self.name).set(0)

    def beat(self, now: float) -> None:
        """A sign of life, and the notes and the ends of tries that could not be written before."""
        try:
            self.store.ledger.record_heartbeat(self.name, self._host, format_time(now, milliseconds=True))
            self._write_notes()
            self._write_ends()
        except OSError as error:
            self.journal.write("trouble", f"{error.filename or self.store.root}: {error.strerror}")
            self.notifier.store(f"{self.store.root}: {error.strerror}")
        else:
            self.notifier.store("")

    def _write_notes(self) -> None:
        """Write the notes that are not written yet; raises OSError."""
        while self._notes:
            self.store.ledger.add_note(self.name, self._host, self._notes[0])
            del self._notes[0]

    def _write_ends(self) -> None:
        """Write how tries ended that could not be written then; what still cannot stays for the next time."""
        runs = {end.run for end in self.engine.ends.unwritten()}
        if runs and not self.engine.ends.write():
            for run in sorted(runs):
                self.journal.write("recorded", f"{run}: its end is written now", task=run.task, run=str(run))

    def clock_moved(self, before: float, now: float) -> None:
        """The clock was set, or the machine slept: decide anew for every task."""
        if now > before:
            # One note for all that passed meanwhile, as after a stop.
            self._note(
                {
                    "event": NoteEvent.STARTED,
                    "since": format_time(before, milliseconds=True),
                    "reason": "the machine slept, or its clock was set",
                },
                now,
            )
        for state in self.tasks.values():
            state.settled, state.wake = max(state.settled, int(now // 60)), -inf

    # -- deciding

    def step(self, now: float) -> float:
        """Decide for every task whose time has come; the instant at which the next one's comes."""
        with self.claims.collect():
            for name, state in self.tasks.items():
                if state.wake <= now and state.schedule_periods:
                    self._decide(name, state, now)
        if self._notes or self.engine.ends.unwritten():
            self.beat(now)
        return min((state.wake for state in self.tasks.values() if state.schedule_periods), default=inf)

    def _decide(self, name: str, state: TaskState, now: float) -> None:
        foreign = {at: run for at, run in state.active.items() if run is not None and (name, at) not in self._threads}
        for run in foreign.values():
            self._go_on(name, state, self.store.read(run), now)
        decision = decide(TaskHistory(state.schedule_periods, state.started, state.active, state.waiting, state.settled), now)
        for minute, why in decision.lost:
            reason = state.blocked if minute == state.waiting and state.blocked else ""
            self._record_lost_slot(name, minute, why, reason, now)
        self._wait(name, state, decision)
        state.settled, state.wake = decision.settled, decision.wake
        if any(minute in state.active and (name, minute) not in self._threads for minute in foreign):
            # When another process's run ends is not reported.
            state.wake = min(state.wake, now + RETRY_AFTER)
        oldest = now - state.settings.starting_deadline - REMEMBERED
        state.started = {minute for minute in state.started if minute * 60 > oldest}
        if decision.start is not None:
            self._announce_late(name, state, decision.start, now)
            threads = (self._threads.get((name, minute)) for minute in decision.replaced)
            self._start(name, state, decision.start, tuple(thread for thread in threads if thread is not None), now)

    def _announce_late(self, name: str, state: TaskState, minute: int, now: float) -> None:
        """Say before it starts that a slot is made up for: after an edit, a resume, a stop, or the end of what it waited for."""
        if minute >= int(now // 60):
            return
        late = f"{slot_text(minute)} starts at once, {format_duration(now - minute * 60)} after its time"
        deadline = format_duration(state.settings.starting_deadline)
        self.journal.write("late", f"{late}: it is within its starting deadline of {deadline}", task=name, slot=slot_text(minute))

    def _wait(self, name: str, state: TaskState, decision: Decision) -> None:
        if decision.waiting is not None and decision.waiting != state.waiting:
            runs = (self._run_of(name, state, minute) for minute in state.active)
            blocking = next((run for run in runs if run is not None), None)
            state.blocked = f"{blocking or 'the run before it'} was still running (concurrency: forbid)"
            self.journal.write("waits", f"{slot_text(decision.waiting)} is due and waits: {state.blocked}", task=name)
        state.waiting = decision.waiting

    def _record_lost_slot(self, name: str, minute: int, why: str, reason: str, now: float) -> None:
        """Note, count and print that a slot will never run: ``why`` as the decision says, ``reason`` what kept it waiting."""
        is_skipped = "concurrency" in reason and why != EDIT
        event = NoteEvent.SKIPPED if is_skipped else _EVENTS.get(why, NoteEvent.MISSED)
        text = reason if is_skipped else f"{why}{': ' if reason else ''}{reason}"
        self._note({"event": event, "task": name, "minute": minute, "reason": text}, now)
        # Before anything is said of it: this process may be killed at any moment. What cannot be written is tried again.
        with suppress(OSError):
            self._write_notes()
        self.engine.announce_change()
        self.metrics.lost.labels(self.name, name, event).inc()
        self.journal.write(event, f"{slot_text(minute)} {event}: {text}", task=name, slot=slot_text(minute), reason=text)
        self.notifier.happened()

    def _note(self, note: dict[str, Any], now: float) -> None:
        self._notes.append({"time": format_time(now, milliseconds=True), "engine": local_revisions.engine(), **note})

    # -- running

    def _run_of(self, name: str, state: TaskState, minute: int) -> c.RunId | None:
        thread = self._threads.get((name, minute))
        return state.active.get(minute) if thread is None else thread.run_id

    def _start(
        self,
        name: str,
        state: TaskState,
        minute: int,
        replaced: tuple[RunThread, ...],
        now: float,
        resumed: Run | None = None,
    ) -> None:
        state.started.add(minute)
        state.active[minute] = None if resumed is None else resumed.id
        thread = RunThread(self, name, state.settings, state.resolved, state.snapshot, minute, replaced, resumed)
        self._threads[name, minute] = thread
        self.metrics.active.labels(self.name).set(len(self._threads))
        self.claims.announce()
        try:
            thread.start()
        except RuntimeError as error:  # no more threads
            self.claims.withdraw()
            if resumed is None:
                self.ended(RunEnded(name, minute, None, str(error)), now)
            else:
                # As another process's: it is looked at again.
                del self._threads[name, minute]
                self.journal.write("trouble", f"{resumed.id}: {error}", task=name, run=str(resumed.id))

    def ended(self, ended: RunEnded, now: float) -> None:
        """A run's thread has ended, as it reported."""
        self._threads.pop((ended.task, ended.minute), None)
        self.notifier.happened()
        self.metrics.active.labels(self.name).set(len(self._threads))
        state = self.tasks.get(ended.task)
        if ended.run is not None and ended.run.status != Status.RUNNING and not ended.is_open:
            status = Status.REFUSED if ended.run.refused else ended.run.status
            self.metrics.runs.labels(self.name, ended.task, status).inc()
        if state is None:
            return
        state.active.pop(ended.minute, None)
        if ended.is_open:
            state.active[ended.minute] = None if ended.run is None else ended.run.id
            state.wake = now + RETRY_AFTER
            return
        if ended.run is not None and ended.run.status in (Status.RUNNING, Status.FAILED):
            # Another process makes its next try; or its try could not even be described, and there are more.
            try:
                self._go_on(ended.task, state, self.store.read(ended.run.id), now)
            except OSError:  # it is looked at again
                state.active[ended.minute] = ended.run.id
        if ended.trouble:
            # It was not begun: it is due again, until its deadline.
            state.started.discard(ended.minute)
            state.waiting, state.blocked = ended.minute, ended.trouble
            self.journal.write("trouble", f"{slot_text(ended.minute)} could not start: {ended.trouble}", task=ended.task)
            state.wake = now + RETRY_AFTER
        else:
            state.wake = -inf

    def stop(self, now: float) -> None:
        """End every run, each with its reason, and note the stop."""
        self.watch.close()
        self.engine.interrupt()
        for thread in self._threads.values():
            thread.join(10)
        if self.owned:
            self._note({"event": NoteEvent.STOPPED}, now)
            self.beat(now)
        self._write_ends()
        for end in self.engine.ends.unwritten():
            text = f"{end.run} {end.end['status']}: {end.end['reason']}: this could not be written to the store"
            self.journal.write("trouble", text, task=end.run.task, run=str(end.run))
        self.notifier.stop()
        self.journal.write("stopped", "stopped" + (": the next start resumes its runs" if self._threads else ""))


def _named(owner: dict[str, Any]) -> str:
    process = owner.get("process") or {}
    pid = f", process {process['pid']}" if "pid" in process else ""
    return f"{owner.get('by') or owner.get('engine')} ({owner.get('engine')}{pid}, since {owner.get('time')})"
