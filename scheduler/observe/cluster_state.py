"""Looks at an experiment on a cluster: its Jobs, pods and revisions, and the events that say why something does not begin."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from cronjobs.experiment import Experiment
from cronjobs.objects import labels
from cronjobs.objects.config_maps import revisions_name
from cronjobs.revisions.revisions import Revision
from scheduler.history.observed_runs import ClusterObservation, ObservedJob, pod_prefix
from scheduler.kube import kinds, objects, permissions, revision_configmap
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import Forbidden, KubeError, NotFound
from scheduler.kube.objects import last_schedule_time
from scheduler.kube.target import ClusterTarget
from scheduler.observe.run_status import JOB_NAME, job_status, run_of

Object = dict[str, Any]


def observe_experiment(experiment: Experiment, target: ClusterTarget, asked: bool) -> ClusterObservation | None:
    """What is to be seen now; None where the cluster cannot be looked at, and a line on stderr says why.

    ``asked`` is False for a user who named no cluster, and may have none: then a missing kubeconfig is not worth a line.
    """
    namespace = target.namespace or experiment.cluster.namespace
    try:
        access = target.access()
    except KubeError as error:
        if asked:
            _say(error)
        return None
    try:
        with KubeClient(access) as api:
            return observe(api, namespace, experiment.name)
    except KubeError as error:
        _say(error)
        return None


def observe(api: KubeClient, namespace: str, experiment: str) -> ClusterObservation:
    """One look. Raises ClusterError unless at least the Jobs may be listed."""
    selector = f"{labels.INSTANCE}={experiment}"
    jobs, pods, held = objects.in_parallel(
        lambda: objects.jobs(api, namespace, selector=selector),
        lambda: pods_of(api, namespace, selector),
        lambda: _revisions(api, namespace, experiment),
    )
    found = {(seen.run.task, seen.run.minute, seen.run.attempt): seen for seen in observed_jobs(api, namespace, jobs, pods)}
    return ClusterObservation(namespace, api.now().timestamp(), found, held or (), held is not None)


def cronjob_states(experiment: Experiment, target: ClusterTarget) -> dict[str, tuple[datetime, bool]]:
    """By task of a CronJob that is there: its last scheduled time (or when it was made), and whether it is suspended."""
    namespace = target.namespace or experiment.cluster.namespace
    selector = f"{labels.SELECTOR},{labels.INSTANCE}={experiment.name}"
    with KubeClient(target.access()) as api, permissions.explain_denials(api, [namespace], reading=True):
        found = objects.by_name(api.list(kinds.CRONJOB, namespace, selector, decoder=objects.decoder())).values()
    return {
        each["metadata"]["labels"].get(labels.TASK, ""): (last_schedule_time(each), bool(each["spec"].get("suspend")))
        for each in found
    }


def observed_jobs(api: KubeClient, namespace: str, jobs: Iterable[Object], pods: Iterable[Object]) -> list[ObservedJob]:
    """What became of these Jobs' runs; events are asked for only if they can tell something that nothing else does."""
    own: dict[str, list[Object]] = {}
    for pod in pods:
        own.setdefault(pod["metadata"].get("labels", {}).get(JOB_NAME, ""), []).append(pod)
    chosen = [job for job in jobs if run_of(job) is not None]
    found = [(job, job_status(job, own.get(job["metadata"]["name"], ()))) for job in chosen]
    needy = {job["metadata"]["name"] for job, seen in found if seen is not None and _is_needy(seen)}
    events = _events(api, namespace, needy) if needy else {}
    told = []
    for job, seen in found:
        name = job["metadata"]["name"]
        better = job_status(job, own.get(name, ()), events[name]) if name in events else seen
        if better is not None:
            told.append(better)
    return told


def pods_of(api: KubeClient, namespace: str, selector: str = "") -> list[Object]:
    """Our pods; none, and a line on stderr, where they may not be seen."""
    try:
        return list(api.list(kinds.POD, namespace, f"{labels.SELECTOR},{selector}".rstrip(",")))
    except Forbidden as error:
        _say(error)
        return []


def _is_needy(seen: ObservedJob) -> bool:
    """Whether only an event may say why a run does not begin, or never did."""
    if seen.is_over:
        return seen.state == "failed" and not any(each.reason for each in seen.tries)
    return seen.state == "waiting"


def _events(api: KubeClient, namespace: str, names: set[str]) -> Mapping[str, list[Object]]:
    """The warnings about these Jobs and their pods, by Job."""
    found: dict[str, list[Object]] = {name: [] for name in names}
    jobs = {pod_prefix(name): name for name in names}
    try:
        for event in api.list(kinds.EVENT, namespace, fields="type=Warning"):
            name = str((event.get("involvedObject") or {}).get("name", ""))
            job = name if name in found else jobs.get(name[:-5])
            if job is not None:
                found[job].append(event)
    except Forbidden as error:
        _say(error)
    return found


def _revisions(api: KubeClient, namespace: str, experiment: str) -> list[Revision] | None:
    """The revisions in the cluster's ConfigMap; None where there is none, or it may not be read."""
    try:
        data = api.get(kinds.CONFIGMAP, namespace, revisions_name(experiment)).get("data") or {}
    except NotFound:
        return None
    except Forbidden as error:
        _say(error)
        return None
    return revision_configmap.read(data)


def _say(error: Exception) -> None:
    print(error, file=sys.stderr)
