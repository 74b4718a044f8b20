"""Reads an experiment on a cluster: Jobs, pods, CronJobs, revisions, and the events that say why something does not start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from cronjobs.experiment import Experiment
from cronjobs.objects import labels
from cronjobs.objects.config_maps import revisions_name
from cronjobs.revisions.revisions import Revision, states
from jobs.store import Store
from scheduler.history.observed_runs import ClusterObservation, JobState, ObservedJob, pod_prefix
from scheduler.kube import kinds, objects, permissions, revision_configmap
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import READ_TIMEOUT, Forbidden, KubeError, NotFound
from scheduler.kube.objects import Object
from scheduler.kube.target import ClusterTarget
from scheduler.notices import notify
from scheduler.observe.cronjob_events import cronjob_warnings
from scheduler.observe.job_runs import runs_of_jobs
from scheduler.observe.run_status import JOB_NAME, job_status, run_of


def observe_experiment(
    experiment: Experiment, target: ClusterTarget, is_requested: bool, store: Store | None = None
) -> ClusterObservation | None:
    """What the cluster shows now; None where it cannot be read, and a notice says why.

    ``store``: where Jobs that were made by hand have claimed their runs.
    ``is_requested`` is False for a user who named no cluster, and may have none: then a missing kubeconfig is not worth a line.
    """
    namespace = target.namespace or experiment.cluster.namespace
    try:
        access = target.access()
    except KubeError as error:
        if is_requested:
            _warn(error)
        return None
    try:
        with KubeClient(access, READ_TIMEOUT, READ_TIMEOUT) as api:
            return observe(api, namespace, experiment.name, store)
    except KubeError as error:
        _warn(error)
        return None


def observe(api: KubeClient, namespace: str, experiment: str, store: Store | None = None) -> ClusterObservation:
    """The Jobs and revisions of an experiment, read once. Raises KubeError unless at least the Jobs may be listed."""
    selector = f"{labels.INSTANCE}={experiment}"
    jobs, pods, revisions, events = objects.in_parallel(
        lambda: objects.jobs(api, namespace, selector=selector),
        lambda: list_permitted_pods(api, namespace, selector),
        lambda: _revisions(api, namespace, experiment),
        lambda: list_cronjob_events(api, namespace),
    )
    observed = {job.key: job for job in observed_jobs(api, namespace, jobs, pods, store)}
    tasks = {name for _, _, after in states(revisions or ()) for name in after}
    warnings = cronjob_warnings(events, {f"{experiment}-{task}": task for task in tasks})
    return ClusterObservation(namespace, api.now().timestamp(), observed, revisions or (), revisions is not None, warnings)


def cronjob_states(experiment: Experiment, target: ClusterTarget) -> tuple[dict[str, tuple[datetime, bool]], datetime]:
    """By task that has a CronJob: its last scheduled time (or when it was created), and whether it is suspended.

    The second is the server's clock.
    """
    namespace = target.namespace or experiment.cluster.namespace
    selector = f"{labels.SELECTOR},{labels.INSTANCE}={experiment.name}"
    access = target.access()
    with KubeClient(access, READ_TIMEOUT, READ_TIMEOUT) as api, permissions.explain_denials(api, [namespace], reading=True):
        cronjobs = objects.by_name(api.list(kinds.CRONJOB, namespace, selector, decoder=objects.DECODER)).values()
        now = api.now()
    states = {
        cronjob["metadata"]["labels"].get(labels.TASK, ""): (
            objects.last_schedule_time(cronjob),
            bool(cronjob["spec"].get("suspend")),
        )
        for cronjob in cronjobs
        if not labels.is_watch(cronjob["metadata"]["labels"])
    }
    return states, now


def observed_jobs(
    api: KubeClient, namespace: str, jobs: Iterable[Object], pods: Iterable[Object], store: Store | None = None
) -> list[ObservedJob]:
    """What became of these Jobs' runs; events are read only if they can say something that nothing else does."""
    pods_by_job: dict[str, list[Object]] = {}
    for pod in pods:
        pods_by_job.setdefault(pod["metadata"].get("labels", {}).get(JOB_NAME, ""), []).append(pod)
    run_jobs = {job["metadata"]["name"]: job for job in jobs if run_of(job) is not None}
    runs = runs_of_jobs(run_jobs.values(), store)

    def status_of(name: str, events: Iterable[Object] = ()) -> ObservedJob | None:
        job = run_jobs[name]
        return job_status(job, pods_by_job.get(name, ()), events, runs[job["metadata"]["uid"]])

    observed = {name: status_of(name) for name in run_jobs}
    unexplained = {name for name, job in observed.items() if job is not None and _needs_events(job)}
    if unexplained:
        for name, events in _warning_events(api, namespace, unexplained).items():
            observed[name] = status_of(name, events)
    return [job for job in observed.values() if job is not None]


def list_permitted_pods(api: KubeClient, namespace: str, selector: str = "") -> list[Object]:
    """Our pods; none, and a notice, where the user may not list them."""
    try:
        return list(api.list(kinds.POD, namespace, f"{labels.SELECTOR},{selector}".rstrip(",")))
    except Forbidden as error:
        _warn(error)
        return []


def list_cronjob_events(api: KubeClient, namespace: str) -> list[Object]:
    """The warnings about CronJobs, ours or not; none, and a notice, where the user may not list them."""
    try:
        return list(api.list(kinds.EVENT, namespace, fields="type=Warning,involvedObject.kind=CronJob"))
    except Forbidden as error:
        _warn(error)
        return []


def _needs_events(job: ObservedJob) -> bool:
    """Whether only an event may say why a run does not start, or never did."""
    if job.has_ended:
        return job.state == JobState.FAILED and not any(pod.reason for pod in job.pods)
    return job.state == JobState.WAITING


def _warning_events(api: KubeClient, namespace: str, job_names: set[str]) -> Mapping[str, list[Object]]:
    """The warnings about these Jobs and their pods, by Job."""
    by_job: dict[str, list[Object]] = {name: [] for name in job_names}
    by_prefix = {pod_prefix(name): name for name in job_names}
    try:
        for event in api.list(kinds.EVENT, namespace, fields="type=Warning"):
            name = str((event.get("involvedObject") or {}).get("name", ""))
            job = name if name in by_job else by_prefix.get(name[:-5])
            if job is not None:
                by_job[job].append(event)
    except Forbidden as error:
        _warn(error)
    return by_job


def _revisions(api: KubeClient, namespace: str, experiment: str) -> list[Revision] | None:
    """The revisions in the cluster's ConfigMap; None where there is none, or it may not be read."""
    try:
        data = api.get(kinds.CONFIGMAP, namespace, revisions_name(experiment)).get("data") or {}
    except NotFound:
        return None
    except Forbidden as error:
        _warn(error)
        return None
    return revision_configmap.read(data)


def _warn(error: Exception) -> None:
    notify(str(error))
