"""From a cluster's Jobs, pods and events to what became of each run. Values in, values out.

The shapes are those of Kubernetes' API: batch/v1 Job, v1 Pod, v1 Event. A reason says what the cluster tells and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cronjobs.objects import labels
from jobs import contract as c
from jobs.contract import Cause, ExitCode, RunId, parse_run_id
from scheduler.history.observed_runs import WAITING, ObservedJob, ObservedPod, pod_prefix
from scheduler.history.slots import FAILED, RUNNING, SUCCEEDED, format_duration
from scheduler.observe.retry_policy import condition, is_spent, statuses_of

Object = Mapping[str, Any]

JOB_NAME = "batch.kubernetes.io/job-name"
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}
_QUIET = {"", "PodInitializing", "ContainerCreating"}
_DISRUPTIONS = {
    "PreemptionByScheduler": (Cause.PREEMPTED, "a pod of a higher priority took its place"),
    "DeletionByTaintManager": (Cause.EVICTED, "its node was tainted"),
    "EvictionByEvictionAPI": (Cause.EVICTED, "it was asked to leave its node"),
    "DeletionByPodGC": (Cause.NODE_GONE, "its node is gone"),
    "TerminationByKubelet": (Cause.EVICTED, "its node ended it"),
}
_EVENTS = {
    "FailedMount": (Cause.MOUNT, "its volumes cannot be mounted"),
    "FailedAttachVolume": (Cause.MOUNT, "its volumes cannot be attached"),
    "FailedCreatePodSandBox": (Cause.CONFIGURATION, "its pod cannot be set up"),
    "FailedScheduling": (Cause.UNSCHEDULABLE, "no node takes it"),
    "FailedCreate": (Cause.NOT_MADE, "its pod is refused"),
    "Evicted": (Cause.EVICTED, "it was evicted"),
    "Preempted": (Cause.PREEMPTED, "it was preempted"),
    "TaintManagerEviction": (Cause.EVICTED, "its node was tainted"),
}


def job_status(job: Object, pods: Iterable[Object] = (), events: Iterable[Object] = ()) -> ObservedJob | None:
    """What became of a Job's run; ``pods`` and ``events`` are the Job's own. None for a Job that is no run of ours."""
    run = run_of(job)
    if run is None:
        return None
    told, pods = sorted(events, key=_last_seen), sorted(pods, key=_made)
    tries = _suspected([try_of(pod, told) for pod in pods])
    state, what, reason = _standing(job, tries, told, is_spent(job, pods))
    status = job.get("status") or {}
    end = condition(job, "Failed") or condition(job, "FailureTarget") or {}
    return ObservedJob(
        run,
        str(job["metadata"].get("uid", "")),
        state,
        what,
        reason,
        _kind(job),
        status.get("startTime") or job["metadata"].get("creationTimestamp"),
        status.get("completionTime") or end.get("lastTransitionTime"),
        tuple(tries),
    )


def run_of(job: Object) -> RunId | None:
    """The run that a Job is, by its labels and name."""
    own = job["metadata"].get("labels") or {}
    experiment, task = own.get(labels.INSTANCE), own.get(labels.TASK)
    return parse_run_id(job["metadata"]["name"], experiment, task) if experiment and task else None


def try_of(pod: Object, events: Sequence[Object] = ()) -> ObservedPod:
    """What became of one pod; ``events`` oldest first."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    statuses = statuses_of(pod)
    ends = [(each, each["state"]["terminated"]) for each in statuses if "terminated" in (each.get("state") or {})]
    at_work = next((each for each in statuses if "running" in (each.get("state") or {})), None)
    started = next((end.get("startedAt") for _, end in ends), None) or (at_work or {}).get("state", {}).get("running", {}).get(
        "startedAt"
    )
    last = max((end.get("finishedAt") or "" for _, end in ends), default="") or None
    base = (str(metadata.get("uid", "")), str(metadata["name"]))
    taken = _disruption(pod)
    phase = status.get("phase")
    broken = next(((each["name"], end) for each, end in ends if end.get("exitCode") != 0), None)
    if phase == "Succeeded":
        return ObservedPod(*base, SUCCEEDED, started=started, ended=last)
    if phase == "Failed" or (taken and broken):
        container = broken[0] if broken else ""
        what, reason = taken or (
            _ending(pod, *broken) if broken else (Cause.EXIT, str(status.get("message") or "its pod failed"))
        )
        if taken and container:
            reason = f"{container} was stopped: {reason}"
        return ObservedPod(*base, FAILED, container, what, reason, started, last)
    if at_work is not None:
        where = (pod.get("spec") or {}).get("nodeName")
        is_leaving = taken is not None or "deletionTimestamp" in metadata
        reason = f"{at_work['name']}{f' on {where}' if where else ''}"
        if is_leaving:
            reason += f", being stopped{f': {taken[1]}' if taken else ''}"
        return ObservedPod(*base, RUNNING, at_work["name"], "", reason, started)
    if status.get("containerStatuses") and len(ends) == len(statuses):
        return ObservedPod(*base, RUNNING, "", "", "its pod is about to end", started)
    what, reason, container = _waiting(pod, statuses, events)
    return ObservedPod(*base, WAITING, container, what, reason, started)


def has_begun(pod: Object) -> list[str]:
    """The containers of a pod that have begun, those that have ended too, in their order."""
    states = [(str(each["name"]), each.get("state") or {}) for each in statuses_of(pod)]
    return [name for name, state in states if any((state.get(how) or {}).get("startedAt") for how in ("running", "terminated"))]


def _standing(job: Object, tries: Sequence[ObservedPod], events: Sequence[Object], is_spent: bool) -> tuple[str, str, str]:
    """State, what and reason of a Job; ``is_spent``: no more tries follow."""
    lost = [each for each in tries if each.state == FAILED]
    failed = condition(job, "Failed") or condition(job, "FailureTarget")
    if failed:
        return FAILED, *_failure(job, failed, tries, lost, events)
    if condition(job, "Complete") or condition(job, "SuccessCriteriaMet"):
        return SUCCEEDED, "", ""
    spec = job.get("spec") or {}
    if spec.get("suspend"):
        return WAITING, Cause.QUEUE, "waits in its queue"
    before = f", try {len(lost) + 1} after: {lost[-1].reason}" if lost else ""
    alive = [each for each in tries if each.state in (RUNNING, WAITING)]
    if not alive:
        if any(each.state == SUCCEEDED for each in tries):
            return RUNNING, "", "done, and its Job is about to end"
        if lost and is_spent:
            return RUNNING, "", f"its Job is about to end: {lost[-1].reason}"
        what, reason = _told(events, "Job", job["metadata"]["name"])
        return WAITING, what, f"waiting: {reason or 'its pod is not made yet'}{before}"
    at_work = [each for each in alive if each.state == RUNNING]
    if not at_work:
        return WAITING, alive[-1].what, f"waiting: {alive[-1].reason}{before}"
    others = f" ({len(at_work)} tries at once)" if len(at_work) > 1 else ""
    return RUNNING, "", f"{at_work[-1].reason}{others}{before}"


def _failure(
    job: Object, failed: Object, tries: Sequence[ObservedPod], lost: Sequence[ObservedPod], events: Sequence[Object]
) -> tuple[str, str]:
    spec, reason = job.get("spec") or {}, failed.get("reason")
    if reason == "DeadlineExceeded":
        limit = spec.get("activeDeadlineSeconds")
        told = f"not done within its deadline{f' of {format_duration(limit)}' if limit else ''}"
        alive = [each for each in tries if each.state in (RUNNING, WAITING)]
        if alive:
            return Cause.DEADLINE, f"{told}: {alive[-1].reason}"
        # The pods go with the deadline; only events tell what kept them from beginning.
        _, why = _told(events, "Pod", pod_prefix(job["metadata"]["name"]), is_prefix=True)
        why = why if not lost else lost[-1].reason
        return Cause.DEADLINE, f"{told}{f': {why}' if why else ''}"
    if lost:
        number = f" (the last of {len(lost)} tries)" if len(lost) > 1 else ""
        return lost[-1].what, f"{lost[-1].reason}{number}"
    what, why = _told(events, "Pod", pod_prefix(job["metadata"]["name"]), is_prefix=True)
    if why:
        return what, why
    return Cause.EXIT, f"{failed.get('message') or reason or 'its Job failed'}; its pods are gone"


def _ending(pod: Object, container: str, end: Object) -> tuple[str, str]:
    """Why a container's end failed its pod."""
    code, reason = end.get("exitCode"), end.get("reason")
    status = pod.get("status") or {}
    if reason == "OOMKilled":
        limit = _memory_limit(pod, container)
        return Cause.MEMORY, f"{container} was killed for memory{f' (its limit is {limit})' if limit else ''}"
    if status.get("reason") == "Evicted":
        return Cause.EVICTED, f"{container} was evicted: {_one_line(status.get('message'))}"
    if status.get("reason") == "DeadlineExceeded":
        return Cause.DEADLINE, f"{container} was stopped at its deadline"
    if code == ExitCode.TRY_LATER and container == "await":
        return Cause.EXIT, "it made room for the runs that it awaits"
    if code == 137:
        return Cause.KILLED, f"{container} was killed from outside (exit status 137, SIGKILL); the cluster does not say by whom"
    if code == 143:
        return Cause.STOPPED, f"{container} was asked to stop (exit status 143, SIGTERM)"
    if reason in ("StartError", "ContainerCannotRun", "ContainerStatusUnknown"):
        return Cause.CONFIGURATION, f"{container} could not run: {_one_line(end.get('message') or reason)}"
    said = _one_line(end.get("message"))
    return Cause.EXIT, f"{container}: {said}" if said else f"{container} ended with exit status {code}"


def _suspected(tries: list[ObservedPod]) -> list[ObservedPod]:
    """A container killed by nobody knows whom was most likely killed for memory if another try of the same run was."""
    short = {each.container for each in tries if each.what == Cause.MEMORY}
    found = []
    for each in tries:
        if each.what == Cause.KILLED and each.container in short:
            told = f"{each.container} was killed from outside (exit status 137, SIGKILL), most likely for memory: another try was"
            each = ObservedPod(each.name, each.pod, each.state, each.container, each.what, told, each.started, each.ended)
        found.append(each)
    return found


def _waiting(pod: Object, statuses: Sequence[Object], events: Sequence[Object]) -> tuple[str, str, str]:
    """What, reason and container of a pod that has nothing at work."""
    scheduled = condition(pod, "PodScheduled", "False")
    if scheduled:
        return Cause.UNSCHEDULABLE, f"no node takes it: {_one_line(scheduled.get('message'))}", ""
    for each in statuses:
        waiting = (each.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), _one_line(waiting.get("message"))
        if reason in _IMAGE:
            said = _pull_failure(pod, events) if reason == "ImagePullBackOff" else message
            return Cause.IMAGE, f"image {each.get('image')} cannot be pulled: {said or message or reason}", each["name"]
        if reason not in _QUIET:
            return Cause.CONFIGURATION, f"{each['name']} cannot be started: {message or reason}", each["name"]
    what, reason = _told(events, "Pod", pod["metadata"]["name"], pod["metadata"].get("uid"))
    if what in (Cause.MOUNT, Cause.CONFIGURATION):
        return what, reason, ""
    begun = any("terminated" in (each.get("state") or {}) for each in statuses)
    if "nodeName" not in (pod.get("spec") or {}):
        return "", "a node is looked for", ""
    return "", "its next container starts" if begun else "its containers start", ""


def _pull_failure(pod: Object, events: Sequence[Object]) -> str:
    """Why a pull failed: while the kubelet backs off, only an event tells."""
    for event in reversed(events):
        about, message = event.get("involvedObject") or {}, str(event.get("message", ""))
        if about.get("name") == pod["metadata"]["name"] and event.get("reason") == "Failed" and "ailed to pull" in message:
            return _one_line(message)
    return ""


def _told(events: Sequence[Object], kind: str, name: str, uid: str | None = None, is_prefix: bool = False) -> tuple[str, str]:
    """What and reason of the latest event about an object that says why it does not get on."""
    for event in reversed(events):
        about = event.get("involvedObject") or {}
        found = str(about.get("name", ""))
        if about.get("kind") != kind or name != (found[:-5] if is_prefix else found):
            continue
        if uid is not None and about.get("uid") not in (None, uid):
            continue
        message = _one_line(event.get("message"))
        if event.get("reason") in _EVENTS:
            what, words = _EVENTS[str(event["reason"])]
            return what, f"{words}: {message}"
        if event.get("reason") == "Failed" and "ailed to pull" in message:
            return Cause.IMAGE, f"its image cannot be pulled: {message}"
    return "", ""


def _disruption(pod: Object) -> tuple[str, str] | None:
    told = condition(pod, "DisruptionTarget")
    if told is None:
        return None
    what, words = _DISRUPTIONS.get(str(told.get("reason")), (Cause.EVICTED, str(told.get("reason"))))
    message = _one_line(told.get("message"))
    return what, f"{words}{f' ({message})' if message else ''}"


def _kind(job: Object) -> str:
    """By the variable that tells it to the run itself."""
    spec = ((job.get("spec") or {}).get("template") or {}).get("spec") or {}
    for container in spec.get("containers") or ():
        for each in container.get("env") or ():
            if each.get("name") == c.ENV_KIND and each.get("value"):
                return str(each["value"])
    return "scheduled"


def _memory_limit(pod: Object, container: str) -> str:
    spec = pod.get("spec") or {}
    for each in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        if each.get("name") == container:
            return str(((each.get("resources") or {}).get("limits") or {}).get("memory", ""))
    return ""


def _made(pod: Object) -> tuple[str, str]:
    return str(pod["metadata"].get("creationTimestamp", "")), str(pod["metadata"]["name"])


def _last_seen(event: Object) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"), event.get("firstTimestamp"))
    return str(next(filter(None, times), ""))


def _one_line(text: Any) -> str:
    """A message as one line of at most 300 characters."""
    line = " ".join(str(text or "").split())
    return line if len(line) <= 300 else line[:299] + "…"
