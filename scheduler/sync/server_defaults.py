"""Values that an API server fills in where a CronJob says nothing: who owns a field with one of them has declared nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduler.kube.managed_fields import Tree, item_key

_DEFAULTS: dict[str, tuple[Any, ...]] = {
    # batch/v1 CronJobSpec and JobSpec (k8s.io/kubernetes, pkg/apis/batch/v1/defaults.go)
    "concurrencyPolicy": ("Allow",),
    "suspend": (False,),
    "successfulJobsHistoryLimit": (3,),
    "failedJobsHistoryLimit": (1,),
    "backoffLimit": (6,),
    "completions": (1,),
    "parallelism": (1,),
    "completionMode": ("NonIndexed",),
    "podReplacementPolicy": ("TerminatingOrFailed", "Failed"),
    "manualSelector": (False,),
    # core/v1 PodSpec, containers and volumes (pkg/apis/core/v1/defaults.go)
    "creationTimestamp": (None,),
    "restartPolicy": ("Always",),
    "dnsPolicy": ("ClusterFirst",),
    "schedulerName": ("default-scheduler",),
    "terminationGracePeriodSeconds": (30,),
    "enableServiceLinks": (True,),
    "terminationMessagePath": ("/dev/termination-log",),
    "terminationMessagePolicy": ("File",),
    "protocol": ("TCP",),
    "scheme": ("HTTP",),
    "apiVersion": ("v1",),
    "divisor": ("0",),
    "defaultMode": (420,),
    "expirationSeconds": (3600,),
    "type": ("",),
    "timeoutSeconds": (1,),
    "periodSeconds": (10,),
    "successThreshold": (1,),
    "failureThreshold": (3,),
    "recursiveReadOnly": ("Disabled",),
}
"""By the field's name: a name has the same default wherever it stands in a CronJob."""


def is_default(parent: Mapping[str, Any], field: str) -> bool:
    """Whether a field of an object or of a part of it has the value that the server gives it where nothing is said."""
    value = parent.get(field)
    if field == "imagePullPolicy":
        return bool(value == _pull_policy(str(parent.get("image", ""))))
    if field == "serviceAccount":
        return bool(value == parent.get("serviceAccountName"))
    return value in ({}, []) or value in _DEFAULTS.get(field, ())


def _pull_policy(image: str) -> str:
    if "@" in image:
        return "IfNotPresent"
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return "IfNotPresent" if colon and tag != "latest" else "Always"


def without_defaults(tree: Tree, live: Any) -> Tree:
    """Of a set of fields those that have other values than the server's defaults in ``live``, and are there."""
    declared: dict[str, Any] = {}
    for key, fields in tree.items():
        if key.startswith("f:"):
            value = live.get(key[2:]) if isinstance(live, Mapping) and not is_default(live, key[2:]) else None
        elif key.startswith("k:"):
            value = _item(live, dict(item_key(key)))
        else:
            declared[key] = fields
            continue
        if value is None:
            continue
        rest = without_defaults(fields, value)
        if not fields or set(rest) - {"."}:
            declared[key] = rest
    return declared


def _item(items: Any, key: Mapping[str, Any]) -> Any:
    """The item of a list that has these values; None without one."""
    candidates = items if isinstance(items, list) else ()
    # A key that the server fills in may be missing in what it shows of an older object.
    return next((item for item in candidates if all(item.get(name, value) == value for name, value in key.items())), None)
