"""The cluster's engine: each run is a Job of its own, followed until it ends or we go. What it has begun goes on without us."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import inf
from typing import Any, ClassVar

from cronjobs.experiment import Experiment
from cronjobs.objects import labels
from cronjobs.objects.job import JobRequest, JobSteps, WaitFor, spec_of
from cronjobs.objects.pods import image_of
from cronjobs.objects.volumes import ObjectsError
from cronjobs.revisions.expected import expected
from cronjobs.revisions.periods import SchedulePeriod, TaskSchedule
from cronjobs.tasks import ExperimentContext
from jobs import contract as c
from jobs.contract import Evidence, RunKind, Status
from jobs.store import Run, Store
from scheduler.console.run_display import RunObserver
from scheduler.engines import jobs
from scheduler.engines.run_spec import RunSpec
from scheduler.errors import CronsembleError, RuntimeUnavailable
from scheduler.history.observed_runs import JobState, ObservedJob, says_more
from scheduler.history.run_facts import run_fact
from scheduler.identity import current_user
from scheduler.kube import objects
from scheduler.kube.client import KubeClient
from scheduler.observe.job_progress import ProgressReporter, status_with_events
from scheduler.observe.job_watcher import JobSnapshot, JobWatcher
from scheduler.runtimes import recorded
from scheduler.runtimes.runtime import Runtime
from scheduler.snapshots.program import build_program
from scheduler.times import format_time

SLACK = 300
"""Seconds that an ensemble waits for its trainings beyond the time that they may take."""


@dataclass
class KubernetesEngine:
    """Makes runs in one namespace. Runs may be carried out by several threads at once.

    A run is claimed by its Job's name: two commands, or a command and the CronJob controller, never both make it.
    ``detached``: submit and look no more.
    """

    outlives: ClassVar[bool] = True
    api: KubeClient
    store: Store
    experiment: Experiment
    observer: RunObserver
    detached: bool = False
    command: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    unfinished: list[c.RunId] = field(default_factory=list)
    """Runs that were started and not seen to end."""
    _kept: dict[str, bytes] = field(default_factory=dict)
    _made: dict[c.RunId, RunSpec] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _storing: threading.Lock = field(default_factory=threading.Lock)  # one that is elsewhere answers one question at a time

    def __post_init__(self) -> None:
        selector = f"{labels.SELECTOR},{labels.INVOCATION}={self.command}"
        self._following = JobWatcher(self.api, self.namespace, selector, self.observer.say)

    @property
    def namespace(self) -> str:
        return self.experiment.cluster.namespace

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    @property
    def has_started(self) -> bool:
        """Whether any run was started."""
        return bool(self._made)

    def interrupt(self, run: c.RunId | None = None) -> None:
        """Look no more at what was begun; it goes on."""
        self._stop.set()
        self._following.stop()

    def close(self) -> None:
        """Look no more."""
        self._following.stop()

    # -- what runs are made in

    def store_snapshot(self, kind: str, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self._kept[digest] = data
        return digest

    def record_start(self, context: ExperimentContext, now: datetime) -> None:
        """Nothing: what a cluster schedules `sync` records, and a run keeps its own snapshot in the store."""

    def runtimes(self, experiment: Experiment, names: Iterable[str]) -> dict[str, Runtime | RuntimeUnavailable]:
        """The images; raises CronsembleError if any is not named."""
        found: dict[str, Runtime | RuntimeUnavailable] = {name: self._image(name) for name in sorted(names)}
        if missing := [str(each) for each in found.values() if isinstance(each, RuntimeUnavailable)]:
            raise CronsembleError("\n".join(f"{experiment.path}: {each}" for each in missing))
        return found

    def problems(self, run: Run) -> tuple[list[str], list[str]]:
        known = recorded.recorded_environment(run)
        if "image" in known:
            return [], []
        found = self._instead(run, {})
        if isinstance(found, RuntimeUnavailable):
            return [str(found)], []
        what = f"ran in {known['python']}" if "python" in known else "did not record what it ran in"
        return [], [f"it {what}, and is repeated in the image {found.image}: versions may differ"]

    def runtime_of(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        known = recorded.recorded_environment(run)
        return Runtime("image", image=known["image"]) if "image" in known else self._instead(run, task)

    def fallback_runtime(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        return self.runtime_of(run, task)

    def _instead(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        member = self.experiment.members.get(run.id.task.removeprefix(c.member_task("")))
        name = str(task.get("runtime") or (member.runtime if member else "keras3"))
        return self._image(name)

    def _image(self, runtime: str) -> Runtime | RuntimeUnavailable:
        try:
            return Runtime(runtime, image=image_of(self.experiment, runtime))
        except ObjectsError as error:
            return RuntimeUnavailable(str(error))

    # -- making

    def claim(self, run: c.RunId, kind: str) -> bool:
        """The Job's making takes it; here only what the store knows already is passed over."""
        return run.attempt not in self._attempts(run.experiment, run.task, run.minute)

    def run(self, order: RunSpec, claimed: c.RunId | None = None) -> Run | None:
        """Make the run, in the slot's next free attempt unless one was taken; None if somebody else made that.

        Returns a run that is ``running`` where we left before its end.
        """
        try:
            run = self._submit(order, claimed)
            if run is None:
                return None
            return self._follow(order, run)
        except BaseException:
            # The other threads must not wait for hours before this is told.
            self.interrupt()
            raise

    def _submit(self, order: RunSpec, claimed: c.RunId | None) -> c.RunId | None:
        if self.stopped and not self.has_started:
            return None
        task = str(order.task["task"])
        waits = self._waits(order)
        self._snapshots(order, waits)
        names = [claimed] if claimed else self._free(order)
        for run in names:
            wanted = JobRequest(
                run, order.task, order.kind, self._steps(order), self.command, order.invocation, dict(order.env), waits
            )
            if jobs.create_job(self.api, self.experiment, wanted):
                # Once more: a sync may have removed one that nothing named.
                self._snapshots(order, waits)
                with self._lock:
                    self._made[run] = order
                    self.unfinished.append(run)
                return run
        if claimed:
            self.observer.say(f"{task}: there is a Job {claimed} already: left alone")
        return None

    def _free(self, order: RunSpec) -> Iterable[c.RunId]:
        """The attempts that the store does not know, from the first; the schedule's own stays free for its CronJob."""
        experiment, task = str(order.task["experiment"]), str(order.task["task"])
        known = self._attempts(experiment, task, order.minute)
        first = 2 if order.kind == RunKind.MANUAL and self._fires(order) else 1
        for attempt in range(first, first + 1000):
            if attempt not in known:
                yield c.RunId(order.minute, attempt, experiment, task)

    def _attempts(self, experiment: str, task: str, minute: int) -> set[int]:
        month = c.RunId(minute, 1, experiment, task).month
        with self._storing:
            return {run.attempt for run in self.store.month_ids(experiment, task, month) if run.minute == minute}

    def _fires(self, order: RunSpec) -> bool:
        spec = spec_of(self.experiment, order.task)
        span = SchedulePeriod(order.minute * 60.0 - 60, inf, TaskSchedule(spec.schedule, spec.timezone), "", "")
        return bool(expected([span], order.minute * 60.0 - 1, order.minute * 60.0 + 59))

    def _steps(self, order: RunSpec) -> JobSteps:
        found: list[tuple[tuple[str, ...], str]] = []
        for step in order.steps:
            if not isinstance(step.runtime, RuntimeUnavailable):
                found.append((step.argv, step.runtime.image))
            elif step.argv[0] != "predict":  # the ensemble goes on without that member
                raise step.runtime
        return JobSteps(tuple(found), order.retries, order.deadline)

    def _waits(self, order: RunSpec) -> WaitFor | None:
        """What it has to wait for itself, since it is begun before those have ended."""
        open_runs = [run for run in order.after if run in self.unfinished]
        if not open_runs:
            return None
        seconds = max(self._made[run].deadline for run in open_runs) + SLACK
        image = next(step.runtime.image for step in order.steps if isinstance(step.runtime, Runtime))
        program = self.store_snapshot("program", build_program())
        until = int(self.api.now().timestamp()) + seconds
        return WaitFor({str(run): self._made[run].retries for run in open_runs}, seconds, until, program, image)

    def _snapshots(self, order: RunSpec, waits: WaitFor | None) -> None:
        known = order.task["snapshot"]
        wanted = [("program", known["program"]), ("code", known["code"]), ("program", waits.program if waits else "")]
        for kind, digest in dict.fromkeys(each for each in wanted if each[1]):
            with self._storing:
                if digest not in self._kept:
                    self._kept[digest] = self.store.read_snapshot(kind, digest)
            jobs.ensure_config_maps(self.api, self.namespace, {kind: self._kept[digest]})

    # -- following

    def _follow(self, order: RunSpec, run: c.RunId) -> Run:
        if self.detached or self.stopped:
            self.observer.stage(order.label, f"submitted as {run}")
            return self._going_on(run)
        self._following.start()
        began, last = time.monotonic(), None
        telling = ProgressReporter(self.api, self.namespace, self.store, self.observer, order.label, run)
        while True:
            found = self._following.next(str(run), began, last)
            if found is None:
                return self._going_on(run)
            if found.job is None or objects.has_ended(found.job):
                break
            telling.report(found)
            last = found
        telling.report_steps(found)
        with self._lock:
            self.unfinished.remove(run)
        result = self._result(run, found)
        self.observer.done(order.label, result)
        return result

    def _result(self, run: c.RunId, found: JobSnapshot) -> Run:
        """What became of a run whose Job has ended: by the store, and where that lacks the end, by the cluster."""
        with self._storing:
            self.store.files.update(run.experiment)
            result = self.store.read(run)
        told = status_with_events(self.api, self.namespace, found)
        known = run_fact(result) if result.record or result.tries or result.cancelled else None
        if told is not None and told.state == JobState.FAILED and says_more(known, told):
            self._keep_seen(run, told)
            return replace(result, status=Status.FAILED, reason=told.reason, evidence=Evidence.OBSERVED)
        if result.status not in (Status.RUNNING, Status.DIED):
            return result
        if found.job is None:
            return replace(result, status=Status.INTERRUPTED, reason="its Job was removed", evidence=Evidence.OBSERVED)
        where = self.store.files.display_path(self.store.root)
        reason = f"its Job completed, but {where} holds no result of it: do the pods write that store?"
        return replace(result, status=Status.UNKNOWN, reason=reason, evidence=Evidence.OBSERVED)

    def _keep_seen(self, run: c.RunId, seen: ObservedJob) -> None:
        try:
            with self._storing:
                self.store.record_observation(
                    run, {"time": format_time(self.api.now()), "by": current_user(), **seen.observation()}
                )
        except OSError as error:
            self.observer.say(f"{run}: what was seen of it could not be kept in the store: {error.strerror}")

    def _going_on(self, run: c.RunId) -> Run:
        return Run(run, self.store.run_folder(run), Status.RUNNING, "running on the cluster")
