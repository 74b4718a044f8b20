"""Whether a Job tries again once pods of it have failed: its backoffLimit and its podFailurePolicy (batch/v1 JobSpec)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Object = Mapping[str, Any]


def is_spent(job: Object, pods: Iterable[Object]) -> bool:
    """Whether the failed pods leave a Job no further try, so that it is about to fail."""
    spec = job.get("spec") or {}
    rules = (spec.get("podFailurePolicy") or {}).get("rules") or ()
    actions = [_action(pod, rules) for pod in pods if (pod.get("status") or {}).get("phase") == "Failed"]
    return "FailJob" in actions or actions.count("Count") > spec.get("backoffLimit", 6)


def _action(pod: Object, rules: Iterable[Object]) -> str:
    """What the first rule that a failed pod fits says."""
    codes = [(each["name"], (each.get("state") or {}).get("terminated", {}).get("exitCode") or 0) for each in statuses_of(pod)]
    for rule in rules:
        wanted = rule.get("onExitCodes")
        if wanted is None:
            fits = any(condition(pod, each["type"], each.get("status", "True")) for each in rule.get("onPodConditions") or ())
        else:
            own = [code for name, code in codes if code and wanted.get("containerName", name) == name]
            fits = any((code in wanted["values"]) == (wanted["operator"] == "In") for code in own)
        if fits:
            return str(rule["action"])
    return "Count"


def statuses_of(pod: Object) -> list[Object]:
    """What is told of each container of a pod, in the order in which they run."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def condition(thing: Object, kind: str, status: str = "True") -> Object | None:
    """The condition of a kind that a Job or pod is in."""
    for each in (thing.get("status") or {}).get("conditions") or ():
        if each.get("type") == kind and each.get("status") == status:
            return dict(each)
    return None
