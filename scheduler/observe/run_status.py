"""From a cluster's Jobs, pods and events to what became of each run. Values in, values out.

The shapes are those of Kubernetes' API: batch/v1 Job, v1 Pod, v1 Event. A reason says what the cluster shows and no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from cronjobs.objects import labels
from cronjobs.objects.pods import is_step
from jobs import contract as c
from jobs.contract import Cause, ExitCode, RunId, RunKind, run_of_job_name
from jobs.store.jobs_by_hand import FIRST_ATTEMPT
from jobs.store.tries import describe_try
from jobs.text import one_line
from scheduler.history.observed_runs import JobState, ObservedJob, ObservedPod, pod_prefix
from scheduler.observe.remaining_retries import condition, container_statuses, has_no_retries_left, max_tries, step_statuses
from scheduler.times import format_duration

Object = Mapping[str, Any]

JOB_NAME = "batch.kubernetes.io/job-name"
"""The label by which a pod names its Job."""
MESSAGE_LENGTH = 300
"""Characters of a cluster's message that are shown."""

_PULL_FAILURES = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
}
"""Reasons of a waiting container (k8s.io/kubernetes, pkg/kubelet/images/types.go)."""
_ORDINARY_WAITS = {"", "PodInitializing", "ContainerCreating"}
_DISRUPTIONS = {
    "PreemptionByScheduler": (Cause.PREEMPTED, "a pod of a higher priority took its place"),
    "DeletionByTaintManager": (Cause.EVICTED, "its node was tainted"),
    "EvictionByEvictionAPI": (Cause.EVICTED, "it was asked to leave its node"),
    "DeletionByPodGC": (Cause.NODE_GONE, "its node is gone"),
    "TerminationByKubelet": (Cause.EVICTED, "its node ended it"),
}
"""By the reason of a pod's condition DisruptionTarget."""
_EVENTS = {
    "FailedMount": (Cause.MOUNT, "its volumes cannot be mounted"),
    "FailedAttachVolume": (Cause.MOUNT, "its volumes cannot be attached"),
    "FailedCreatePodSandBox": (Cause.CONFIGURATION, "its pod cannot be set up"),
    "FailedScheduling": (Cause.UNSCHEDULABLE, "no node can take it"),
    "FailedCreate": (Cause.NOT_MADE, "its pod is refused"),
    "Evicted": (Cause.EVICTED, "it was evicted"),
    "Preempted": (Cause.PREEMPTED, "it was preempted"),
    "TaintManagerEviction": (Cause.EVICTED, "its node was tainted"),
}
"""By the reason of an event."""
_LOST_SNAPSHOT = re.compile(r'configmap "cronsemble-(program|code)-[0-9a-f]{12}" not found')


def job_status(
    job: Object, pods: Iterable[Object] = (), events: Iterable[Object] = (), run: RunId | None = None
) -> ObservedJob | None:
    """What became of a Job's run; ``pods`` and ``events`` are its own, in any order. None for a Job that is no run of ours.

    ``run``: which one it is, where its name does not say it.
    """
    run = run or run_of(job)
    if run is None:
        return None
    events, pods = sorted(events, key=_last_seen), sorted(pods, key=_creation)
    observed_pods = _with_likely_memory_kills([pod_status(pod, events) for pod in pods])
    state, cause, reason = _job_state(job, observed_pods, events, has_no_retries_left(job, pods), max_tries(job, pods))
    status = job.get("status") or {}
    end = condition(job, "Failed") or condition(job, "FailureTarget") or {}
    return ObservedJob(
        run,
        str(job["metadata"].get("uid", "")),
        state,
        cause,
        reason,
        _kind(job),
        status.get("startTime") or job["metadata"].get("creationTimestamp"),
        status.get("completionTime") or end.get("lastTransitionTime"),
        tuple(observed_pods),
        max_tries(job, pods),
        str(job["metadata"]["name"]),
    )


def run_of(job: Object) -> RunId | None:
    """The run that a Job is, by its labels and name; None for a Job that is no run of ours.

    One that somebody made by hand under a name of its own claims a run when its first pod starts; until then it is the run that
    it would claim in the minute in which it was made.
    """
    task = task_of(job)
    if task is None:
        return None
    run = run_of_job_name(job["metadata"]["name"], *task, creation_minute(job))
    return run or RunId(creation_minute(job), FIRST_ATTEMPT, *task)


def task_of(job: Object) -> tuple[str, str] | None:
    """The experiment and task of a Job, by its labels; None for a Job that is no run of ours."""
    job_labels = job["metadata"].get("labels") or {}
    experiment, task = job_labels.get(labels.INSTANCE), job_labels.get(labels.TASK)
    return (experiment, task) if experiment and task else None


def is_by_hand(job: Object) -> bool:
    """Whether somebody made a Job of ours under a name of its own, as `kubectl create job NAME --from=cronjob/...` does."""
    task = task_of(job)
    return task is not None and run_of_job_name(job["metadata"]["name"], *task, creation_minute(job)) is None


def creation_minute(job: Object) -> int:
    """When a Job was made, in minutes since 1970."""
    created = job["metadata"].get("creationTimestamp")
    return int(datetime.fromisoformat(created).timestamp()) // 60 if created else 0


def pod_status(pod: Object, events: Sequence[Object] = ()) -> ObservedPod:
    """What became of one pod; ``events`` oldest first."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    # What others put beside the steps tells only what the steps do not.
    containers, every_container = step_statuses(pod), container_statuses(pod)
    ended = [(container, _state(container)["terminated"]) for container in containers if "terminated" in _state(container)]
    running = next((container for container in containers if "running" in _state(container)), None)
    started = next((end.get("startedAt") for _, end in ended), None)
    if started is None and running is not None:
        started = _state(running)["running"].get("startedAt")
    last_end = max((end.get("finishedAt") or "" for _, end in ended), default="") or None
    identity = (str(metadata.get("uid", "")), str(metadata["name"]))
    disruption = _disruption(pod)
    failed = _failed(containers) or _failed(every_container)
    if status.get("phase") == "Succeeded":
        return ObservedPod(*identity, JobState.SUCCEEDED, started=started, ended=last_end)
    if status.get("phase") == "Failed" or (disruption and failed):
        container_name = failed[0] if failed else ""
        cause: Cause | None
        if disruption is not None:
            cause, reason = disruption
            reason = f"{container_name} was stopped: {reason}" if container_name else reason
        elif failed is not None:
            cause, reason = _container_failure(pod, *failed)
        else:
            cause, reason = Cause.EXIT, str(status.get("message") or "its pod failed")
        return ObservedPod(*identity, JobState.FAILED, container_name, cause, reason, started, last_end)
    if running is not None:
        node = (pod.get("spec") or {}).get("nodeName")
        reason = f"{running['name']}{f' on {node}' if node else ''}"
        if disruption is not None:
            reason += f", being stopped: {disruption[1]}"
        elif "deletionTimestamp" in metadata:
            reason += ", being stopped"
        return ObservedPod(*identity, JobState.RUNNING, running["name"], None, reason, started)
    if status.get("containerStatuses") and len(ended) == len(containers):
        reason = "its pod is about to end"
        if sidecars := _lasting_sidecars(pod):
            names = ", ".join(sidecars)
            code = ended[-1][1].get("exitCode")
            reason = f"{ended[-1][0]['name']} ended with exit status {code}, but {names} beside it runs on and keeps the Job"
            return ObservedPod(*identity, JobState.RUNNING, names, None, reason, started, sidecar=names)
        return ObservedPod(*identity, JobState.RUNNING, "", None, reason, started)
    cause, reason, container_name = _waiting(pod, every_container, events)
    return ObservedPod(*identity, JobState.WAITING, container_name, cause, reason, started)


def _failed(containers: Iterable[Object]) -> tuple[str, Object] | None:
    """The first container that ended with another exit status than 0, and its end."""
    ends = ((str(container["name"]), _state(container).get("terminated")) for container in containers)
    return next(((name, end) for name, end in ends if end and end.get("exitCode") != 0), None)


def _lasting_sidecars(pod: Object) -> list[str]:
    """The containers beside the steps that run, and that nothing ends: a native sidecar, which is an initContainer, is ended."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return [str(each["name"]) for each in statuses if "running" in _state(each) and not is_step(str(each["name"]))]


def started_containers(pod: Object) -> list[str]:
    """The steps' containers of a pod that have started, those that have ended too, in the order in which they run."""
    return [
        str(container["name"])
        for container in step_statuses(pod)
        if any((_state(container).get(state) or {}).get("startedAt") for state in ("running", "terminated"))
    ]


def _state(container: Object) -> Mapping[str, Any]:
    return container.get("state") or {}


def _job_state(
    job: Object, pods: Sequence[ObservedPod], events: Sequence[Object], is_last_try: bool, most: int
) -> tuple[JobState, Cause | None, str]:
    """State, cause and reason of a Job; ``is_last_try``: no pod follows a failed one; ``most``: how many pods there may be."""
    failed_pods = [pod for pod in pods if pod.state == JobState.FAILED]
    failure = condition(job, "Failed") or condition(job, "FailureTarget")
    if failure:
        return JobState.FAILED, *_job_failure(job, failure, pods, failed_pods, events)
    if condition(job, "Complete") or condition(job, "SuccessCriteriaMet"):
        return JobState.SUCCEEDED, None, ""
    if (job.get("spec") or {}).get("suspend"):
        return JobState.WAITING, Cause.QUEUE, "waits in its queue"
    number = describe_try(len(failed_pods) + 1, most)
    previous = f", try {number} after: {failed_pods[-1].reason}" if failed_pods else ""
    active = [pod for pod in pods if pod.state in (JobState.RUNNING, JobState.WAITING)]
    if not active:
        if any(pod.state == JobState.SUCCEEDED for pod in pods):
            return JobState.RUNNING, None, "done, and its Job is about to end"
        if failed_pods and is_last_try:
            return JobState.RUNNING, None, f"its Job is about to end: {failed_pods[-1].reason}"
        cause, reason = _from_events(events, "Job", job["metadata"]["name"])
        return JobState.WAITING, cause, f"waiting: {reason or 'its pod is not created yet'}{previous}"
    running = [pod for pod in active if pod.state == JobState.RUNNING]
    if not running:
        return JobState.WAITING, active[-1].cause, f"waiting: {active[-1].reason}{previous}"
    at_once = f" ({len(running)} tries at once)" if len(running) > 1 else ""
    return JobState.RUNNING, None, f"{running[-1].reason}{at_once}{previous}"


def _job_failure(
    job: Object, failure: Object, pods: Sequence[ObservedPod], failed_pods: Sequence[ObservedPod], events: Sequence[Object]
) -> tuple[Cause | None, str]:
    """Why a Job failed; ``failure`` is its condition."""
    name, reason = job["metadata"]["name"], failure.get("reason")
    if reason == "DeadlineExceeded":
        limit = (job.get("spec") or {}).get("activeDeadlineSeconds")
        summary = f"not done within its deadline{f' of {format_duration(limit)}' if limit else ''}"
        active = [pod for pod in pods if pod.state in (JobState.RUNNING, JobState.WAITING)]
        if active:
            return Cause.DEADLINE, f"{summary}: {active[-1].reason}"
        # The pods go with the deadline; only events say what kept them from starting.
        _, event_reason = _from_events(events, "Pod", pod_prefix(name), is_prefix=True)
        # Of a pod that was refused only its Job's events speak.
        event_reason = event_reason or _from_events(events, "Job", name)[1]
        why = failed_pods[-1].reason if failed_pods else event_reason
        return Cause.DEADLINE, f"{summary}{f': {why}' if why else ''}"
    if failed_pods:
        number = f" (the last of {len(failed_pods)} tries)" if len(failed_pods) > 1 else ""
        return failed_pods[-1].cause, f"{failed_pods[-1].reason}{number}"
    cause, event_reason = _from_events(events, "Pod", pod_prefix(name), is_prefix=True)
    if event_reason:
        return cause, event_reason
    return Cause.EXIT, f"{failure.get('message') or reason or 'its Job failed'}; its pods are gone"


def _container_failure(pod: Object, container: str, end: Object) -> tuple[Cause, str]:
    """Why a container's end failed its pod."""
    code, reason = end.get("exitCode"), end.get("reason")
    status = pod.get("status") or {}
    if reason == "OOMKilled":
        limit = _memory_limit(pod, container)
        return Cause.MEMORY, f"{container} was killed for memory{f' (its limit is {limit})' if limit else ''}"
    if status.get("reason") == "Evicted":
        return Cause.EVICTED, f"{container} was evicted: {message_line(status.get('message'))}"
    if status.get("reason") == "DeadlineExceeded":
        return Cause.DEADLINE, f"{container} was stopped at its deadline"
    if code == ExitCode.TRY_LATER and container == "await":
        return Cause.EXIT, "it made room for the runs that it waits for"
    if code == 137:
        reason = f"{container} was killed from outside (exit status 137, SIGKILL); the cluster does not say by whom"
        return Cause.KILLED, reason
    if code == 143:
        return Cause.STOPPED, f"{container} was asked to stop (exit status 143, SIGTERM)"
    if reason in ("StartError", "ContainerCannotRun", "ContainerStatusUnknown"):
        return Cause.CONFIGURATION, f"{container} could not run: {message_line(end.get('message') or reason)}"
    message = message_line(end.get("message"))
    if message.startswith((f"{container} ", f"{container}: ")):
        return Cause.EXIT, message
    return Cause.EXIT, f"{container}: {message}" if message else f"{container} ended with exit status {code}"


def _with_likely_memory_kills(pods: list[ObservedPod]) -> list[ObservedPod]:
    """The pods; a container killed from outside was most likely killed for memory if another try of the same run was."""
    short_of_memory = {pod.container for pod in pods if pod.cause == Cause.MEMORY}
    reason = "{} was killed from outside (exit status 137, SIGKILL), most likely for memory: another try was"
    return [
        replace(pod, reason=reason.format(pod.container))
        if pod.cause == Cause.KILLED and pod.container in short_of_memory
        else pod
        for pod in pods
    ]


def _waiting(pod: Object, containers: Sequence[Object], events: Sequence[Object]) -> tuple[Cause | None, str, str]:
    """Cause, reason and container of a pod that has no running container."""
    unscheduled = condition(pod, "PodScheduled", "False")
    if unscheduled:
        return Cause.UNSCHEDULABLE, f"no node can take it: {message_line(unscheduled.get('message'))}", ""
    for container in containers:
        waiting = _state(container).get("waiting") or {}
        reason, message = waiting.get("reason", ""), message_line(waiting.get("message"))
        if reason in _PULL_FAILURES:
            event_message = _pull_failure(pod, events) if reason == "ImagePullBackOff" else ""
            why = event_message or message or reason
            return Cause.IMAGE, f"image {container.get('image')} cannot be pulled: {why}", container["name"]
        if reason not in _ORDINARY_WAITS:
            return Cause.CONFIGURATION, f"{container['name']} cannot be started: {message or reason}", container["name"]
    cause, event_reason = _from_events(events, "Pod", pod["metadata"]["name"], pod["metadata"].get("uid"))
    if cause in (Cause.MOUNT, Cause.CONFIGURATION):
        return cause, event_reason, ""
    if "nodeName" not in (pod.get("spec") or {}):
        return None, "it is being scheduled", ""
    has_started = any("terminated" in _state(container) for container in containers)
    return None, "its next container is starting" if has_started else "its containers are starting", ""


def _pull_failure(pod: Object, events: Sequence[Object]) -> str:
    """Why a pull failed: while the kubelet backs off, only an event says it."""
    for event in reversed(events):
        subject, message = event.get("involvedObject") or {}, str(event.get("message", ""))
        if subject.get("name") == pod["metadata"]["name"] and event.get("reason") == "Failed" and "ailed to pull" in message:
            return message_line(message)
    return ""


def _from_events(
    events: Sequence[Object], kind: str, name: str, uid: str | None = None, is_prefix: bool = False
) -> tuple[Cause | None, str]:
    """Cause and reason by the latest event about an object that says what hinders it; ``events`` oldest first."""
    for event in reversed(events):
        subject = event.get("involvedObject") or {}
        subject_name = str(subject.get("name", ""))
        if subject.get("kind") != kind or name != (subject_name[:-5] if is_prefix else subject_name):
            continue
        if uid is not None and subject.get("uid") not in (None, uid):
            continue
        message = message_line(event.get("message"))
        if event.get("reason") in _EVENTS:
            cause, summary = _EVENTS[str(event["reason"])]
            cure = "; cronsemble sync makes it again" if cause == Cause.MOUNT and _LOST_SNAPSHOT.search(message) else ""
            return cause, f"{summary}: {message}{cure}"
        if event.get("reason") == "Failed" and "ailed to pull" in message:
            return Cause.IMAGE, f"its image cannot be pulled: {message}"
    return None, ""


def _disruption(pod: Object) -> tuple[Cause, str] | None:
    """Why the cluster stops a pod, by its condition DisruptionTarget; None if it does not."""
    disruption = condition(pod, "DisruptionTarget")
    if disruption is None:
        return None
    reason = str(disruption.get("reason"))
    cause, summary = _DISRUPTIONS.get(reason, (Cause.EVICTED, reason))
    message = message_line(disruption.get("message"))
    return cause, f"{summary}{f' ({message})' if message else ''}"


def _kind(job: Object) -> str:
    """Why the run was started, by the variable that says so to the run itself, unless its Job was made by hand."""
    if is_by_hand(job):
        return RunKind.MANUAL
    spec = ((job.get("spec") or {}).get("template") or {}).get("spec") or {}
    for container in spec.get("containers") or ():
        for variable in container.get("env") or ():
            if variable.get("name") == c.ENV_KIND and variable.get("value"):
                return str(variable["value"])
    return RunKind.SCHEDULED


def _memory_limit(pod: Object, container_name: str) -> str:
    spec = pod.get("spec") or {}
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        if container.get("name") == container_name:
            return str(((container.get("resources") or {}).get("limits") or {}).get("memory", ""))
    return ""


def _creation(pod: Object) -> tuple[str, str]:
    return str(pod["metadata"].get("creationTimestamp", "")), str(pod["metadata"]["name"])


def _last_seen(event: Object) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"), event.get("firstTimestamp"))
    return str(next(filter(None, times), ""))


def message_line(text: Any) -> str:
    """A cluster's message as one line of at most MESSAGE_LENGTH characters."""
    return one_line(str(text or ""), MESSAGE_LENGTH)
