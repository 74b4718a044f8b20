"""What a plan says besides its actions: what is left as it is, and what may surprise. Values in, values out."""

from __future__ import annotations

from collections.abc import Iterator

from cronjobs.objects import labels
from cronjobs.objects.volumes import LEVELS
from scheduler.kube import managed_fields
from scheduler.kube.managed_fields import OURS
from scheduler.kube.objects import NamespaceObjects, Object
from scheduler.sync.diff import compare
from scheduler.sync.plan import Flag


def fields_left_alone(body: Object, live: Object, kubectl: managed_fields.Tree | None) -> Iterator[str]:
    """What of a CronJob is not as the configuration has it, and stays: a suspension, and with ``kubectl`` what kubectl owns."""
    name = body["metadata"]["name"]
    owners = managed_fields.ownerships(live["metadata"])
    if live["spec"].get("suspend") and "suspend" not in body["spec"]:
        by = ", ".join(owner for owner in managed_fields.owners_of(owners, ("spec", "suspend")) if owner != OURS) or "someone"
        yield (f"CronJob {name} stays suspended (by {by}): the configuration does not say `suspend:`")
    if kubectl:
        for change in compare(body, live, kubectl):
            if change.new is None and change.path != ("spec", "suspend"):
                yield (f"CronJob {name}: {change.field} is left as it is (kubectl's); {Flag.FORCE_CONFLICTS} removes it")


def undeclared_experiments(names: set[str], live: NamespaceObjects) -> Iterator[str]:
    """Experiments of ours that nobody declares here, and namespaces that hold the same experiments: never left in silence."""
    others: dict[str, int] = {}
    for each in live.cronjobs.values():
        experiment = each["metadata"]["labels"].get(labels.INSTANCE, "?")
        if experiment not in names:
            others[experiment] = others.get(experiment, 0) + 1
    for experiment, count in sorted(others.items()):
        yield (
            f"experiment {experiment} has {count} CronJobs in namespace {live.namespace}, and no given file declares it; "
            f"if it was renamed or dropped: cronsemble delete {experiment} --namespace {live.namespace}"
        )
    for experiment, namespaces in sorted((live.elsewhere or {}).items()):
        for namespace in namespaces:
            yield (
                f"experiment {experiment} also has CronJobs in namespace {namespace}, which go on firing; "
                f"if it moved: cronsemble delete {experiment} --namespace {namespace}"
            )


def pod_security(experiment: str, namespace: str, enforced: str | None, level: str, reason: str) -> Iterator[str]:
    """That a namespace will refuse the pods."""
    if enforced in LEVELS and LEVELS.index(enforced) < LEVELS.index(level):
        yield (
            f"namespace {namespace} enforces Pod Security {enforced}, which refuses the pods of {experiment}: they need {level}, "
            f"for {reason}; `cronsemble render --volume` prints a claim that needs less"
        )
