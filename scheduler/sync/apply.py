"""Executes a plan's actions on the cluster, stage after stage and several at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from scheduler.kube import kinds, managed_fields
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import Conflict, KubeError, NotFound
from scheduler.kube.managed_fields import OURS, SUSPEND
from scheduler.sync.lease import Lease
from scheduler.sync.plan import Action, SyncPlan, Verb
from scheduler.sync.record import append_revision

CONCURRENCY = 8
"""Requests at the same time."""
BATCH = 96
"""Actions between two renewals of the Lease."""
_ATTEMPTS = 5
"""How often an apply is tried whose object is changed by somebody else meanwhile."""


class ApplyProgress(Protocol):
    """Shows how many actions are done."""

    def advance(self) -> None:
        """One more is done."""


@dataclass
class Outcome:
    """The actions of a plan that were done, and those that failed; those not begun are in neither."""

    done: list[Action] = field(default_factory=list)
    failed: list[tuple[Action, KubeError]] = field(default_factory=list)


def execute(
    api: KubeClient, plan: SyncPlan, leases: Mapping[str, Lease], progress: ApplyProgress, command: str = "sync"
) -> Outcome:
    """Execute a plan. After a batch with a failure nothing more is begun: the next sync goes on from there.

    Args:
        api: the cluster.
        plan: its actions are executed in their order, those of one stage in any.
        leases: by namespace, held for all that the plan changes; renewed before each batch.
        progress: is called for each action that is done.
        command: how a revision names what was executed.

    Raises:
        LeaseLost: another has taken a Lease; nothing more is begun.
    """
    outcome = Outcome()
    stop = threading.Event()
    pending: list[tuple[Action, Future[KubeError | None]]] = []

    def wait_until(most: int) -> None:
        """Collect results until at most so many actions are pending."""
        while len(pending) > most:
            action, future = pending.pop(0)
            error = future.result()
            if error is None:
                outcome.done.append(action)
                progress.advance()
            else:
                outcome.failed.append((action, error))

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        try:
            stage = None
            for batch in batches(plan.actions):
                # Within a stage a batch begins while the last actions of the one before are pending.
                wait_until(CONCURRENCY if batch[0].stage == stage else 0)
                stage = batch[0].stage
                if outcome.failed:
                    break
                for namespace in {action.namespace for action in batch if action.kind != "Namespace"}:
                    leases[namespace].check()
                pending += [(action, pool.submit(_attempt, api, action, plan.tool, command, stop)) for action in batch]
            wait_until(0)
        except BaseException:
            stop.set()
            raise
    return outcome


def batches(actions: Iterable[Action]) -> list[list[Action]]:
    """The actions in lists of at most BATCH, each of one stage."""
    lists: list[list[Action]] = []
    for action in actions:
        if not lists or lists[-1][0].stage != action.stage or len(lists[-1]) >= BATCH:
            lists.append([])
        lists[-1].append(action)
    return lists


def _attempt(api: KubeClient, action: Action, tool: str, command: str, stop: threading.Event) -> KubeError | None:
    if stop.is_set():
        return KubeError("not begun")
    try:
        _execute_action(api, action, tool, command)
    except KubeError as error:
        return error
    return None


def _execute_action(api: KubeClient, action: Action, tool: str, command: str) -> None:
    kind = kinds.KINDS[action.kind]
    if action.kind == "Namespace":
        _create_namespace(api, action.name)
    elif action.verb == Verb.RECORD:
        append_revision(api, action.namespace, action.name, action.experiment, action.body, tool, command)
    elif action.verb == Verb.PRUNE:
        delete(api, kind, action)
    else:
        if action.take_over:
            take_over(api, kind, action.namespace, action.name)
        apply(api, kind, action)


def apply(api: KubeClient, kind: kinds.Kind, action: Action) -> None:
    """Server-side apply; where the object changes meanwhile it is tried again, but not where a field has another owner.

    Raises:
        KubeError: another manager owns a field, the namespace does not exist, or the server refuses.
    """
    for attempt in range(_ATTEMPTS):
        try:
            api.apply(kind, action.namespace, action.body, OURS, action.force)
            return
        except Conflict as error:
            if error.owners:
                owners = "; ".join(f"{path} is owned by {manager}" for manager, path in error.owners)
                raise KubeError(f"{action.kind} {action.name}: {owners}: --force-conflicts takes it") from error
            if attempt == _ATTEMPTS - 1:
                raise
        except NotFound as error:
            raise KubeError(
                f"namespace {action.namespace} does not exist: kubectl create namespace {action.namespace}, or --create-namespace"
            ) from error


def delete(api: KubeClient, kind: kinds.Kind, action: Action) -> None:
    """Delete the object with the planned UID; one that is gone already is no error.

    Raises:
        KubeError: there is another object of that name, or the server refuses.
    """
    try:
        api.delete(kind, action.namespace, action.name, action.uid)
    except NotFound:
        pass
    except Conflict as error:
        raise KubeError(
            f"{action.kind} {action.name}: it was deleted and created again since the plan was made: plan again"
        ) from error


def _create_namespace(api: KubeClient, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    with contextlib.suppress(Conflict):  # Somebody else has created it meanwhile.
        api.create(kinds.NAMESPACE, None, body)


def take_over(api: KubeClient, kind: kinds.Kind, namespace: str, name: str) -> None:
    """Move the fields that kubectl owns to our field manager, so that those which we do not apply are removed."""
    while True:
        metadata = api.get(kind, namespace, name, metadata_only=True)["metadata"]
        patch = [
            {"op": "replace", "path": "/metadata/managedFields", "value": _without_kubectl(metadata, kind)},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        ]
        try:
            api.patch(kind, namespace, name, patch)
            return
        except Conflict:
            continue


def _without_kubectl(metadata: Mapping[str, Any], kind: kinds.Kind) -> list[dict[str, Any]]:
    """The managedFields of an object in which what kubectl owned is ours."""
    others: list[dict[str, Any]] = []
    trees = [managed_fields.owned_by(metadata, OURS)]
    for entry in metadata.get("managedFields") or []:
        if entry["manager"] == OURS and entry["operation"] == "Apply" and not entry.get("subresource"):
            continue
        if managed_fields.is_kubectl(entry["manager"]) and not entry.get("subresource"):
            adopted = managed_fields.adoptable(entry["fieldsV1"])
            trees.append(adopted)
            entry = {**entry, "fieldsV1": managed_fields.without(entry["fieldsV1"], adopted)}
            if not entry["fieldsV1"]:
                continue
        others.append(entry)
    ours = {
        "manager": OURS,
        "operation": "Apply",
        "apiVersion": kind.version,
        "fieldsType": "FieldsV1",
        "fieldsV1": managed_fields.merged(trees),
    }
    return [*others, ours]


def suspend(api: KubeClient, namespace: str, name: str, uid: str, value: bool, force: bool) -> None:
    """Set a CronJob's suspension under a field manager of its own; ``force`` takes it from other managers.

    Raises:
        KubeError: the CronJob is gone, or another manager owns its suspension.
    """
    body = {
        "apiVersion": kinds.CRONJOB.version,
        "kind": kinds.CRONJOB.kind,
        # With its UID an object that is gone is an error; without, a CronJob with nothing but this field would be created.
        "metadata": {"name": name, "namespace": namespace, "uid": uid},
        "spec": {"suspend": value},
    }
    try:
        api.apply(kinds.CRONJOB, namespace, body, SUSPEND, force)
    except Conflict as error:
        if not error.owners:
            raise KubeError(f"CronJob {name}: it was deleted meanwhile") from error
        managers = ", ".join(manager for manager, _ in error.owners)
        if any(manager == OURS for manager, _ in error.owners):
            raise KubeError(f"CronJob {name}: the configuration says `suspend:`: edit it there and sync") from error
        raise KubeError(f"CronJob {name}: {managers} set its suspension: --force-conflicts takes it") from error
