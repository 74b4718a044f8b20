"""The cluster's engine: each run is a Job of its own, watched until it ends. Its runs go on without this process."""

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
from cronjobs.tasks import ExperimentContext
from jobs import contract as c
from jobs.contract import Evidence, RunKind, Status
from jobs.expected_slots import expected
from jobs.schedule_periods import SchedulePeriod, TaskSchedule
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

EXTRA_WAIT = 300
"""Seconds that an ensemble wait_for for its trainings beyond the time that they may take."""


@dataclass
class KubernetesEngine:
    """Makes runs in one namespace; several threads may make runs at once.

    A run is claimed by its Job's name: two commands, or a command and the CronJob controller, never both make it.
    ``detached``: submit runs, and do not watch them. ``command_id`` is on all its Jobs, as a label.
    """

    outlives: ClassVar[bool] = True
    api: KubeClient
    store: Store
    experiment: Experiment
    observer: RunObserver
    detached: bool = False
    command_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    unfinished: list[c.RunId] = field(default_factory=list)
    """Runs that were started and not seen to end."""
    _snapshots: dict[str, bytes] = field(default_factory=dict)
    _submitted: dict[c.RunId, RunSpec] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _store_lock: threading.Lock = field(default_factory=threading.Lock)  # a remote store answers one request at a time

    def __post_init__(self) -> None:
        selector = f"{labels.SELECTOR},{labels.INVOCATION}={self.command_id}"
        self._watcher = JobWatcher(self.api, self.namespace, selector, self.observer.say)

    @property
    def namespace(self) -> str:
        """Where the Jobs are created."""
        return self.experiment.cluster.namespace

    @property
    def stopped(self) -> bool:
        """Whether it was interrupted."""
        return self._stop.is_set()

    @property
    def has_started(self) -> bool:
        """Whether any run was started."""
        return bool(self._submitted)

    def interrupt(self, run: c.RunId | None = None) -> None:
        """Stop watching; the runs that were started go on."""
        self._stop.set()
        self._watcher.stop()

    def close(self) -> None:
        """Stop watching."""
        self._watcher.stop()

    def now(self) -> datetime:
        """The time by the server's clock."""
        return self.api.server_time()

    # -- what runs are made in

    def store_snapshot(self, kind: str, data: bytes) -> str:
        """Keep a part of a snapshot until a run needs it as a ConfigMap; returns its SHA-256."""
        digest = hashlib.sha256(data).hexdigest()
        self._snapshots[digest] = data
        return digest

    def record_start(self, context: ExperimentContext, now: datetime) -> None:
        """Nothing: `sync` records what a cluster schedules, and a run keeps its own snapshot in the store."""

    def runtimes(self, experiment: Experiment, names: Iterable[str]) -> dict[str, Runtime | RuntimeUnavailable]:
        """The images; raises CronsembleError if the configuration does not name one of them."""
        images: dict[str, Runtime | RuntimeUnavailable] = {name: self._image(name) for name in sorted(names)}
        if missing := [str(image) for image in images.values() if isinstance(image, RuntimeUnavailable)]:
            raise CronsembleError(*(f"{experiment.path}: {problem}" for problem in missing))
        return images

    def problems(self, run: Run) -> tuple[list[str], list[str]]:
        """Why no image can be had for a run's repeat; and that it is another than what the run was made in."""
        environment = recorded.recorded_environment(run)
        if "image" in environment:
            return [], []
        runtime = self._configured_runtime(run, {})
        if isinstance(runtime, RuntimeUnavailable):
            return [str(runtime)], []
        original = f"ran in {environment['python']}" if "python" in environment else "did not record what it ran in"
        return [], [f"it {original}, and is repeated in the image {runtime.image}: versions may differ"]

    def runtime_of(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        """The image that a run was made in, else the configuration's."""
        environment = recorded.recorded_environment(run)
        return Runtime("image", image=environment["image"]) if "image" in environment else self._configured_runtime(run, task)

    def fallback_runtime(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        """The same image: a pod has no other."""
        return self.runtime_of(run, task)

    def _configured_runtime(self, run: Run, task: Mapping[str, Any]) -> Runtime | RuntimeUnavailable:
        member = self.experiment.members.get(run.id.task.removeprefix(c.member_task("")))
        name = str(task.get("runtime") or (member.runtime if member else "keras3"))
        return self._image(name)

    def _image(self, runtime: str) -> Runtime | RuntimeUnavailable:
        try:
            return Runtime(runtime, image=image_of(self.experiment, runtime))
        except ObjectsError as error:
            return RuntimeUnavailable(str(error))

    # -- starting runs

    def claim(self, run: c.RunId, kind: str) -> bool:
        """Whether the store knows no such attempt: the creation of its Job is what claims it."""
        return run.attempt not in self._known_attempts(run.experiment, run.task, run.minute)

    def run(self, spec: RunSpec, claimed: c.RunId | None = None) -> Run | None:
        """Make the run, in the slot's next free attempt unless one was claimed; None if it was not started.

        Returns a run that is ``running`` where it is not watched to its end. Raises CronsembleError, KubeError.
        """
        try:
            run = self._submit(spec, claimed)
            if run is None:
                return None
            return self._follow(spec, run)
        except BaseException:
            # The other threads must not go on for hours before this is reported.
            self.interrupt()
            raise

    def _submit(self, spec: RunSpec, claimed: c.RunId | None) -> c.RunId | None:
        if self.stopped and not self.has_started:
            return None
        task = str(spec.task["task"])
        wait_for = self._wait_for(spec)
        self._ensure_snapshots(spec, wait_for)
        names = [claimed] if claimed else self._free_attempts(spec)
        for run in names:
            request = JobRequest(
                run, spec.task, spec.kind, self._steps(spec), self.command_id, spec.invocation, dict(spec.env), wait_for
            )
            if jobs.create_job(self.api, self.experiment, request):
                # Once more: a sync may have removed a ConfigMap that nothing mounted.
                self._ensure_snapshots(spec, wait_for)
                with self._lock:
                    self._submitted[run] = spec
                    self.unfinished.append(run)
                return run
        if claimed:
            self.observer.say(f"{task}: there is a Job {claimed} already: left alone")
        return None

    def _free_attempts(self, spec: RunSpec) -> Iterable[c.RunId]:
        """The attempts that the store does not know, from the first; the schedule's own stays free for its CronJob."""
        experiment, task = str(spec.task["experiment"]), str(spec.task["task"])
        known_attempts = self._known_attempts(experiment, task, spec.minute)
        first = 2 if spec.kind == RunKind.MANUAL and self._schedule_fires(spec) else 1
        for attempt in range(first, first + 1000):
            if attempt not in known_attempts:
                yield c.RunId(spec.minute, attempt, experiment, task)

    def _known_attempts(self, experiment: str, task: str, minute: int) -> set[int]:
        month = c.RunId(minute, 1, experiment, task).month
        with self._store_lock:
            return {run.attempt for run in self.store.month_ids(experiment, task, month) if run.minute == minute}

    def _schedule_fires(self, spec: RunSpec) -> bool:
        """Whether the task's own schedule fires in the slot."""
        settings = spec_of(self.experiment, spec.task)
        period = SchedulePeriod(spec.minute * 60.0 - 60, inf, TaskSchedule(settings.schedule, settings.timezone), "", "")
        return bool(expected([period], spec.minute * 60.0 - 1, spec.minute * 60.0 + 59))

    def _steps(self, spec: RunSpec) -> JobSteps:
        steps: list[tuple[tuple[str, ...], str]] = []
        for step in spec.steps:
            if not isinstance(step.runtime, RuntimeUnavailable):
                steps.append((step.argv, step.runtime.image))
            elif step.argv[0] != "predict":  # the ensemble goes on without that member
                raise step.runtime
        return JobSteps(tuple(steps), spec.retries, spec.deadline)

    def _wait_for(self, spec: RunSpec) -> WaitFor | None:
        """Which runs its pod has to wait for, since it is started before they have ended."""
        unfinished = [run for run in spec.after if run in self.unfinished]
        if not unfinished:
            return None
        seconds = max(self._submitted[run].deadline for run in unfinished) + EXTRA_WAIT
        image = next(step.runtime.image for step in spec.steps if isinstance(step.runtime, Runtime))
        program = self.store_snapshot("program", build_program())
        until = int(self.api.now().timestamp()) + seconds
        return WaitFor({str(run): self._submitted[run].retries for run in unfinished}, seconds, until, program, image)

    def _ensure_snapshots(self, spec: RunSpec, wait_for: WaitFor | None) -> None:
        """Have the ConfigMaps that the run's pods mount in the namespace; raises CronsembleError, KubeError."""
        hashes = spec.task["snapshot"]
        parts = [("program", hashes["program"]), ("code", hashes["code"]), ("program", wait_for.program if wait_for else "")]
        for kind, digest in dict.fromkeys((kind, digest) for kind, digest in parts if digest):
            with self._store_lock:
                if digest not in self._snapshots:
                    self._snapshots[digest] = self.store.read_snapshot(kind, digest)
            jobs.ensure_config_maps(self.api, self.namespace, {kind: self._snapshots[digest]})

    # -- watching runs

    def _follow(self, spec: RunSpec, run: c.RunId) -> Run:
        if self.detached or self.stopped:
            self.observer.stage(spec.label, f"submitted as {run}")
            return self._still_running(run)
        self._watcher.start()
        began, last = time.monotonic(), None
        reporter = ProgressReporter(self.api, self.namespace, self.store, self.observer, spec.label, run)
        while True:
            snapshot = self._watcher.next(str(run), began, last)
            if snapshot is None:
                return self._still_running(run)
            if snapshot.job is None or objects.has_ended(snapshot.job):
                break
            reporter.report(snapshot)
            last = snapshot
        reporter.report_steps(snapshot)
        with self._lock:
            self.unfinished.remove(run)
        result = self._result(run, snapshot)
        self.observer.done(spec.label, result)
        return result

    def _result(self, run: c.RunId, snapshot: JobSnapshot) -> Run:
        """What became of a run whose Job has ended: by the store, and where that lacks the end, by the cluster."""
        with self._store_lock:
            self.store.files.update(run.experiment)
            result = self.store.read(run)
        observed = status_with_events(self.api, self.namespace, snapshot)
        fact = run_fact(result) if result.record or result.tries or result.cancelled else None
        if observed is not None and observed.state == JobState.FAILED and says_more(fact, observed):
            self._record_observation(run, observed)
            return replace(result, status=Status.FAILED, reason=observed.reason, evidence=Evidence.OBSERVED)
        if result.status not in (Status.RUNNING, Status.DIED):
            return result
        if snapshot.job is None:
            return replace(result, status=Status.INTERRUPTED, reason="its Job was removed", evidence=Evidence.OBSERVED)
        root = self.store.files.display_path(self.store.root)
        reason = f"its Job completed, but {root} holds no result of it: do the pods write that store?"
        return replace(result, status=Status.UNKNOWN, reason=reason, evidence=Evidence.OBSERVED)

    def _record_observation(self, run: c.RunId, observed: ObservedJob) -> None:
        try:
            with self._store_lock:
                self.store.record_observation(
                    run, {"time": format_time(self.api.now()), "by": current_user(), **observed.observation()}
                )
        except OSError as error:
            self.observer.say(f"{run}: what was observed of its Job could not be recorded in the store: {error.strerror}")

    def _still_running(self, run: c.RunId) -> Run:
        return Run(run, self.store.run_folder(run), Status.RUNNING, "running on the cluster")
