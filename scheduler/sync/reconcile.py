"""Reads files and cluster and has them planned; holds the Leases under which a plan is executed."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from cronjobs.experiment import Experiment
from cronjobs.objects import labels
from scheduler import VERSION
from scheduler.kube import kinds, objects
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import KubeError
from scheduler.kube.objects import NamespaceObjects, Object
from scheduler.sync import context, planner, stale
from scheduler.sync.admission import AdmissionChanges
from scheduler.sync.context import ContextNeeds, NamespaceContext
from scheduler.sync.desired import desired_states
from scheduler.sync.desired_state import DesiredState
from scheduler.sync.lost_snapshots import lost_snapshots, restored_map
from scheduler.sync.namespace_diff import NamespaceDiff, diff_namespace, unsettled, with_answers
from scheduler.sync.plan import Action, SyncPlan, Verb

if TYPE_CHECKING:
    from scheduler.sync.lease import Lease

ReadSnapshots = Callable[[Iterable[tuple[str, str, str]]], Mapping[tuple[str, str, str], bytes | str]]
"""Returns the bytes of snapshots, each given by its experiment, kind and SHA-256, or why they cannot be had."""
OLDEST_SERVER = (1, 27)
"""The first minor version whose CronJobs have a time zone for sure."""


class StalePlan(KubeError):
    """The cluster is not as it was when the plan was made."""


class Reconciler:
    """Plans what leads one cluster to the desired state; reads the cluster anew for each plan."""

    def __init__(
        self,
        api: KubeClient,
        namespaces: Mapping[str, Sequence[str]],
        build_desired: Callable[[], list[DesiredState]],
        force: bool = False,
        read_snapshots: ReadSnapshots | None = None,
    ) -> None:
        """Begin to read the cluster, and build the desired state meanwhile.

        Args:
            api: the cluster.
            namespaces: those to read → the experiments that are looked for in other namespaces as well.
            build_desired: builds the desired state; what it raises is raised here.
            force: take fields that other managers own.
            read_snapshots: reads snapshots that the cluster has lost; without it none is looked for.
        """
        self._read_snapshots = read_snapshots
        self.api, self.namespaces, self.force = api, namespaces, force
        self.live: dict[str, NamespaceObjects] = {}
        """By namespace, what the latest plan was made from."""
        self.unrecorded_admission: dict[str, tuple[tuple[str, AdmissionChanges], ...]] = {}
        """By namespace, what admission changed of objects that are as desired otherwise, each with its experiment."""
        self._answers: dict[tuple[str, str, str, str], Object | str | None] = {}
        self._is_version_checked = False
        self._read_error: BaseException | None = None
        # The server lists while the objects are built.
        self._reader: threading.Thread | None = threading.Thread(target=self._read_ahead, daemon=True)
        self._reader.start()
        self.desired = build_desired()

    def plan(self) -> SyncPlan:
        """Read the cluster and plan; nothing is changed.

        Raises:
            KubeError: the cluster cannot be read, or is too old for the CronJobs that would be made.
        """
        reader, self._reader = self._reader, None
        if reader is None:
            self._read()
        else:
            reader.join()
            if self._read_error is not None:
                raise self._read_error
        desired: dict[str, list[DesiredState]] = {name: [] for name in self.live}
        for state in self.desired:
            desired[state.namespace].append(state)
        diffs = {name: diff_namespace(desired[name], live, self.force) for name, live in self.live.items()}
        diffs = {name: with_answers(diff, self._dry_runs(diff), self.force) for name, diff in diffs.items()}
        self.unrecorded_admission = {name: diff.unrecorded_admission for name, diff in diffs.items() if diff.unrecorded_admission}
        needs = {name: context.needed_context(desired[name], diff, self.live[name]) for name, diff in diffs.items()}
        contexts = read_contexts(self.api, needs)
        plan = planner.make_plan(
            self.desired,
            self.live,
            diffs,
            {name: self._with_lost_snapshots(known, diffs[name]) for name, known in contexts.items()},
            tool=VERSION,
            server=self.api.access.server,
            context=self.api.access.context,
            now=self.api.now(),
            force=self.force,
        )
        if not self._is_version_checked and any(_makes_cronjob(action) for action in plan.actions):
            check_version(self.api)
            self._is_version_checked = True
        return plan

    def _dry_runs(self, diff: NamespaceDiff) -> dict[tuple[str, str], Object | str]:
        """The server's answers to dry runs of the objects that differ; no object is asked about twice while it stays as it is."""
        keys = {}
        for difference in unsettled(diff):
            metadata = (difference.live or {})["metadata"]
            keys[difference.kind, diff.namespace, metadata["uid"], metadata["resourceVersion"]] = difference
        unknown = {key: difference for key, difference in keys.items() if key not in self._answers}
        if unknown:
            # Not needed when there is nothing to do, which must take no time.
            from scheduler.sync.apply import dry_runs

            bodies = [difference.desired for difference in unknown.values()]
            self._answers.update(zip(unknown, dry_runs(self.api, bodies), strict=True))
        answers = {(keys[key].kind, keys[key].name): self._answers[key] for key in keys}
        return {key: answer for key, answer in answers.items() if answer is not None}

    def _with_lost_snapshots(self, known: NamespaceContext, diff: NamespaceDiff) -> NamespaceContext:
        """The same with the snapshots that unfinished Jobs mount and that are gone, read from elsewhere where that can be."""
        removed = {cronjob["metadata"]["uid"] for cronjob in diff.removed_cronjobs}
        staying = [
            job
            for job in known.unfinished_jobs
            if not removed & {owner.get("uid") for owner in job["metadata"]["ownerReferences"]}
        ]
        desired = {body["metadata"]["name"] for state in self.desired for body in state.objects}
        lost = lost_snapshots(staying, desired.union(self.live[diff.namespace].configmaps))
        if not lost or self._read_snapshots is None:
            return known
        found = self._read_snapshots([(each.experiment, each.kind, each.digest) for each in lost])
        restored: list[context.Restored] = []
        for each in lost:
            data = found[each.experiment, each.kind, each.digest]
            body = data if isinstance(data, str) else restored_map(diff.namespace, each, data)
            restored.append((each, "its copy in the store is damaged" if body is None else body))
        return replace(known, restored=restored)

    def _read_ahead(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self._read_error = error

    def _read(self) -> None:
        read = (functools.partial(objects.read_namespace_objects, self.api, *item) for item in self.namespaces.items())
        self.live = dict(zip(self.namespaces, objects.in_parallel(*read), strict=True))


def reconciler_of(
    api: KubeClient, experiments: Sequence[Experiment], force: bool = False, read_snapshots: ReadSnapshots | None = None
) -> Reconciler:
    """The reconciler of these experiments, each with its namespace; raises CronsembleError where one cannot run on a cluster."""
    namespaces: dict[str, list[str]] = {}
    for experiment in experiments:
        namespaces.setdefault(experiment.cluster.namespace, []).append(experiment.name)
    return Reconciler(api, namespaces, lambda: desired_states(experiments), force, read_snapshots)


def _makes_cronjob(action: Action) -> bool:
    return action.kind == "CronJob" and action.verb in (Verb.CREATE, Verb.CHANGE)


def check_version(api: KubeClient) -> None:
    """Raise KubeError for a server whose CronJobs have no time zone."""
    major, minor = version = api.version()
    if version < OLDEST_SERVER:
        needed = ".".join(map(str, OLDEST_SERVER))
        raise KubeError(
            f"{api.access.server} is Kubernetes {major}.{minor}, whose CronJobs have no time zone: {needed} is needed"
        )


def read_contexts(api: KubeClient, needs: Mapping[str, ContextNeeds]) -> dict[str, NamespaceContext]:
    """Read what is needed of each namespace, all at once."""
    reads: dict[tuple[str, str, str], Callable[[], Any]] = {}
    for namespace, needed in needs.items():
        if needed.namespace:
            reads[namespace, "namespace", ""] = functools.partial(objects.read_namespace, api, namespace)
        if needed.unfinished_jobs:
            reads[namespace, "unfinished_jobs", ""] = functools.partial(objects.unfinished_jobs, api, namespace)
        for experiment in needed.jobs_of:
            selector = f"{labels.INSTANCE}={experiment}"
            reads[namespace, "jobs_of", experiment] = functools.partial(objects.jobs, api, namespace, selector=selector)
        for kind in needed.foreign_names:
            reads[namespace, "foreign_names", kind] = functools.partial(objects.foreign_names, api, kinds.KINDS[kind], namespace)
        for name in needed.configmaps:
            reads[namespace, "configmaps", name] = functools.partial(api.get, kinds.CONFIGMAP, namespace, name)
    results = objects.in_parallel(*reads.values()) if reads else []
    parts: dict[str, dict[str, Any]] = {namespace: {} for namespace in needs}
    for (namespace, part, key), result in zip(reads, results, strict=True):
        if key:
            parts[namespace].setdefault(part, {})[key] = result
        else:
            parts[namespace][part] = result
    return {namespace: NamespaceContext(**values) for namespace, values in parts.items()}


@contextmanager
def leases(api: KubeClient, namespaces: Iterable[str], wait: float, say: Callable[[str], None]) -> Iterator[dict[str, Lease]]:
    """Hold the Leases of these namespaces, taken in the same order by everyone so that no two wait for each other.

    Args:
        wait: seconds to wait for each.
        say: is given a line once something is waited for.

    Raises:
        LeaseHeld: another holds one for longer than that.
    """
    # Not needed when there is nothing to do, which must take no time.
    from scheduler.sync.lease import Lease

    with ExitStack() as stack:
        taken = {}
        for name in sorted(set(namespaces)):
            taken[name] = Lease(api, name)
            taken[name].take(wait, say)
            stack.callback(taken[name].release)
        yield taken


def changed_namespaces(plan: SyncPlan) -> set[str]:
    """The namespaces that the plan's actions are in."""
    return {action.namespace for action in plan.actions}


def without_namespaces(plan: SyncPlan) -> tuple[list[Action], SyncPlan]:
    """A plan's namespaces, which must be there before a Lease can be, and the rest of it."""
    first = [action for action in plan.actions if action.kind == "Namespace"]
    return first, msgspec.structs.replace(plan, actions=tuple(action for action in plan.actions if action.kind != "Namespace"))


def check_saved(api: KubeClient, plan: SyncPlan) -> SyncPlan:
    """The plan with the fire times as of now; raises StalePlan if it is for another cluster or tool, or an object has changed."""
    if plan.server != api.access.server:
        raise StalePlan(f"the plan is for {plan.server}, this is {api.access.server}: use the context that it was made with")
    if plan.tool != VERSION:
        raise StalePlan(f"the plan was made by cronsemble {plan.tool}, this is {VERSION}: plan again")
    actions: dict[str, list[Action]] = {namespace: [] for namespace in sorted(changed_namespaces(plan))}
    for action in plan.actions:
        actions[action.namespace].append(action)
    live = objects.in_parallel(*(functools.partial(objects.read_namespace_objects, api, name, []) for name in actions))
    contexts = read_contexts(api, {name: stale.needed_context(planned) for name, planned in actions.items()})
    changed = [
        f"{action.kind} {action.name}"
        for (name, planned), live_objects in zip(actions.items(), live, strict=True)
        for action in planned
        if stale.is_stale(action, live_objects, contexts[name])
    ]
    if changed:
        shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise StalePlan(f"the plan is stale: {shown} changed since it was made: plan again")
    cronjobs = {(there.namespace, name): body for there in live for name, body in there.cronjobs.items()}
    now = api.now()
    current = (planner.with_fires(action, cronjobs.get((action.namespace, action.name)), now) for action in plan.actions)
    return msgspec.structs.replace(plan, actions=tuple(current))
