"""Executes a plan's actions on the cluster, stage after stage and several at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from cronjobs.objects import labels
from cronjobs.revisions import revisions
from scheduler.kube import kinds, managed_fields
from scheduler.kube.client import KubeClient
from scheduler.kube.errors import ApiError, Conflict, Forbidden, KubeError, NotFound
from scheduler.kube.managed_fields import OURS, SUSPEND
from scheduler.kube.objects import Object
from scheduler.sync.admission import AdmissionChanges, admission_changes, lost_label, with_suspension
from scheduler.sync.diff import as_answered
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
    admission: list[tuple[Action, AdmissionChanges]] = field(default_factory=list)
    """Of those that were done, what admission changed of what was applied."""


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
    pending: list[tuple[Action, Future[KubeError | Object | None]]] = []
    admitted: dict[tuple[str, str], Object] = {}

    def wait_until(most: int) -> None:
        """Collect results until at most so many actions are pending."""
        while len(pending) > most:
            action, future = pending.pop(0)
            result = future.result()
            if isinstance(result, KubeError):
                outcome.failed.append((action, result))
                continue
            outcome.done.append(action)
            progress.advance()
            if result is not None and (changes := admission_changes(action.body, result)):
                outcome.admission.append((action, changes))
                if action.kind == "CronJob":
                    body = with_suspension(as_answered(action.body, result), result)
                    admitted[action.namespace, action.name] = body

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
                pending += [
                    (action, pool.submit(_attempt, api, _with_admitted(action, admitted), plan.tool, command, stop))
                    for action in batch
                ]
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


def _with_admitted(action: Action, admitted: Mapping[tuple[str, str], Object]) -> Action:
    """The action; a revision to record says of the CronJobs that were just applied what the server keeps of them."""
    if action.verb != Verb.RECORD or not admitted:
        return action
    own = [body for (namespace, _), body in admitted.items() if namespace == action.namespace]
    own = [body for body in own if body["metadata"]["labels"].get(labels.INSTANCE) == action.experiment]
    tasks = {name: task for name, task in revisions.tasks(own).items() if name in action.body["tasks"]}
    return msgspec.structs.replace(action, body={**action.body, "tasks": {**action.body["tasks"], **tasks}})


def _attempt(api: KubeClient, action: Action, tool: str, command: str, stop: threading.Event) -> KubeError | Object | None:
    """The server's answer to an apply, None of another action, or the error."""
    if stop.is_set():
        return KubeError("not begun")
    try:
        return _execute_action(api, action, tool, command)
    except KubeError as error:
        return error


def _execute_action(api: KubeClient, action: Action, tool: str, command: str) -> Object | None:
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
        answer = apply(api, kind, action)
        if label := lost_label(action.body, answer):
            kept = (answer["metadata"].get("labels") or {}).get(label, "(none)")
            raise KubeError(
                f"{action.kind} {action.name}: admission changes its label {label} to {kept}, so that cronsemble does not find "
                "the object any more: remove it, and let the cluster's policy leave this label alone"
            )
        return answer
    return None


def apply(api: KubeClient, kind: kinds.Kind, action: Action) -> Object:
    """Server-side apply; where the object changes meanwhile it is tried again, but not where a field has another owner.

    Returns the object as the server keeps it.

    Raises:
        KubeError: another manager owns a field, the namespace does not exist, or the server refuses.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return api.apply(kind, action.namespace, action.body, OURS, action.force)
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
    raise AssertionError("the last attempt returns or raises")


def dry_runs(api: KubeClient, bodies: Iterable[Object]) -> list[Object | str | None]:
    """The answers of :func:`dry_run` for these objects, several at once."""
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return list(pool.map(lambda body: dry_run(api, kinds.KINDS[body["kind"]], body), bodies))


def dry_run(api: KubeClient, kind: kinds.Kind, desired: Object) -> Object | str | None:
    """The server's answer to an apply that changes nothing, or why it would refuse.

    None where only a real apply can tell: without the right to apply, or where the object is gone.
    """
    try:
        return api.apply(kind, desired["metadata"]["namespace"], desired, OURS, force=True, dry_run=True)
    except (Conflict, NotFound, Forbidden):
        return None
    except ApiError as error:
        return str(error)


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
        live = api.get(kind, namespace, name)
        metadata = live["metadata"]
        # Not a suspension that kubectl has set: `resume` asks for that one.
        with_suspend = not (live.get("spec") or {}).get("suspend")
        patch = [
            {"op": "replace", "path": "/metadata/managedFields", "value": _without_kubectl(metadata, kind, with_suspend)},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        ]
        try:
            api.patch(kind, namespace, name, patch)
            return
        except Conflict:
            continue


def _without_kubectl(metadata: Mapping[str, Any], kind: kinds.Kind, with_suspend: bool) -> list[dict[str, Any]]:
    """The managedFields of an object in which what kubectl owned is ours."""
    others: list[dict[str, Any]] = []
    trees = [managed_fields.owned_by(metadata, OURS)]
    for entry in metadata.get("managedFields") or []:
        if entry["manager"] == OURS and entry["operation"] == "Apply" and not entry.get("subresource"):
            continue
        if managed_fields.is_kubectl(entry["manager"]) and not entry.get("subresource"):
            adopted = managed_fields.adoptable(entry["fieldsV1"], with_suspend)
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


def suspend(api: KubeClient, namespace: str, cronjob: Object, value: bool, force: bool) -> None:
    """Set a CronJob's suspension under a field manager of its own; ``force`` takes it from other managers.

    Raises:
        KubeError: the CronJob is gone, another manager owns its suspension, or admission sets it back.
    """
    name, uid = cronjob["metadata"]["name"], cronjob["metadata"]["uid"]
    # A client-side apply owns what the server filled in too: that a CronJob is not suspended is then no word of its user.
    force = force or (value and _only_kubectl_owns_default(cronjob))
    body = {
        "apiVersion": kinds.CRONJOB.version,
        "kind": kinds.CRONJOB.kind,
        # With its UID an object that is gone is an error; without, a CronJob with nothing but this field would be created.
        "metadata": {"name": name, "namespace": namespace, "uid": uid},
        "spec": {"suspend": value},
    }
    try:
        answer = api.apply(kinds.CRONJOB, namespace, body, SUSPEND, force)
    except Conflict as error:
        if not error.owners:
            raise KubeError(f"CronJob {name}: it was deleted meanwhile") from error
        managers = ", ".join(manager for manager, _ in error.owners)
        if any(manager == OURS for manager, _ in error.owners):
            raise KubeError(f"CronJob {name}: the configuration says `suspend:`: edit it there and sync") from error
        raise KubeError(f"CronJob {name}: {managers} set its suspension: --force-conflicts takes it") from error
    if bool((answer.get("spec") or {}).get("suspend")) != value:
        state = "suspended" if not value else "not suspended"
        raise KubeError(f"CronJob {name}: it stays {state}: the cluster's admission changes `suspend` back")


def _only_kubectl_owns_default(cronjob: Object) -> bool:
    owners = managed_fields.owners_of(managed_fields.ownerships(cronjob["metadata"]), ("spec", "suspend"))
    return not cronjob["spec"].get("suspend") and all(managed_fields.is_kubectl(owner) for owner in owners)
