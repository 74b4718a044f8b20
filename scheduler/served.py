"""One experiment as `serve` runs it: its configuration, what is known of each task, and the runs at work."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

from cronjobs import revisions
from cronjobs.due import DEADLINE, EDIT, Decision, Known, decide
from cronjobs.resolved import Experiment, Task
from cronjobs.revisions import Span
from cronjobs.tasks import Context, ensemble_task, train_task
from jobs import contract as c
from jobs.store import Run, Store, is_alive, process_identity, snapshot_of, to_json
from scheduler import revise
from scheduler.config import ConfigErrors, load
from scheduler.engine import Budget, LocalEngine
from scheduler.errors import CronsembleError
from scheduler.journal import Journal
from scheduler.manual import find_runtimes, keep_context
from scheduler.metrics import Metrics
from scheduler.orders import needed, task_order
from scheduler.whereabouts import local_store

AGAIN = 15.0
"""Seconds until a start that failed (a full disk, a store that went away) is tried again."""
KEEP = 2 * 86400
"""Seconds for which started slots are remembered beyond the starting deadline: a clock may be set back."""
_SAID = {DEADLINE: "missed", EDIT: "dropped"}


def back_off(failed: int) -> float:
    """Seconds between a failed try and the next, as the Job controller waits: 10, 20, 40, … and at most ten minutes."""
    return float(min(10 * 2 ** (failed - 1), 600))


@dataclass
class Standing:
    """What is known of one task. ``blocked`` tells why its waiting slot waits."""

    spec: Task
    resolved: dict[str, Any]
    spans: list[Span]
    started: set[int] = field(default_factory=set)
    active: dict[int, c.RunId | None] = field(default_factory=dict)
    waiting: int | None = None
    blocked: str = ""
    settled: int = 0
    wake: float = -inf


@dataclass(frozen=True)
class Ended:
    """What a run's thread tells the loop; without a run, the slot could not be begun, for ``trouble`` or because it has one."""

    task: str
    minute: int
    run: Run | None
    trouble: str = ""


class Served:
    """One experiment. Its methods are called by the loop's thread alone; ``tell`` is called by the threads of runs."""

    def __init__(
        self, experiment: Experiment, budget: Budget, journal: Journal, metrics: Metrics, tell: Callable[[Served, Ended], None]
    ) -> None:
        self.name, self.path = experiment.name, experiment.path
        self.store: Store = local_store(experiment)
        self.journal, self.metrics, self.tell = journal.of(experiment.name), metrics, tell
        self.engine = LocalEngine(self.store, self.journal, budget, back_off)
        self.standings: dict[str, Standing] = {}
        self.owned = False
        self.experiment = experiment
        self._seen: dict[Path, tuple[int, ...]] = {}
        self._notes: list[dict[str, Any]] = []
        self._making: dict[tuple[str, int], _Making] = {}
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
        known = self.store.owner(self.name)
        mine = {"engine": revise.engine(), "by": revise.who(), "time": _iso(now), "process": self._identity}
        if known is not None and not take_over:
            own = known.get("engine") == mine["engine"]
            if not own or is_alive(known.get("process", {})) is True and known.get("process") != self._identity:
                raise CronsembleError(f"{self.path}: {self.name} is run by {_named(known)}: stop that one, or type --take-over")
        refused = self.store.own(self.name, mine, take_over=take_over or known is not None)
        if refused is not None:
            raise CronsembleError(f"{self.path}: {self.name} is run by {_named(refused)}: stop that one, or type --take-over")
        self.owned = True
        self._since = self.store.last_beat(self.name, self._host) or ""

    def is_still_ours(self) -> bool:
        known = self.store.owner(self.name)
        if known is None or known.get("process") == self._identity:
            return True
        self.journal.write("taken over", f"{_named(known)} has taken it over: nothing more is started here")
        self.owned = False
        return False

    # -- beginning

    def begin(self, now: float) -> None:
        """Record the revision, find what was left at work, and be ready for the first look."""
        self.store.heal_archive(self.name)
        self._look()
        self._apply(self.experiment, now)
        self._note({"event": "started", **({"since": self._since} if self._since else {})}, now)
        for name, standing in self.standings.items():
            standing.settled = int(now // 60)
            self._recover(name, standing, now)
        self.metrics.configuration.labels(self.name).set(1)
        self.journal.write("started", f"{len(self.standings)} tasks of {self.path}, store {self.store.root}")

    def _apply(self, experiment: Experiment, now: float) -> bool:
        """Take a configuration on; whether it says anything new."""
        context = keep_context(self.engine, experiment)
        before = {name: (standing.spec, standing.resolved) for name, standing in self.standings.items()}
        new = revise.record(self.store, context, "serve", datetime.fromtimestamp(now, UTC))
        known = revisions.spans(revisions.scheduling(self.store.revisions(self.name), now + 1))
        standings = {}
        for name, (spec, resolved) in _tasks(context).items():
            old = self.standings.get(name)
            standing = old or Standing(spec, resolved, [], settled=int(now // 60))
            standing.spec, standing.resolved, standing.spans, standing.wake = spec, resolved, known.get(name, []), -inf
            standings[name] = standing
        for name, standing in self.standings.items():
            if name not in standings and standing.waiting is not None:
                self._lose(name, standing, standing.waiting, EDIT, "the task was removed from the configuration", now)
        self.standings, self.experiment = standings, experiment
        return new is not None or before != {name: (each.spec, each.resolved) for name, each in standings.items()}

    def _recover(self, name: str, standing: Standing, now: float) -> None:
        """Learn which slots have begun; go on with what this machine's last `serve` left unfinished."""
        reach = standing.spec.starting_deadline + standing.spec.deadline + KEEP
        for run in self.store.run_ids(self.name, name):
            if run.minute * 60 < now - reach:
                break
            told = self.store.read(run)
            kind, begun, process = _begun(self.store, told)
            if kind == "manual":
                continue
            standing.started.add(run.minute)
            if kind != "scheduled" or told.status in ("succeeded", "failed", "no quorum", "unknown"):
                continue
            if told.status == "running":
                # Another process's, which goes on to its end: it counts for `concurrency`.
                standing.active[run.minute] = run
            elif process.get("host") == self._host and begun + standing.spec.deadline > now and _tries_left(told, standing):
                self.journal.write("resumed", f"goes on with {run}, which {told.status}", task=name, run=str(run))
                self._start(name, standing, run.minute, (), run)

    # -- the clock and the files

    def look_at_files(self, now: float) -> None:
        """Take an edited configuration on, or say what is wrong with it and keep the old one."""
        if not self._look():
            return
        try:
            experiment = load(self.path)
            if experiment.name != self.name or local_store(experiment).root != self.store.root:
                raise CronsembleError(f"{self.path}: another experiment or store than {self.name}: start serve again for it")
            if self._apply(experiment, now):
                self._look()
                self.journal.write("revised", "the edited configuration holds from now on: `cronsemble history --revisions`")
            self.metrics.configuration.labels(self.name).set(1)
        except (ConfigErrors, CronsembleError, OSError) as error:
            lines = str(error).splitlines()
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            if isinstance(error, OSError):
                # The store's trouble, not the file's: it is looked at again.
                self._seen = {}
            self.journal.write("refused", f"{lines[0]}{more}: the old configuration holds")
            self.metrics.configuration.labels(self.name).set(0)

    def _look(self) -> bool:
        """Whether the configuration, or a file of the user's code, is another than at the last look."""
        folder = self.experiment.folder
        paths = {self.path.resolve(), *(folder / item for item in self.experiment.code)}
        for reference in (self.experiment.data.dataset, *(member.model for member in self.experiment.members.values())):
            source = reference.rpartition(":")[0]
            if source.endswith(".py"):
                paths.update((folder / source).parent.glob("*.py"))
        seen = {path: _state(path) for path in sorted(paths)}
        changed = seen != self._seen
        self._seen = seen
        return changed

    def beat(self, now: float) -> None:
        """A sign of life, and the notes that could not be written before."""
        try:
            self.store.beat(self.name, self._host, _iso(now))
            while self._notes:
                self.store.note(self.name, self._host, self._notes[0])
                del self._notes[0]
        except OSError as error:
            self.journal.write("trouble", f"{error.filename or self.store.root}: {error.strerror}")

    def clock_moved(self, before: float, now: float) -> None:
        """The clock was set, or the machine slept: every task is looked at anew."""
        if now > before:
            # One note for all that passed meanwhile, as after a stop.
            self._note({"event": "started", "since": _iso(before), "reason": "the machine slept, or its clock was set"}, now)
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

    def _decide(self, name: str, standing: Standing, now: float) -> None:
        foreign = {at: run for at, run in standing.active.items() if run is not None and (name, at) not in self._making}
        for minute, run in foreign.items():
            if self.store.read(run).status != "running":
                del standing.active[minute]
        told = decide(Known(standing.spans, standing.started, standing.active, standing.waiting, standing.settled), now)
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
            replaced = tuple(run for run in (self._run_of(name, standing, each) for each in told.replaced) if run is not None)
            self._start(name, standing, told.start, replaced)
        self.metrics.following.labels(self.name, name).set(0 if told.coming is None else told.coming * 60)

    def _wait(self, name: str, standing: Standing, told: Decision) -> None:
        if told.waiting is not None and told.waiting != standing.waiting:
            busy = next(
                (run for run in (self._run_of(name, standing, each) for each in standing.active) if run is not None), None
            )
            standing.blocked = f"{busy or 'the run before it'} was still running (concurrency: forbid)"
            self.journal.write("waits", f"{_slot(told.waiting)} is due and waits: {standing.blocked}", task=name)
        standing.waiting = told.waiting

    def _lose(self, name: str, standing: Standing, minute: int, why: str, reason: str, now: float) -> None:
        event = "skipped" if reason and "concurrency" in reason and why != EDIT else _SAID.get(why, "missed")
        text = f"{why}{': ' if reason else ''}{reason}" if event != "skipped" else reason
        self._note({"event": event, "task": name, "minute": minute, "reason": text}, now)
        self.metrics.lost.labels(self.name, name, event).inc()
        self.journal.write(event, f"{_slot(minute)} {event}: {text}", task=name, slot=_slot(minute), reason=text)

    def _note(self, note: dict[str, Any], now: float) -> None:
        self._notes.append({"time": _iso(now), "engine": revise.engine(), **note})

    # -- running

    def _run_of(self, name: str, standing: Standing, minute: int) -> c.RunId | None:
        making = self._making.get((name, minute))
        return standing.active.get(minute) if making is None else making.run_id

    def _start(
        self, name: str, standing: Standing, minute: int, replaced: tuple[c.RunId, ...], resumed: c.RunId | None = None
    ) -> None:
        standing.started.add(minute)
        standing.active[minute] = resumed
        making = _Making(self, name, standing.spec, standing.resolved, minute, replaced, resumed)
        self._making[name, minute] = making
        self.metrics.active.labels(self.name).set(len(self._making))
        making.start()

    def ended(self, told: Ended, now: float) -> None:
        """A run's thread has come to its end."""
        self._making.pop((told.task, told.minute), None)
        self.metrics.active.labels(self.name).set(len(self._making))
        standing = self.standings.get(told.task)
        if told.run is not None:
            self.metrics.runs.labels(self.name, told.task, told.run.status).inc()
            if told.run.status == "succeeded":
                self.metrics.succeeded.labels(self.name, told.task).set(now)
        if standing is None:
            return
        standing.active.pop(told.minute, None)
        if told.trouble:
            # It was not begun: it is due again, until its deadline.
            standing.started.discard(told.minute)
            standing.waiting, standing.blocked = told.minute, told.trouble
            self.journal.write("trouble", f"{_slot(told.minute)} could not start: {told.trouble}", task=told.task)
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


class _Making(threading.Thread):
    """Claims one slot's run and takes it to its end."""

    def __init__(
        self,
        served: Served,
        task: str,
        spec: Task,
        resolved: dict[str, Any],
        minute: int,
        replaced: tuple[c.RunId, ...],
        resumed: c.RunId | None,
    ) -> None:
        super().__init__(name=f"{task} {minute}", daemon=True)
        self.served, self.task, self.spec, self.resolved = served, task, spec, resolved
        self.minute, self.replaced, self.run_id = minute, replaced, resumed

    def run(self) -> None:
        served = self.served
        result, trouble, resumed = None, "", self.run_id is not None
        try:
            for each in self.replaced:
                served.engine.end(each, f"replaced by the run of {_slot(self.minute)} (concurrency: replace)")
            resolved = self._resolved() if resumed else self.resolved
            if self.run_id is None:
                self.run_id = self._claim(resolved)
                with suppress(OSError):  # the prepare step keeps it too
                    served.store.put_snapshot("task", to_json(resolved))
            if self.run_id is not None:
                runtimes = find_runtimes(served.experiment, needed(resolved), served.journal.say)
                order = task_order(resolved, self.spec, served.folder, runtimes, self.minute, "scheduled")
                if resumed:
                    order = replace(order, deadline=self._left())
                result = served.engine.carry_out(order, self.run_id)
        except OSError as error:
            trouble = f"{error.filename or served.store.root}: {error.strerror}"
        except Exception as error:  # a fault of ours must not end the other runs, and must be seen
            trouble = f"{type(error).__name__}: {error}"
        if trouble and self.run_id is not None:
            served.journal.write("trouble", f"{self.run_id}: {trouble}", task=self.task, run=str(self.run_id))
        served.tell(served, Ended(self.task, self.minute, result, trouble if self.run_id is None else ""))

    def _resolved(self) -> dict[str, Any]:
        """The task of a run that goes on, as it was begun."""
        store = self.served.store
        assert self.run_id is not None
        return store.task_of({"snapshot": _snapshot(store, store.read(self.run_id))}) or self.resolved

    def _left(self) -> int:
        """Seconds that are left of the deadline of a run that goes on."""
        assert self.run_id is not None
        begun = _begun(self.served.store, self.served.store.read(self.run_id))[1]
        return max(1, int(begun + self.spec.deadline - datetime.now(UTC).timestamp()))

    def _claim(self, resolved: dict[str, Any]) -> c.RunId | None:
        """The slot's first attempt, or the next after manual ones; None if the slot has its run already."""
        served = self.served
        mark = {"kind": "scheduled", "time": _iso(datetime.now(UTC).timestamp()), "process": process_identity()}
        attempt = 1
        while True:
            run = c.RunId(self.minute, attempt, served.name, self.task)
            if served.store.claim_attempt(run, {**mark, "snapshot": snapshot_of(resolved)}):
                late = datetime.now(UTC).timestamp() - self.minute * 60
                served.metrics.lag.labels(served.name).observe(late)
                served.journal.write("begun", f"{run} begun, {late:.1f} s after its minute", task=self.task, run=str(run))
                return run
            if _begun(served.store, served.store.read(run))[0] != "manual":
                served.journal.write("had", f"{run} is there already: nothing is run twice", task=self.task, run=str(run))
                return None
            attempt += 1


def _tasks(context: Context) -> dict[str, tuple[Task, dict[str, Any]]]:
    experiment = context.experiment
    found: dict[str, tuple[Task, dict[str, Any]]] = {
        c.member_task(name): (member, train_task(context, member)) for name, member in experiment.members.items()
    }
    if experiment.ensemble is not None:
        found[c.ENSEMBLE_TASK] = (experiment.ensemble, ensemble_task(context, experiment.ensemble))
    return found


def _begun(store: Store, run: Run) -> tuple[str, float, dict[str, Any]]:
    """A run's kind, when it was begun, and by which process: by its first try, else by its claim."""
    marks = [each["start"] for each in run.tries]
    mark = store.claim_of(run.id) or next(iter(marks), {})
    kind = str(run.record.get("kind") or mark.get("kind") or "scheduled")
    try:
        begun = datetime.fromisoformat(str(mark.get("time"))).timestamp()
    except ValueError:
        begun = -inf
    return kind, begun, dict((marks[-1] if marks else mark).get("process") or {})


def _snapshot(store: Store, run: Run) -> dict[str, Any]:
    marks = [each["start"] for each in reversed(run.tries)]
    return dict(
        next((mark["snapshot"] for mark in marks if "snapshot" in mark), (store.claim_of(run.id) or {}).get("snapshot", {}))
    )


def _tries_left(run: Run, standing: Standing) -> bool:
    failed = sum(1 for each in run.tries if each["end"] and each["end"].get("status") == "failed")
    return failed <= standing.spec.retries + len(standing.resolved.get("members", []))


def _named(owner: dict[str, Any]) -> str:
    process = owner.get("process") or {}
    pid = f", process {process['pid']}" if "pid" in process else ""
    return f"{owner.get('by') or owner.get('engine')} ({owner.get('engine')}{pid}, since {owner.get('time')})"


def _state(path: Path) -> tuple[int, ...]:
    try:
        told = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    return told.st_mtime_ns, told.st_size, told.st_ino


def _slot(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
