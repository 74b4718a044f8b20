"""Whether a Job tries again once pods of it have failed: its backoffLimit and its podFailurePolicy (batch/v1 JobSpec).

Beside it the readers of conditions and container statuses, which others use too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cronjobs.objects.pods import is_step

Object = Mapping[str, Any]

DEFAULT_BACKOFF_LIMIT = 6
"""Of a Job that says none (batch/v1 JobSpec)."""


def has_no_retries_left(job: Object, pods: Iterable[Object]) -> bool:
    """Whether the failed pods leave a Job no further try, so that it is about to fail."""
    actions = _actions(job, pods)
    return "FailJob" in actions or actions.count("Count") > _backoff_limit(job)


def max_tries(job: Object, pods: Iterable[Object]) -> int:
    """How many pods a Job may have: a failed one that its policy ignores is one more."""
    return _backoff_limit(job) + 1 + _actions(job, pods).count("Ignore")


def _backoff_limit(job: Object) -> int:
    return int((job.get("spec") or {}).get("backoffLimit", DEFAULT_BACKOFF_LIMIT))


def _actions(job: Object, pods: Iterable[Object]) -> list[str]:
    """What each failed pod means for its Job."""
    rules = ((job.get("spec") or {}).get("podFailurePolicy") or {}).get("rules") or ()
    return [_action(pod, rules) for pod in pods if (pod.get("status") or {}).get("phase") == "Failed"]


def _action(pod: Object, rules: Iterable[Object]) -> str:
    """The action of the first rule that a failed pod matches; ``Count`` without one."""
    exit_codes = [
        (container["name"], (container.get("state") or {}).get("terminated", {}).get("exitCode") or 0)
        for container in container_statuses(pod)
    ]
    for rule in rules:
        on_exit_codes = rule.get("onExitCodes")
        if on_exit_codes is None:
            conditions = rule.get("onPodConditions") or ()
            matches = any(condition(pod, pattern["type"], pattern.get("status", "True")) for pattern in conditions)
        else:
            codes = [code for name, code in exit_codes if code and on_exit_codes.get("containerName", name) == name]
            matches = any((code in on_exit_codes["values"]) == (on_exit_codes["operator"] == "In") for code in codes)
        if matches:
            return str(rule["action"])
    return "Count"


def container_statuses(pod: Object) -> list[Object]:
    """The status of each container of a pod, in the order in which they run."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def step_statuses(pod: Object) -> list[Object]:
    """The status of each container that runs a step, in that order: not of those that others put into the pod beside them.

    All of them, where none has the name of a step.
    """
    containers = container_statuses(pod)
    return [container for container in containers if is_step(str(container["name"]))] or containers


def condition(resource: Object, kind: str, status: str = "True") -> Object | None:
    """The condition of type ``kind`` of a Job or pod, if it has that status."""
    for known in (resource.get("status") or {}).get("conditions") or ():
        if known.get("type") == kind and known.get("status") == status:
            return dict(known)
    return None
