"""Plan and sync: reads files and cluster, makes the plan, holds the Lease, and has the plan executed."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from cronjobs.experiment import Experiment
from scheduler import VERSION
from scheduler.kube import kinds, managed_fields, objects, revision_configmap
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import KubeError
from scheduler.kube.objects import NamespaceObjects
from scheduler.sync import planner
from scheduler.sync.desired import desired_states
from scheduler.sync.diff import fingerprint
from scheduler.sync.plan import CHANGE, CREATE, PRUNE, RECORD, Action, SyncPlan
from scheduler.sync.planner import DesiredState, NamespaceContext

if TYPE_CHECKING:
    from scheduler.sync.lease import Lease

OLDEST = (1, 27)
"""The first minor version whose CronJobs have a time zone for sure."""


class StalePlan(KubeError):
    """The cluster is not as the plan saw it."""


@dataclass
class Reconciler:
    """One cluster and what it should hold."""

    api: KubeClient
    experiments: list[Experiment]
    force: bool = False
    wanted: list[DesiredState] = field(init=False)
    lives: dict[str, NamespaceObjects] = field(default_factory=dict, init=False)
    """What the latest plan was made of."""
    _checked: bool = field(default=False, init=False)
    _ahead: threading.Thread | None = field(default=None, init=False)
    _failed: BaseException | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # The server lists while the objects are built.
        self._ahead = threading.Thread(target=self._read_ahead, daemon=True)
        self._ahead.start()
        self.wanted = desired_states(self.experiments)

    def plan(self) -> SyncPlan:
        """Read the cluster and plan; nothing is changed."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            self._read()
        else:
            ahead.join()
            if self._failed is not None:
                raise self._failed
        plan = planner.make_plan(
            self.wanted,
            self.lives,
            {name: namespace_context(self.api, name) for name in self.lives},
            tool=VERSION,
            server=self.api.access.server,
            context=self.api.access.context,
            now=self.api.now(),
            force=self.force,
        )
        if plan.actions and not self._checked:
            check_version(self.api)
            self._checked = True
        return plan

    @property
    def namespaces(self) -> dict[str, list[str]]:
        """The experiments by namespace."""
        found: dict[str, list[str]] = {}
        for each in self.experiments:
            found.setdefault(each.cluster["namespace"], []).append(each.name)
        return found

    def _read_ahead(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self._failed = error

    def _read(self) -> None:
        spaces = self.namespaces
        found = objects.in_parallel(
            *(functools.partial(objects.read_namespace_objects, self.api, *space) for space in spaces.items())
        )
        self.lives = dict(zip(spaces, found, strict=True))


def check_version(api: KubeClient) -> None:
    major, minor = found = api.version()
    if found < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise KubeError(
            f"{api.access.server} is Kubernetes {major}.{minor}, whose CronJobs have no time zone: {needed} is needed"
        )


def namespace_context(api: KubeClient, namespace: str) -> NamespaceContext:
    """Asks for each thing once, and only if it is wanted."""
    return NamespaceContext(
        functools.cache(lambda: objects.read_namespace(api, namespace)),
        functools.cache(lambda: objects.unfinished_jobs(api, namespace)),
        functools.cache(lambda kind: objects.foreign_names(api, kinds.KINDS[kind], namespace)),
        lambda name: api.get(kinds.CONFIGMAP, namespace, name),
    )


@contextmanager
def leases(api: KubeClient, namespaces: Iterable[str], wait: float, say: Callable[[str], None]) -> Iterator[dict[str, Lease]]:
    """The Leases of these namespaces, in one order for all so that no two wait for each other."""
    # Not needed when there is nothing to do, which must take no time.
    from scheduler.sync.lease import Lease

    with ExitStack() as stack:
        held = {}
        for name in sorted(set(namespaces)):
            held[name] = Lease(api, name)
            held[name].take(wait, say)
            stack.callback(held[name].release)
        yield held


def changed_namespaces(plan: SyncPlan) -> set[str]:
    return {action.namespace for action in plan.actions}


def without_namespaces(plan: SyncPlan) -> tuple[list[Action], SyncPlan]:
    """A plan's namespaces, which must be there before a Lease can be, and the rest of it."""
    first = [action for action in plan.actions if action.kind == "Namespace"]
    return first, msgspec.structs.replace(plan, actions=tuple(action for action in plan.actions if action.kind != "Namespace"))


def check_saved(api: KubeClient, plan: SyncPlan) -> None:
    """Raise Stale if anything that a saved plan touches is not as it was seen."""
    if plan.server != api.access.server:
        raise StalePlan(f"the plan is for {plan.server}, this is {api.access.server}: use the context that it was made with")
    if plan.tool != VERSION:
        raise StalePlan(f"the plan was made by cronsemble {plan.tool}, this is {VERSION}: make it anew")
    stale: list[str] = []
    for namespace in sorted(changed_namespaces(plan)):
        found = objects.read_namespace_objects(api, namespace, [])
        around = namespace_context(api, namespace)
        stale += [
            f"{action.kind} {action.name}"
            for action in plan.actions
            if action.namespace == namespace and _moved(action, found, around)
        ]
    if stale:
        shown = ", ".join(stale[:5]) + (f" and {len(stale) - 5} more" if len(stale) > 5 else "")
        raise StalePlan(f"the plan is stale: {shown} changed since it was made: plan again")


def _moved(action: Action, found: NamespaceObjects, around: NamespaceContext) -> bool:
    if action.kind == "Namespace":
        return False
    if action.verb == RECORD:
        known = found.configmaps.get(action.name)
        return (known["metadata"]["annotations"].get(revision_configmap.DIGEST, "") if known else "") != action.seen
    there = found.of_kind(action.kind).get(action.name)
    if action.verb == CREATE:
        return there is not None or action.name in around.strangers(action.kind)
    if there is None:
        return action.verb == CHANGE
    if there["metadata"]["uid"] != action.uid:
        return True
    if action.verb == PRUNE and action.kind == "ConfigMap":
        return False
    if action.verb == PRUNE:
        seen = fingerprint({"metadata": {}, "spec": there["spec"]}, there, {})
        uid = there["metadata"]["uid"]
        jobs = around.unfinished()
        now = {job["metadata"]["name"] for job in jobs if any(o.get("uid") == uid for o in job["metadata"]["ownerReferences"])}
        return seen != action.seen or not now <= set(action.running)
    return fingerprint(action.body, there, managed_fields.owned_by(there["metadata"], managed_fields.OURS)) != action.seen
