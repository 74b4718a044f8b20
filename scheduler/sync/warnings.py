"""What a plan says besides its actions: fields that are left alone, and what may surprise. Values in, values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from cronjobs.objects import labels
from cronjobs.objects.volumes import LEVELS
from scheduler.kube import managed_fields
from scheduler.kube.managed_fields import LAST_APPLIED, OURS
from scheduler.kube.objects import NamespaceObjects, Object
from scheduler.sync.diff import compare
from scheduler.sync.plan import Flag


def fields_left_alone(desired: Object, live: Object, kubectl: managed_fields.Tree | None) -> Iterator[str]:
    """Fields of a CronJob that are not in the configuration and stay: a suspension, and those of ``kubectl``, if given."""
    name = desired["metadata"]["name"]
    owners = managed_fields.ownerships(live["metadata"])
    if live["spec"].get("suspend") and "suspend" not in desired["spec"]:
        others = managed_fields.owners_of(owners, ("spec", "suspend"))
        # What nobody owns came from no client's request.
        by = ", ".join(owner for owner in others if owner != OURS) or ("someone" if others else "the cluster's admission")
        yield f"CronJob {name} stays suspended (by {by}): the configuration does not say `suspend:`"
    if kubectl:
        for change in compare(desired, live, kubectl):
            if change.new is None and change.path not in (("spec", "suspend"), LAST_APPLIED):
                yield f"CronJob {name}: {change.field} is left as it is (kubectl's); {Flag.FORCE_CONFLICTS} removes it"


def undeclared_experiments(declared: set[str], live: NamespaceObjects) -> Iterator[str]:
    """Experiments in the namespace that are not declared here, and other namespaces that hold the declared ones."""
    names = (str(cronjob["metadata"]["labels"].get(labels.INSTANCE, "?")) for cronjob in live.cronjobs.values())
    undeclared = Counter(name for name in names if name not in declared)
    for experiment, count in sorted(undeclared.items()):
        yield (
            f"experiment {experiment} has {count} CronJob{'s' if count > 1 else ''} in namespace {live.namespace}, and no given "
            f"file declares it; if it was renamed or dropped: cronsemble delete {experiment} --namespace {live.namespace}"
        )
    for experiment, namespaces in sorted((live.elsewhere or {}).items()):
        for namespace in namespaces:
            yield (
                f"experiment {experiment} also has CronJobs in namespace {namespace}, which go on firing; "
                f"if it moved: cronsemble delete {experiment} --namespace {namespace}"
            )


def pod_security(experiment: str, namespace: str, enforced: str | None, level: str, reason: str) -> Iterator[str]:
    """The warning that a namespace will refuse the pods, which need this level for this reason."""
    if enforced in LEVELS and LEVELS.index(enforced) < LEVELS.index(level):
        yield (
            f"namespace {namespace} enforces Pod Security {enforced}, which refuses the pods of {experiment}: they need {level}, "
            f"for {reason}; `cronsemble render --volume` prints a claim that needs less"
        )
